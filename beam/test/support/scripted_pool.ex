defmodule Slither.Test.ScriptedPool do
  @moduledoc false
  # A pool's scheduler without Python: its workers and lanes are processes that send whatever they
  # are told to the test, which says in their place what becomes of them. Nothing of the scheduler
  # is replaced, so a test sees each thing that it sends, starts and stops.

  import ExUnit.Callbacks

  alias Slither.Error
  alias Slither.Pool.{Scheduler, SessionCalls, Settings}
  alias Slither.Python.{Inbox, Job, Outcome, Pool, Reports, Timing}
  alias Slither.Test.Pools

  defmodule Starter do
    @moduledoc false
    # Stands in for the supervisor of workers: a worker that it is to start is a relay to the test.
    use GenServer

    @spec start_link({GenServer.name(), pid}) :: GenServer.on_start()
    def start_link({name, test}), do: GenServer.start_link(__MODULE__, test, name: name)

    @impl true
    def init(test), do: {:ok, test}

    @impl true
    def handle_call({:start_child, child}, _from, test) do
      {{Slither.Python.Worker, :start_link, [arguments]}, _, _, _, _} = child
      slot = elem(arguments, 1)
      worker = Slither.Test.ScriptedPool.relay(test)
      send(test, {:told, worker, {:started, slot}})
      {:reply, {:ok, worker}, test}
    end
  end

  defstruct [:name, :handle, :window]

  @type t :: %__MODULE__{}

  @doc "Starts one; the calling process is told what its workers and lanes are told."
  @spec start(keyword) :: t
  def start(options) do
    name = Pools.unique(:scripted)
    {:ok, checked} = Pool.check([name: name] ++ options)
    tasks = {:via, Registry, {Slither.Python.Registry, {:tasks, name}}}
    workers = {:via, Registry, {Slither.Python.Registry, {:workers, name}}}
    start_supervised!({Task.Supervisor, name: tasks}, id: {name, :tasks})
    start_supervised!({Starter, {workers, self()}}, id: {name, :workers})
    sessions = :ets.new(__MODULE__, [:public])
    own = %{workers: workers, tasks: tasks, sessions: sessions, chores: SessionCalls}
    start_supervised!({Scheduler, Map.merge(Settings.new(checked, nil), own)}, id: name)
    {:ok, handle} = Pool.handle(name)
    %__MODULE__{name: name, handle: handle, window: checked[:window]}
  end

  @doc "Ends one, and the processes of its workers and lanes; nothing is told of it any more."
  @spec stop(t, [pid]) :: :ok
  def stop(%{name: name}, relays) do
    for id <- [{name, :tasks}, name, {name, :workers}], do: stop_supervised!(id)
    Enum.each(relays, &leave/1)
    sync(relays)
    forget()
  end

  defp forget do
    receive do
      {:told, _pid, _what} -> forget()
    after
      0 -> :ok
    end
  end

  @doc "Has the pause after failed starts be over."
  @spec hurry(t) :: term
  def hurry(pool), do: send(pool.handle.scheduler, :retry)

  @doc "Kills a process that the scheduler watches, and returns once the scheduler is told."
  @spec kill(t, pid) :: :ok
  def kill(%{handle: %{scheduler: scheduler}}, pid) do
    Process.exit(pid, :kill)
    await_told(scheduler, pid)
  end

  defp await_told(scheduler, pid) do
    {:monitors, monitors} = Process.info(scheduler, :monitors)

    if {:process, pid} in monitors do
      :erlang.yield()
      await_told(scheduler, pid)
    else
      :ok
    end
  end

  ## What a worker says

  @doc "A worker is ready; returns its lanes. Its calls are known to be short."
  @spec ready(t, pid, non_neg_integer) :: [pid]
  def ready(pool, worker, slot) do
    test = self()
    lanes = for _ <- 1..pool.window, do: relay(test)
    Pools.quicken(pool.handle, slot)
    send(pool.handle.scheduler, {Reports, slot, worker, {:ready, lanes, 10_000 + slot}})
    lanes
  end

  @doc "A worker can't start, and is gone."
  @spec failed(t, pid, non_neg_integer) :: :ok
  def failed(pool, worker, slot) do
    error = %Error{reason: :start_failed, message: "as the script has it"}
    send(pool.handle.scheduler, {Reports, slot, worker, {:failed, error}})
    leave(worker)
  end

  @doc "A worker is gone."
  @spec down(t, pid, non_neg_integer, atom) :: :ok
  def down(pool, worker, slot, reason) do
    error = %Error{reason: reason, message: "as the script has it"}
    send(pool.handle.scheduler, {Reports, slot, worker, {:down, error}})
    leave(worker)
  end

  @doc "A worker has met a limit."
  @spec due(t, pid, non_neg_integer) :: term
  def due(pool, worker, slot),
    do: send(pool.handle.scheduler, {Reports, slot, worker, {:due, :max_age, 1}})

  @doc "A lane that was asked whether it is idle is."
  @spec idle(t, pid, reference) :: term
  def idle(pool, _lane, ref), do: send(pool.handle.scheduler, {Reports, ref})

  ## The processes

  @doc "A process that sends what it gets to `test`; one that plays a lane answers calls itself."
  @spec relay(pid) :: pid
  def relay(test), do: spawn(fn -> loop(test) end)

  defp loop(test) do
    receive do
      :leave ->
        :ok

      {:"$gen_cast", {:stop, :shutdown}} ->
        :ok

      {:ping, from, ref} ->
        send(from, {ref, :pong})
        loop(test)

      # Whoever asks for the pool's status asks all workers; these tell nothing of what they run.
      {:"$gen_call", from, :runs} ->
        GenServer.reply(from, nil)
        loop(test)

      %Job{} = job ->
        results = Enum.map(job.payloads, fn _ -> nil end)
        Inbox.tell(job.inbox, {:done, job.ref, Outcome.ok(results, %{}, %Timing{})})
        loop(test)

      message ->
        send(test, {:told, self(), plain(message)})
        loop(test)
    end
  end

  defp plain({:"$gen_cast", message}), do: message
  defp plain(message), do: message

  @doc "Ends a relay."
  @spec leave(pid) :: :ok
  def leave(pid) do
    send(pid, :leave)
    :ok
  end

  @doc "Returns once each relay that lives has passed on what it has."
  @spec sync([pid]) :: :ok
  def sync(pids) do
    for pid <- pids do
      monitor = Process.monitor(pid)
      send(pid, {:ping, self(), monitor})

      receive do
        {^monitor, :pong} -> Process.demonitor(monitor, [:flush])
        {:DOWN, ^monitor, :process, _pid, _reason} -> :gone
      end
    end

    :ok
  end
end
