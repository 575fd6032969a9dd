defmodule Slither.Python.Template.Answers do
  @moduledoc false
  # What a template tells others: who asks for a worker, the owner of a worker whose process has
  # ended, and the keeper of templates. `Slither.Python.Template` sends it, in its process, and
  # `Slither.Python.Templates`, which answers where there is no template.

  alias Slither.Error
  alias Slither.Python.Obituary.Stack
  alias Slither.Python.Template.Brood
  alias Slither.Python.Transport

  @typedoc "What the one who asked for a fork is answered, with his reference."
  @type answer ::
          {:forked, %{socket: term, os_pid: pos_integer, python: String.t(), template: pid}}
          | {:error, Error.t()}
          | :spawn
          | :again

  @doc "Tells somebody what has become of the fork that he has asked for."
  @spec answer(Brood.who(), answer) :: term
  def answer({owner, ref}, answer), do: send(owner, {__MODULE__, ref, answer})

  @doc "Answers him where nobody can tell."
  @spec nowhere(GenServer.from(), non_neg_integer, pos_integer | nil, Stack.t() | nil) :: :ok
  def nowhere(from, slot, os_pid \\ nil, stack \\ nil) do
    text = with %Stack{text: text} <- stack, do: text
    GenServer.reply(from, %{worker: slot, os_pid: os_pid, call: nil, stack: text})
  end

  @doc "Tells the owner of a worker how that has ended."
  @spec ended(pid, pos_integer, Transport.status()) :: term
  def ended(owner, os_pid, status), do: send(owner, {__MODULE__, :ended, os_pid, status})

  @doc "Tells the keeper what the calling template does."
  @spec keeper(pid, term) :: term
  def keeper(keeper, event), do: send(keeper, {__MODULE__, self(), event})
end
