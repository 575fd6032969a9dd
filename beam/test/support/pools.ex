defmodule Slither.Test.Pools do
  @moduledoc false
  # Pools of real Python workers for tests, and what they say while they run.

  import ExUnit.{Assertions, Callbacks}

  alias Slither.{Item, Telemetry}
  alias Slither.Pool.Settings
  alias Slither.Python.{Board, Environment, Pool}

  @handlers Path.expand("../python/handlers", __DIR__)
  # Long enough for a busy machine; nothing waits for it unless something is wrong.
  @patience 60_000

  @doc "How long to wait for what must happen, in ms."
  @spec patience() :: pos_integer
  def patience, do: @patience

  @doc "A name for a pool that no other test has."
  @spec unique(atom) :: atom
  def unique(base), do: :"#{base}_#{System.unique_integer([:positive])}"

  @doc "The folder of the tests' Python modules."
  @spec handlers() :: String.t()
  def handlers, do: @handlers

  @doc "Starts a pool of the test's own, and sends what it reports to the test."
  @spec start_pool(keyword) :: Pool.name()
  def start_pool(options \\ []) do
    name = Keyword.get_lazy(options, :name, fn -> unique(:test_pool) end)
    report(name)
    # What a test left running is not waited for.
    defaults = [name: name, size: 1, paths: [@handlers], shutdown: 1_000]
    start_supervised!({Pool, Keyword.merge(defaults, options)}, id: name)
    name
  end

  @doc "As `start_pool/1`, once a worker is ready."
  @spec ready_pool(keyword) :: Pool.name()
  def ready_pool(options \\ []) do
    name = start_pool(options)
    assert Pool.await_ready(name) == :ok
    {least, _most} = Settings.range(Keyword.get(options, :size, 1))
    for slot <- 0..(least - 1), do: await_up(name, slot)
    name
  end

  @doc "As `ready_pool/1`, whose workers' calls are known to be short: they get their whole window."
  @spec quick_pool(keyword) :: Pool.name()
  def quick_pool(options \\ []) do
    name = ready_pool(options)
    quick!(name)
    name
  end

  @doc "Has the calls of a pool's workers known to be short."
  @spec quick!(Pool.name()) :: :ok
  def quick!(name) do
    {:ok, handle} = Pool.handle(name)
    for slot <- 0..(Board.size(handle.board) - 1), do: quicken(handle, slot)
    :ok
  end

  @doc "Has the calls of a worker known to be short, and the one that it is at, too."
  @spec quicken(Pool.handle(), non_neg_integer) :: :ok
  def quicken(handle, slot) do
    Board.run(handle.board, slot, nil)
    Board.took(handle.board, slot, 1)
  end

  @doc "Starts a pool for all tests of a module, of two workers; returns its name when all are up."
  @spec start!(Pool.name(), keyword) :: Pool.name()
  def start!(name, options \\ []) do
    ready_pool([name: name, size: 2] ++ options)
  end

  @doc "Waits until the worker of a slot is up; returns its OS pid."
  @spec await_up(Pool.name(), non_neg_integer) :: pos_integer
  def await_up(name, slot \\ 0) do
    assert_receive {:up, ^name, %{worker: ^slot, os_pid: os_pid}}, @patience
    os_pid
  end

  @doc "Waits until the process of an OS pid is down; returns the reason."
  @spec await_down(Pool.name(), pos_integer) :: atom
  def await_down(name, os_pid) do
    assert_receive {:down, ^name, %{os_pid: ^os_pid, reason: reason}}, @patience
    reason
  end

  @doc "Waits until a handler has said, by its progress, that it runs; returns the OS pid."
  @spec await_running(Pool.name()) :: pos_integer
  def await_running(name) do
    assert_receive {:progress, ^name, %{os_pid: os_pid}}, @patience
    os_pid
  end

  # A handler of events runs in the process that emits: it only sends.
  defp report(name) do
    events = [
      [:slither, :pool, :worker, :up],
      [:slither, :pool, :worker, :down],
      [:slither, :worker, :progress],
      [:slither, :dispatch, :batch, :start]
    ]

    :ok = Telemetry.attach({__MODULE__, name}, events, &__MODULE__.event/4, {self(), name})
    on_exit(fn -> Telemetry.detach({__MODULE__, name}) end)
  end

  @doc false
  @spec event([atom], map, map, {pid, Pool.name()}) :: any
  def event(event, _measurements, %{pool: name} = metadata, {test, name}),
    do: send(test, {List.last(event), name, metadata})

  def event(_event, _measurements, _metadata, _config), do: :ok

  @doc "Runs one item; its result, or the error that ended the run."
  @spec call(Pool.name(), String.t(), term, keyword) ::
          {:ok, term} | {:error, Slither.Error.t() | Slither.DispatchError.t()}
  def call(name, function, payload, options \\ []) do
    case Slither.dispatch([payload], options(name, function, options)) do
      {:ok, [%Item{payload: result}]} -> {:ok, result}
      {:error, error, _partial} -> {:error, error}
    end
  end

  @doc "Options for a dispatch to the tests' handlers."
  @spec options(Pool.name(), String.t(), keyword) :: keyword
  def options(name, function, options \\ []) do
    Keyword.merge(
      [pool: name, module: "slither_test_handlers", function: function, timeout: @patience],
      options
    )
  end

  @doc "A path in a folder of the test's own, which is removed after it."
  @spec path(String.t()) :: String.t()
  def path(name) do
    folder = Path.join(System.tmp_dir!(), "slither-test-#{System.pid()}-#{unique(:t)}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    Path.join(folder, name)
  end

  @doc "Sends a signal to a process of ours."
  @spec signal(pos_integer, String.t()) :: :ok
  def signal(os_pid, signal) when os_pid > 1 do
    {_output, 0} = System.cmd("kill", ["-" <> signal, Integer.to_string(os_pid)])
    :ok
  end

  @doc "Whether a process exists that has not ended."
  @spec alive?(pos_integer) :: boolean
  def alive?(os_pid) do
    case File.read("/proc/#{os_pid}/stat") do
      {:ok, stat} -> not (stat =~ ~r/\) Z /)
      {:error, _gone} -> false
    end
  end

  @doc "Whether a process that was killed ends; a kill takes effect when the kernel comes to it."
  @spec ends?(pos_integer) :: boolean
  def ends?(os_pid), do: ends?(os_pid, System.monotonic_time(:millisecond) + @patience)

  defp ends?(os_pid, deadline) do
    cond do
      not alive?(os_pid) -> true
      System.monotonic_time(:millisecond) > deadline -> false
      true -> :erlang.yield() && ends?(os_pid, deadline)
    end
  end

  @doc "An executable that a pool takes for Python; `script` is of /bin/sh."
  @spec interpreter(String.t()) :: String.t()
  def interpreter(script) do
    path = path("python")
    # Asked for the interpreter behind it, it has none to name.
    File.write!(path, "#!/bin/sh\ncase \"$2\" in *sys.executable*) exit 1;; esac\n#{script}\n")
    File.chmod!(path, 0o755)
    path
  end

  @doc "An executable that speaks the protocol as `slither_fake_worker.py` does in a mode."
  @spec fake(String.t()) :: String.t()
  def fake(mode) do
    {:ok, python} = Environment.interpreter(nil)
    interpreter("exec '#{python}' '#{@handlers}/slither_fake_worker.py' '#{mode}'")
  end

  @doc "What the logger's events of a pool are, sent to the test as `{:log, level, text, metadata}`."
  @spec listen(Pool.name()) :: :ok
  def listen(name) do
    id = unique(:slither_log)
    # What Python prints is of level info, which the tests' Logger is not to show.
    for module <- [Slither.Python.Worker, Slither.Python.Voice],
        do: Logger.put_module_level(module, :debug)

    :ok = :logger.add_handler(id, __MODULE__, %{config: {self(), name}})
    on_exit(fn -> :logger.remove_handler(id) end)
  end

  @doc false
  @spec log(:logger.log_event(), map) :: any
  def log(%{level: level, msg: {:string, text}, meta: %{pool: name} = meta}, %{
        config: {test, name}
      }),
      do: send(test, {:log, level, IO.chardata_to_string(text), meta})

  def log(_event, _config), do: :ok
end
