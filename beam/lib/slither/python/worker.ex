defmodule Slither.Python.Worker do
  @moduledoc false
  # Owns one Python process through its port. It routes replies to the lanes that wait for
  # them, hands view calls to tasks, watches the deadline of the call that runs, and tells the
  # scheduler when the process is ready and when it is gone. It never encodes or decodes a
  # batch, and never writes one: a full pipe would keep it from enforcing the deadline.

  use GenServer, restart: :temporary

  require Logger

  alias Slither.Error
  alias Slither.Protocol.Frame

  alias Slither.Python.{
    Asks,
    Board,
    Call,
    Env,
    Environment,
    Fault,
    Guard,
    Lane,
    LastWords,
    Marker,
    OSProcess,
    PortWriter,
    Reports,
    Rss,
    Tape,
    Voice,
    WorkerError
  }

  alias Slither.Python.Worker.Limits
  alias Slither.Telemetry.Events

  # How many results a handler that yields may be ahead of who takes them.
  @ahead 16
  @log_credits 200
  @credit_step 50
  @flood 10_000
  @kill_wait 2_000
  # ms to wait for the port to tell of the end of a process that is gone.
  @unheard 1_000
  # ms to wait for another guard.
  @guard_wait 100
  # ms to wait with a word to a worker that reads nothing.
  @pipe_full 20

  defmodule State do
    @moduledoc false
    defstruct [
      :settings,
      :slot,
      :scheduler,
      :port,
      :asks,
      :os_pid,
      :since,
      :guard,
      :python,
      :variables,
      :marker,
      :monotonic,
      :startup,
      :reason,
      :deadline,
      :timer,
      :holder,
      :limits,
      :leaves,
      :stall,
      :words,
      :hello,
      voice: Voice.new(),
      tapes: %{},
      look: :none,
      unheard: false,
      phase: :starting,
      lanes: {},
      calls: [],
      cancelled: [],
      owed: 0
    ]
  end

  @doc "Starts the worker of `slot`; it reports to `scheduler` by messages."
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

  @doc "Somebody waits for a worker: a handler that waits for its consumer is to go on."
  @spec run_on(pid) :: :run_on
  def run_on(worker), do: send(worker, :run_on)

  @impl true
  def init({settings, slot, scheduler}) do
    Process.flag(:trap_exit, true)
    Logger.metadata(pool: settings.name, worker: slot)

    state = %State{
      settings: settings,
      slot: slot,
      scheduler: scheduler,
      monotonic: System.monotonic_time()
    }

    {:ok, state, {:continue, :open}}
  end

  @impl true
  def handle_continue(:open, %State{settings: settings} = state) do
    variables = Environment.variables(settings.size, settings.env)

    with {:ok, python} <- interpreter(settings),
         state = %{state | python: python, variables: variables},
         {:ok, port} <- open(python, variables, settings),
         {:ok, os_pid} <- os_pid(port, state) do
      state = %{state | port: port, os_pid: os_pid, since: OSProcess.since(os_pid)}
      # Started before the guard may be waited for.
      startup = startup_timer(settings.startup_timeout)
      state = pulse(guarded(state, &Guard.watch/2))
      {:noreply, %{state | asks: asks(port, settings, state.slot), startup: startup}}
    else
      {:error, error} -> {:stop, :normal, failed(state, error)}
    end
  end

  @impl true
  def handle_info({port, {:data, body}}, %State{port: port} = state)
      when byte_size(body) > state.settings.max_frame do
    why = "a frame of #{byte_size(body)} bytes; one holds #{state.settings.max_frame}"
    {:noreply, end_process(state, WorkerError.protocol(state, why))}
  end

  def handle_info({port, {:data, body}}, %State{port: port} = state) do
    case Frame.peek(body) do
      # Of a process that is killed, only what it had answered still counts.
      {name, _id} when state.phase == :killed and name not in [:result, :error, :part] ->
        {:noreply, state}

      {name, id} when name in [:result, :error] ->
        {:noreply, reply(state, id, body)}

      {:part, id} ->
        {:noreply, part(state, id, body)}

      {:view_call, id} ->
        {:noreply, ask(state, id, body)}

      {:table_call, id} ->
        {:noreply, table(state, id, body)}

      _ ->
        control(body, state)
    end
  end

  def handle_info({port, {:exit_status, status}}, %State{port: port} = state),
    do: {:stop, :normal, down(state, status)}

  def handle_info({:EXIT, port, reason}, %State{port: port} = state) do
    Logger.debug("the port of a Python worker closed: #{inspect(reason)}")
    {:stop, :normal, down(state, nil)}
  end

  def handle_info({:sent, %Call{} = call}, state) do
    tapes = Tape.begin(state.tapes, call.id, call.record)
    state = %{state | calls: state.calls ++ [call], tapes: tapes}

    cond do
      match?([_], state.calls) -> {:noreply, started(state)}
      state.stall != nil and others?(state) -> {:noreply, go_on(state)}
      true -> {:noreply, state}
    end
  end

  def handle_info({:stalled, id}, %State{calls: [%Call{id: id} | _], stall: nil} = state) do
    state = stall(state)
    {:noreply, if(needed?(state), do: go_on(state), else: state)}
  end

  def handle_info({:resumed, id}, %State{calls: [%Call{id: id} | _]} = state),
    do: {:noreply, resumed(state)}

  def handle_info(:run_on, state), do: {:noreply, go_on(state)}

  def handle_info(:deadline, state) do
    state = %{state | timer: nil}

    cond do
      state.deadline == nil -> {:noreply, state}
      System.monotonic_time(:millisecond) < state.deadline -> {:noreply, arm(state)}
      true -> {:noreply, end_process(state, WorkerError.timed_out(state))}
    end
  end

  def handle_info(:startup_timeout, %State{phase: :starting} = state) do
    message = "it was not ready after #{state.settings.startup_timeout} ms"
    hint = "raise startup_timeout, or look at what its preload modules do"
    {:noreply, end_process(state, %{WorkerError.start(state, message) | hint: hint})}
  end

  def handle_info(:startup_timeout, state), do: {:noreply, state}

  def handle_info({:view_deadline, pid, id, timeout}, state),
    do: {:noreply, %{state | asks: Asks.expire(state.asks, pid, id, timeout)}}

  def handle_info({:recorded, call, exchange}, state),
    do: {:noreply, %{state | tapes: Tape.record(state.tapes, call, exchange)}}

  def handle_info({:answered, pid}, state),
    do: {:noreply, %{state | asks: Asks.answered(state.asks, pid)}}

  def handle_info({:DOWN, guard, :process, _guard, _reason}, %State{guard: guard} = state) do
    Process.send_after(self(), :guard, @guard_wait)
    {:noreply, state}
  end

  def handle_info({:DOWN, _ref, :process, pid, reason}, state),
    do: {:noreply, %{state | asks: Asks.down(state.asks, pid, reason)}}

  def handle_info({:cancel_grace, id}, state) do
    case state.calls do
      [%Call{id: ^id} | _] ->
        {:noreply, end_process(state, WorkerError.cancelled(state))}

      _answered ->
        {:noreply, state}
    end
  end

  def handle_info(:owed, state), do: {:noreply, give_credit(state)}

  def handle_info({:tell_cancel, id}, state) do
    if out?(state, id), do: tell_cancel(state, id)
    {:noreply, state}
  end

  def handle_info(:kill_now, %State{phase: :stopping} = state) do
    Logger.warning("a Python worker did not stop within #{state.settings.shutdown} ms: killed")
    {:noreply, end_process(state, WorkerError.stopped())}
  end

  # The port tells of the end of a process when its pipe is closed, and a child that it forked may
  # hold that. The guard kills what is left of its group, so that the port tells after all.
  def handle_info(:pulse, state) do
    if OSProcess.gone?(state.os_pid, state.since) do
      Guard.kill(state.os_pid)
      Process.send_after(self(), :gone, @unheard)
      {:noreply, %{state | unheard: true}}
    else
      {:noreply, pulse(state)}
    end
  end

  def handle_info(:gone, state) do
    # The guard can't have killed it.
    unless state.os_pid == nil or OSProcess.gone?(state.os_pid, state.since),
      do: OSProcess.kill_group(state.os_pid)

    {:stop, :normal, down(state, nil)}
  end

  def handle_info(:guard, state), do: {:noreply, guarded(state, &Guard.watch_later/2)}

  def handle_info(:aged, state), do: {:noreply, due(state, :max_age, state.limits.age)}

  # Memory is looked at between calls, when what the last one took is given back.
  def handle_info(:look, %State{calls: []} = state),
    do: {:noreply, measure(%{state | look: :none})}

  def handle_info(:look, state), do: {:noreply, %{state | look: :due}}

  def handle_info(_late, state), do: {:noreply, state}

  @impl true
  def handle_cast({:stop, reason}, %State{phase: :ready} = state) do
    command(state, Frame.encode!({:shutdown, state.settings.shutdown}))
    Process.send_after(self(), :kill_now, state.settings.shutdown)
    {:noreply, go_on(%{state | phase: :stopping, leaves: reason})}
  end

  def handle_cast({:stop, reason}, %State{phase: :starting} = state),
    do: {:noreply, end_process(%{state | leaves: reason}, WorkerError.stopped())}

  def handle_cast({:stop, _reason}, state), do: {:noreply, state}

  def handle_cast({:stop_idle, reason}, %State{calls: []} = state),
    do: handle_cast({:stop, reason}, state)

  def handle_cast({:stop_idle, _reason}, state), do: {:noreply, state}

  def handle_cast({:kill, error}, state), do: {:noreply, end_process(state, error)}

  # From a lane: what executes ends with its process; what has not begun is cancelled.
  def handle_cast({:kill_call, id, error}, %State{calls: [%Call{id: id} | _]} = state),
    do: {:noreply, end_process(state, error)}

  def handle_cast({:kill_call, id, _error}, state), do: handle_cast({:cancel, id}, state)

  # From a lane: nobody waits any more for this call of its. Python is told, and the process is
  # killed if it is still at it when the pool's `cancel_grace` is over.
  def handle_cast({:cancel, id}, state) do
    case Enum.split_while(state.calls, &(&1.id != id)) do
      {_others, []} ->
        {:noreply, state}

      {before, [call | behind]} ->
        # Its run is over, and the views of its session with it.
        calls = before ++ [%{call | context: nil} | behind]
        tell_cancel(state, id)
        {:noreply, grace(%{state | calls: calls, cancelled: [id | state.cancelled]})}
    end
  end

  @impl true
  def terminate(_reason, %State{phase: phase} = state) when phase != :down do
    # Its process is killed by the guard.
    Marker.close(state.marker)
    if state.stall, do: Board.go_on(state.settings.board)
    stop_asks(state)
  end

  def terminate(_reason, state), do: stop_asks(state)

  defp stop_asks(%State{asks: nil}), do: :ok
  defp stop_asks(state), do: Asks.stop(state.asks)

  ## Start

  defp asks(port, settings, slot) do
    facts = %{pool: settings.name, worker: slot}
    Asks.new(port, settings.max_frame, settings.bridge, facts)
  end

  defp interpreter(settings),
    do: Env.interpreter(settings.python, settings.env, settings.cd)

  defp startup_timer(:infinity), do: nil
  defp startup_timer(timeout), do: Process.send_after(self(), :startup_timeout, timeout)

  # A process that has ended already has none.
  defp os_pid(port, state) do
    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> {:ok, os_pid}
      nil -> {:error, WorkerError.ended(state, nil)}
    end
  end

  # Should the guard end, all that it watched is killed; but it may have ended before it knew of
  # this process.
  defp guarded(state, watch) do
    guard = Process.monitor(Guard)
    _ = watch.(state.os_pid, state.since)
    %{state | guard: guard}
  end

  defp pulse(state) do
    Process.send_after(self(), :pulse, OSProcess.interval())
    state
  end

  defp open(python, variables, settings) do
    options = [
      :binary,
      :nouse_stdio,
      :exit_status,
      :hide,
      packet: 4,
      args: ["-m", "slither.worker"],
      env: variables
    ]

    options = if settings.cd, do: [{:cd, settings.cd} | options], else: options
    {:ok, Port.open({:spawn_executable, python}, options)}
  rescue
    error in [ErlangError, ArgumentError] ->
      why = Exception.message(error)
      {:error, %Error{reason: :no_interpreter, message: "#{python} can't be run: #{why}"}}
  end

  # An honest worker has no more to say than its credits allow; one that floods its owner would
  # keep it from enforcing the deadline.
  defp control(body, state) do
    {:message_queue_len, waiting} = Process.info(self(), :message_queue_len)

    if waiting > @flood,
      do: {:noreply, end_process(state, WorkerError.protocol(state, "a flood of frames"))},
      else: control_one(body, state)
  end

  defp control_one(body, state) do
    case Frame.decode(body) do
      {:ok, frame} -> control_frame(frame, state)
      {:error, why} -> {:noreply, end_process(state, WorkerError.protocol(state, why))}
    end
  end

  defp control_frame({:hello, version, facts}, %State{phase: :starting} = state) do
    Logger.metadata(os_pid: facts["pid"])
    marker = Marker.open(facts)
    settings = state.settings

    welcome = %{
      "pool" => to_string(settings.name),
      "worker" => state.slot,
      "max_frame" => settings.max_frame,
      "preload" => settings.preload,
      "paths" => settings.paths,
      "credits" => @log_credits,
      "ahead" => @ahead,
      "capture" => settings.capture,
      "log_level" => Atom.to_string(settings.log_level),
      "main" => settings.main,
      "argv" => settings.argv,
      "initializer" => settings.initializer,
      "marker" => marker != nil
    }

    command(state, Frame.encode!({:welcome, Frame.version(), welcome}))
    reason = if version != Frame.version(), do: WorkerError.mismatch(state, version)
    {:noreply, %{state | marker: marker, reason: reason, hello: Map.delete(facts, "marker")}}
  end

  defp control_frame({:ready, facts}, %State{phase: :starting, reason: nil} = state) do
    if state.startup, do: Process.cancel_timer(state.startup)
    # Where its memory was found, so is its pipe.
    words = state.marker && LastWords.hold(state.hello["pid"], facts["words"])
    window = state.settings.window
    facts = lane_facts(state, facts)

    lanes =
      for index <- 0..(window - 1) do
        Lane.start(%{
          index: index,
          count: window,
          port: state.port,
          slot: state.slot,
          scheduler: state.scheduler,
          board: state.settings.board,
          max_frame: state.settings.max_frame,
          ahead: @ahead,
          capture: state.settings.capture_failures,
          facts: facts
        })
      end

    report(state, {:ready, lanes, state.os_pid})

    Events.worker_up(state.monotonic, identity(state))

    {:noreply, limit(%{state | phase: :ready, lanes: List.to_tuple(lanes), words: words})}
  end

  defp control_frame({:failed, fault}, %State{phase: :starting} = state) do
    error = state.reason || WorkerError.start_failure(state, Fault.to_error(fault))
    {:noreply, %{state | reason: error}}
  end

  defp control_frame({:log, _, _, _, _, _, _} = frame, state),
    do: {:noreply, credit(%{state | voice: Voice.log(state.voice, frame, state.calls)})}

  defp control_frame({:progress, call, done, total}, state) do
    {facts, voice} = Voice.facts(state.voice, call, state.calls)
    Events.progress(done, total, Map.merge(identity(state), facts))
    {:noreply, credit(%{state | voice: voice})}
  end

  # What a run's handlers keep in this worker is to go when the run ends.
  defp control_frame({:session, call, run}, state) do
    if out?(state, call) and state.holder != call do
      report(state, {:session, lane(state, call), run})
      {:noreply, %{state | holder: call}}
    else
      why = "a session frame outside a call, or a second one"
      {:noreply, end_process(state, WorkerError.protocol(state, why))}
    end
  end

  defp control_frame({:ping, token}, state) do
    command(state, Frame.encode!({:pong, token}))
    {:noreply, state}
  end

  defp control_frame({:pong, _token}, state), do: {:noreply, state}

  defp control_frame(frame, state) do
    why = "a #{elem(frame, 0)} frame is not for BEAM, or not now"
    {:noreply, end_process(state, WorkerError.protocol(state, why))}
  end

  ## Calls

  defp reply(state, id, body) do
    case take(state.calls, id) do
      {_call, rest} ->
        state = hand_tape(state, id)
        send(lane(state, id), {:reply, id, body})
        head? = match?([%Call{id: ^id} | _], state.calls)
        state = served(%{state | calls: rest, cancelled: List.delete(state.cancelled, id)})
        if head?, do: state |> resumed() |> started(), else: state

      nil ->
        end_process(state, WorkerError.protocol(state, no_call(body)))
    end
  end

  # A lane's note comes before its call, so every call that is out is known. An answer to any
  # other would wait for the call that gets its number. With id 0 a worker answers a frame that it can't read: what it says of it is the clue.
  defp no_call(body) do
    case Frame.decode(body) do
      {:ok, {:error, 0, %{"message" => message}}} -> "it refused a frame: #{message}"
      _ -> "an answer to no call"
    end
  end

  defp take([%Call{id: id} = call | calls], id), do: {call, calls}

  defp take(calls, id) do
    with {before, [call | behind]} <- Enum.split_while(calls, &(&1.id != id)),
         do: {call, before ++ behind},
         else: (_none -> nil)
  end

  defp out?(state, id), do: Enum.any?(state.calls, &(&1.id == id))

  defp lane(state, id), do: elem(state.lanes, Lane.index(id, tuple_size(state.lanes)))

  # Only the call that runs has results to tell of. Lanes note their calls and then write them:
  # of two that do so at once, the second to be noted may be the first to run.
  defp part(%State{calls: calls} = state, id, body) do
    case take(calls, id) do
      nil ->
        end_process(state, WorkerError.protocol(state, "results of no call"))

      {call, others} ->
        send(lane(state, id), {:part, id, body})
        if hd(calls) == call, do: state, else: started(%{state | calls: [call | others]})
    end
  end

  # A handler that waits for the consumer of its results uses up none of its time, and goes on
  # once somebody else needs the worker.
  defp stall(%State{deadline: deadline} = state) do
    Board.stall(state.settings.board)
    left = deadline && max(deadline - System.monotonic_time(:millisecond), 1)
    %{state | stall: {:left, left}, deadline: nil}
  end

  defp needed?(%State{settings: settings} = state) do
    Board.waiting?(settings.board) or others?(state) or state.phase == :stopping or
      Board.recalled?(settings.board, state.slot)
  end

  # Who reads no results of one batch needs no next batch either.
  defp others?(%State{calls: [%Call{context: run} | behind]}),
    do: Enum.any?(behind, &(run == nil or &1.context != run))

  defp go_on(%State{stall: nil} = state), do: state

  defp go_on(%State{calls: [%Call{id: id} | _]} = state) do
    Lane.run_on(lane(state, id), id)
    state
  end

  defp resumed(%State{stall: nil} = state), do: state

  defp resumed(%State{stall: {:left, left}} = state) do
    Board.go_on(state.settings.board)
    limit(%{state | stall: nil}, left)
  end

  # A worker runs its calls in order: when one is answered, the next has begun.
  defp started(%State{calls: [%Call{timeout: timeout} | _]} = state)
       when is_integer(timeout),
       do: state |> grace() |> limit(timeout)

  defp started(state), do: grace(%{state | deadline: nil})

  defp limit(state, nil), do: state

  defp limit(state, time) do
    deadline = System.monotonic_time(:millisecond) + time
    state = %{state | deadline: deadline}
    if state.timer, do: sooner(state), else: arm(state)
  end

  # The grace of a call that has not begun counts from when it does.
  defp grace(%State{cancelled: []} = state), do: state

  defp grace(%State{calls: [%Call{id: id} | _]} = state) do
    if id in state.cancelled,
      do: Process.send_after(self(), {:cancel_grace, id}, state.settings.cancel_grace)

    state
  end

  defp grace(state), do: state

  defp tell_cancel(state, id) do
    unless command(state, Frame.encode!({:cancel, id})),
      do: Process.send_after(self(), {:tell_cancel, id}, @pipe_full)
  end

  # The timer is left to run out rather than cancelled for each call: when it fires, the
  # deadline of the call that runs then says whether it is due. Only a sooner one replaces it.
  defp sooner(%State{timer: {_ref, at}} = state) when at <= state.deadline, do: state

  defp sooner(%State{timer: {ref, _at}} = state) do
    Process.cancel_timer(ref)
    arm(state)
  end

  defp arm(state) do
    ref = Process.send_after(self(), :deadline, state.deadline, abs: true)
    %{state | timer: {ref, state.deadline}}
  end

  ## Limits of its life

  defp limit(%State{settings: %{max_rss: max} = settings} = state) do
    rss = max && Rss.read(state.os_pid)
    if Limits.too_low?(max, rss), do: report(state, {:rss_low, rss})
    limits = Limits.new(settings, rss)
    if limits.age, do: Process.send_after(self(), :aged, limits.age)
    %{state | limits: limits}
  end

  defp served(%State{settings: %{board: board}, limits: limits} = state) do
    count = Board.serve(board, state.slot)
    if Limits.met?(limits, :requests, count), do: due(state, :max_requests, count)
    if limits.rss, do: look(state), else: state
  end

  defp look(%State{look: :due} = state), do: measure(%{state | look: :none})

  defp look(%State{look: :none} = state) do
    Process.send_after(self(), :look, Rss.interval())
    %{state | look: :set}
  end

  defp look(state), do: state

  defp measure(state) do
    rss = Rss.read(state.os_pid)
    if rss && Limits.met?(state.limits, :rss, rss), do: due(state, :max_rss, rss), else: state
  end

  # The scheduler has it replaced, and may hear it again.
  defp due(state, reason, amount) do
    report(state, {:due, reason, amount})
    state
  end

  ## What Python asks of BEAM

  defp ask(state, id, body) do
    {call, run} = caller(state, body)
    record? = is_map_key(state.tapes, call)
    asked(state, Asks.view(state.asks, id, body, call, run, record?))
  end

  defp table(%State{tapes: tapes} = state, id, body) do
    record? = tapes != %{} and is_map_key(tapes, elem(caller(state, body), 0))
    asked(state, Asks.table(state.asks, id, body, record?))
  end

  # What is recorded of a call comes to its lane before its end does.
  defp hand_tape(%State{tapes: tapes} = state, _id) when tapes == %{}, do: state

  defp hand_tape(state, id) do
    {tape, tapes} = Map.pop(state.tapes, id)
    if tape, do: send(lane(state, id), {:tape, id, Tape.play(tape)})
    %{state | tapes: tapes}
  end

  # Of the process, for who runs its calls again.
  defp lane_facts(state, ready) do
    settings = state.settings

    %{
      "pool" => to_string(settings.name),
      "worker" => state.slot,
      "os_pid" => state.os_pid,
      "hello" => state.hello,
      "path" => ready["path"],
      "folder" => ready["folder"],
      "preload" => settings.preload,
      "main" => settings.main,
      "initializer" => settings.initializer
    }
  end

  defp asked(state, {:ok, asks}), do: %{state | asks: asks}
  defp asked(state, {:error, why}), do: end_process(state, WorkerError.protocol(state, why))

  defp caller(state, body) do
    with {:ok, call} <- Frame.second_integer(body),
         %Call{context: context} <- Enum.find(state.calls, &(&1.id == call)) do
      {call, context}
    else
      _ -> {0, nil}
    end
  end

  ## End

  # The process is killed as a group; its exit then ends this server. Should no exit be
  # reported (a process that can't be killed), the server does not wait for ever.
  defp end_process(%State{phase: :killed} = state, _error), do: state

  defp end_process(state, error) do
    if state.os_pid, do: Guard.kill(state.os_pid)
    Process.send_after(self(), :gone, @kill_wait)
    %{state | phase: :killed, reason: state.reason || error, deadline: nil}
  end

  defp down(state, status) do
    ready? = state.lanes != {}
    executing = executing(state)
    status = status || WorkerError.told(Marker.report(state.marker))
    error = obituary(state, state.reason || WorkerError.ended(state, status), executing)
    tell(state, error, executing)

    # The scheduler first: a lane's answer brings its lease back, to be granted again.
    report(state, {if(ready?, do: :down, else: :failed), error})

    state = if executing, do: hand_tape(state, executing), else: state
    for lane <- Tuple.to_list(state.lanes), do: send(lane, {:worker_down, error, executing})
    if state.stall, do: Board.go_on(state.settings.board)
    facts = Map.put(identity(state), :reason, state.leaves || error.reason)
    Events.worker_down(state.monotonic, facts)
    # Children that a dead worker left in its group go now.
    if state.os_pid, do: Guard.release(state.os_pid)
    Marker.close(state.marker)
    %{state | phase: :down}
  end

  # What is known of a process that died, rather than was told to leave.
  defp obituary(state, %Error{reason: reason} = error, executing)
       when reason in [:worker_died, :timeout, :start_failed] do
    stderr = LastWords.ending(Marker.words(state.marker) <> LastWords.read(state.words))
    {facts, _voice} = Voice.facts(state.voice, executing || 0, state.calls)
    WorkerError.account(error, facts, stderr, Marker.report(state.marker))
  end

  defp obituary(_state, error, _executing), do: error

  # Whatever becomes of the call that it ran, and also where it ran none.
  defp tell(%State{phase: :starting}, _error, _executing), do: :ok

  defp tell(state, %Error{reason: reason} = error, executing)
       when reason in [:worker_died, :protocol_error] do
    call = Enum.find(state.calls, &(&1.id == executing))
    facts = Map.take(error.details, [:status, :signal, :call, :batch, :run, :pipe, :stage])
    Logger.error(WorkerError.line(error, call), Keyword.new(facts))
  end

  defp tell(_state, _error, _executing), do: :ok

  defp failed(state, error) do
    report(state, {:failed, error})
    %{state | phase: :down}
  end

  # The marker tells which call was running; without one, it is the oldest.
  defp executing(%State{calls: calls, marker: marker}) do
    case {Marker.read(marker), calls} do
      {:error, [%Call{id: id} | _]} -> id
      {:error, []} -> nil
      {{:ok, id}, _calls} -> id
    end
  end

  defp report(state, event), do: Reports.worker(state.scheduler, state.slot, event)

  defp identity(state),
    do: %{pool: state.settings.name, worker: state.slot, os_pid: state.os_pid}

  defp credit(%State{owed: owed} = state), do: give_credit(%{state | owed: owed + 1})

  # What a full pipe refuses stays owed: a worker without credit sends nothing to remind of it.
  defp give_credit(%State{owed: owed} = state) when owed < @credit_step, do: state

  defp give_credit(%State{owed: owed} = state) do
    if command(state, Frame.encode!({:credit, 0, owed})) do
      %{state | owed: 0}
    else
      Process.send_after(self(), :owed, @pipe_full)
      state
    end
  end

  # Never suspends: an owner that waits for a full pipe could not enforce the deadline.
  defp command(state, frame), do: PortWriter.offer(state.port, frame)
end
