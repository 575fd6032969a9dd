# 20,000 small dictionaries there and back, two workers, batches of 64; and one at a time.
Code.require_file("bench.ex", __DIR__)
Code.require_file("peers.ex", __DIR__)

defmodule Slither.Bench.Throughput do
  import Slither.Bench
  alias Slither.Bench.{BarePort, Peers}
  alias Slither.{Item, Pipe}

  @python Path.join(__DIR__, "python")
  @items 20_000
  @singles 3_000
  @pools ["Pool.imap", "Pool.map", "ProcessPoolExecutor.map", "joblib", "mpire"]

  def run(rounds \\ 15) do
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)
    start(:tp, size: 2)
    start(:tp_plain, size: 2, preload: ["no_msgspec"])
    start(:tp_one, size: 1)
    peers = Peers.start(@python)
    # First, before others leave daemons at work.
    latency(peers, rounds)
    throughput(peers, rounds)
  end

  defp start(name, options) do
    {:ok, _} = Slither.Python.Pool.start_link([name: name, paths: [@python]] ++ options)
    :ok = Slither.Python.Pool.await_ready(name)
  end

  def payloads(count) do
    for n <- 0..(count - 1),
        do: %{"id" => n, "text" => "some text of the item #{n}", "score" => n / 3}
  end

  defp throughput(peers, rounds) do
    payloads = payloads(@items)
    items = Item.wrap_many(payloads)
    handler = [module: "bench_items", function: "same_batch", pool: :tp]
    pipe = Pipe.build!(:bench, [{:stage, 1, :same, :python, handler}])
    bare = BarePort.start(@python, 2)
    others = @pools ++ Peers.optional(["Ray ActorPool"])

    plain = Keyword.put(handler, :pool, :tp_plain)

    ours = [
      {"Slither.dispatch", fn -> rate(fn -> {:ok, _} = Slither.dispatch(items, handler) end) end},
      {"the same, without msgspec",
       fn -> rate(fn -> {:ok, _} = Slither.dispatch(items, plain) end) end},
      {"one-stage pipe", fn -> rate(fn -> {:ok, _} = Slither.run_pipe(pipe, items) end) end},
      {"bare port", fn -> rate(fn -> BarePort.run(bare, payloads, 64) end) end}
    ]

    theirs =
      for name <- ["beam.map" | others],
          do: {name, fn -> Peers.ask(peers, "throughput #{name}") end}

    for {_name, measure} <- ours, do: measure.()
    results = rounds(rounds, ours ++ theirs)
    at = fn name -> results[name].median end
    best = @pools |> Enum.map(at) |> Enum.max()

    claims = [
      {"dispatch / the best pool", at.("Slither.dispatch") / best, ">=", 1.2},
      {"dispatch without msgspec / the best pool", at.("the same, without msgspec") / best, ">=",
       1.0},
      {"dispatch / bare port", at.("Slither.dispatch") / at.("bare port"), ">=", 0.7},
      {"beam.map / the best pool", at.("beam.map") / best, ">=", 1.0},
      {"one-stage pipe / dispatch", at.("one-stage pipe") / at.("Slither.dispatch"), ">=", 0.8}
      | for(
          "Ray ActorPool" = ray <- others,
          do: {"dispatch / Ray ActorPool", at.("Slither.dispatch") / at.(ray), ">=", 15.0}
        )
    ]

    report("Throughput", "thousand items per second", results, claims)
  end

  defp rate(fun) do
    {time, _} = :timer.tc(fun)
    @items / time * 1_000
  end

  defp latency(peers, rounds) do
    [payload] = payloads(1)
    bare = BarePort.start(@python, 1)
    target = ["function", "bench_items", "same_batch"]
    options = [module: "bench_items", function: "same_batch", pool: :tp_one]

    results =
      rounds(rounds, [
        {"bare port",
         fn -> percentiles("bare port", fn -> BarePort.run(bare, [payload], 1) end) end},
        {"Pool.call",
         fn ->
           percentiles("Pool.call", fn ->
             {:ok, _, _} = Slither.Python.Pool.call(:tp_one, target, [payload])
           end)
         end},
        {"call_batch",
         fn ->
           percentiles("call_batch", fn ->
             {:ok, _} = Slither.Dispatch.call_batch([payload], options)
           end)
         end},
        {"Pool.apply",
         fn -> Peers.ask_percentiles(peers, "latency #{@singles}", "Pool.apply") end}
      ])

    at = fn name -> results[name <> " p50"].median end

    claims = [
      {"call_batch / bare port", at.("call_batch") / at.("bare port"), "<=", 1.5},
      {"call_batch / Pool.apply", at.("call_batch") / at.("Pool.apply"), "<=", 0.5},
      {"Slither.Python.Pool.call / bare port", at.("Pool.call") / at.("bare port"), "<=", 1.5}
    ]

    report("Latency of one small call", "µs", results, claims)
  end

  defp percentiles(name, fun) do
    times =
      for _ <- 1..@singles do
        started = System.monotonic_time(:nanosecond)
        fun.()
        (System.monotonic_time(:nanosecond) - started) / 1_000
      end

    sorted = List.to_tuple(Enum.sort(times))

    for {label, share} <- [{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}], into: %{} do
      {"#{name} #{label}", elem(sorted, round(share * (@singles - 1)))}
    end
  end
end

Slither.Bench.Throughput.run()
