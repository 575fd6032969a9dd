# Workers that are forked: until one is ready, beside a bare fork of a process that has imported the
# same; until one that was killed is replaced; and the memory of ten workers beside that of one.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.StartupFork do
  import Slither.Bench
  alias Slither.Python.Pool
  alias Slither.Telemetry

  @up [:slither, :pool, :worker, :up]
  @preloads [{"", []}, {", scikit-learn", ["sklearn.ensemble"]}]

  # A process that has imported what a worker and its template have, and forks for each line that it
  # reads: the child says that it is there. It tells the time that this took, in µs.
  @bare """
  import gc, importlib, os, sys, time
  import slither._worker.main, slither._worker.template
  for name in sys.argv[1:]:
      importlib.import_module(name)
  gc.collect()
  gc.freeze()
  for line in sys.stdin:
      read, write = os.pipe()
      began = time.perf_counter_ns()
      pid = os.fork()
      if pid == 0:
          os.write(write, b".")
          os._exit(0)
      os.read(read, 1)
      took = time.perf_counter_ns() - began
      os.waitpid(pid, 0)
      os.close(read)
      os.close(write)
      print(took // 1000, flush=True)
  """

  def run(rounds \\ 20) do
    Logger.configure(level: :none)
    :ok = Telemetry.attach(__MODULE__, [@up], &__MODULE__.up/4, self())

    for {what, preload} <- @preloads, installed?(preload) do
      pool = pool(preload, 1)
      bare = bare(preload)

      results =
        rounds(rounds, [
          {"Bare fork#{what}", fn -> fork(bare) end},
          {"Killed until the next is ready#{what}", fn -> replaced(pool) end},
          {"Asked until it is ready#{what}", fn -> ready(pool) end}
        ])

      [bare_fork, replaced, ready] =
        for name <- ["Bare fork", "Killed until the next is ready", "Asked until it is ready"],
            do: results[name <> what].median

      limit = if preload == [], do: [{"ready, of 20 ms", ready / 20, "<=", 1.0}], else: []

      report(
        "A forked worker#{what}",
        "ms",
        results,
        limit ++
          [
            {"ready / bare fork", ready / bare_fork, "<=", 1.2},
            {"replaced, of 30 ms", replaced / 30, "<=", 1.0}
          ]
      )

      Supervisor.stop(pool.supervisor)
      Port.close(bare)
    end

    memory()
  end

  @doc false
  def up(_event, %{start_time: time}, facts, to),
    do: send(to, {:up, facts.pool, facts.os_pid, time})

  defp pool(preload, size) do
    name = :"bench_#{System.unique_integer([:positive])}"
    options = [name: name, size: size, preload: preload, start: :fork, startup_timeout: 120_000]
    {:ok, supervisor} = Pool.start_link(options)
    for _ <- 1..size, do: await_up(name)
    %{name: name, supervisor: supervisor}
  end

  defp await_up(name) do
    receive do
      {:up, ^name, os_pid, time} ->
        {os_pid, System.convert_time_unit(time, :native, :microsecond)}
    after
      120_000 -> raise "no worker is ready"
    end
  end

  # Its owner's time, from its own start on.
  defp ready(pool) do
    kill(pool)
    {_os_pid, time} = await_up(pool.name)
    time / 1_000
  end

  defp replaced(pool) do
    {time, _} = :timer.tc(fn -> kill(pool) && await_up(pool.name) end)
    time / 1_000
  end

  # By a call, so that no program is started for it.
  defp kill(%{name: name}) do
    {:ok, pid} = Slither.call("os", "getpid", [], pool: name)
    {:error, _died} = Slither.call("os", "kill", [pid, 9], pool: name)
  end

  defp bare(preload) do
    python = Path.expand(".venv/bin/python")
    args = ["-c", @bare | preload]
    Port.open({:spawn_executable, python}, [:binary, line: 64, args: args])
  end

  defp fork(port) do
    Port.command(port, "\n")

    receive do
      {^port, {:data, {:eol, took}}} -> String.to_integer(took) / 1_000
    end
  end

  defp memory do
    for {what, preload} <- @preloads, installed?(preload) do
      [one, ten] = for size <- [1, 10], do: pss(preload, size)

      IO.puts(
        "\nMemory of all processes (PSS)#{what}: 1 worker #{round(one / 1_024)} MB, " <>
          "10 workers #{round(ten / 1_024)} MB: #{Float.round(ten / one, 2)} times (at most 1.5)"
      )
    end
  end

  defp pss(preload, size) do
    pool = pool(preload, size)
    for _ <- 1..(4 * size), do: {:ok, _} = Slither.call("os", "getpid", [], pool: pool.name)
    {:ok, %{workers: workers, template: template}} = Pool.status(pool.name)
    pids = [template | for(%{os_pid: pid} <- workers, do: pid)]
    kilobytes = pids |> Enum.map(&kilobytes/1) |> Enum.sum()
    Supervisor.stop(pool.supervisor)
    kilobytes
  end

  defp kilobytes(os_pid) do
    [_, kilobytes] = Regex.run(~r/^Pss:\s+(\d+) kB/m, File.read!("/proc/#{os_pid}/smaps_rollup"))
    String.to_integer(kilobytes)
  end

  defp installed?([]), do: true

  defp installed?([module]) do
    {_output, status} =
      System.cmd(Path.expand(".venv/bin/python"), ["-c", "import #{module}"],
        stderr_to_stdout: true
      )

    status == 0
  end
end

Slither.Bench.StartupFork.run()
