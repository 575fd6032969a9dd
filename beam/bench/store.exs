# What a read of the store costs, on BEAM and from Python, beside what people use instead.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Features do
  @behaviour Slither.Store

  @impl true
  def tables, do: [%{name: :bench_features, python: :read}]

  @impl true
  def views do
    [
      %{
        name: :bench_lookup,
        scope: :global,
        handler: fn %{"key" => key} ->
          Slither.Store.Server.get(__MODULE__, :bench_features, key)
        end
      }
    ]
  end

  @impl true
  def load(tables) do
    rows = for n <- 0..99, do: {"user:#{n}", %{tier: "gold", weight: 0.5}}
    :ets.insert(tables[:bench_features], rows)
    :ok
  end
end

defmodule Slither.Bench.Store do
  import Slither.Bench
  alias Slither.Bench.Features
  alias Slither.Store.Server

  @python Path.join(__DIR__, "python")
  @gets 500_000
  @asks 1_500

  def run do
    Logger.configure(level: :warning)
    # What is linked here stops before this script does.
    Process.flag(:trap_exit, true)
    {:ok, _} = Server.start_link(Features)
    {:ok, _} = Slither.Python.Pool.start_link(name: :bench, size: 1, paths: [@python])
    :ok = Slither.Python.Pool.await_ready(:bench)
    socket = redis()
    reads()
    from_python("Shared state from Python", socket)

    # What a wake-up costs depends on whether the other cores sleep: 7 µs or 70 for the bare port.
    beside_busy_cores(fn -> from_python("Shared state from Python, other cores busy", socket) end)
    scaling()
    reload()
  end

  defp reads do
    tid = :ets.new(:bare, [:set, read_concurrency: true])
    :ets.insert(tid, for(n <- 0..99, do: {"user:#{n}", %{tier: "gold", weight: 0.5}}))

    results =
      rounds(9, [
        {"bare :ets.lookup", fn -> per(@gets, fn -> :ets.lookup(tid, "user:42") end) end},
        {"Store.Server.get",
         fn -> per(@gets, fn -> Server.get(Features, :bench_features, "user:42") end) end}
      ])

    ratio = results["Store.Server.get"].median / results["bare :ets.lookup"].median
    report("Store reads on BEAM", "ns", results, [{"get / bare :ets.lookup", ratio, "<=", 1.5}])
  end

  defp per(count, fun) do
    {time, _} = :timer.tc(fn -> repeat(count, fun) end, :nanosecond)
    time / count
  rescue
    # :timer.tc/2 with a unit came with OTP 26.
    _ ->
      {time, _} = :timer.tc(fn -> repeat(count, fun) end)
      1_000 * time / count
  end

  defp repeat(0, _fun), do: :ok

  defp repeat(count, fun) do
    fun.()
    repeat(count - 1, fun)
  end

  defp beside_busy_cores(fun) do
    ports =
      for _ <- 2..System.schedulers_online()//1 do
        Port.open({:spawn_executable, "/bin/sh"}, args: ["-c", "while :; do :; done"])
      end

    fun.()

    for port <- ports do
      {:os_pid, pid} = Port.info(port, :os_pid)
      System.cmd("kill", ["#{pid}"])
    end
  end

  defp from_python(title, socket) do
    results =
      rounds(11, [
        {"bare port round trip", fn -> bare() end},
        {"slither", fn -> in_worker() end},
        {"Manager().dict() get", fn -> peer(["manager", "#{@asks}"]) end},
        {"Redis GET, Unix socket", fn -> peer(["redis", "#{@asks}", socket]) end}
      ])

    at = fn name -> results[name].median end
    bare = at.("bare port round trip")

    claims =
      for name <- ["table get", "view call"], claim <- single(name, at, bare) do
        claim
      end

    many =
      for {many, one} <- [
            {"table get_many of 100", "table get"},
            {"view map of 100", "view call"}
          ],
          claim <- [
            {"#{many} / #{one}", at.(many) / at.(one), "<=", 5.0},
            {"#{many}, a key / Manager get", at.(many) / 100 / at.("Manager().dict() get"), "<=",
             0.1},
            {"#{many}, a key / Redis GET", at.(many) / 100 / at.("Redis GET, Unix socket"), "<=",
             0.1}
          ],
          do: claim

    report(title, "µs", results, claims ++ many)
  end

  defp single(name, at, bare) do
    [
      {"#{name} / bare port", at.(name) / bare, "<=", 1.5},
      {"#{name} / Manager get", at.(name) / at.("Manager().dict() get"), "<=", 1.0},
      {"#{name} / Redis GET", at.(name) / at.("Redis GET, Unix socket"), "<=", 0.5}
    ]
  end

  defp in_worker do
    options = [module: "store_bench", function: "slither", pool: :bench, timeout: 120_000]
    {:ok, [item]} = Slither.dispatch([@asks], options)
    item.payload
  end

  # BEAM's side of the bare port is a loop that answers every frame with itself.
  defp bare do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)

    port =
      Port.open({:spawn_executable, python}, [
        :binary,
        :nouse_stdio,
        packet: 4,
        args: [Path.join(@python, "bare_port.py"), "ask", "#{@asks}"]
      ])

    echo(port, @asks)
  end

  defp echo(port, 0) do
    receive do
      {^port, {:data, text}} ->
        Port.close(port)
        String.to_float(text)
    end
  end

  defp echo(port, left) do
    receive do
      {^port, {:data, body}} ->
        Port.command(port, body)
        echo(port, left - 1)
    end
  end

  defp peer(arguments) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    env = [{"PYTHONPATH", Path.expand("python")}]
    {text, 0} = System.cmd(python, [Path.join(@python, "store_bench.py") | arguments], env: env)
    text |> String.trim() |> String.to_float()
  end

  defp redis do
    socket = Path.join(System.tmp_dir!(), "slither-bench-#{System.pid()}.sock")
    server = System.find_executable("redis-server") || raise "make bench needs redis-server"
    arguments = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"]
    port = Port.open({:spawn_executable, server}, [:binary, args: arguments])
    {:os_pid, pid} = Port.info(port, :os_pid)
    System.at_exit(fn _ -> System.cmd("kill", ["#{pid}"]) end)
    await_text(port, "Ready to accept connections|ready to accept connections")
    socket
  end

  defp await_text(port, pattern) do
    receive do
      {^port, {:data, text}} ->
        unless text =~ Regex.compile!(pattern), do: await_text(port, pattern)
    end
  end

  defp scaling do
    results =
      rounds(5, [
        {"1 reader, reads/ms", fn -> read_rate(1) end},
        {"2 readers, reads/ms", fn -> read_rate(2) end}
      ])

    ratio = results["2 readers, reads/ms"].median / results["1 reader, reads/ms"].median
    claim = {"2 readers / 1 reader (#{System.schedulers_online()} schedulers)", ratio, ">=", 1.6}
    report("Store reads by readers", "reads per ms", results, [claim])
  end

  defp read_rate(readers) do
    {time, _} =
      :timer.tc(fn ->
        1..readers
        |> Enum.map(fn _ ->
          Task.async(fn ->
            repeat(@gets, fn -> Server.get(Features, :bench_features, "user:42") end)
          end)
        end)
        |> Task.await_many(:infinity)
      end)

    readers * @gets / (time / 1_000)
  end

  defmodule Million do
    @behaviour Slither.Store
    @impl true
    def tables, do: [%{name: :million}]
    @impl true
    def load(tables) do
      :ets.insert(tables[:million], for(n <- 1..1_000_000, do: {n, n}))
      :ok
    end
  end

  # A reader notes its longest gap between two reads: first alone, then while a million rows are
  # loaded and swapped in, three times.
  defp reload do
    {:ok, _} = Server.start_link(Million)
    alone = longest_pause(fn -> busy_for(2_000) end)
    during = longest_pause(fn -> for(_ <- 1..3, do: :ok = Server.reload(Million)) end)
    IO.puts("\nLongest pause of a reader (ms)\n")
    IO.puts("  with a busy process beside it        #{Float.round(alone / 1_000, 2)}")
    IO.puts("  during three reloads of 1,000,000    #{Float.round(during / 1_000, 2)}")
  end

  defp busy_for(ms) do
    until = System.monotonic_time(:millisecond) + ms
    spin(until)
  end

  defp spin(until) do
    _ = Enum.to_list(1..10_000)
    if System.monotonic_time(:millisecond) < until, do: spin(until)
  end

  defp longest_pause(work) do
    stop = :atomics.new(1, [])

    reader = Task.async(fn -> read_on(stop, System.monotonic_time(:microsecond), 0) end)

    work.()
    :atomics.put(stop, 1, 1)
    Task.await(reader)
  end

  defp read_on(stop, last, longest) do
    500_000 = Server.get(Million, :million, 500_000)
    now = System.monotonic_time(:microsecond)
    longest = max(longest, now - last)
    if :atomics.get(stop, 1) == 0, do: read_on(stop, now, longest), else: longest
  end
end

Slither.Bench.Store.run()
