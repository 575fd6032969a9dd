defmodule Slither.Python.Worker do
  @moduledoc false
  # The process that owns one Python process: it reads what Python says, hands answers on to the lanes
  # that wait for them, kills Python when a call is over its time, and tells the pool's scheduler when
  # Python is ready and when it is gone. The pool starts and stops it; lanes talk to it through
  # `Worker.Inbox`.
  #
  # `Worker.Calls` and `Worker.Life` decide, `Worker.Effects` does what they say; `Worker.Frames` reads
  # what Python says, `Worker.Stacks` asks where it is, `Worker.Busy` tells what it runs,
  # `Worker.Memory` holds it to its memory, and `Worker.Ending` accounts for its death. Nothing here encodes, decodes or writes a batch, or waits
  # for a full pipe: deadlines could not be enforced meanwhile.

  use GenServer, restart: :temporary

  require Logger

  import Slither.Python.Worker.Effects

  alias Slither.{Error, Label}
  alias Slither.Python.{Asks, Call, Guard, Obituary, OSProcess, Placement, Transport}
  alias Slither.Python.Obituary.Marker
  alias Slither.Python.Worker.{Busy, Calls, Ending, Frames, Inbox, Life, Memory, Stacks, State}

  # ms within which the transport should report the end of a process that is gone.
  @unheard 1_000
  # ms until the owner turns to the next guard, after one has ended.
  @guard_wait 100

  @doc "Starts the worker of `slot`; it reports to `scheduler`, through `Slither.Python.Reports`."
  @spec start_link({map, non_neg_integer, pid}) :: GenServer.on_start()
  def start_link({_settings, _slot, _scheduler} = arg), do: GenServer.start_link(__MODULE__, arg)

  @doc """
  Lets the process finish what it has and run its stop hooks, for at most the pool's `shutdown`
  ms; then kills it. `reason` is for those who watch.
  """
  @spec stop(pid, atom) :: :ok
  def stop(worker, reason), do: GenServer.cast(worker, {:stop, reason})

  @doc "The same, if no call is out."
  @spec stop_idle(pid, atom) :: :ok
  def stop_idle(worker, reason), do: GenServer.cast(worker, {:stop_idle, reason})

  @doc "Kills the process; the call that runs fails with `error`."
  @spec kill(pid, Error.t()) :: :ok
  def kill(worker, error), do: GenServer.cast(worker, {:kill, error})

  @doc "Asks where a worker's code is; `await/2` takes the answer, of `Stacks`."
  @spec ask_stack(pid) :: :gen_server.request_id()
  def ask_stack(worker), do: :gen_server.send_request(worker, :stack)

  @doc "Asks what a worker runs; `await/2` takes the answer, of `Busy`."
  @spec ask_runs(pid) :: :gen_server.request_id()
  def ask_runs(worker), do: :gen_server.send_request(worker, :runs)

  @doc "Its answer, or nil where it has not answered within so many ms, or has ended."
  @spec await(:gen_server.request_id(), timeout) :: Stacks.answer() | Busy.answer() | nil
  def await(request, timeout) do
    case :gen_server.receive_response(request, timeout) do
      {:reply, answer} -> answer
      _none -> nil
    end
  end

  @doc "Somebody waits for a worker: a handler that waits for its reader is to go on."
  @spec run_on(pid) :: :run_on
  def run_on(worker), do: send(worker, :run_on)

  @impl true
  def init({settings, slot, scheduler}) do
    Process.flag(:trap_exit, true)
    Logger.metadata(pool: settings.name, worker: slot)
    Label.set({__MODULE__, settings.name, slot})
    born = System.monotonic_time()
    state = %State{settings: settings, slot: slot, scheduler: scheduler, born: born}
    {:ok, state, {:continue, :launch}}
  end

  @impl true
  def handle_continue(:launch, %State{settings: settings} = state) do
    case Placement.own(settings, state.slot) do
      {:ok, settings} -> launched(state, settings.launcher.launch(settings, state.slot))
      {:error, error} -> launched(state, {:error, error})
    end
  end

  # The timer is started first, as the guard may have to be waited for.
  defp launched(%State{settings: settings} = state, {:ok, process}) do
    startup = later(:startup_timeout, settings.startup_timeout)
    state = %{state | pending: nil, process: process, startup: startup}
    state = guarded(%{state | since: OSProcess.since(process.os_pid)}, &Guard.watch/2)
    later(:pulse, OSProcess.interval())
    {:noreply, Memory.watch(%{state | asks: asks(state)})}
  end

  defp launched(state, {:later, pending}), do: {:noreply, %{state | pending: {:some, pending}}}

  defp launched(state, {:error, error}) do
    report(state, {:failed, error})
    {:stop, :normal, %{state | life: Life.down(state.life)}}
  end

  ## What its launcher tells

  # What else comes before there is a process is for one that there is not.
  @impl true
  def handle_info(message, %State{pending: {:some, pending}} = state) do
    case state.settings.launcher.event(pending, message) do
      :none -> {:noreply, state}
      answer -> launched(state, answer)
    end
  end

  ## What lanes tell

  def handle_info({Inbox, :sent, %Call{} = call}, state) do
    state = %{state | asks: Asks.record(state.asks, call.id, call.record)}
    {:noreply, calls(state, Calls.sent(state.calls, call, now()))}
  end

  def handle_info({Inbox, :stalled, id}, state),
    do: {:noreply, calls(state, Calls.stalled(state.calls, id, now()))}

  def handle_info({Inbox, :resumed, id}, state),
    do: {:noreply, calls(state, Calls.resumed(state.calls, id, now()))}

  def handle_info({Inbox, :cancel, id}, state), do: {:noreply, cancel(state, id)}

  # To kill a call that runs, the owner kills the process. It cancels a call that has not begun.
  def handle_info({Inbox, :kill_call, {id, error}}, state) do
    if Calls.running?(state.calls, id),
      do: {:noreply, Stacks.end_for(state, {:call, id}, error)},
      else: {:noreply, cancel(state, id)}
  end

  def handle_info({Inbox, :kill, error}, state), do: {:noreply, kill_process(state, error)}
  def handle_info({Inbox, :over, facts}, state), do: {:noreply, Memory.over(state, facts)}

  ## What the pool tells

  def handle_info(:run_on, state), do: {:noreply, effects(state, Calls.run_on(state.calls))}

  ## What tasks tell, and the ends of others

  def handle_info({Asks.Answerer, message}, state),
    do: {:noreply, %{state | asks: Asks.message(state.asks, message)}}

  # A guard that ends kills all that it watched. It may have ended before it watched this process,
  # so the owner turns to the next guard.
  def handle_info({:DOWN, guard, :process, _guard, _reason}, %State{guard: guard} = state) do
    later(:guard, @guard_wait)
    {:noreply, state}
  end

  def handle_info({:DOWN, _ref, :process, pid, reason}, state),
    do: {:noreply, %{state | asks: Asks.down(state.asks, pid, reason)}}

  ## Timers

  # The call may still answer, before its worker is killed. Then the next one has a deadline, too.
  def handle_info(:deadline, %State{settings: settings} = state) do
    case Calls.due(state.calls, now()) do
      {:over, %Call{id: id} = call, calls} ->
        error = Obituary.timed_out(settings.name, call)
        {:noreply, Stacks.end_for(%{state | calls: calls}, {:call, id}, error)}

      {:look, call, calls} ->
        {:noreply, look(%{state | calls: calls}, call)}

      due ->
        {:noreply, calls(state, due)}
    end
  end

  def handle_info({:grace, id}, %State{settings: settings} = state) do
    error = Obituary.cancelled(settings.name, settings.cancel_grace)
    over? = Calls.running?(state.calls, id)
    {:noreply, if(over?, do: Stacks.end_for(state, {:call, id}, error), else: state)}
  end

  def handle_info({:tell_cancel, id}, state) do
    if Calls.out?(state.calls, id), do: tell_cancel(state, id)
    {:noreply, state}
  end

  def handle_info(:stack, state), do: {:noreply, Stacks.look(state)}
  def handle_info(:credit, state), do: {:noreply, give_credit(state)}

  def handle_info(:startup_timeout, %State{life: %{phase: :starting}} = state),
    do: {:noreply, Stacks.end_for(state, :starting, not_ready(state))}

  def handle_info(:shutdown_over, %State{life: %{phase: :stopping}} = state) do
    {:noreply, Stacks.end_for(state, :stopping, Obituary.not_stopped(state.settings.shutdown))}
  end

  # The transport reports the end of a process once its pipe is
  # closed, which a forked child may keep open. So the guard kills the
  # rest of the process group, and the transport reports the end then.
  def handle_info(:pulse, %State{process: %{os_pid: os_pid}} = state) do
    if OSProcess.gone?(os_pid, state.since) do
      Guard.kill(os_pid)
      later(:gone, @unheard)
      {:noreply, %{state | unheard?: true}}
    else
      later(:pulse, OSProcess.interval())
      {:noreply, Memory.look(state)}
    end
  end

  def handle_info(:gone, %State{process: %{os_pid: os_pid}} = state) do
    # If the process still lives, the guard has failed to kill it: the owner does so itself.
    unless OSProcess.gone?(os_pid, state.since), do: OSProcess.kill_group(os_pid)
    {:stop, :normal, Ending.down(state, nil)}
  end

  def handle_info(:guard, state), do: {:noreply, guarded(state, &Guard.watch_later/2)}
  def handle_info(:aged, state), do: {:noreply, effects(state, Life.aged(state.life))}

  def handle_info(:look, state),
    do: {:noreply, life(state, Life.look(state.life, state.calls.queue == []))}

  ## What Python says

  def handle_info(message, %State{process: process} = state) do
    case process && Transport.event(process.transport, message) do
      {:frame, body} -> {:noreply, Frames.read(state, body)}
      {:closing, transport} -> {:noreply, closing(state, transport)}
      {:closed, status} -> {:stop, :normal, Ending.down(state, status)}
      _late -> {:noreply, state}
    end
  end

  @impl true
  def handle_call(:stack, from, %State{pending: {:some, pending}} = state) do
    state.settings.launcher.where(pending, from)
    {:noreply, state}
  end

  def handle_call(:stack, from, state), do: {:noreply, Stacks.tell(state, from)}
  def handle_call(:runs, _from, state), do: {:reply, Busy.tell(state), state}

  # A worker that comes to be all the same ends, as it finds nobody.
  @impl true
  def handle_cast({kind, _why}, %State{pending: {:some, _pending}} = state)
      when kind in [:stop, :stop_idle, :kill],
      do: launched(state, {:error, Obituary.stopped()})

  def handle_cast({:stop, reason}, state), do: {:noreply, leave(state, reason)}

  def handle_cast({:stop_idle, reason}, state),
    do: {:noreply, if(state.calls.queue == [], do: leave(state, reason), else: state)}

  def handle_cast({:kill, error}, state), do: {:noreply, kill_process(state, error)}

  # A process that lives on is killed by the guard.
  @impl true
  def terminate(_reason, state), do: Ending.left(state)

  # The end of the process is told soon after that of its stream. If it is told before, what is
  # left to read comes.
  defp closing(state, transport) do
    if transport.over?, do: later(:gone, @unheard)
    %{state | process: %{state.process | transport: transport}}
  end

  defp asks(%State{settings: settings} = state) do
    facts = %{pool: settings.name, worker: state.slot}
    Asks.new(state.process.transport, settings.max_frame, settings.bridge, facts)
  end

  defp guarded(state, watch) do
    guard = Process.monitor(Guard)
    _ = watch.(state.process.os_pid, state.since)
    %{state | guard: guard}
  end

  # What leads to an end is read twice: a read may have met a write. The item may still end before
  # its worker is killed, and others have their time then.
  defp look(%State{settings: settings} = state, %Call{id: id} = call, again \\ 1) do
    case Calls.looked(state.calls, Marker.at(state.marker, id), now()) do
      {:over, _what} when again > 0 ->
        look(state, call, again - 1)

      {:over, what} ->
        state = calls(state, Calls.looked(state.calls, :none, now()))
        error = Obituary.item_timed_out(settings.name, call, what)
        Stacks.end_for(state, {:item, id, what}, error)

      looked ->
        calls(state, looked)
    end
  end

  defp not_ready(%State{settings: settings} = state),
    do: Obituary.not_ready(settings.name, state.process.python, settings.startup_timeout)
end
