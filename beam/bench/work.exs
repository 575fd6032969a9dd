# Items that cost 1 ms of CPU each, and items whose costs have a heavy tail, on two workers: how
# near the time is to half of the work, which is the ideal, and what static chunks take. Costs
# with a heavy tail are drawn anew for each round: one draw happens to suit one way to cut it.
Code.require_file("bench.ex", __DIR__)
Code.require_file("peers.ex", __DIR__)

defmodule Slither.Bench.Work do
  import Slither.Bench
  alias Slither.Bench.Peers
  alias Slither.Python.Pool

  @python Path.join(__DIR__, "python")
  @workers 2

  def run(rounds \\ 7) do
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)
    {:ok, _} = Pool.start_link(name: :work, size: @workers, paths: [@python])
    :ok = Pool.await_ready(:work)
    peers = Peers.start(@python)
    even = List.duplicate("even", rounds)
    tails = for n <- 1..rounds, do: "tail-#{n}"
    default = {"64, the default", []}
    measure("Items of 1 ms of CPU", even, peers, [default], 0.97, [])
    sizes = [{"8", [batch_size: 8]}, {"auto", [batch_size: :auto]}, default]
    title = "Items whose costs have a heavy tail"
    measure(title, tails, peers, sizes, 0.9, ["Pool.map, a chunk a worker"])
  end

  defp measure(title, draws, peers, sizes, limit, worse) do
    ours =
      for {label, options} <- sizes,
          do: {"Slither, batches of #{label}", fn _draw, costs -> time(costs, options) end}

    theirs =
      for {label, name} <- [{"Pool.map", "map"}, {"Pool.map, a chunk a worker", "static"}] do
        {label,
         fn draw, _costs -> 1_000 * Peers.ask(peers, "work #{name} #{@workers} #{draw}") end}
      end

    results =
      for(draw <- draws, {name, time} <- ours ++ theirs, do: {name, times_ideal(draw, time)})
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Map.new(fn {name, times} -> {name, summary(times)} end)

    {first, _} = hd(ours)

    claims = [
      {"ideal / #{first}", 1 / results[first].median, ">=", limit}
      | for(
          name <- worse,
          do: {"#{name} / #{first}", results[name].median / results[first].median, ">=", 1.0}
        )
    ]

    report(title, "times the ideal", results, claims)
  end

  defp times_ideal(draw, time) do
    {:ok, [costs], _} = Pool.call(:work, ["function", "bench_items", "costs_of"], [draw])
    time.(draw, costs) / (Enum.sum(costs) / @workers)
  end

  defp time(costs, options) do
    options = [module: "bench_items", function: "burn_batch", pool: :work] ++ options
    {time, {:ok, items}} = :timer.tc(fn -> Slither.dispatch(costs, options) end)
    true = length(items) == length(costs)
    time / 1_000
  end
end

Slither.Bench.Work.run()
