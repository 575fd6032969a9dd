defmodule Slither.Pool.Scheduler do
  @moduledoc false
  # The process of a pool that grants lanes and keeps the workers. The first half of this file has
  # the functions that send to the scheduler. The second half turns each event into a new state,
  # with the pure modules beside it, and has `Slither.Pool.Effects` carry out the effects. Workers
  # and lanes report through `Slither.Python.Reports`; callers are answered through
  # `Slither.Python.Inbox`.

  use GenServer

  alias Slither.{Error, Label}
  alias Slither.Pool.{Effects, Elastic, Errors, Handle, Ledger, Lifetimes, Requests, Settings}
  alias Slither.Pool.{Staff, State, Status, Upkeep, Waiter}
  alias Slither.Python.{Environment, Inbox, Reports, Worker}

  # ms that the scheduler gets to stop, on top of the time that its workers get.
  @slack 1_000
  # ms within which the scheduler must answer a call. It never blocks, so that is plenty.
  @answer 5_000

  @doc false
  @spec child_spec(Settings.t()) :: Supervisor.child_spec()
  def child_spec(settings) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [settings]},
      shutdown: Effects.patience(settings) + @slack
    }
  end

  @spec start_link(Settings.t()) :: GenServer.on_start()
  def start_link(%Settings{} = settings), do: GenServer.start_link(__MODULE__, settings)

  ## What it is asked

  @doc "Asks for a lane: the inbox is told that `ref` is granted or denied."
  @spec request(Handle.t(), Inbox.t(), reference, keyword) :: :ok
  def request(handle, inbox, ref, options) do
    asked = System.monotonic_time()
    waiter = struct!(%Waiter{ref: ref, owner: self(), inbox: inbox, asked: asked}, options)
    GenServer.cast(handle.scheduler, {:request, waiter})
  end

  @doc "Gives a lane back, or takes a request back."
  @spec release(Handle.t(), reference) :: :ok
  def release(handle, ref), do: GenServer.cast(handle.scheduler, {:release, ref})

  @doc "Gives a lane back whose answer nobody waits for."
  @spec abandon(Handle.t(), reference) :: :ok
  def abandon(handle, ref), do: GenServer.cast(handle.scheduler, {:abandon, ref})

  @doc "A run is over: workers that hold state of it are told to drop it."
  @spec end_run(Handle.t(), String.t()) :: :ok
  def end_run(handle, run), do: GenServer.cast(handle.scheduler, {:end_run, run})

  @doc "The session of a lease has ended."
  @spec end_session(Handle.t(), reference) :: :ok
  def end_session(handle, ref), do: GenServer.cast(handle.scheduler, {:end_session, ref})

  @doc "The worker that takes the next session, except one; nil where there is none."
  @spec roomiest(Handle.t(), pid) :: pid | nil
  def roomiest(handle, except), do: GenServer.call(handle.scheduler, {:roomiest, except})

  @doc "Moves the session of a lease to another worker; false where that can't be."
  @spec rebind(Handle.t(), reference, pid) :: boolean
  def rebind(handle, ref, worker), do: GenServer.call(handle.scheduler, {:rebind, ref, worker})

  @doc "What the pool does now."
  @spec status(Handle.t()) :: {:ok, map} | {:error, Error.t()}
  def status(handle), do: ask(handle, :status, @answer)

  @doc "The owners of the pool's workers, which tell more of them."
  @spec owners(Handle.t()) :: {:ok, [pid]} | {:error, Error.t()}
  def owners(handle), do: ask(handle, :owners, @answer)

  @doc "Those of them whose workers hold calls."
  @spec busy(Handle.t()) :: {:ok, [pid]} | {:error, Error.t()}
  def busy(handle), do: ask(handle, :busy, @answer)

  @doc "The pool's sessions."
  @spec sessions(Handle.t()) :: {:ok, [map]} | {:error, Error.t()}
  def sessions(handle), do: ask(handle, :sessions, @answer)

  @doc "Waits until a worker is ready."
  @spec await_ready(Handle.t(), timeout) ::
          {:ok, :ok | {:error, Error.t()}} | {:error, Error.t()}
  def await_ready(handle, timeout) do
    # The scheduler itself says when the time is over. The extra time is for a scheduler that is
    # only starting, and may have to look for the interpreter first.
    limit = if is_integer(timeout), do: timeout + @answer, else: timeout
    ask(handle, {:await_ready, timeout}, limit)
  end

  @doc "Restarts or resizes the pool; the answer comes when that is done."
  @spec change(Handle.t(), Staff.Changes.kind()) ::
          {:ok, :ok | {:error, Error.t()}} | {:error, Error.t()}
  def change(handle, kind), do: ask(handle, {:change, kind}, :infinity)

  defp ask(%Handle{name: name} = handle, question, timeout) do
    {:ok, GenServer.call(handle.scheduler, question, timeout)}
  catch
    :exit, {:timeout, {GenServer, :call, _arguments}} -> {:error, Errors.busy(name, timeout)}
    # The scheduler was gone before the call, or ended during it.
    :exit, {:noproc, {GenServer, :call, _arguments}} -> {:error, Errors.unknown(name)}
    :exit, {reason, {GenServer, :call, _arguments}} -> {:error, Errors.stopped(name, reason)}
  end

  ## What it does

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    Label.set({__MODULE__, settings.name})
    state = State.new(settings)

    case Registry.register(Slither.Python.Registry, settings.name, State.handle(state, self())) do
      {:ok, _owner} -> {:ok, state, {:continue, :start}}
      {:error, {:already_registered, pid}} -> {:stop, {:already_started, pid}}
    end
  end

  @impl true
  def handle_continue(:start, %State{settings: settings} = state) do
    # Looks behind a version manager's shim once, so that not each worker does it. An environment
    # may have to be built first, which the workers wait for rather than the scheduler.
    unless is_tuple(settings.python) or elem(settings.owner, 0) != Worker,
      do: Environment.interpreter(settings.python, settings.env, settings.cd)

    state |> Lifetimes.watch() |> Upkeep.reconcile() |> react()
  end

  # The scheduler stops the workers, so that their
  # stop hooks run before their supervisor ends them.
  @impl true
  def terminate(reason, state) when reason in [:normal, :shutdown], do: Effects.stop_all(state)
  def terminate({:shutdown, _reason}, state), do: Effects.stop_all(state)
  def terminate(_reason, _state), do: :ok

  @impl true
  def handle_cast({:request, waiter}, state), do: react(Requests.request(state, waiter))
  def handle_cast({:release, ref}, state), do: react(Requests.release(state, ref))
  def handle_cast({:abandon, ref}, state), do: react(Requests.abandon(state, [ref]))
  def handle_cast({:end_session, ref}, state), do: react(Requests.end_session(state, ref))
  def handle_cast({:end_run, run}, state), do: react(Lifetimes.end_run(state, run))

  @impl true
  def handle_call(:status, _from, state), do: {:reply, Status.of(state), state}
  def handle_call(:owners, _from, state), do: {:reply, Status.owners(state), state}
  def handle_call(:busy, _from, state), do: {:reply, Status.busy(state), state}
  def handle_call(:sessions, _from, state), do: {:reply, Status.sessions(state), state}

  def handle_call({:roomiest, except}, _from, state),
    do: {:reply, Ledger.roomiest(state.ledger, except), state}

  def handle_call({:rebind, ref, worker}, _from, state) do
    {moved?, ledger} = Ledger.rebind(state.ledger, ref, worker)
    {:reply, moved?, %{state | ledger: ledger}}
  end

  def handle_call({:await_ready, timeout}, from, state),
    do: react(Upkeep.await_ready(state, from, timeout))

  def handle_call({:change, kind}, from, state), do: react(Upkeep.change(state, kind, from))

  @impl true
  def handle_info({Reports, ref}, state), do: react(Requests.idle(state, ref))

  def handle_info({Reports, slot, pid, event}, state) do
    case Staff.member(state.staff, slot, pid) do
      nil -> {:noreply, state}
      member -> react(worker(event, state, slot, member))
    end
  end

  def handle_info({:DOWN, _monitor, :process, pid, reason}, state) do
    {role, watched} = Map.pop(state.watched, pid)
    react(gone(role, %{state | watched: watched}, pid, reason))
  end

  def handle_info({:not_ready, from}, state), do: react(Upkeep.not_ready(state, from))
  def handle_info({:look, slot, pid}, state), do: react(Upkeep.look(state, slot, pid))
  def handle_info(:grow, state), do: react(Upkeep.reconcile(Elastic.grow(state, now())))
  def handle_info(:shrink, state), do: react(Upkeep.reconcile(Elastic.shrink(state, now())))
  def handle_info(:retry, state), do: react(Upkeep.retry(state))
  def handle_info(:expire, state), do: react(Requests.expire(state, now()))
  def handle_info(:age, state), do: react(Lifetimes.age(state))
  def handle_info(_late, state), do: {:noreply, state}

  defp worker({:ready, lanes, os_pid}, state, slot, _member),
    do: Upkeep.ready(state, slot, lanes, os_pid, now())

  defp worker({:down, error}, state, slot, member),
    do: Upkeep.down(state, slot, member, error.reason, now())

  defp worker({:failed, error}, state, slot, member),
    do: Upkeep.failed(state, slot, member, error, now())

  defp worker({:due, reason, amount}, state, slot, member),
    do: Upkeep.due(state, slot, member, reason, amount)

  defp worker({:rss_low, rss}, state, _slot, _member), do: Upkeep.too_low(state, rss)

  defp worker({:session, lane, run}, state, _slot, member),
    do: Lifetimes.hold(state, member.pid, lane, run)

  defp gone(:lane, state, pid, reason), do: Requests.lane_gone(state, pid, reason)

  defp gone({:worker, slot}, state, pid, reason),
    do: Upkeep.owner_gone(state, slot, pid, reason, now())

  defp gone(_owner, state, pid, _reason),
    do: state |> Requests.owner_gone(pid) |> Upkeep.forget(pid)

  # Any event may be the last one that a leaving worker has waited for: `Upkeep.finish/1` looks.
  defp react(state),
    do: {:noreply, state |> Upkeep.finish() |> Elastic.watch(now()) |> Effects.run()}

  defp now, do: System.monotonic_time(:millisecond)
end
