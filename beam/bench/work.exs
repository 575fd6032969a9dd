# Items that cost 1 ms of CPU each, and items whose costs have a heavy tail, on two workers: how
# near the time is to half of the work, which is the ideal, and what static chunks take.
Code.require_file("bench.ex", __DIR__)
Code.require_file("peers.ex", __DIR__)

defmodule Slither.Bench.Work do
  import Slither.Bench
  alias Slither.Bench.Peers
  alias Slither.Python.Pool

  @python Path.join(__DIR__, "python")
  @workers 2

  def run(rounds \\ 5) do
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)
    {:ok, _} = Pool.start_link(name: :work, size: @workers, paths: [@python])
    :ok = Pool.await_ready(:work)
    peers = Peers.start(@python)

    {:ok, [even, tail], _} =
      Pool.call(:work, ["function", "bench_items", "costs_of"], ~w(even tail))

    measure("Items of 1 ms of CPU", "even", even, peers, rounds, [{"64, the default", []}], 0.97)
    sizes = [{"8", [batch_size: 8]}, {"auto", [batch_size: :auto]}, {"64, the default", []}]
    measure("Items whose costs have a heavy tail", "tail", tail, peers, rounds, sizes, 0.9)
  end

  defp measure(title, tail, costs, peers, rounds, sizes, limit) do
    ideal = Enum.sum(costs) / @workers

    ours =
      for {label, options} <- sizes,
          do: {"Slither, batches of #{label}", fn -> time(costs, options) end}

    theirs =
      for {label, name} <- [{"Pool.map", "map"}, {"Pool.map, a chunk a worker", "static"}] do
        {label, fn -> 1_000 * Peers.ask(peers, "work #{name} #{@workers} #{tail}") end}
      end

    results = rounds(rounds, [{"ideal", fn -> ideal end} | ours ++ theirs])
    {first, _} = hd(ours)
    static = results["Pool.map, a chunk a worker"].median

    claims = [
      {"ideal / #{first}", ideal / results[first].median, ">=", limit},
      {"a chunk a worker / #{first}", static / results[first].median, ">=", 1.0}
    ]

    report(title, "ms", results, claims)
  end

  defp time(costs, options) do
    options = [module: "bench_items", function: "burn_batch", pool: :work] ++ options
    {time, {:ok, items}} = :timer.tc(fn -> Slither.dispatch(costs, options) end)
    true = length(items) == length(costs)
    time / 1_000
  end
end

Slither.Bench.Work.run()
