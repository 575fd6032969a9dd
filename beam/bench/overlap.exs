# Two Python stages of equal cost, two workers each: a pipe that overlaps takes the time of one.
# The cost is a wait, not work, so that four workers can share any number of cores.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Overlap do
  import Slither.Bench
  alias Slither.Pipe.Runner
  alias Slither.Python.Pool

  @items 4_000
  @batch 20
  @cost_ms 5

  def run do
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)

    for pool <- [:overlap_one, :overlap_two] do
      options = [name: pool, size: 2, paths: [Path.join(__DIR__, "python")]]
      {:ok, _} = Pool.start_link(options)
      :ok = Pool.await_ready(pool)
    end

    one = pipe([:overlap_one])
    two = pipe([:overlap_one, :overlap_two])

    results =
      rounds(7, [
        {"one stage", fn -> time(one) end},
        {"two stages, overlapping", fn -> time(two) end}
      ])

    alone = results["one stage"].median
    ratio = (results["two stages, overlapping"].median - @cost_ms) / alone
    claim = {"(two stages - one batch of latency) / one stage", ratio, "<=", 1.15}
    report("Stages that overlap", "ms", results, [claim])
  end

  defp pipe(pools) do
    stages =
      for pool <- pools do
        options = [module: "waits", function: "wait", pool: pool, batch_size: @batch]
        {:stage, 1, pool, :python, options}
      end

    definition = Slither.Pipe.build!(:overlap, stages)
    definition
  end

  defp time(pipe) do
    {time, {:ok, %{default: items}}} =
      :timer.tc(fn -> Runner.run(pipe, List.duplicate(@cost_ms, @items)) end)

    @items = length(items)
    time / 1_000
  end
end

Slither.Bench.Overlap.run()
