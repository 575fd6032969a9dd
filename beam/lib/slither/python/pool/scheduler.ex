defmodule Slither.Python.Pool.Scheduler do
  @moduledoc false
  # Grants lanes to those who ask, keeps the workers alive, and says why when it can't. Who gets
  # a lane is the ledger's to say, and which workers there should be the roster's.

  use GenServer

  require Logger

  alias Slither.Python.{PoolError, Worker}
  alias Slither.Python.Pool.{Backoff, Changes, Ledger, Ledger.Waiter, Pace, Recycle, Roster}
  alias Slither.Python.Pool.{Slots, Status}

  # ms that a worker which ends without a call must have lived to be no failed start.
  @early 1_000
  # ms between looks at a worker that drains and whose lanes are held by somebody who does nothing.
  @look 1_000
  # ms that are left to the workers' supervisor when their own time to stop is over.
  @slack 2_000

  defmodule State do
    @moduledoc false
    @enforce_keys [:settings, :waiting, :ledger, :roster]
    defstruct [
      :settings,
      :waiting,
      :ledger,
      :roster,
      :error,
      :max_rss,
      changes: %Changes{},
      backoff: %Backoff{},
      lanes: %{},
      owners: %{},
      ready_waiters: [],
      timer: nil,
      started: 0,
      died: 0,
      vain: 0,
      low: false
    ]
  end

  @doc false
  @spec child_spec(map) :: Supervisor.child_spec()
  def child_spec(settings) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [settings]},
      shutdown: settings.shutdown + 2 * @slack
    }
  end

  @spec start_link(map) :: GenServer.on_start()
  def start_link(settings) do
    GenServer.start_link(__MODULE__, settings)
  end

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    waiting = :atomics.new(1, signed: false)
    pace = Pace.new(Slots.count())
    settings = Map.merge(settings, %{pace: pace, slots: Slots.new(settings.size)})
    handle = %{settings: settings, waiting: waiting}

    case Registry.register(Slither.Python.Registry, settings.name, handle) do
      {:ok, _owner} ->
        state = %State{
          settings: settings,
          waiting: waiting,
          ledger: %Ledger{quick?: &Pace.short?(pace, &1)},
          roster: Roster.new(settings.size, settings.spare),
          max_rss: settings.max_rss
        }

        {:ok, state, {:continue, :start}}

      {:error, {:already_registered, pid}} ->
        {:stop, {:already_started, pid}}
    end
  end

  @impl true
  def handle_continue(:start, state), do: {:noreply, reconcile(state)}

  # Workers end before their supervisor would end them: their stop hooks run.
  @impl true
  def terminate(reason, state) when reason in [:normal, :shutdown] do
    pids = for {_slot, member} <- state.roster.members, do: member.pid
    Enum.each(pids, &Worker.stop(&1, :shutdown))
    deadline = System.monotonic_time(:millisecond) + state.settings.shutdown + @slack
    await_end(MapSet.new(pids), deadline)
  end

  def terminate({:shutdown, _reason}, state), do: terminate(:shutdown, state)
  def terminate(_reason, _state), do: :ok

  defp await_end(pids, deadline) do
    left = max(deadline - System.monotonic_time(:millisecond), 0)

    if MapSet.size(pids) > 0 do
      receive do
        {:DOWN, _monitor, :process, pid, _reason} -> await_end(MapSet.delete(pids, pid), deadline)
      after
        left -> :ok
      end
    end
  end

  ## Requests

  @impl true
  def handle_cast({:request, %Waiter{} = waiter}, state) do
    cond do
      state.error && not Roster.serving?(state.roster) ->
        deny(waiter, unavailable(state))
        {:noreply, state}

      Ledger.waiting(state.ledger) >= state.settings.max_queue ->
        deny(waiter, saturated(state))
        {:noreply, state}

      true ->
        state = watch(state, waiter.owner)
        {grants, ledger} = Ledger.request(state.ledger, waiter)
        {:noreply, settle(%{state | ledger: ledger}, grants)}
    end
  end

  def handle_cast({:release, ref}, state), do: {:noreply, release(state, ref)}

  def handle_cast({:abandon, ref}, state), do: {:noreply, orphan(state, [ref])}

  def handle_cast({:end_session, session}, state) do
    ledger = Ledger.end_session(state.ledger, session)
    {:noreply, settle(%{state | ledger: ledger}, [])}
  end

  @impl true
  def handle_call(:status, _from, state), do: {:reply, Status.of(state), state}

  def handle_call(:await_ready, from, state) do
    cond do
      Roster.serving?(state.roster) -> {:reply, :ok, state}
      state.error -> {:reply, {:error, unavailable(state)}, state}
      true -> {:noreply, %{state | ready_waiters: [from | state.ready_waiters]}}
    end
  end

  def handle_call({:change, kind}, from, state),
    do: {:noreply, reconcile(%{state | changes: Changes.add(state.changes, kind, from)})}

  ## Workers and lanes

  @impl true
  def handle_info({:worker_ready, slot, pid, lanes, os_pid}, state) do
    if Roster.member(state.roster, slot, pid) do
      monitors = Map.new(lanes, &{Process.monitor(&1), &1})
      now = System.monotonic_time(:millisecond)

      state =
        reconcile(%{
          state
          | roster: Roster.ready(state.roster, slot, os_pid, lanes, now),
            lanes: Map.merge(state.lanes, monitors),
            backoff: Backoff.ready(state.backoff),
            error: nil,
            started: state.started + 1
        })

      {:noreply, answer_ready(state, :ok)}
    else
      {:noreply, state}
    end
  end

  def handle_info({:worker_down, slot, pid, error}, state) do
    case Roster.member(state.roster, slot, pid) do
      nil -> {:noreply, state}
      member -> {:noreply, worker_down(state, slot, member, error.reason)}
    end
  end

  def handle_info({:worker_failed, slot, pid, error}, state) do
    case Roster.member(state.roster, slot, pid) do
      nil -> {:noreply, state}
      member -> {:noreply, worker_failed(state, slot, member, error)}
    end
  end

  def handle_info({:worker_due, slot, pid, reason, amount}, state) do
    case Roster.member(state.roster, slot, pid) do
      %{status: status, due: nil} when status in [:spare, :ready] ->
        {:noreply, worker_due(state, slot, reason, amount)}

      _ ->
        {:noreply, state}
    end
  end

  def handle_info({:max_rss_too_low, rss}, state) do
    unless state.low, do: warn(state, PoolError.max_rss_too_low(state.settings.max_rss, rss))
    {:noreply, %{state | low: true}}
  end

  def handle_info(:reconcile, state), do: {:noreply, reconcile(state)}

  def handle_info(:retry, state),
    do: {:noreply, reconcile(%{state | backoff: Backoff.retry(state.backoff)})}

  def handle_info({:look, slot, pid}, state) do
    case Roster.member(state.roster, slot, pid) do
      %{status: :draining} = member ->
        unless Ledger.sessions?(state.ledger, slot), do: Worker.stop_idle(pid, member.due)
        look(slot, pid)

      _ ->
        :ok
    end

    {:noreply, state}
  end

  def handle_info({:lane_idle, ref, _lane}, state), do: {:noreply, release(state, ref)}

  def handle_info(:expire, state) do
    now = System.monotonic_time(:millisecond)
    {expired, ledger} = Ledger.reject(state.ledger, &(&1.deadline != nil and &1.deadline <= now))
    Enum.each(expired, &deny(&1, PoolError.queue_timeout(state.settings.name)))
    {:noreply, settle(%{state | ledger: ledger, timer: nil}, [])}
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    case Map.pop(state.lanes, monitor) do
      {nil, _lanes} -> {:noreply, process_down(state, pid, reason)}
      {lane, lanes} -> {:noreply, lane_down(%{state | lanes: lanes}, lane, reason)}
    end
  end

  def handle_info(_late, state), do: {:noreply, state}

  # A worker reports its own end; one that crashed could not.
  defp process_down(state, pid, reason) do
    case Roster.find(state.roster, pid) do
      nil -> owner_down(state, pid)
      {slot, %{since: nil} = m} -> worker_failed(state, slot, m, PoolError.crashed(reason))
      {slot, member} -> worker_down(state, slot, member, :crashed)
    end
  end

  defp worker_down(state, slot, member, reason) do
    early? = early?(state, slot, member)
    expected? = member.status == :stopping or reason == :worker_stopped

    {lanes, ledger} =
      case Ledger.drop_worker(state.ledger, slot) do
        {[], ledger} when member.status == :spare -> {member.lanes, ledger}
        {free, ledger} -> {free, ledger}
      end

    Enum.each(lanes, &send(&1, :stop))
    {delay, backoff} = Backoff.ended(state.backoff, early? and not expected?)
    roster = Roster.gone(state.roster, slot)
    died = if expected?, do: state.died, else: state.died + 1

    %{state | ledger: ledger, roster: roster, backoff: backoff, died: died}
    |> lose_sessions()
    |> retry_after(delay)
    |> reconcile()
  end

  defp early?(state, slot, %{status: status, since: since}) when status in [:spare, :ready] do
    System.monotonic_time(:millisecond) - since < @early and
      Slots.served(state.settings.slots, slot) == 0 and
      (status == :spare or Ledger.quiet?(state.ledger, slot))
  end

  defp early?(_state, _slot, _member), do: false

  defp worker_failed(state, slot, %{status: :stopping}, _error),
    do: reconcile(%{state | roster: Roster.gone(state.roster, slot)})

  defp worker_failed(state, slot, _member, error) do
    {delay, backoff} = Backoff.failed(state.backoff)
    roster = Roster.gone(state.roster, slot)
    {answer, changes, roster} = Changes.fail(state.changes, roster, error)
    reply(answer)
    state = %{state | backoff: backoff, roster: roster, changes: changes}
    state = retry_after(state, delay)

    cond do
      Roster.serving?(roster) -> warn(state, "a worker can't start: #{error.message}")
      Backoff.hopeless?(backoff) -> give_up(state, error)
      true -> state
    end
    |> reconcile()
  end

  # One that goes beyond max_rss at once, as those before it did, would be followed by another.
  defp worker_due(%State{settings: %{max_rss: nil}} = state, _slot, :max_rss, _amount), do: state

  defp worker_due(state, slot, reason, amount) do
    vain = Recycle.vain(state.vain, reason, Slots.served(state.settings.slots, slot))

    if Recycle.vain?(vain) do
      warn(state, PoolError.max_rss_in_vain(state.settings.max_rss, amount))
      %{state | vain: 0, settings: %{state.settings | max_rss: nil}}
    else
      reconcile(%{state | vain: vain, roster: Roster.due(state.roster, slot, reason)})
    end
  end

  defp retry_after(state, nil), do: state

  defp retry_after(state, delay) do
    Process.send_after(self(), :retry, delay)
    state
  end

  ## What is to be done

  defp reconcile(state) do
    {steps, roster} = Roster.steps(state.roster, Backoff.room(state.backoff))
    state = Enum.reduce(steps, %{resized(state) | roster: roster}, &take/2)
    {answer, begun, changes, roster} = Changes.advance(state.changes, state.roster)
    reply(answer)
    state = %{state | changes: changes, roster: roster}

    case begun do
      nil -> state
      :restart -> state |> afresh() |> reconcile()
      {:resize, _size} -> reconcile(state)
    end
  end

  # Other code, other memory, and somebody who wants to know now whether it starts.
  defp afresh(state) do
    settings = %{state.settings | max_rss: state.max_rss}
    %{state | settings: settings, vain: 0, low: false, backoff: Backoff.retry(state.backoff)}
  end

  defp resized(%State{roster: %{size: size}, settings: %{size: size}} = state), do: state

  defp resized(state) do
    settings = %{state.settings | size: state.roster.size}
    Slots.put_size(settings.slots, settings.size)
    handle = %{settings: settings, waiting: state.waiting}
    Registry.update_value(Slither.Python.Registry, settings.name, fn _old -> handle end)
    %{state | settings: settings}
  end

  defp take({:start, slot}, state) do
    Slots.reset(state.settings.slots, slot)
    Pace.reset(state.settings.pace, slot)
    arg = {state.settings, slot, self()}
    {:ok, pid} = DynamicSupervisor.start_child(state.settings.workers, {Worker, arg})
    Process.monitor(pid)
    %{state | roster: Roster.started(state.roster, slot, pid)}
  end

  defp take({:serve, slot}, state) do
    %{pid: pid, lanes: lanes} = state.roster.members[slot]
    {grants, ledger} = Ledger.add_worker(state.ledger, slot, pid, lanes)
    settle(%{state | ledger: ledger}, grants)
  end

  defp take({:drain, slot, reason}, state) do
    %{pid: pid, os_pid: os_pid} = state.roster.members[slot]
    calls = Slots.served(state.settings.slots, slot)
    Slots.recall(state.settings.slots, slot)
    text = "worker #{slot} (pid #{os_pid}) leaves after #{calls} calls: #{reason}"
    Logger.info("pool #{inspect(state.settings.name)}: #{text}", pool: state.settings.name)
    look(slot, pid)
    settle(%{state | ledger: Ledger.drain(state.ledger, slot)}, [])
  end

  defp take({:stop, slot, reason}, state) do
    Worker.stop(state.roster.members[slot].pid, reason)
    state
  end

  defp look(slot, pid), do: Process.send_after(self(), {:look, slot, pid}, @look)

  # A worker that drains has left once its lanes are back and its sessions are over.
  defp finish(slot, state) do
    member = state.roster.members[slot]

    cond do
      not Ledger.quiet?(state.ledger, slot) ->
        state

      not Ledger.sessions?(state.ledger, slot) ->
        Worker.stop(member.pid, member.due)
        left(%{state | roster: Roster.stop(state.roster, slot)})

      member.busy ->
        left(%{state | roster: Roster.quiet(state.roster, slot)})

      true ->
        state
    end
  end

  # Not at once: this may be amid the steps of another.
  defp left(state) do
    send(self(), :reconcile)
    state
  end

  ## Leases

  defp release(state, ref) do
    {grants, orphan, ledger} = Ledger.release(state.ledger, ref)
    if orphan, do: send(orphan, :stop)
    settle(%{state | ledger: ledger}, grants)
  end

  defp settle(state, grants) do
    Enum.each(grants, fn
      {:grant, waiter, lane} -> tell(waiter, {:granted, waiter.ref, lane})
      {:lost_session, waiter} -> deny(waiter, session_lost(state, waiter.session))
    end)

    waiting = Ledger.waiting(state.ledger)
    :atomics.put(state.waiting, 1, waiting)
    state = if waiting > 0, do: arm(state), else: state
    Enum.reduce(state.roster.leaving, state, &finish/2)
  end

  # A timer that is early finds nobody to deny; only one that would be late is replaced.
  defp arm(state) do
    case {Ledger.next_deadline(state.ledger), state.timer} do
      {nil, _timer} ->
        state

      {at, {_ref, armed}} when armed <= at ->
        state

      {at, timer} ->
        if timer, do: Process.cancel_timer(elem(timer, 0))
        %{state | timer: {Process.send_after(self(), :expire, at, abs: true), at}}
    end
  end

  defp watch(state, owner) when is_map_key(state.owners, owner), do: state

  defp watch(state, owner),
    do: %{state | owners: Map.put(state.owners, owner, Process.monitor(owner))}

  # An owner that is gone waits for nothing; its lanes are free once they have answered.
  defp owner_down(state, owner) do
    {_waiters, ledger} = Ledger.reject(state.ledger, &(&1.owner == owner))

    state = %{state | ledger: ledger, owners: Map.delete(state.owners, owner)}
    orphan(state, Ledger.held_by(ledger, owner))
  end

  # Nobody waits for what these lanes do: they are free once they have answered.
  defp orphan(state, refs) do
    ledger =
      Enum.reduce(refs, state.ledger, fn ref, ledger ->
        {lease, ledger} = Ledger.adopt(ledger, ref, self())

        if lease do
          send(lease.lane, {:idle?, self(), ref})
          Worker.cancel(lease.worker, lease.lane)
        end

        ledger
      end)

    settle(%{state | ledger: ledger}, [])
  end

  # A lane ends only when told to; anything else is a fault of ours, which costs its worker.
  defp lane_down(state, _lane, :normal), do: state

  defp lane_down(state, lane, reason) do
    {worker, holder, ledger} = Ledger.lose_lane(state.ledger, lane)
    if worker, do: Worker.kill(worker, PoolError.lane_lost(reason))

    with {ref, lease} <- holder,
         do: send(lease.reply_to, {lease.tag, {:lane_lost, ref, PoolError.lane_lost(reason)}})

    %{state | ledger: ledger}
  end

  defp lose_sessions(state) do
    live = MapSet.new(state.ledger.workers, fn {_slot, worker} -> worker.pid end)

    {lost, ledger} =
      Ledger.reject(state.ledger, fn waiter ->
        bound = waiter.session && state.ledger.sessions[waiter.session]
        bound != nil and not MapSet.member?(live, bound.worker)
      end)

    Enum.each(lost, &deny(&1, session_lost(state, &1.session)))
    settle(%{state | ledger: ledger}, [])
  end

  defp give_up(state, error) do
    Logger.error(
      "pool #{inspect(state.settings.name)} has no worker: #{Exception.message(error)}"
    )

    state = %{state | error: error}
    {waiters, ledger} = Ledger.reject(state.ledger, fn _waiter -> true end)
    Enum.each(waiters, &deny(&1, unavailable(state)))
    settle(answer_ready(%{state | ledger: ledger}, {:error, unavailable(state)}), [])
  end

  ## Words

  defp answer_ready(state, answer) do
    for from <- state.ready_waiters, do: GenServer.reply(from, answer)
    %{state | ready_waiters: []}
  end

  defp reply(nil), do: :ok
  defp reply({from, answer}), do: GenServer.reply(from, answer)

  defp deny(waiter, error), do: tell(waiter, {:denied, waiter.ref, error})
  defp tell(waiter, message), do: send(waiter.reply_to, {waiter.tag, message})

  defp warn(state, text) do
    Logger.warning("pool #{inspect(state.settings.name)}: #{text}", pool: state.settings.name)
    state
  end

  defp unavailable(state), do: PoolError.unavailable(state.settings.name, state.error)

  defp session_lost(state, session), do: PoolError.session_lost(state.settings.name, session)

  defp saturated(%State{settings: settings} = state),
    do: PoolError.saturated(settings.name, Ledger.waiting(state.ledger), settings.max_queue)
end
