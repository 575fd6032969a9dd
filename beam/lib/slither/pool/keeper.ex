defmodule Slither.Pool.Keeper do
  @moduledoc false
  # Sees to it that sessions end which are idle, and state whose run is over; and that sessions
  # move from a worker that is to leave. What that takes of calls, other processes make.

  alias Slither.Pool.{Ledger, Runs, SessionCalls, Sessions, State}

  @doc "A call of a session is to come: it is known by name for as long as it may be bound."
  @spec note(State.t(), String.t() | nil) :: State.t()
  def note(state, nil), do: state

  def note(state, session) do
    :ets.insert(state.settings.sessions, {session})
    watch(state)
  end

  @doc "A session may be no more."
  @spec forget(State.t(), String.t() | nil) :: State.t()
  def forget(state, session) do
    unless session == nil or Ledger.known?(state.ledger, session),
      do: :ets.delete(state.settings.sessions, session)

    state
  end

  @doc "Looks at who is idle from time to time, while there are sessions."
  @spec watch(State.t()) :: State.t()
  def watch(%State{settings: %{session_idle: :infinity}} = state), do: state
  def watch(%State{watching: true} = state), do: state

  def watch(state) do
    if :ets.info(state.settings.sessions, :size) == 0 do
      state
    else
      Process.send_after(self(), :age, Sessions.interval(state.settings.session_idle))
      %{state | watching: true}
    end
  end

  @doc "One such look."
  @spec age(State.t()) :: State.t()
  def age(state) do
    {idle, ledger} = Ledger.age(state.ledger)
    for session <- idle, do: start(state, &SessionCalls.stop(&1, session, :expire))
    watch(%{state | ledger: ledger, watching: false})
  end

  @doc "A worker holds state of a run, which is over already where nobody waits for the call."
  @spec hold(State.t(), pid, pid, String.t()) :: State.t()
  def hold(state, worker, lane, run) do
    owner = Ledger.owner(state.ledger, lane, run)

    if owner in [nil, self()],
      do: end_run_of(state, run, [worker]),
      else: %{state | runs: Runs.hold(state.runs, run, owner, worker)}
  end

  @doc "A run is over."
  @spec end_run(State.t(), String.t()) :: State.t()
  def end_run(state, run) do
    {workers, runs} = Runs.take(state.runs, run)
    end_run_of(%{state | runs: runs}, run, workers)
  end

  @doc "The runs of a process are over, as it is gone."
  @spec end_runs(State.t(), pid) :: State.t()
  def end_runs(state, owner),
    do: Enum.reduce(Runs.of(state.runs, owner), state, &end_run(&2, &1))

  defp end_run_of(state, run, workers) do
    for worker <- workers, do: start(state, &SessionCalls.end_run(&1, run, worker))
    state
  end

  @doc "A worker is to leave: its sessions move where they can."
  @spec leave(State.t(), pid) :: State.t()
  def leave(state, worker) do
    if Sessions.load(state.ledger.sessions, worker) > 0,
      do: start(state, &SessionCalls.leave(&1, worker))

    state
  end

  # It waits for its lanes as all do, and ends when the pool does, or its tasks' supervisor.
  defp start(state, fun) do
    handle = Map.put(State.handle(state), :scheduler, self())
    Task.Supervisor.start_child(state.settings.tasks, fn -> fun.(handle) end)
  end
end
