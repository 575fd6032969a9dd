defmodule Slither.Pool.Lifetimes do
  @moduledoc false
  # Decides when workers drop the state of sessions and runs. Idle sessions end, a run's state
  # ends with the run, and sessions move off a worker that is to leave. Pure; called by the
  # scheduler. The calls to workers that this takes are chores, which other processes make.

  alias Slither.Pool.{Holdings, Ledger, Line, Sessions, State}

  @doc "A call of a session is to come: its id is known for as long as it may be bound."
  @spec note(State.t(), String.t() | nil) :: State.t()
  def note(state, nil), do: state
  def note(state, session), do: state |> State.effect({:note, session}) |> look_later()

  @doc "A session may be no more."
  @spec forget(State.t(), String.t() | nil) :: State.t()
  def forget(state, session) do
    if session == nil or Holdings.known?(state.ledger, session),
      do: state,
      else: State.effect(state, {:forget, session})
  end

  @doc "Looks at who is idle from time to time, while there may be sessions."
  @spec watch(State.t()) :: State.t()
  def watch(%State{ledger: ledger} = state) do
    if Sessions.any?(ledger.sessions) or Line.count(ledger.line) > 0,
      do: look_later(state),
      else: state
  end

  defp look_later(%State{settings: %{session_idle: :infinity}} = state), do: state
  defp look_later(%State{aging: true} = state), do: state

  defp look_later(state) do
    look = {:after, Sessions.interval(state.settings.session_idle), :age}
    State.effect(%{state | aging: true}, look)
  end

  @doc "One such look: sessions that were idle for too long end."
  @spec age(State.t()) :: State.t()
  def age(state) do
    {idle, ledger} = Ledger.age(state.ledger)

    idle
    |> Enum.reduce(%{state | ledger: ledger, aging: false}, fn session, state ->
      State.effect(state, {:chore, :expire, [session]})
    end)
    |> watch()
  end

  @doc """
  A worker holds state of a run for the call of a lane. Where nobody waits for that call, the run is
  over already.
  """
  @spec hold(State.t(), pid, pid, String.t()) :: State.t()
  def hold(state, worker, lane, run) do
    case Holdings.owner(state.ledger, lane, run) do
      nil ->
        drop(state, run, [worker])

      owner ->
        held = Map.get(state.runs, run, %{owner: owner, workers: []})
        held = %{held | workers: Enum.uniq([worker | held.workers])}
        %{state | runs: Map.put(state.runs, run, held)}
    end
  end

  @doc "A run is over."
  @spec end_run(State.t(), String.t()) :: State.t()
  def end_run(state, run) do
    {held, runs} = Map.pop(state.runs, run, %{workers: []})
    drop(%{state | runs: runs}, run, held.workers)
  end

  @doc "The runs of a process are over, as it is gone."
  @spec end_runs(State.t(), pid) :: State.t()
  def end_runs(state, owner) do
    ended = for {run, %{owner: ^owner}} <- state.runs, do: run
    Enum.reduce(ended, state, &end_run(&2, &1))
  end

  @doc "A worker is gone, with all it held of runs."
  @spec worker_gone(State.t(), pid) :: State.t()
  def worker_gone(state, worker) do
    runs =
      for {run, held} <- state.runs, (workers = held.workers -- [worker]) != [], into: %{} do
        {run, %{held | workers: workers}}
      end

    %{state | runs: runs}
  end

  defp drop(state, run, workers),
    do: Enum.reduce(workers, state, &State.effect(&2, {:chore, :end_run, [run, &1]}))

  @doc "A worker is to leave: its sessions move where they can."
  @spec leave(State.t(), pid) :: State.t()
  def leave(state, worker) do
    case Sessions.of(state.ledger.sessions, worker) do
      [] -> state
      sessions -> State.effect(state, {:chore, :leave, [worker, sessions]})
    end
  end
end
