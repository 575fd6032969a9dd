defmodule Slither.Pool.Status do
  @moduledoc false
  # What a pool does now, read from the scheduler's state in the scheduler's process. The process
  # that asks reads the memory of workers and asks their owners itself, so that the scheduler waits
  # for nothing.

  alias Slither.Pool.{Handle, Line, Sessions, State}
  alias Slither.Python.{Board, OSProcess, Rss, Templates, Worker}

  # ms within which the owners of workers answer; they never block. Where a worker's code is takes
  # longer to tell than what it runs.
  @patience_of_stacks 5_000
  @patience 1_000

  @doc "What the scheduler knows of the pool and its workers: `whole/2` adds the rest."
  @spec of(State.t()) :: map
  def of(state) do
    workers =
      for {slot, member} <- Enum.sort(state.staff.members), do: worker(state, slot, member)

    %{
      name: state.settings.name,
      size: state.staff.size,
      range: state.staff.least..state.staff.most,
      changed: changed(state.elastic.last),
      spare: state.staff.spare,
      ready: Enum.count(workers, &(&1.status == :ready)),
      workers: workers,
      queue: Line.count(state.ledger.line),
      max_queue: state.settings.max_queue,
      asked: Line.asked(state.ledger.line),
      started: state.started,
      died: state.died,
      error: state.error,
      notes: state.settings.plan.notes,
      templates: state.settings.templates
    }
  end

  defp changed(nil), do: nil

  defp changed(last) do
    {at, last} = Map.pop(last, :at)
    Map.put(last, :ago, System.monotonic_time(:millisecond) - at)
  end

  @doc "Adds what the workers' owners and the system tell: `Slither.Python.Pool.status/1` returns it."
  @spec whole(map, Handle.t()) :: map
  def whole(%{workers: workers, asked: asked} = status, %Handle{board: board}) do
    owners = for %{owner: owner} when owner != nil <- workers, do: owner
    told = owners |> ask(&Worker.ask_runs/1, @patience) |> Map.new(&{&1.worker, &1})
    rss = Rss.read_all(for %{os_pid: os_pid} when os_pid != nil <- workers, do: os_pid)
    ready = for %{status: :ready, worker: slot} <- workers, do: slot
    now = System.monotonic_time()

    {templates, status} = Map.pop(status, :templates)

    status
    |> Map.delete(:asked)
    |> Map.merge(start(templates && Templates.status(templates, @patience), status.notes))
    |> Map.merge(%{
      workers: for(worker <- workers, do: complete(worker, told[worker.worker], rss)),
      busy: Enum.count(workers, &busy?(told[&1.worker], board, &1.worker)),
      busy_share: Board.busy_share(board),
      busy_time: Board.busy_time(board),
      oldest_wait: ms_since(asked, now),
      since_free: ms_since(Board.last_free(board, ready, status.queue, now), now)
    })
  end

  defp start(nil, notes), do: %{start: :spawn, template: nil, notes: notes}

  defp start(%{refused: nil, os_pid: os_pid}, notes),
    do: %{start: :fork, template: os_pid, notes: notes}

  defp start(%{refused: why}, notes),
    do: %{start: :spawn, template: nil, notes: notes ++ ["nothing can be forked: #{why}"]}

  defp complete(worker, told, rss) do
    os_pid = worker.os_pid

    worker
    |> Map.delete(:owner)
    |> Map.merge(%{
      rss: rss[os_pid],
      cpu: if(os_pid, do: OSProcess.used(os_pid)),
      runs: told && told.runs,
      said: if(told, do: told.said, else: [])
    })
  end

  # Of a worker whose owner has no time to answer, the board knows whether it is at a call.
  defp busy?(nil, board, slot), do: Board.at_call?(board, slot)
  defp busy?(told, _board, _slot), do: told.runs != nil

  defp ms_since(nil, _now), do: nil

  defp ms_since(at, now),
    do: System.convert_time_unit(max(now - at, 0), :native, :millisecond)

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
  def stacks(owners), do: ask(owners, &Worker.ask_stack/1, @patience_of_stacks)

  # All at once; what has answered by then.
  defp ask(owners, question, patience) do
    asked = Enum.map(owners, question)
    until = System.monotonic_time(:millisecond) + patience

    for request <- asked,
        left = max(until - System.monotonic_time(:millisecond), 0),
        answer = Worker.await(request, left),
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

  defp worker(state, slot, member) do
    %{
      worker: slot,
      status: member.status,
      os_pid: member.os_pid,
      calls: calls(state.ledger.workers[slot]),
      sessions: Sessions.load(state.ledger.sessions, member.pid),
      served: Board.served(state.settings.board, slot),
      age: member.since && System.monotonic_time(:millisecond) - member.since,
      gpus: member.place && member.place.gpus,
      cpus: member.place && member.place.cpus,
      owner: member.pid
    }
  end

  defp calls(nil), do: 0
  defp calls(%{leased: leased}), do: leased
end
