defmodule Slither.Python.Worker.Memory do
  @moduledoc false
  # A worker whose pool limits its memory: it is looked at from its start, and killed where it takes
  # more. Runs in the process of the worker's owner, which calls it.
  #
  # The call that ran when too much was seen is the one that fails, also where its answer comes before
  # the process is dead: a limit that holds only for slow calls is none.

  import Slither.Python.Worker.Effects

  alias Slither.{Error, Python}
  alias Slither.Python.Obituary
  alias Slither.Python.Memory.{Kills, Watched}
  alias Slither.Python.Worker.{Asking, Stacks, State}

  @doc "Has it looked at, where there is a limit, and begins to look for kills of the kernel's."
  @spec watch(State.t()) :: State.t()
  def watch(%State{process: %{os_pid: os_pid}, settings: settings, slot: slot} = state) do
    if settings.max_memory,
      do: Python.Memory.watch(os_pid, settings.max_memory, settings.board, slot)

    ready(state)
  end

  @doc "It is ready, and where it is by now: what started it may have moved it."
  @spec ready(State.t()) :: State.t()
  def ready(%State{process: %{os_pid: os_pid}} = state),
    do: %{state | kills: Kills.new(os_pid, now())}

  @doc "Looks for kills of the kernel's, where it is time for that."
  @spec look(State.t()) :: State.t()
  def look(state), do: %{state | kills: Kills.look(state.kills, now())}

  @doc "It is not looked at any more."
  @spec release(State.t()) :: :ok
  def release(%State{settings: %{max_memory: nil}}), do: :ok
  def release(_state), do: Python.Memory.release()

  @doc "It takes more than it may."
  @spec over(State.t(), Watched.facts()) :: State.t()
  def over(%State{life: %{phase: :killed}} = state, _facts), do: state

  def over(%State{life: %{phase: :starting}, settings: settings} = state, facts) do
    error = Obituary.too_large_at_start(settings.name, state.process.python, facts)
    kill_process(state, error)
  end

  def over(state, facts) do
    error = Obituary.too_large(State.identity(state), facts)

    case {executing(state), condemned(state)} do
      # It runs nothing that could say where it was, and nothing that begins now is to blame.
      {none, _nobody} when none in [nil, 0] -> kill_process(state, error)
      {id, nil} -> Stacks.end_for(state, {:memory, id}, error)
      {_id, _soon} -> state
    end
  end

  @doc "Whether a call fails for the memory that it took, whatever it answers."
  @spec condemned?(State.t(), pos_integer) :: boolean
  def condemned?(%State{blame: {:call, id}, life: %{reason: %Error{reason: :memory}}}, id),
    do: true

  def condemned?(state, id), do: condemned(state) == id

  defp condemned(%State{asking: %Asking{kills: kills}}),
    do: Enum.find_value(kills, &with({_error, {:memory, id}} <- &1, do: id, else: (_ -> nil)))

  defp condemned(_state), do: nil
end
