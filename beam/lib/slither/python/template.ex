defmodule Slither.Python.Template do
  @moduledoc false
  # The process that owns a template: a Python process that has imported what a pool's workers need,
  # and forks them. It starts as a worker does, and says in the same frames what goes on. Once it is
  # ready, each fork is a call: the first of its answer is the worker's pid, the last how that
  # ended. Workers come in at its `Door`, and are handed over to their owners.
  #
  # `Slither.Python.Templates` starts it, and hears of its end; `Launcher.Fork` gets its answers, in
  # the process of a worker's owner. A worker ends with its template, as the kernel sees to that.

  use GenServer, restart: :temporary

  require Logger

  import Slither.Python.Template.Fates

  alias Slither.{Error, Label}
  alias Slither.Python.{Asks, Guard, Obituary, OSProcess, Transport}
  alias Slither.Python.Launcher.Spawn
  alias Slither.Python.Template.{Answers, Brood, Door, Frames, Looking, State}

  # ms within which a template takes note of the end of a worker, unless it hangs.
  @late 5_000
  # ms after which a killed process counts as gone, even if the system has not said so.
  @kill_wait 2_000

  @doc "Starts the template of a pool; `keeper` hears of it."
  @spec start_link({map, pid}) :: GenServer.on_start()
  def start_link({_settings, _keeper} = arg), do: GenServer.start_link(__MODULE__, arg)

  @doc "Has it fork a worker with these variables; `Answers` tell of it."
  @spec fork(pid, Brood.who(), [{charlist, charlist | false}]) :: :ok
  def fork(template, who, variables), do: GenServer.cast(template, {:fork, who, variables})

  @doc "Answers whoever asked the worker in `slot`, which is to be forked, where it is: where this is."
  @spec where(pid, GenServer.from(), non_neg_integer) :: :ok
  def where(template, from, slot), do: GenServer.cast(template, {:where, from, slot})

  @doc "The stream of a worker has ended: has it told how that ended, or counts it as hung."
  @spec ended?(pid, pos_integer) :: :ok
  def ended?(template, os_pid), do: GenServer.cast(template, {:ended?, os_pid})

  @doc "Another is asked from now on: it ends with its last worker."
  @spec leave(pid) :: :ok
  def leave(template), do: GenServer.cast(template, :leave)

  @impl true
  def init({settings, keeper}) do
    Process.flag(:trap_exit, true)
    Logger.metadata(pool: settings.name)
    Label.set({__MODULE__, settings.name})
    born = System.monotonic_time()
    {:ok, %State{settings: settings, keeper: keeper, born: born}, {:continue, :launch}}
  end

  @impl true
  def handle_continue(:launch, %State{settings: settings} = state) do
    with {:ok, door} <- Door.open(),
         {:ok, process} <- Spawn.launch(settings, nil) do
      startup = later(:startup_timeout, settings.startup_timeout)
      since = OSProcess.since(process.os_pid)
      _ = Guard.watch(process.os_pid, since)
      facts = %{pool: settings.name, worker: nil}
      asks = Asks.new(process.transport, settings.max_frame, settings.bridge, facts)
      state = %{state | process: process, since: since, door: door, asks: asks, startup: startup}
      {:noreply, tell_keeper(state, {:started, process.os_pid})}
    else
      {:error, %Error{} = error} ->
        {:stop, :normal, failed(state, error)}

      {:error, why} ->
        {:stop, :normal, refused(state, "no socket can be opened: #{inspect(why)}")}
    end
  end

  @impl true
  def handle_cast({:fork, who, variables}, %State{phase: :ready, reason: nil} = state),
    do: {:noreply, Frames.ask(state, who, variables)}

  def handle_cast({:fork, who, variables}, %State{phase: :starting} = state),
    do: {:noreply, %{state | waiting: [{who, variables} | state.waiting]}}

  def handle_cast({:fork, who, _variables}, state) do
    reply(state, who, :again)
    {:noreply, state}
  end

  def handle_cast({:ended?, os_pid}, state) do
    later({:unheard, os_pid}, @late)
    {:noreply, state}
  end

  def handle_cast({:where, from, slot}, %State{phase: :starting, reason: nil} = state),
    do: {:noreply, look(%{state | curious: [{from, slot} | state.curious]})}

  def handle_cast({:where, from, slot}, state) do
    Answers.nowhere(from, slot, state.process && state.process.os_pid)
    {:noreply, state}
  end

  def handle_cast(:leave, state), do: settle(%{state | leaves?: true})

  @impl true
  def handle_info({Door, :came, os_pid, socket}, state) do
    case Brood.came(state.brood, os_pid, socket) do
      {:give, who, brood} -> {:noreply, Frames.give(%{state | brood: brood}, who, os_pid, socket)}
      {:keep, brood} -> {:noreply, %{state | brood: brood}}
      :stranger -> {:noreply, Frames.turn_away(state, [socket])}
    end
  end

  def handle_info({Asks.Answerer, message}, state),
    do: {:noreply, %{state | asks: Asks.message(state.asks, message)}}

  def handle_info({:DOWN, _ref, :process, pid, reason}, state),
    do: {:noreply, %{state | asks: Asks.down(state.asks, pid, reason)}}

  def handle_info(:startup_timeout, %State{phase: :starting, reason: nil} = state) do
    python = state.process.python
    error = Obituary.not_ready(state.settings.name, python, state.settings.startup_timeout)
    {:noreply, look(%{state | overdue: error, looking: nil})}
  end

  def handle_info(:where, %State{looking: looking} = state) when looking != nil,
    do: {:noreply, looked(state, Looking.again(looking))}

  def handle_info({:late, call}, state) do
    if Brood.asked?(state.brood, call),
      do: {:noreply, hung(state, "it has not forked a worker")},
      else: {:noreply, state}
  end

  def handle_info({:unheard, os_pid}, state) do
    if Brood.lives?(state.brood, os_pid) and OSProcess.ended?(os_pid),
      do: {:noreply, hung(state, "it has not taken note of the end of a worker")},
      else: {:noreply, state}
  end

  def handle_info(:gone, state), do: {:stop, :normal, down(state, nil)}

  def handle_info(message, %State{process: process} = state) do
    case process && Transport.event(process.transport, message) do
      {:frame, body} -> Frames.read(state, body)
      {:closed, status} -> {:stop, :normal, down(state, status)}
      _late -> {:noreply, state}
    end
  end

  # The pool ends, or it has no worker left, or this process has a fault: nothing of it is to be
  # there afterwards, and nobody is to wait for it.
  @impl true
  def terminate(_reason, state) do
    for {who, _variables} <- state.waiting, do: reply(state, who, :again)
    for {_call, who} <- state.brood.asked, do: reply(state, who, :again)
    for {from, slot} <- state.curious, do: Answers.nowhere(from, slot)
    left(state)
  end

  defp left(%State{phase: :down}), do: :ok
  defp left(%State{process: nil}), do: :ok

  defp left(%State{process: %{os_pid: os_pid, transport: %{port: port}}} = state) do
    why = if state.leaves?, do: :restart, else: :shutdown
    if state.phase == :ready, do: down_event(state, why, nil)
    Guard.release(os_pid)

    receive do
      {^port, {:exit_status, _status}} -> :ok
    after
      @kill_wait -> :ok
    end

    close(state)
  end
end
