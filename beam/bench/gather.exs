# 256 callers of a function that takes 5 ms, however many items it gets, and one caller of a quick one:
# gathered, and each with a call of its own.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Gather do
  import Slither.Bench
  alias Slither.Gather
  alias Slither.Python.Pool

  @python Path.join(__DIR__, "python")
  @callers 256
  # Calls of each caller.
  @calls [gather: 40, call: 3]
  @singles 2_000

  def run(rounds \\ 15) do
    Logger.configure(level: :warning)
    start(:many, 2)
    start(:one, 1)
    gather(:fixed, :many)
    gather(:quick, :one)
    throughput(rounds)
    latency(rounds)
  end

  defp start(name, size) do
    {:ok, _} = Pool.start_link(name: name, size: size, paths: [@python])
    :ok = Pool.await_ready(name)
  end

  defp gather(function, pool) do
    options = [name: function, module: "bench_gather", function: function, pool: pool]
    {:ok, _} = Gather.start_link(options)
  end

  defp throughput(rounds) do
    target = ["function", "bench_gather", "fixed"]
    gathered = fn n -> {:ok, ^n} = Gather.call(:fixed, n, :infinity) end
    single = fn n -> {:ok, [^n], _} = Pool.call(:many, target, [n]) end

    results =
      rounds(rounds, [
        {"Gather.call", fn -> rate(gathered, @calls[:gather]) end},
        {"Pool.call", fn -> rate(single, @calls[:call]) end}
      ])

    ratio = results["Gather.call"].median / results["Pool.call"].median
    claims = [{"gathered calls / single calls", ratio, ">=", 10.0}]
    report("256 callers of 5 ms", "calls per second", results, claims)
  end

  defp rate(fun, calls) do
    callers = fn ->
      for(_ <- 1..@callers, do: Task.async(fn -> Enum.each(1..calls, fun) end))
      |> Task.await_many(:infinity)
    end

    {time, _} = :timer.tc(callers)
    @callers * calls / time * 1.0e6
  end

  # One after the other in turn, so that what disturbs one disturbs both.
  defp latency(rounds) do
    target = ["function", "bench_gather", "quick"]

    results =
      rounds(rounds, [
        {"a lone Gather.call", fn -> median(fn -> {:ok, 1} = Gather.call(:quick, 1) end) end},
        {"a lone Pool.call",
         fn -> median(fn -> {:ok, _, _} = Pool.call(:one, target, [1]) end) end}
      ])

    ratio = results["a lone Gather.call"].median / results["a lone Pool.call"].median
    claims = [{"a lone gathered call / a single call", ratio, "<=", 1.1}]
    report("A lone caller", "µs", results, claims)
  end

  defp median(fun) do
    times =
      for _ <- 1..@singles do
        started = System.monotonic_time(:nanosecond)
        fun.()
        (System.monotonic_time(:nanosecond) - started) / 1_000
      end

    Enum.at(Enum.sort(times), div(@singles, 2))
  end
end

Slither.Bench.Gather.run()
