defmodule Slither.Python.Pool.Scheduler do
  @moduledoc false
  # Grants lanes to those who ask, keeps the workers alive, and says why when it can't.

  use GenServer

  require Logger

  alias Slither.{Error, Options}
  alias Slither.Python.Worker
  alias Slither.Python.Pool.{Ledger, Ledger.Waiter, Pace, Runs, SessionCalls, Sessions}

  # Back-off between failing starts, in ms; doubled each time.
  @first_delay 100
  @longest_delay 10_000
  # After so many failed starts in a row, callers get the reason instead of a place in the queue.
  @patience 3

  defmodule State do
    @moduledoc false
    defstruct [
      :settings,
      :waiting,
      :error,
      ledger: %Ledger{},
      workers: %{},
      lanes: %{},
      owners: %{},
      runs: %{},
      looking: false,
      failures: 0,
      ready_waiters: [],
      timer: nil,
      started: 0,
      died: 0
    ]
  end

  @spec start_link(map) :: GenServer.on_start()
  def start_link(settings) do
    GenServer.start_link(__MODULE__, settings)
  end

  @impl true
  def init(settings) do
    waiting = :atomics.new(1, signed: false)
    pace = Pace.new(settings.size)
    settings = Map.put(settings, :pace, pace)
    handle = %{settings: settings, waiting: waiting}
    lost = for {session} <- :ets.tab2list(settings.sessions), do: session
    ledger = %Ledger{quick?: &Pace.short?(pace, &1), sessions: Sessions.lost(lost)}

    case Registry.register(Slither.Python.Registry, settings.name, handle) do
      {:ok, _owner} ->
        state = %State{settings: settings, waiting: waiting, ledger: ledger}
        {:ok, look(state), {:continue, :start}}

      {:error, {:already_registered, pid}} ->
        {:stop, {:already_started, pid}}
    end
  end

  @impl true
  def handle_continue(:start, state) do
    {:noreply, Enum.reduce(0..(state.settings.size - 1), state, &start_worker(&2, &1))}
  end

  ## Requests

  @impl true
  def handle_cast({:request, %Waiter{service: nil} = waiter}, state) do
    cond do
      state.error && map_size(state.ledger.workers) == 0 ->
        deny(waiter, unavailable(state))
        {:noreply, state}

      Ledger.waiting(state.ledger) >= state.settings.max_queue ->
        deny(waiter, saturated(state))
        {:noreply, state}

      true ->
        {:noreply, request(note(state, waiter.session), waiter)}
    end
  end

  def handle_cast({:request, %Waiter{} = waiter}, state) do
    if waiter.session != nil and Ledger.uses?(state.ledger, waiter.owner, waiter.session) do
      deny(waiter, session_in_use(state, waiter.session))
      {:noreply, state}
    else
      {:noreply, request(state, waiter)}
    end
  end

  def handle_cast({:release, ref}, state), do: {:noreply, release(state, ref)}

  def handle_cast({:abandon, ref}, state), do: {:noreply, orphan(state, [ref])}

  def handle_cast({:end_session, ref}, state) do
    session = state.ledger.leases[ref][:session]
    {grants, ledger} = Ledger.end_session(state.ledger, ref)
    {:noreply, %{state | ledger: ledger} |> forget(session) |> settle(grants)}
  end

  def handle_cast({:end_run, run}, state), do: {:noreply, end_run(state, run)}

  @impl true
  def handle_call(:sessions, _from, state), do: {:reply, sessions(state), state}

  def handle_call({:sessions_of, worker}, _from, state),
    do: {:reply, Sessions.of(state.ledger.sessions, worker), state}

  def handle_call({:roomiest, except}, _from, state),
    do: {:reply, Ledger.roomiest(state.ledger, except), state}

  def handle_call({:rebind, ref, worker}, _from, state) do
    {moved?, ledger} = Ledger.rebind(state.ledger, ref, worker)
    {:reply, moved?, %{state | ledger: ledger}}
  end

  def handle_call(:status, _from, state), do: {:reply, status(state), state}

  def handle_call(:await_ready, from, state) do
    cond do
      map_size(state.ledger.workers) > 0 -> {:reply, :ok, state}
      state.error -> {:reply, {:error, unavailable(state)}, state}
      true -> {:noreply, %{state | ready_waiters: [from | state.ready_waiters]}}
    end
  end

  ## Workers and lanes

  @impl true
  def handle_info({:worker_ready, slot, pid, lanes, os_pid, facts}, state) do
    worker = Map.merge(state.workers[slot], %{status: :ready, os_pid: os_pid, facts: facts})
    monitors = Map.new(lanes, &{Process.monitor(&1), &1})
    for from <- state.ready_waiters, do: GenServer.reply(from, :ok)

    state = %{
      state
      | workers: Map.put(state.workers, slot, worker),
        lanes: Map.merge(state.lanes, monitors),
        failures: 0,
        error: nil,
        ready_waiters: [],
        started: state.started + 1
    }

    Pace.reset(state.settings.pace, slot)
    {grants, ledger} = Ledger.add_worker(state.ledger, slot, pid, lanes)
    {:noreply, settle(%{state | ledger: ledger}, grants)}
  end

  def handle_info({:worker_down, slot, pid, _error}, state) do
    case state.workers[slot] do
      %{pid: ^pid} -> {:noreply, worker_down(state, slot)}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:worker_failed, slot, pid, error}, state) do
    case state.workers[slot] do
      %{pid: ^pid} -> {:noreply, worker_failed(state, slot, error)}
      _ -> {:noreply, state}
    end
  end

  def handle_info({:start_worker, slot}, state), do: {:noreply, start_worker(state, slot)}

  def handle_info({:lane_idle, ref, _lane}, state), do: {:noreply, release(state, ref)}

  # A worker holds state of a run, which is over already where nobody waits for the call.
  def handle_info({:session, worker, lane, run}, state) do
    owner = Ledger.owner(state.ledger, lane, run)

    if owner in [nil, self()] do
      end_runs(state, run, [worker])
      {:noreply, state}
    else
      {:noreply, %{state | runs: Runs.hold(state.runs, run, owner, worker)}}
    end
  end

  def handle_info(:look, state) do
    {idle, ledger} = Ledger.age(state.ledger)
    for session <- idle, do: spawn_call(&SessionCalls.stop(&1, session, :expire), state)
    {:noreply, look(%{state | ledger: ledger, looking: false})}
  end

  def handle_info(:expire, state) do
    now = System.monotonic_time(:millisecond)
    {expired, ledger} = Ledger.reject(state.ledger, &(&1.deadline != nil and &1.deadline <= now))
    Enum.each(expired, &deny(&1, queue_timeout(state)))
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
    case Enum.find(state.workers, fn {_slot, worker} -> worker.pid == pid end) do
      {slot, %{status: :ready}} -> worker_down(state, slot)
      {slot, %{status: :starting}} -> worker_failed(state, slot, crashed(reason))
      nil -> owner_down(state, pid)
    end
  end

  defp worker_down(state, slot) do
    {idle_lanes, grants, ledger} = Ledger.drop_worker(state.ledger, slot)
    Enum.each(idle_lanes, &send(&1, :stop))
    runs = Runs.drop_worker(state.runs, state.workers[slot].pid)
    state = settle(%{state | ledger: ledger, runs: runs, died: state.died + 1}, grants)
    start_worker(state, slot)
  end

  defp worker_failed(state, slot, error) do
    failures = state.failures + 1
    state = %{state | failures: failures, workers: Map.delete(state.workers, slot)}
    delay = min(@longest_delay, @first_delay * Integer.pow(2, min(failures - 1, 10)))
    delay = div(delay, 2) + :rand.uniform(div(delay, 2))
    Process.send_after(self(), {:start_worker, slot}, delay)
    hopeless? = failures >= @patience and map_size(state.ledger.workers) == 0
    if hopeless?, do: give_up(state, error), else: state
  end

  ## Sessions

  # Sessions are known by name for as long as they may be bound.
  defp note(state, nil), do: state

  defp note(state, session) do
    :ets.insert(state.settings.sessions, {session})
    look(state)
  end

  defp forget(state, session) do
    unless session == nil or Ledger.known?(state.ledger, session),
      do: :ets.delete(state.settings.sessions, session)

    state
  end

  defp look(%State{settings: %{session_idle: :infinity}} = state), do: state
  defp look(%State{looking: true} = state), do: state

  defp look(state) do
    if :ets.info(state.settings.sessions, :size) == 0 do
      state
    else
      Process.send_after(self(), :look, Sessions.interval(state.settings.session_idle))
      %{state | looking: true}
    end
  end

  defp end_run(state, run) do
    {workers, runs} = Runs.take(state.runs, run)
    end_runs(state, run, workers)
    %{state | runs: runs}
  end

  defp end_runs(state, run, workers) do
    for worker <- workers, do: spawn_call(&SessionCalls.end_run(&1, run, worker), state)
  end

  # Whoever calls waits for its lane, as all do; it ends when the pool does.
  defp spawn_call(fun, state) do
    handle = %{scheduler: self(), settings: state.settings, waiting: state.waiting}
    Task.start(fn -> fun.(handle) end)
  end

  ## Leases

  defp request(state, waiter) do
    state = watch(state, waiter.owner)
    {grants, ledger} = Ledger.request(state.ledger, waiter)
    settle(%{state | ledger: ledger}, grants)
  end

  defp release(state, ref) do
    {grants, orphan, ledger} = Ledger.release(state.ledger, ref)
    if orphan, do: send(orphan, :stop)
    settle(%{state | ledger: ledger}, grants)
  end

  defp settle(state, grants) do
    Enum.each(grants, fn
      {:grant, waiter, lane} -> tell(waiter, {:granted, waiter.ref, lane})
      {:lost_session, waiter} -> deny(waiter, session_lost(state, waiter.session))
      {:unbound, waiter} -> unbound(state, waiter)
    end)

    waiting = Ledger.waiting(state.ledger)
    :atomics.put(state.waiting, 1, waiting)
    if waiting > 0, do: arm(state), else: state
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
    state = orphan(state, Ledger.held_by(ledger, owner))
    Enum.reduce(Runs.of(state.runs, owner), state, &end_run(&2, &1))
  end

  # Nobody waits for what these lanes do: they are free once they have answered.
  defp orphan(state, refs) do
    ledger =
      Enum.reduce(refs, state.ledger, fn ref, ledger ->
        {lease, ledger} = Ledger.adopt(ledger, ref, self())

        # A lane that is not idle has its call cancelled.
        if lease, do: send(lease.lane, {:idle?, self(), ref})
        ledger
      end)

    settle(%{state | ledger: ledger}, [])
  end

  # A lane ends only when told to; anything else is a fault of ours, which costs its worker.
  defp lane_down(state, _lane, :normal), do: state

  defp lane_down(state, lane, reason) do
    {worker, holder, ledger} = Ledger.lose_lane(state.ledger, lane)
    if worker, do: Worker.kill(worker, lane_lost(reason))

    with {ref, lease} <- holder,
         do: send(lease.reply_to, {lease.tag, {:lane_lost, ref, lane_lost(reason)}})

    %{state | ledger: ledger}
  end

  defp unbound(state, waiter) do
    forget(state, waiter.session)
    deny(waiter, session_unbound(waiter.session))
  end

  defp start_worker(state, slot) do
    arg = {state.settings, slot, self()}
    {:ok, pid} = DynamicSupervisor.start_child(state.settings.workers, {Worker, arg})
    Process.monitor(pid)
    worker = %{pid: pid, status: :starting, os_pid: nil, facts: %{}}
    %{state | workers: Map.put(state.workers, slot, worker)}
  end

  defp give_up(state, error) do
    Logger.error(
      "pool #{inspect(state.settings.name)} has no worker: #{Exception.message(error)}"
    )

    state = %{state | error: error}
    {waiters, ledger} = Ledger.reject(state.ledger, &(&1.service == nil))
    Enum.each(waiters, &deny(&1, unavailable(state)))
    for from <- state.ready_waiters, do: GenServer.reply(from, {:error, unavailable(state)})
    settle(%{state | ledger: ledger, ready_waiters: []}, [])
  end

  defp deny(waiter, error), do: tell(waiter, {:denied, waiter.ref, error})
  defp tell(waiter, message), do: send(waiter.reply_to, {waiter.tag, message})

  ## Words

  defp status(state) do
    workers =
      for {slot, worker} <- Enum.sort(state.workers) do
        busy = state.ledger.workers[slot]

        %{
          worker: slot,
          status: worker.status,
          os_pid: worker.os_pid,
          calls: if(busy, do: busy.leased, else: 0),
          sessions: Sessions.load(state.ledger.sessions, worker.pid)
        }
      end

    %{
      name: state.settings.name,
      size: state.settings.size,
      workers: workers,
      queue: Ledger.waiting(state.ledger),
      started: state.started,
      died: state.died,
      error: state.error
    }
  end

  defp sessions(state) do
    slots = Map.new(state.ledger.workers, fn {slot, worker} -> {worker.pid, slot} end)

    for id <- Sessions.ids(state.ledger.sessions) do
      %{worker: worker, busy: busy} = Sessions.fetch(state.ledger.sessions, id)
      slot = slots[worker]
      status = if slot, do: if(busy, do: :busy, else: :idle), else: :lost
      %{id: id, worker: slot, status: status}
    end
  end

  defp unavailable(state) do
    error = state.error

    %{
      error
      | reason: :pool_unavailable,
        message: "no worker could be started: #{error.message}",
        where: "pool #{inspect(state.settings.name)}",
        details: Map.put(error.details, :start_reason, error.reason)
    }
  end

  defp saturated(state) do
    limit = state.settings.max_queue

    %Error{
      reason: :saturated,
      message: "#{Ledger.waiting(state.ledger)} calls wait already; the limit is #{limit}",
      where: "pool #{inspect(state.settings.name)}",
      hint: "send less at once, add workers, or raise the pool's max_queue",
      details: %{limit: limit}
    }
  end

  defp queue_timeout(state) do
    %Error{
      reason: :queue_timeout,
      message: "no worker was free within queue_timeout",
      where: "pool #{inspect(state.settings.name)}",
      hint: "add workers, or raise queue_timeout"
    }
  end

  defp session_lost(state, session) do
    %Error{
      reason: :session_lost,
      message: "the worker that held session #{inspect(session)} is gone, and its state with it",
      where: "pool #{inspect(state.settings.name)}",
      hint:
        "Slither.Session.stop/1 lets it begin anew; with on_session_lost: :rebind it does so " <>
          "by itself",
      details: %{session: session}
    }
  end

  # A call that the asking process itself waits for, or will, would never come to its end.
  defp session_in_use(state, session) do
    %Error{
      reason: :session_in_use,
      message: "the process that stops session #{inspect(session)} has calls of it out",
      where: "pool #{inspect(state.settings.name)}",
      hint: "stop it once its run is over, or from another process",
      details: %{session: session}
    }
  end

  defp session_unbound(session) do
    %Error{
      reason: :session_unbound,
      message: "no worker holds session #{inspect(session)}",
      details: %{session: session}
    }
  end

  defp crashed(reason),
    do: %Error{
      reason: :start_failed,
      message: "its owner ended: #{Exception.format_exit(reason)}"
    }

  defp lane_lost(reason),
    do: %Error{reason: :worker_died, message: "a lane failed: #{inspect(reason)}"}

  @doc false
  @spec unknown_pool(term) :: Error.t()
  def unknown_pool(name) do
    known =
      Registry.select(Slither.Python.Registry, [
        {{:"$1", :_, :_}, [{:is_atom, :"$1"}], [:"$1"]}
      ])

    list = if known == [], do: "none", else: Enum.map_join(Enum.sort(known), ", ", &inspect/1)

    %Error{
      reason: :unknown_pool,
      message: "no pool #{inspect(name)} is running.#{Options.nearest(name, known)}",
      hint: "running: #{list}; declare one: config :slither, pools: [#{key(name)}: [size: 2]]",
      details: %{pool: name, known: known}
    }
  end

  defp key(name) when is_atom(name), do: name
  defp key(_name), do: :default
end
