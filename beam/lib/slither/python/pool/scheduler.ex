defmodule Slither.Python.Pool.Scheduler do
  @moduledoc false
  # Grants lanes to those who ask, keeps the workers alive, and says why when it can't.

  use GenServer

  require Logger

  alias Slither.{Error, Options}
  alias Slither.Python.Worker
  alias Slither.Python.Pool.{Ledger, Ledger.Waiter, Pace}

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
    ledger = %Ledger{quick?: &Pace.short?(pace, &1)}

    case Registry.register(Slither.Python.Registry, settings.name, handle) do
      {:ok, _owner} ->
        {:ok, %State{settings: settings, waiting: waiting, ledger: ledger}, {:continue, :start}}

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
  def handle_cast({:request, %Waiter{} = waiter}, state) do
    cond do
      state.error && map_size(state.ledger.workers) == 0 ->
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

  def handle_cast({:end_session, session}, state),
    do: {:noreply, %{state | ledger: Ledger.end_session(state.ledger, session)}}

  @impl true
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
    {idle_lanes, ledger} = Ledger.drop_worker(state.ledger, slot)
    Enum.each(idle_lanes, &send(&1, :stop))
    state = lose_sessions(%{state | ledger: ledger, died: state.died + 1})
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
    if worker, do: Worker.kill(worker, lane_lost(reason))

    with {ref, lease} <- holder,
         do: send(lease.reply_to, {lease.tag, {:lane_lost, ref, lane_lost(reason)}})

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
    {waiters, ledger} = Ledger.reject(state.ledger, fn _waiter -> true end)
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
          calls: if(busy, do: busy.leased, else: 0)
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
      hint: "start the session again under a new id",
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
