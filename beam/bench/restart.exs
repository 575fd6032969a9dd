# How long a pool of one worker is without one after `kill -9`, and how long a caller notices:
# with a spare that takes its place, and without. And what recycling costs a pool of four that is
# at full load: no more than the share of the one worker that is being replaced.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Restart do
  import Slither.Bench
  alias Slither.Python.Pool

  @rounds 15
  @target ["function", "bench_items", "same_batch"]
  # Batches whose cost is a wait, so that a replacement that starts takes no core from them.
  @batches 2_000
  @cost_ms 5
  @share 0.25

  def run do
    Logger.configure(level: :error)
    Process.flag(:trap_exit, true)
    paths = [Path.join(__DIR__, "python")]
    kills(paths)
    recycles(paths)
  end

  defp recycles(paths) do
    pools =
      for {pool, limits} <- [restart_calm: [], restart_recycled: [max_requests: 100]] do
        {:ok, pid} = Pool.start_link([name: pool, size: 4, paths: paths] ++ limits)
        await_size(pool, 4)
        pid
      end

    results =
      rounds(7, [
        {"without", fn -> rate(:restart_calm) end},
        {"max_requests: 100", fn -> rate(:restart_recycled) end}
      ])

    {:ok, %{started: started, died: 0}} = Pool.status(:restart_recycled)
    IO.puts("\n  #{started - 4} workers were replaced in 7 rounds")
    ratio = results["max_requests: 100"].median / results["without"].median
    claim = {"recycling / not, four workers", ratio, ">=", 1 - @share}
    report("Recycling under load", "batches/s", results, [claim])
    Enum.each(pools, &Supervisor.stop/1)
  end

  defp rate(pool) do
    options = [pool: pool, module: "waits", function: "wait", batch_size: 1]

    {time, {:ok, items}} =
      :timer.tc(fn -> Slither.dispatch(List.duplicate(@cost_ms, @batches), options) end)

    @batches = length(items)
    @batches / (time / 1_000_000)
  end

  defp await_size(pool, size) do
    {:ok, %{workers: workers}} = Pool.status(pool)
    if Enum.count(workers, &(&1.status == :ready)) < size, do: await_size(pool, size)
  end

  defp kills(paths) do
    pools =
      for {pool, spare} <- [restart_alone: 0, restart_spare: 1] do
        {:ok, pid} = Pool.start_link(name: pool, size: 1, spare: spare, paths: paths)
        :ok = Pool.await_ready(pool)
        pid
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
    Port.close(shell)
    Enum.each(pools, &Supervisor.stop/1)
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
