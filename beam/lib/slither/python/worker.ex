defmodule Slither.Python.Worker do
  @moduledoc false
  # Owns one Python process through its port. It routes replies to the lanes that wait for
  # them, hands view calls to tasks, watches the deadline of the call that runs, and tells the
  # scheduler when the process is ready and when it is gone. It never encodes or decodes a
  # batch, and never writes one: a full pipe would keep it from enforcing the deadline.

  use GenServer, restart: :temporary

  require Logger

  alias Slither.{Error, Telemetry}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Environment, Fault, Lane, Marker, OSProcess}

  @log_credits 200
  @credit_step 50
  @max_views 64
  # Beyond this, a worker asks and does not read: each answer would wait for ever.
  @max_asked 4_096
  @kill_wait 2_000

  defmodule State do
    @moduledoc false
    defstruct [
      :settings,
      :slot,
      :scheduler,
      :port,
      :os_pid,
      :python,
      :variables,
      :marker,
      :monotonic,
      :startup,
      :reason,
      :deadline,
      :timer,
      phase: :starting,
      lanes: {},
      calls: [],
      views: %{},
      owed: 0
    ]
  end

  @doc "Starts the worker of `slot`; it reports to `scheduler` by messages."
  @spec start_link({map, non_neg_integer, pid}) :: GenServer.on_start()
  def start_link({_settings, _slot, _scheduler} = arg), do: GenServer.start_link(__MODULE__, arg)

  @doc "Lets the process finish what it has, then ends it."
  @spec stop(pid) :: :ok
  def stop(worker), do: GenServer.cast(worker, :stop)

  @doc "Kills the process; the call that runs fails with `error`."
  @spec kill(pid, Error.t()) :: :ok
  def kill(worker, error), do: GenServer.cast(worker, {:kill, error})

  @doc "Tells Python that nobody waits for call `id` any more."
  @spec cancel(pid, pos_integer) :: :ok
  def cancel(worker, id), do: GenServer.cast(worker, {:cancel, id})

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

    with {:ok, python} <- Environment.interpreter(settings.python),
         {:ok, port} <- open(python, variables, settings) do
      {:os_pid, os_pid} = Port.info(port, :os_pid)
      timer = startup_timer(settings.startup_timeout)

      {:noreply,
       %{
         state
         | port: port,
           os_pid: os_pid,
           python: python,
           variables: variables,
           startup: timer
       }}
    else
      {:error, error} -> {:stop, :normal, failed(state, error)}
    end
  rescue
    error in MatchError ->
      # Port.info is nil when the process has ended already.
      why = Environment.probe(settings.python || "python3", [])
      message = "#{why} (#{Exception.message(error)})"
      {:stop, :normal, failed(state, start_error(state, message))}
  end

  @impl true
  def handle_info({port, {:data, body}}, %State{port: port} = state)
      when byte_size(body) > state.settings.max_frame do
    why = "a frame of #{byte_size(body)} bytes; one holds #{state.settings.max_frame}"
    {:noreply, end_process(state, protocol_error(state, why))}
  end

  def handle_info({port, {:data, body}}, %State{port: port} = state) do
    case Frame.peek(body) do
      # Of a process that is killed, only what it had answered still counts.
      {name, _id} when state.phase == :killed and name not in [:result, :error] ->
        {:noreply, state}

      {name, id} when name in [:result, :error] ->
        {:noreply, reply(state, id, body)}

      {:view_call, id} ->
        {:noreply, view(state, id, body)}

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

  def handle_info({:sent, id, timeout, run}, state) do
    call = {id, timeout, run}
    state = %{state | calls: state.calls ++ [call]}
    {:noreply, if(match?([_], state.calls), do: started(state), else: state)}
  end

  def handle_info(:deadline, state) do
    state = %{state | timer: nil}

    cond do
      state.deadline == nil -> {:noreply, state}
      System.monotonic_time(:millisecond) < state.deadline -> {:noreply, arm(state)}
      true -> {:noreply, end_process(state, timed_out(state))}
    end
  end

  def handle_info(:startup_timeout, %State{phase: :starting} = state) do
    message = "it was not ready after #{state.settings.startup_timeout} ms"
    hint = "raise startup_timeout, or look at what its preload modules do"
    {:noreply, end_process(state, %{start_error(state, message) | hint: hint})}
  end

  def handle_info(:startup_timeout, state), do: {:noreply, state}

  # The view's process is killed; its end then sends the fault.
  def handle_info({:view_deadline, pid, fault}, state) do
    Process.exit(pid, :kill)

    case Enum.find(state.views, fn {_ref, view} -> view.pid == pid end) do
      {ref, view} -> {:noreply, put_in(state.views[ref], %{view | fault: fault})}
      nil -> {:noreply, state}
    end
  end

  def handle_info({ref, _written}, state) when is_map_key(state.views, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, %{state | views: Map.delete(state.views, ref)}}
  end

  def handle_info({:DOWN, ref, :process, _pid, reason}, state) do
    case Map.pop(state.views, ref) do
      {nil, _views} ->
        {:noreply, state}

      {%{id: id, fault: fault}, views} ->
        fault = fault || Fault.to_wire("view_failed", Exception.format_exit(reason))
        {:noreply, answer_in_task(%{state | views: views}, id, fault)}
    end
  end

  def handle_info(:kill_now, state), do: {:noreply, end_process(state, stopped())}
  def handle_info(:gone, state), do: {:stop, :normal, down(state, nil)}

  def handle_info(_late, state), do: {:noreply, state}

  @impl true
  def handle_cast(:stop, %State{phase: :ready} = state) do
    command(state, Frame.encode!({:shutdown, state.settings.shutdown}))
    Process.send_after(self(), :kill_now, state.settings.shutdown)
    {:noreply, %{state | phase: :stopping}}
  end

  def handle_cast(:stop, state), do: {:noreply, end_process(state, stopped())}
  def handle_cast({:kill, error}, state), do: {:noreply, end_process(state, error)}

  def handle_cast({:cancel, id}, state) do
    if List.keymember?(state.calls, id, 0), do: command(state, Frame.encode!({:cancel, id}))
    {:noreply, state}
  end

  @impl true
  def terminate(_reason, %State{os_pid: os_pid, phase: phase} = state) when phase != :down do
    if os_pid, do: OSProcess.kill_group(os_pid)
    # A worker that was still starting has not hidden it.
    Marker.close(state.marker)
  end

  def terminate(_reason, _state), do: :ok

  ## Start

  defp startup_timer(:infinity), do: nil
  defp startup_timer(timeout), do: Process.send_after(self(), :startup_timeout, timeout)

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

  defp control(body, state) do
    case Frame.decode(body) do
      {:ok, frame} -> control_frame(frame, state)
      {:error, why} -> {:noreply, end_process(state, protocol_error(state, why))}
    end
  end

  defp control_frame({:hello, version, facts}, %State{phase: :starting} = state) do
    Logger.metadata(os_pid: facts["pid"])
    {marker, path} = Marker.create()
    settings = state.settings

    welcome = %{
      "pool" => to_string(settings.name),
      "worker" => state.slot,
      "max_frame" => settings.max_frame,
      "preload" => settings.preload,
      "paths" => settings.paths,
      "credits" => @log_credits,
      "capture" => settings.capture,
      "marker" => path
    }

    command(state, Frame.encode!({:welcome, Frame.version(), welcome}))
    reason = if version != Frame.version(), do: mismatch(state, version)
    {:noreply, %{state | marker: marker, reason: reason}}
  end

  defp control_frame({:ready, facts}, %State{phase: :starting, reason: nil} = state) do
    if state.startup, do: Process.cancel_timer(state.startup)
    Marker.hide(state.marker)
    window = state.settings.window

    lanes =
      for index <- 0..(window - 1) do
        Lane.start(%{
          index: index,
          count: window,
          port: state.port,
          slot: state.slot,
          scheduler: state.scheduler,
          max_frame: state.settings.max_frame
        })
      end

    send(state.scheduler, {:worker_ready, state.slot, self(), lanes, state.os_pid, facts})

    Telemetry.execute(
      [:slither, :pool, :worker, :up],
      %{start_time: System.monotonic_time() - state.monotonic},
      identity(state)
    )

    {:noreply, %{state | phase: :ready, lanes: List.to_tuple(lanes)}}
  end

  defp control_frame({:failed, fault}, %State{phase: :starting} = state) do
    error = state.reason || start_failure(state, Fault.to_error(fault))
    {:noreply, %{state | reason: error}}
  end

  defp control_frame({:log, call, level, logger, message, dropped}, state) do
    log(level, message, python_logger: logger, call: call)
    if dropped > 0, do: log("warning", "#{dropped} Python log lines were dropped", call: call)
    {:noreply, credit(state)}
  end

  defp control_frame({:progress, call, done, total}, state) do
    metadata = Map.put(identity(state), :call, call)
    Telemetry.execute([:slither, :worker, :progress], %{done: done, total: total}, metadata)
    {:noreply, credit(state)}
  end

  defp control_frame({:ping, token}, state) do
    command(state, Frame.encode!({:pong, token}))
    {:noreply, state}
  end

  defp control_frame({:pong, _token}, state), do: {:noreply, state}

  defp control_frame(frame, state) do
    why = "a #{elem(frame, 0)} frame is not for BEAM, or not now"
    {:noreply, end_process(state, protocol_error(state, why))}
  end

  ## Calls

  defp reply(state, id, body) do
    case List.keytake(state.calls, id, 0) do
      {_call, rest} ->
        send(lane(state, id), {:reply, id, body})
        head? = match?([{^id, _, _} | _], state.calls)
        state = %{state | calls: rest}
        if head?, do: started(state), else: state

      nil ->
        end_process(state, protocol_error(state, no_call(body)))
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

  defp lane(state, id), do: elem(state.lanes, Lane.index(id, tuple_size(state.lanes)))

  # A worker runs its calls in order: when one is answered, the next has begun.
  defp started(%State{calls: [{_id, timeout, _run} | _]} = state) when is_integer(timeout) do
    deadline = System.monotonic_time(:millisecond) + timeout
    state = %{state | deadline: deadline}
    if state.timer, do: sooner(state), else: arm(state)
  end

  defp started(state), do: %{state | deadline: nil}

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

  ## Views

  defp view(state, _id, _body) when map_size(state.views) >= @max_asked do
    why = "it has asked #{@max_asked} views and reads no answer"
    end_process(state, protocol_error(state, why))
  end

  defp view(state, id, _body) when map_size(state.views) >= @max_views do
    why = "#{@max_views} view calls of this worker are being answered"
    answer_in_task(state, id, Fault.to_wire("view_busy", why, %{"limit" => @max_views}))
  end

  defp view(state, id, body) do
    {call, run} = caller(state, body)
    owner = self()
    port = state.port
    facts = %{pool: state.settings.name, worker: state.slot, call: call, run: run}
    bridge = state.settings.bridge

    task(state, id, fn ->
      limit = fn timeout, fault ->
        Process.send_after(owner, {:view_deadline, self(), fault}, timeout)
      end

      write(port, answer_view(body, id, facts, bridge, limit))
    end)
  end

  defp answer_in_task(state, id, fault) do
    port = state.port
    frame = Frame.encode!({:view_reply, id, 1, fault})

    task(state, id, fn -> write(port, frame) end)
  end

  # The task begins once it is monitored, so that its end can't be missed.
  defp task(state, id, fun) do
    task = Task.Supervisor.async_nolink(Slither.TaskSupervisor, fun)
    %{state | views: Map.put(state.views, task.ref, %{id: id, pid: task.pid, fault: nil})}
  end

  defp caller(state, body) do
    with {:ok, call} <- Frame.second_integer(body),
         {_id, _timeout, run} <- List.keyfind(state.calls, call, 0) do
      {call, run}
    else
      _ -> {0, nil}
    end
  end

  defp answer_view(body, id, facts, bridge, limit) do
    reply =
      case Frame.decode(body) do
        {:ok, {:view_call, ^id, _call, name, mode, params, timeout}} ->
          facts = Map.merge(facts, %{view: name, mode: mode, params: params, timeout: timeout})
          bridge.serve(facts, limit)

        {:error, why} ->
          {:error, Fault.to_wire("invalid_params", why)}
      end

    case view_reply(id, reply) do
      {:ok, frame} ->
        frame

      {:error, why} ->
        fault = Fault.to_wire("view_failed", "the view's answer can't be sent: " <> why)
        Frame.encode!({:view_reply, id, 1, fault})
    end
  end

  defp view_reply(id, {:ok, value}), do: Frame.encode({:view_reply, id, 0, value})
  defp view_reply(id, {:error, fault}), do: Frame.encode({:view_reply, id, 1, fault})

  ## End

  # The process is killed as a group; its exit then ends this server. Should no exit be
  # reported (a process that can't be killed), the server does not wait for ever.
  defp end_process(%State{phase: :killed} = state, _error), do: state

  defp end_process(state, error) do
    if state.os_pid, do: OSProcess.kill_group(state.os_pid)
    Process.send_after(self(), :gone, @kill_wait)
    %{state | phase: :killed, reason: state.reason || error, deadline: nil}
  end

  defp down(state, status) do
    # Children that a dead worker left in its group go now.
    if state.os_pid, do: OSProcess.kill_group(state.os_pid)
    ready? = state.lanes != {}
    error = state.reason || ended(state, status)
    executing = executing(state)

    # The scheduler first: a lane's answer brings its lease back, to be granted again.
    if ready?,
      do: send(state.scheduler, {:worker_down, state.slot, self(), error}),
      else: send(state.scheduler, {:worker_failed, state.slot, self(), error})

    for lane <- Tuple.to_list(state.lanes), do: send(lane, {:worker_down, error, executing})
    Marker.close(state.marker)
    metadata = Map.put(identity(state), :reason, error.reason)
    lifetime = System.monotonic_time() - state.monotonic
    Telemetry.execute([:slither, :pool, :worker, :down], %{lifetime: lifetime}, metadata)
    %{state | phase: :down}
  end

  defp failed(state, error) do
    send(state.scheduler, {:worker_failed, state.slot, self(), error})
    %{state | phase: :down}
  end

  # The marker tells which call was running; without one, it is the oldest.
  defp executing(%State{calls: calls, marker: marker}) do
    case {Marker.read(marker), calls} do
      {:error, [{id, _, _} | _]} -> id
      {:error, []} -> nil
      {{:ok, id}, _calls} -> id
    end
  end

  defp ended(%State{phase: :stopping}, _status), do: stopped()

  defp ended(%State{phase: :starting} = state, status) do
    why = Environment.probe(state.python, state.variables)
    message = if status, do: "#{why}; it ended with #{OSProcess.describe(status)}", else: why
    start_error(state, message)
  end

  defp ended(state, status) do
    how = if status, do: OSProcess.describe(status), else: "its port closed"

    %Error{
      reason: :worker_died,
      message: "Python worker #{state.slot} (pid #{state.os_pid}) died: #{how}",
      where: "pool #{inspect(state.settings.name)}",
      hint: hint(status),
      details: %{status: status, os_pid: state.os_pid}
    }
  end

  defp hint(137), do: "often the kernel's out-of-memory killer, or kill -9"
  defp hint(139), do: "a crash in C code; its stack is on standard error"
  defp hint(_status), do: nil

  defp stopped, do: %Error{reason: :worker_stopped, message: "the worker was stopped"}

  defp timed_out(%State{calls: [{_id, timeout, _run} | _]} = state) do
    %Error{
      reason: :timeout,
      message: "the call ran for more than #{timeout} ms; its worker was killed",
      where: "pool #{inspect(state.settings.name)}",
      hint: "raise timeout:, or lower batch_size",
      details: %{timeout: timeout}
    }
  end

  defp start_error(state, message) do
    %Error{
      reason: :start_failed,
      message: "a Python worker can't start: #{message}",
      where: "pool #{inspect(state.settings.name)}",
      details: %{python: state.python}
    }
  end

  defp start_failure(state, error) do
    %{start_error(state, error.message) | python: error.python, details: error.details}
  end

  defp mismatch(state, version) do
    message =
      "it speaks protocol #{version}, this BEAM speaks #{Frame.version()}; " <>
        "install the slither-beam package of this version"

    %{start_error(state, message) | reason: :version_mismatch}
  end

  defp protocol_error(state, why) do
    %Error{
      reason: :protocol_error,
      message: "Python worker #{state.slot} broke the protocol: #{why}",
      where: "pool #{inspect(state.settings.name)}"
    }
  end

  defp identity(state),
    do: %{pool: state.settings.name, worker: state.slot, os_pid: state.os_pid}

  defp log("debug", message, metadata), do: Logger.debug(message, metadata)
  defp log("info", message, metadata), do: Logger.info(message, metadata)
  defp log("warning", message, metadata), do: Logger.warning(message, metadata)
  defp log(_error, message, metadata), do: Logger.error(message, metadata)

  # Credit that a full pipe refuses stays owed.
  defp credit(%State{owed: owed} = state) when owed + 1 < @credit_step,
    do: %{state | owed: owed + 1}

  defp credit(%State{owed: owed} = state) do
    if command(state, Frame.encode!({:credit, owed + 1})),
      do: %{state | owed: 0},
      else: %{state | owed: owed + 1}
  end

  # Never suspends: an owner that waits for a full pipe could not enforce the deadline.
  defp command(state, frame) do
    :erlang.port_command(state.port, frame, [:nosuspend])
  rescue
    ArgumentError -> false
  end

  defp write(port, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> false
  end
end
