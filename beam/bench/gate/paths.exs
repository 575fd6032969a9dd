# Slither's own paths, one measure for each line that is asked on stdin: its time in ms, or for
# paths of single calls in µs. `scripts/bench-gate` runs this in two checkouts and compares, so it
# uses nothing but public functions that both have.

defmodule Slither.Bench.Gate do
  alias Slither.{Bytes, Item, Pipe, Tensor}
  alias Slither.Python.Pool
  alias Slither.Store.Server

  @python Path.expand("../python", __DIR__)
  @same [module: "bench_items", function: "same_batch", pool: :gate]

  defmodule Features do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :bench_features, python: :read}]

    @impl true
    def views do
      handler = fn %{"key" => key} -> Server.get(__MODULE__, :bench_features, key) end
      [%{name: :bench_lookup, scope: :global, handler: handler}]
    end

    @impl true
    def load(tables) do
      rows = for n <- 0..99, do: {"user:#{n}", %{tier: "gold", weight: 0.5}}
      :ets.insert(tables[:bench_features], rows)
      :ok
    end
  end

  defmodule Own do
    @behaviour Slither.Dispatch.Executor

    @impl true
    def execute_batch(items, _context, _options), do: {:ok, Enum.map(items, & &1.payload)}
  end

  def main do
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)
    {:ok, _} = Server.start_link(Features)
    {:ok, _} = Pool.start_link(name: :gate, size: 2, paths: [@python])
    {:ok, _} = Pool.start_link(name: :gate_one, size: 1, paths: [@python], max_queue: 20_000)
    :ok = Pool.await_ready(:gate)
    :ok = Pool.await_ready(:gate_one)
    measures = Map.new(measures())
    IO.puts("ready " <> Enum.join(Map.keys(measures), ","))

    for line <- IO.stream(:stdio, :line) do
      forget()
      IO.puts(measures[String.trim(line)].())
    end
  end

  # The ends of tasks, which a later measure is not to look through.
  defp forget do
    receive do: (_message -> forget()), after: (0 -> :ok)
  end

  defp measures do
    rows = Item.wrap_many(rows(20_000))
    ints = Item.wrap_many(Enum.to_list(1..50_000))
    python = {:stage, 1, :same, :python, @same}
    add = {:stage, 2, :add, :beam, handler: fn item, _context -> {:ok, item.payload} end}
    one_stage = Pipe.build!(:one_stage, [python])
    two_stages = Pipe.build!(:two_stages, [python, add])

    [
      {"throughput dispatch rows", ms(fn -> {:ok, _} = Slither.dispatch(rows, @same) end)},
      {"throughput dispatch ints", ms(fn -> {:ok, _} = Slither.dispatch(ints, @same) end)},
      {"throughput pipe rows", ms(fn -> {:ok, _} = Slither.run_pipe(one_stage, rows) end)},
      {"throughput pipe two stages", ms(fn -> {:ok, _} = Slither.run_pipe(two_stages, rows) end)},
      {"throughput one item", us(300, fn -> {:ok, _} = Slither.dispatch([1], @same) end)},
      {"throughput one item pipe",
       us(300, fn -> {:ok, _} = Slither.run_pipe(one_stage, [1]) end)},
      {"throughput call", us(1_000, fn -> {:ok, _, _} = call(:gate) end)},
      {"throughput 3k callers", ms(fn -> callers(3_000) end)},
      {"throughput own executor", ms(fn -> own() end)},
      # What the caller had got before is to cost neither: it was 40 and 20 times as long once.
      {"throughput own executor mailbox of 100k", ms_of(fn -> own() end, 100_000)},
      {"throughput call mailbox of 100k",
       ms_of(fn -> for(_ <- 1..200, do: call(:gate)) end, 100_000)},
      {"work even", ms(fn -> work("even", []) end)},
      {"work tail", ms(fn -> work("tail-1", batch_size: 8) end)},
      {"store get", us(300_000, fn -> Server.get(Features, :bench_features, "user:42") end)},
      {"payloads arrays 8 KB", payloads(:array, 8_000, 2_000)},
      {"payloads arrays 1 MB", payloads(:array, 1_000_000, 64)},
      {"payloads bytes 8 KB", payloads(:bytes, 8_000, 2_000)},
      {"payloads bytes 1 MB", payloads(:bytes, 1_000_000, 64)}
      | for(
          name <- ["table get", "view call", "table get_many of 100", "view map of 100"],
          do: {"store #{name}", fn -> from_python()[name] end}
        )
    ]
  end

  defp rows(count),
    do: for(n <- 1..count, do: %{"id" => n, "text" => "text of the item #{n}", "score" => n / 3})

  defp call(pool), do: Pool.call(pool, ["function", "bench_items", "same_any"], [1])

  # Each waits for the one worker of its pool, in a process of its own.
  defp callers(count) do
    1..count
    |> Enum.map(fn _ -> Task.async(fn -> {:ok, _, _} = call(:gate_one) end) end)
    |> Task.await_many(:infinity)
  end

  defp work(draw, options) do
    {:ok, [costs], _} = Pool.call(:gate, ["function", "bench_items", "costs_of"], [draw])
    options = [module: "bench_items", function: "burn_batch", pool: :gate] ++ options
    {:ok, _} = Slither.dispatch(costs |> Enum.take(400), options)
  end

  defp payloads(kind, size, count) do
    values = for _ <- 1..count, do: payload(kind, size)
    ms(fn -> {:ok, _} = Slither.dispatch(values, [batch_size: 1] ++ @same) end)
  end

  defp payload(:bytes, size), do: Bytes.new(:rand.bytes(size))

  defp payload(:array, size),
    do: %Tensor{dtype: :float64, shape: {div(size, 8)}, data: :rand.bytes(size)}

  defp from_python do
    options = [module: "store_bench", function: "slither", pool: :gate, timeout: 120_000]
    {:ok, [item]} = Slither.dispatch([1_000], options)
    item.payload
  end

  defp own, do: {:ok, _} = Slither.dispatch(Enum.to_list(1..500), executor: Own, batch_size: 1)

  # In a process that has got so many messages of others.
  defp ms_of(fun, foreign) do
    fn ->
      fn ->
        for n <- 1..foreign, do: send(self(), {:foreign, n})
        timed(fun) / 1_000_000
      end
      |> Task.async()
      |> Task.await(:infinity)
    end
  end

  defp ms(fun), do: fn -> timed(fun) / 1_000_000 end
  defp us(count, fun), do: fn -> timed(fn -> repeat(count, fun) end) / count / 1_000 end

  # ns. What an earlier measure has left is collected before, not while this one runs.
  defp timed(fun) do
    :erlang.garbage_collect()
    start = System.monotonic_time(:nanosecond)
    fun.()
    System.monotonic_time(:nanosecond) - start
  end

  defp repeat(0, _fun), do: :ok

  defp repeat(count, fun) do
    fun.()
    repeat(count - 1, fun)
  end
end

Slither.Bench.Gate.main()
