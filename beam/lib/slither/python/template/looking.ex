defmodule Slither.Python.Template.Looking do
  @moduledoc false
  # A template that starts is asked where it is, as a worker is (`Worker.Stacks`): because it is over
  # its time, and its error is to say so, or because somebody wants to know what hangs.
  # `Slither.Python.Template` calls it, and looks again by a timer.

  alias Slither.Error
  alias Slither.Python.Obituary.{Stack, StackMemory}
  alias Slither.Python.OSProcess
  alias Slither.Python.Worker.Asking

  @enforce_keys [:memory, :asking]
  defstruct @enforce_keys

  @typedoc "Where it is asked, and how far that is."
  @type t :: %__MODULE__{memory: StackMemory.t(), asking: Asking.t()}
  @typedoc "To look again after so many ms, or where it was, nil where it can't be told."
  @type next :: {:again, pos_integer, t} | {:over, Stack.t() | nil}

  @doc "Asks, where there is a memory to answer in; `error` is why it is to be killed, nil if it is not."
  @spec begin(StackMemory.t() | nil, Error.t() | nil) :: next
  def begin(memory, error) do
    case StackMemory.ask(memory) do
      {:ok, memory} ->
        used = OSProcess.used(memory.os_pid)
        kills = if error, do: [{error, :starting}], else: []
        asking = %Asking{call: nil, began: now(), used: used, kills: kills}
        {:again, 1, %__MODULE__{memory: memory, asking: asking}}

      :error ->
        {:over, nil}
    end
  end

  @doc "Looks whether it has answered."
  @spec again(t) :: next
  def again(%__MODULE__{memory: memory, asking: asking} = looking) do
    progress = StackMemory.progress(memory, asking.signal)

    case Asking.look(asking, progress, now(), fn -> OSProcess.used(memory.os_pid) end) do
      {:again, pause, asking} ->
        {:again, pause, %{looking | asking: asking}}

      {:force, pause, asking} ->
        {:again, pause, %{looking | asking: %{asking | signal: StackMemory.force(memory)}}}

      :over ->
        {:over, StackMemory.read(memory)}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
