defmodule Slither.Pool.Scheduler do
  @moduledoc false
  # Grants lanes to those who ask, keeps the workers alive, and says why when it can't. Thin: who
  # gets a lane is the ledger's to say, which workers there are the roster's.

  use GenServer

  alias Slither.Pool.Errors
  alias Slither.Python.{Environment, Reports}

  alias Slither.Pool.{Crew, Keeper, Leases, Ledger, Roster, Sessions, State, Status, Waiter}

  # ms beyond what the workers get to end.
  @slack 1_000

  @doc false
  @spec child_spec(map) :: Supervisor.child_spec()
  def child_spec(settings) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [settings]},
      shutdown: Crew.patience(settings) + @slack
    }
  end

  @spec start_link(map) :: GenServer.on_start()
  def start_link(settings), do: GenServer.start_link(__MODULE__, settings)

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    state = State.new(settings)

    case Registry.register(Slither.Python.Registry, settings.name, State.handle(state)) do
      {:ok, _owner} -> {:ok, state, {:continue, :start}}
      {:error, {:already_registered, pid}} -> {:stop, {:already_started, pid}}
    end
  end

  @impl true
  def handle_continue(:start, %State{settings: settings} = state) do
    # Before there are workers, so that not each asks the same shim what is behind it.
    # An environment may have to be built: that is for the workers to wait for.
    unless is_tuple(settings.python),
      do: Environment.interpreter(settings.python, settings.env, settings.cd)

    {:noreply, state |> Keeper.watch() |> Crew.reconcile()}
  end

  # Workers stop before their supervisor would end them: their stop hooks run.
  @impl true
  def terminate(reason, state) when reason in [:normal, :shutdown], do: Crew.stop_all(state)
  def terminate({:shutdown, _reason}, state), do: Crew.stop_all(state)
  def terminate(_reason, _state), do: :ok

  @impl true
  def handle_cast({:request, %Waiter{} = waiter}, state),
    do: noreply(Leases.request(state, waiter))

  def handle_cast({:release, ref}, state), do: noreply(Leases.release(state, ref))

  def handle_cast({:abandon, ref}, state), do: noreply(Leases.orphan(state, [ref]))

  def handle_cast({:end_session, ref}, state), do: noreply(Leases.end_session(state, ref))
  def handle_cast({:end_run, run}, state), do: noreply(Keeper.end_run(state, run))

  @impl true
  def handle_call(:status, _from, state), do: {:reply, Status.of(state), state}
  def handle_call(:sessions, _from, state), do: {:reply, Status.sessions(state), state}

  def handle_call({:sessions_of, worker}, _from, state),
    do: {:reply, Sessions.of(state.ledger.sessions, worker), state}

  def handle_call({:roomiest, except}, _from, state),
    do: {:reply, Ledger.roomiest(state.ledger, except), state}

  def handle_call({:rebind, ref, worker}, _from, state) do
    {moved?, ledger} = Ledger.rebind(state.ledger, ref, worker)
    {:reply, moved?, %{state | ledger: ledger}}
  end

  def handle_call({:await_ready, timeout}, from, state),
    do: noreply(Crew.await_ready(state, from, timeout))

  def handle_call({:change, kind}, from, state), do: noreply(Crew.change(state, kind, from))

  @impl true
  def handle_info({Reports, slot, pid, event}, state) do
    case Roster.member(state.roster, slot, pid) do
      nil -> {:noreply, state}
      member -> noreply(worker(event, state, slot, member))
    end
  end

  def handle_info({:not_ready, monitor}, state), do: noreply(Crew.not_ready(state, monitor))
  def handle_info(:retry, state), do: noreply(Crew.retry(state))

  def handle_info({:look, slot, pid}, state),
    do: of_member(state, slot, pid, &Crew.look(state, slot, &1))

  def handle_info({Reports, ref}, state), do: noreply(Leases.release(state, ref))
  def handle_info(:expire, state), do: noreply(Leases.expire(state))
  def handle_info(:age, state), do: noreply(Keeper.age(state))

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state)
      when is_map_key(state.ready_waiters, monitor),
      do: noreply(Crew.forget_waiter(state, monitor))

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    case Map.pop(state.lanes, monitor) do
      {nil, _lanes} -> noreply(process_down(state, pid, reason))
      {lane, lanes} -> noreply(Leases.lane_down(%{state | lanes: lanes}, lane, reason))
    end
  end

  def handle_info(_late, state), do: {:noreply, state}

  # What `Slither.Python.Reports` has a worker tell.
  defp worker({:ready, lanes, os_pid}, state, slot, _member),
    do: Crew.ready(state, slot, lanes, os_pid)

  defp worker({:down, error}, state, slot, member),
    do: Crew.down(state, slot, member, error.reason)

  defp worker({:failed, error}, state, slot, member), do: Crew.failed(state, slot, member, error)

  defp worker({:due, reason, amount}, state, slot, %{status: status, due: nil})
       when status in [:spare, :ready],
       do: Crew.due(state, slot, reason, amount)

  defp worker({:due, _reason, _amount}, state, _slot, _leaves), do: state
  defp worker({:rss_low, rss}, state, _slot, _member), do: Crew.too_low(state, rss)

  defp worker({:session, lane, run}, state, _slot, member),
    do: Keeper.hold(state, member.pid, lane, run)

  # A worker reports its own end; one that crashed could not.
  defp process_down(state, pid, reason) do
    case Roster.find(state.roster, pid) do
      nil -> Leases.owner_down(state, pid)
      {slot, %{since: nil} = m} -> Crew.failed(state, slot, m, Errors.crashed(reason))
      {slot, member} -> Crew.down(state, slot, member, :crashed)
    end
  end

  defp of_member(state, slot, pid, fun) do
    case Roster.member(state.roster, slot, pid) do
      nil -> {:noreply, state}
      member -> noreply(fun.(member))
    end
  end

  # Whatever happened may have been the last that a worker which leaves was waiting for.
  defp noreply(state), do: {:noreply, Crew.finish(state)}
end
