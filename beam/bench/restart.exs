# How long a pool of one worker is without one after `kill -9`, and how long a caller notices:
# with a spare that takes its place, and without.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Restart do
  import Slither.Bench
  alias Slither.Python.Pool

  @rounds 15
  @target ["function", "bench_items", "same_batch"]

  def run do
    Logger.configure(level: :error)
    Process.flag(:trap_exit, true)
    paths = [Path.join(__DIR__, "python")]

    for {pool, spare} <- [restart_alone: 0, restart_spare: 1] do
      {:ok, _} = Pool.start_link(name: pool, size: 1, spare: spare, paths: paths)
      :ok = Pool.await_ready(pool)
    end

    # The shell's own kill: starting a program would be part of what is measured.
    shell = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: []])
    :ok = Slither.Telemetry.attach(__MODULE__, [:slither, :pool, :worker, :down], &down/4, self())

    results =
      rounds(@rounds, [
        {"alone", fn -> kill(:restart_alone, 0, shell, "no spare") end},
        {"spare", fn -> kill(:restart_spare, 1, shell, "spare: 1") end}
      ])

    ratio = fn what ->
      results["spare: 1, #{what}"].median / results["no spare, #{what}"].median
    end

    claims =
      for what <- ["ready", "answer"],
          do: {"kill to #{what}: spare / no spare", ratio.(what), "<=", 0.5}

    report("Kill to ready", "ms", results, claims)
  end

  @doc false
  def down(_event, _measurements, %{pool: pool, os_pid: os_pid}, test),
    do: send(test, {:down, pool, os_pid})

  defp kill(pool, spare, shell, name) do
    os_pid = await_full(pool, spare)
    {:ok, [1], _errors} = Pool.call(pool, @target, [1])
    start = System.monotonic_time()
    Port.command(shell, "kill -9 #{os_pid}\n")
    receive do: ({:down, ^pool, ^os_pid} -> :ok)
    noticed = since(start)
    :ok = Pool.await_ready(pool)
    ready = since(start)
    {:ok, [1], _errors} = Pool.call(pool, @target, [1])
    answer = since(start)
    %{"#{name}, noticed" => noticed, "#{name}, ready" => ready, "#{name}, answer" => answer}
  end

  # Looks until a worker serves and the spares wait; the OS pid of the one that serves.
  defp await_full(pool, spare) do
    {:ok, %{workers: workers}} = Pool.status(pool)

    case Enum.group_by(workers, & &1.status, & &1.os_pid) do
      %{ready: [os_pid]} = by when map_size(by) == 1 and spare == 0 -> os_pid
      %{ready: [os_pid], spare: [_]} = by when map_size(by) == 2 -> os_pid
      _ -> await_full(pool, spare)
    end
  end

  defp since(start),
    do: System.convert_time_unit(System.monotonic_time() - start, :native, :microsecond) / 1_000
end

Slither.Bench.Restart.run()
Application.stop(:slither)
