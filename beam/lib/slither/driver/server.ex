defmodule Slither.Driver.Server do
  @moduledoc false
  # The process that owns the socket to the driver; `Slither.Driver` starts it, and the VM lives as
  # long as it does. It hands the driver's frames to the runs they are for, answers requests and
  # what is asked of tables, and ends the VM when the driver is gone. It never decodes what a run
  # is fed, and never waits for one.

  use GenServer

  require Logger

  alias Slither.Driver.{Done, Faults, GatherRun, LogHandler, MapRun, Options, PipeRun}
  alias Slither.Driver.{Requests, Run, Tables, ValuesRun}
  alias Slither.{Blob, Dashboard, Error, Label}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Asks, Handshake, Pool, Secret, Transport}

  @kinds %{"map" => MapRun, "pipe" => PipeRun, "gather" => GatherRun, "values" => ValuesRun}

  defmodule State do
    @moduledoc false
    # What the server knows of the driver, of its runs, and of the requests that are being served.
    @enforce_keys [:port, :asks]
    defstruct [:port, :asks, :pools, phase: :greeting, runs: %{}, tasks: %{}]

    @typedoc """
    `pools` is the supervisor of what the welcome asked for; `runs` has the pid of each run by its
    id, `tasks` the run or request of each monitor.
    """
    @type t :: %__MODULE__{
            port: Slither.Python.Transport.t(),
            asks: Slither.Python.Asks.t(),
            pools: pid | nil,
            phase: :greeting | :ready,
            runs: %{optional(pos_integer) => pid},
            tasks: %{optional(reference) => {:run | :request, pos_integer}}
          }
  end

  @doc "Starts it on the descriptor of a socket, as what the VM lives for."
  @spec start(non_neg_integer) :: GenServer.on_start()
  def start(descriptor), do: GenServer.start(__MODULE__, descriptor)

  @impl true
  def init(descriptor) do
    # The server sees the driver's end at once, whatever the schedulers are busy with.
    Process.flag(:priority, :high)
    Label.set(__MODULE__)
    Process.flag(:trap_exit, true)
    # A socket rather than pipes: for pipes that BEAM did not open, a port writes each frame in a
    # thread of its own.
    case Transport.Socket.open(descriptor) do
      {:ok, socket} -> {:ok, greet(socket)}
      {:error, why} -> {:stop, {:no_socket, descriptor, why}}
    end
  end

  defp greet(port) do
    send_frame(port, Handshake.hello())
    bridge = Application.fetch_env!(:slither, :view_server)
    asks = Asks.new(port, Frame.max_frame(), bridge, %{pool: nil, worker: 0})
    %State{port: port, asks: asks}
  end

  @impl true
  def handle_info({:EXIT, pools, reason}, %State{pools: pools} = state) when pools != nil,
    do: {:stop, {:pools_ended, reason}, state}

  def handle_info({Asks.Answerer, message}, state),
    do: {:noreply, %{state | asks: Asks.message(state.asks, message)}}

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    case Map.pop(state.tasks, monitor) do
      {nil, _tasks} -> {:noreply, %{state | asks: Asks.down(state.asks, pid, reason)}}
      {{:run, id}, tasks} -> {:noreply, run_down(%{state | tasks: tasks}, id, reason)}
      {{:request, id}, tasks} -> {:noreply, request_down(%{state | tasks: tasks}, id, reason)}
    end
  end

  def handle_info(message, state) do
    case Transport.event(state.port, message) do
      {:frame, body} -> body(body, state)
      # The driver is gone, and nobody waits for anything any more.
      {:closed, _status} -> leave()
      :none -> {:noreply, state}
    end
  end

  ## Frames

  defp body(body, state) do
    case Frame.peek(body) do
      {name, id} when name in [:feed, :take, :end, :kill, :trace] ->
        {:noreply, to_run(state, name, id, body)}

      {:cancel, id} ->
        {:noreply, cancel(state, id)}

      {:table_call, id} ->
        {:noreply, table(state, id, body)}

      _ ->
        frame(Frame.decode(body), state)
    end
  end

  defp frame({:ok, {:welcome, version, settings}}, %State{phase: :greeting} = state) do
    case welcome(version, settings, state.port) do
      {:ok, pools, facts} ->
        send_frame(state.port, {:ready, facts})
        {:noreply, %{state | phase: :ready, pools: pools}}

      {:error, error} ->
        send_frame(state.port, {:failed, Faults.to_wire(error)})
        {:stop, :normal, state}
    end
  end

  defp frame({:ok, {:start, id, kind, spec}}, %State{phase: :ready} = state),
    do: {:noreply, start_run(state, id, kind, spec)}

  defp frame({:ok, {:request, id, name, arguments}}, %State{phase: :ready} = state) do
    port = state.port

    {_pid, monitor} =
      spawn_monitor(fn ->
        Transport.write(port, Requests.reply(id, Requests.serve(name, arguments)))
      end)

    {:noreply, put_in(state.tasks[monitor], {:request, id})}
  end

  defp frame({:ok, {:ping, token}}, state) do
    send_frame(state.port, {:pong, token})
    {:noreply, state}
  end

  defp frame({:ok, {:shutdown, _grace}}, state), do: {:stop, :normal, state}
  defp frame({:ok, frame}, state), do: broken(state, "a #{elem(frame, 0)} frame, here or now")
  defp frame({:error, why}, state), do: broken(state, why)

  # The two sides can't mend what they disagree on: the driver sees the reason, and the end.
  defp broken(state, why) do
    Logger.error("the driver broke the protocol: #{why}")
    {:stop, {:protocol_error, why}, state}
  end

  defp welcome(version, settings, port) do
    if Handshake.understood?(version) do
      {secret, settings} = Map.pop(settings, "secret")
      {trace, settings} = Map.pop(settings, "trace")
      {program, settings} = Map.pop(settings, "program", %{})
      # For those who look in from outside.
      Application.put_env(:slither, :program, program)

      with {:ok, dashboard, settings} <- Options.dashboard(settings),
           {:ok, pool, level} <- Options.pool(settings),
           {:ok, trace} <- Options.trace(trace) do
        Logger.configure(level: level)
        :ok = LogHandler.install(port)
        start = {Pool, :start_driven, [pool, Secret.new(secret)]}
        pool = %{Pool.child_spec(pool) | start: start}
        # Before the workers, who are told whether somebody takes their spans.
        with :ok <- Slither.Trace.configure(trace),
             do: start([Tables.supervisor(), pool | dashboard(dashboard)], dashboard)
      end
    else
      {:error, Faults.version_mismatch(version)}
    end
  end

  defp start(children, dashboard) do
    case Supervisor.start_link(children, strategy: :one_for_one) do
      {:ok, pools} ->
        facts = if dashboard, do: %{"dashboard" => Dashboard.url()}, else: %{}
        {:ok, pools, Map.merge(facts, blobs())}

      # Of its own, not of the supervisor's.
      {:error, {:shutdown, {:failed_to_start_child, _id, %Error{} = error}}} ->
        {:error, error}

      {:error, _reason} = error ->
        error
    end
  end

  # The folder in shared memory, which the driver writes into itself.
  defp blobs do
    case Blob.Server.open() do
      {:ok, path} -> %{"blobs" => path}
      {:error, _why} -> %{}
    end
  end

  # Its end would be a fault of ours, and costs the program nothing but the page.
  defp dashboard(nil), do: []

  defp dashboard(options) do
    start = {Dashboard, :start, [options]}
    [%{id: Dashboard, start: start, restart: :temporary}]
  end

  ## Runs

  defp start_run(state, id, kind, spec) do
    {pid, monitor} = Run.start(@kinds, kind, id, spec, state.port)
    state = put_in(state.tasks[monitor], {:run, id})
    put_in(state.runs[id], pid)
  end

  # A frame for a run that has ended was on its way when the run's last frame went out.
  defp to_run(state, name, id, body) do
    with %{^id => run} <- state.runs, do: Run.tell(run, name, body)
    state
  end

  # The run's end gives back what it has out at workers.
  defp cancel(state, id) do
    with %{^id => pid} <- state.runs, do: Process.exit(pid, :kill)
    state
  end

  defp run_down(state, id, reason) do
    unless reason in [:normal, :killed],
      do: Transport.write(state.port, Done.frame(id, nil, Faults.crashed(reason)))

    %{state | runs: Map.delete(state.runs, id)}
  end

  defp request_down(state, _id, :normal), do: state

  defp request_down(state, id, reason) do
    Transport.write(state.port, Requests.reply(id, {:error, Faults.crashed(reason)}))
    state
  end

  defp table(state, id, body) do
    case Asks.table(state.asks, id, body) do
      {:ok, asks} -> %{state | asks: asks}
      {:error, why} -> exit({:protocol_error, why})
    end
  end

  ## End

  # Halts without cleaning up: durable rows are on disk, and workers end with the VM.
  @spec leave() :: no_return
  defp leave do
    Slither.Watch.Attach.forget()
    :erlang.halt(0, flush: false)
  end

  # Runs end first, and with them the workers that are busy, as nobody waits for what they do; idle
  # workers run their stop hooks. The application ends last, so that stores write what they have.
  @impl true
  def terminate(_reason, state) do
    for {_id, pid} <- state.runs, do: Process.exit(pid, :kill)
    if state.pools, do: stop_pools(state.pools)
    Application.stop(:slither)
  end

  defp stop_pools(pools) do
    Pool.kill_busy(:default)
    Supervisor.stop(pools, :shutdown)
  end

  defp send_frame(port, frame), do: Transport.write(port, Frame.encode!(frame))
end
