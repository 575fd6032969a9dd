defmodule Slither.Pool.Status do
  @moduledoc false
  # What a pool does now, read from the scheduler's state in the scheduler's process. The process
  # that asks reads the memory of workers itself, so that the scheduler waits for no file.

  alias Slither.Pool.{Line, Sessions, State}
  alias Slither.Python.{Board, Rss, Worker}

  # ms within which the owners of workers answer; they never block.
  @patience 5_000

  @doc "What the pool and its workers do, as `Slither.Python.Pool.status/1` returns it, without `rss`."
  @spec of(State.t()) :: map
  def of(state) do
    %{
      name: state.settings.name,
      size: state.staff.size,
      spare: state.staff.spare,
      workers:
        for({slot, member} <- Enum.sort(state.staff.members), do: worker(state, slot, member)),
      queue: Line.count(state.ledger.line),
      started: state.started,
      died: state.died,
      error: state.error
    }
  end

  @doc "The processes that own the workers, by the workers' numbers."
  @spec owners(State.t()) :: [pid]
  def owners(state),
    do: for({_slot, %{pid: pid}} <- Enum.sort(state.staff.members), pid != nil, do: pid)

  @doc "Those of them whose workers hold calls, begun or not."
  @spec busy(State.t()) :: [pid]
  def busy(state) do
    for {slot, %{pid: pid}} <- state.staff.members,
        pid != nil and calls(state.ledger.workers[slot]) > 0,
        do: pid
  end

  @doc """
  What each worker does, as its owner tells: `Slither.Python.Pool.stacks/1` says more. One that ends
  meanwhile is left out.
  """
  @spec stacks([pid]) :: [map]
  def stacks(owners) do
    asked = Enum.map(owners, &Worker.ask_stack/1)
    until = System.monotonic_time(:millisecond) + @patience

    for request <- asked,
        left = max(until - System.monotonic_time(:millisecond), 0),
        answer = Worker.await_stack(request, left),
        do: answer
  end

  @doc "The sessions, as `Slither.Session.list/1` returns them."
  @spec sessions(State.t()) :: [map]
  def sessions(%{ledger: ledger}) do
    slots = Map.new(ledger.workers, fn {slot, worker} -> {worker.pid, slot} end)

    for id <- Sessions.ids(ledger.sessions) do
      %{worker: worker, busy: busy} = Sessions.fetch(ledger.sessions, id)
      slot = slots[worker]
      status = if slot, do: if(busy, do: :busy, else: :idle), else: :lost
      %{id: id, worker: slot, status: status}
    end
  end

  @doc "Adds the memory of each worker."
  @spec with_rss(map) :: map
  def with_rss(status) do
    rss = Rss.read_all(for %{os_pid: os_pid} when os_pid != nil <- status.workers, do: os_pid)
    %{status | workers: for(worker <- status.workers, do: %{worker | rss: rss[worker.os_pid]})}
  end

  defp worker(state, slot, member) do
    %{
      worker: slot,
      status: member.status,
      os_pid: member.os_pid,
      calls: calls(state.ledger.workers[slot]),
      sessions: Sessions.load(state.ledger.sessions, member.pid),
      served: Board.served(state.settings.board, slot),
      age: member.since && System.monotonic_time(:millisecond) - member.since,
      rss: nil
    }
  end

  defp calls(nil), do: 0
  defp calls(%{leased: leased}), do: leased
end
