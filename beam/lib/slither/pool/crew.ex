defmodule Slither.Pool.Crew do
  @moduledoc false
  # Carries out what the roster says: starts workers, gives them places, has them leave.

  require Logger

  alias Slither.Error
  alias Slither.Pool.Errors
  alias Slither.Python.{Board, Lane, Worker}
  alias Slither.Python.Worker.Limits

  alias Slither.Pool.{
    Backoff,
    Changes,
    Keeper,
    Leases,
    Ledger,
    Recycle,
    Roster,
    Runs,
    State
  }

  # ms that a worker which ends without a call must have lived to be no failed start.
  @early 1_000
  # ms between looks at a worker that drains, whose lanes somebody holds who does nothing.
  @look 1_000
  # ms that a worker's owner gets to see the end of a process it has killed.
  @slack 2_000

  @doc "ms that ending all workers may take."
  @spec patience(map) :: pos_integer
  def patience(settings), do: settings.shutdown + @slack

  @doc "A worker is ready."
  @spec ready(State.t(), Roster.slot(), [pid], pos_integer) :: State.t()
  def ready(state, slot, lanes, os_pid) do
    monitors = Map.new(lanes, &{Process.monitor(&1), &1})

    reconcile(%{
      state
      | roster: Roster.ready(state.roster, slot, os_pid, lanes, now()),
        lanes: Map.merge(state.lanes, monitors),
        backoff: Backoff.ready(state.backoff),
        error: nil,
        started: state.started + 1
    })
    |> answer_ready(:ok)
  end

  @doc "A worker that was ready is gone."
  @spec down(State.t(), Roster.slot(), Roster.Member.t(), atom) :: State.t()
  def down(state, slot, member, reason) do
    expected? = member.status == :stopping or reason == :worker_stopped
    early? = not expected? and early?(state, slot, member)
    served? = is_map_key(state.ledger.workers, slot)
    {free, grants, ledger} = Ledger.drop_worker(state.ledger, slot)
    # Lanes that somebody holds are stopped when they come back.
    Enum.each(if(served?, do: free, else: member.lanes), &Lane.stop/1)
    {delay, backoff} = Backoff.ended(state.backoff, early?)
    died = if expected?, do: state.died, else: state.died + 1
    runs = Runs.drop_worker(state.runs, member.pid)
    state = %{state | ledger: ledger, backoff: backoff, died: died, runs: runs}

    %{state | roster: Roster.gone(state.roster, slot)}
    |> Leases.settle(grants)
    |> retry_after(delay)
    |> reconcile()
  end

  defp early?(state, slot, %{status: status, since: since}) when status in [:spare, :ready] do
    now() - since < @early and Board.served(state.settings.board, slot) == 0 and
      (status == :spare or Ledger.quiet?(state.ledger, slot))
  end

  defp early?(_state, _slot, _member), do: false

  @doc "A worker that was starting is gone."
  @spec failed(State.t(), Roster.slot(), Roster.Member.t(), Error.t()) :: State.t()
  def failed(state, slot, %{status: :stopping}, _error),
    do: reconcile(%{state | roster: Roster.gone(state.roster, slot)})

  def failed(state, slot, _member, error) do
    {delay, backoff} = Backoff.failed(state.backoff)
    roster = Roster.gone(state.roster, slot)
    {answer, changes, roster} = Changes.fail(state.changes, roster, error)
    reply(answer)

    %{state | backoff: backoff, roster: roster, changes: changes}
    |> retry_after(delay)
    |> tell_failed(error)
    |> reconcile()
  end

  defp tell_failed(state, error) do
    cond do
      Roster.serving?(state.roster) -> warn(state, "a worker can't start: #{error.message}")
      Backoff.hopeless?(state.backoff) -> give_up(state, error)
      true -> state
    end
  end

  defp give_up(%State{settings: %{name: name}} = state, error) do
    Logger.error("pool #{inspect(name)} has no worker: #{Exception.message(error)}", pool: name)
    unavailable = Errors.unavailable(name, error)

    %{state | error: error}
    |> Leases.refuse(unavailable)
    |> answer_ready({:error, unavailable})
  end

  @doc "A worker has met a limit of its own: `amount` calls, bytes or ms."
  @spec due(State.t(), Roster.slot(), Limits.reason(), non_neg_integer) :: State.t()
  def due(%State{settings: %{max_rss: nil}} = state, _slot, :max_rss, _amount), do: state

  def due(state, slot, reason, amount) do
    vain = Recycle.vain(state.vain, reason, Board.served(state.settings.board, slot))

    # One that goes beyond max_rss at once, as those before it did, would be followed by another.
    if Recycle.vain?(vain) do
      warn(state, Errors.max_rss_in_vain(state.settings.max_rss, amount))
      %{state | vain: 0, settings: %{state.settings | max_rss: nil}}
    else
      reconcile(%{state | vain: vain, roster: Roster.due(state.roster, slot, reason)})
    end
  end

  @doc "A worker takes more than `max_rss` from the start: says so, once."
  @spec too_low(State.t(), non_neg_integer) :: State.t()
  def too_low(%State{low: true} = state, _rss), do: state

  def too_low(state, rss),
    do: warn(%{state | low: true}, Errors.max_rss_too_low(state.max_rss, rss))

  @doc "The pause after a failed start is over."
  @spec retry(State.t()) :: State.t()
  def retry(state), do: reconcile(%{state | backoff: Backoff.retry(state.backoff)})

  @doc "Somebody waits for a change."
  @spec change(State.t(), Changes.kind(), term) :: State.t()
  def change(state, kind, from),
    do: reconcile(%{state | changes: Changes.add(state.changes, kind, from)})

  @doc "Somebody waits for a worker, for `timeout` ms, or until he is gone."
  @spec await_ready(State.t(), GenServer.from(), timeout) :: State.t()
  def await_ready(state, {pid, _tag} = from, timeout) do
    monitor = Process.monitor(pid)
    timer = if is_integer(timeout), do: Process.send_after(self(), {:not_ready, monitor}, timeout)
    state = put_in(state.ready_waiters[monitor], {from, timeout, timer})

    cond do
      Roster.serving?(state.roster) ->
        answer_ready(state, :ok)

      state.error != nil ->
        error = Errors.unavailable(state.settings.name, state.error)
        answer_ready(state, {:error, error})

      true ->
        state
    end
  end

  @doc "The time of one who waits for a worker is over."
  @spec not_ready(State.t(), reference) :: State.t()
  def not_ready(state, monitor) do
    with %{^monitor => {from, timeout, _timer}} <- state.ready_waiters do
      error = Errors.start_timeout(state.settings.name, timeout)
      GenServer.reply(from, {:error, error})
      forget_waiter(state, monitor)
    else
      _answered -> state
    end
  end

  @doc "One who waits for a worker is answered, or gone."
  @spec forget_waiter(State.t(), reference) :: State.t()
  def forget_waiter(state, monitor) do
    Process.demonitor(monitor, [:flush])
    {{_from, _timeout, timer}, waiters} = Map.pop!(state.ready_waiters, monitor)
    if timer, do: Process.cancel_timer(timer)
    %{state | ready_waiters: waiters}
  end

  @doc "Has workers leave that drain, and whose lanes are back and sessions over."
  @spec finish(State.t()) :: State.t()
  def finish(%State{ledger: %{spent: [_ | _]}} = state) do
    {spent, ledger} = Ledger.take_spent(state.ledger)
    roster = Enum.reduce(spent, state.roster, &Roster.spent(&2, &1))
    %{state | ledger: ledger, roster: roster} |> reconcile() |> finish()
  end

  def finish(%State{roster: %{leaving: []}} = state), do: state

  def finish(state) do
    roster = Enum.reduce(state.roster.leaving, state.roster, &finish(&2, &1, state.ledger))

    if roster == state.roster,
      do: state,
      else: %{state | roster: roster} |> reconcile() |> finish()
  end

  defp finish(roster, slot, ledger) do
    member = roster.members[slot]

    cond do
      not Ledger.quiet?(ledger, slot) ->
        roster

      Ledger.sessions?(ledger, slot) ->
        Roster.quiet(roster, slot)

      true ->
        Worker.stop(member.pid, member.due)
        Roster.stop(roster, slot)
    end
  end

  @doc "Looks at a worker that drains: one whose lanes are held, but not used, need not wait."
  @spec look(State.t(), Roster.slot(), Roster.Member.t()) :: State.t()
  def look(state, slot, %{status: :draining} = member) do
    unless Ledger.sessions?(state.ledger, slot), do: Worker.stop_idle(member.pid, member.due)
    look_later(slot, member.pid)
    state
  end

  def look(state, _slot, _member), do: state

  defp look_later(slot, pid), do: Process.send_after(self(), {:look, slot, pid}, @look)

  @doc "Has all workers stop, and waits until they have."
  @spec stop_all(State.t()) :: :ok
  def stop_all(state) do
    pids = for {_slot, member} <- state.roster.members, do: member.pid
    Enum.each(pids, &Worker.stop(&1, :shutdown))
    await_end(MapSet.new(pids), now() + patience(state.settings))
  end

  defp await_end(pids, deadline) do
    left = max(deadline - now(), 0)

    if MapSet.size(pids) > 0 do
      receive do
        {:DOWN, _monitor, :process, pid, _reason} -> await_end(MapSet.delete(pids, pid), deadline)
      after
        left -> :ok
      end
    else
      :ok
    end
  end

  ## Steps

  @doc "Does what is to be done for the pool to have the workers it should."
  @spec reconcile(State.t()) :: State.t()
  def reconcile(state) do
    state = resized(state)
    {steps, roster} = Roster.steps(state.roster, Backoff.room(state.backoff))
    state = Enum.reduce(steps, %{state | roster: roster}, &take/2)
    {answer, begun, changes, roster} = Changes.advance(state.changes, state.roster)
    reply(answer)
    state = %{state | changes: changes, roster: roster}

    if begun, do: state |> begin(begun) |> reconcile(), else: state
  end

  # Somebody wants to know now whether workers start; other code may take other memory.
  defp begin(state, {:resize, _size}), do: %{state | backoff: Backoff.retry(state.backoff)}

  defp begin(state, :restart) do
    settings = %{state.settings | max_rss: state.max_rss}
    %{state | settings: settings, vain: 0, low: false, backoff: Backoff.retry(state.backoff)}
  end

  defp resized(%State{roster: %{size: size}, settings: %{size: size}} = state), do: state

  defp resized(state) do
    settings = %{state.settings | size: state.roster.size}
    Board.put_size(settings.board, settings.size)
    state = %{state | settings: settings}
    handle = State.handle(state)
    Registry.update_value(Slither.Python.Registry, settings.name, fn _old -> handle end)
    state
  end

  defp take({:start, slot}, %State{settings: settings} = state) do
    Board.reset(settings.board, slot)
    child = {Worker, {settings, slot, self()}}
    {:ok, pid} = DynamicSupervisor.start_child(settings.workers, child)
    Process.monitor(pid)
    %{state | roster: Roster.started(state.roster, slot, pid)}
  end

  defp take({:serve, slot}, state) do
    %{pid: pid, lanes: lanes} = state.roster.members[slot]
    {grants, ledger} = Ledger.add_worker(state.ledger, slot, pid, lanes)
    Leases.settle(%{state | ledger: ledger}, grants)
  end

  defp take({:drain, slot, reason}, %State{settings: settings} = state) do
    %{pid: pid, os_pid: os_pid} = state.roster.members[slot]
    calls = Board.served(settings.board, slot)
    Board.recall(settings.board, slot)
    Worker.run_on(pid)
    look_later(slot, pid)
    text = "worker #{slot} (pid #{os_pid}) leaves after #{calls} calls: #{reason}"
    Logger.info("pool #{inspect(settings.name)}: #{text}", pool: settings.name)
    Keeper.leave(%{state | ledger: Ledger.drain(state.ledger, slot)}, pid)
  end

  defp take({:stop, slot, reason}, state) do
    Worker.stop(state.roster.members[slot].pid, reason)
    state
  end

  defp retry_after(state, nil), do: state

  defp retry_after(state, delay) do
    Process.send_after(self(), :retry, delay)
    state
  end

  defp answer_ready(state, answer) do
    Enum.reduce(state.ready_waiters, state, fn {monitor, {from, _, _}}, state ->
      GenServer.reply(from, answer)
      forget_waiter(state, monitor)
    end)
  end

  defp reply(nil), do: :ok
  defp reply({from, answer}), do: GenServer.reply(from, answer)

  defp warn(state, text) do
    Logger.warning("pool #{inspect(state.settings.name)}: #{text}", pool: state.settings.name)
    state
  end

  defp now, do: System.monotonic_time(:millisecond)
end
