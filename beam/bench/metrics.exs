# What counting costs: dispatches with all that is counted, and with modules in its place that count
# nothing, in turns within one run.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Metrics do
  import Slither.Bench
  alias Slither.Item
  alias Slither.Metrics.{Batches, Runs, Series}
  alias Slither.Python.Timing
  alias Slither.Telemetry.Events

  @python Path.join(__DIR__, "python")
  @items 20_000
  @singles 300
  @writes 10_000
  # Of the dispatch, by the size that is asked for.
  @size 64
  @counting [Batches, Runs, Series]

  defmodule Scores do
    @moduledoc false
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :items}]

    @impl true
    def load(_tables), do: :ok
  end

  def run(rounds \\ 101) do
    Logger.configure(level: :warning)
    {:ok, _} = Slither.Python.Pool.start_link(name: :counted, size: 2, paths: [@python])
    :ok = Slither.Python.Pool.await_ready(:counted)
    {:ok, _} = Slither.Store.Server.start_link(Scores)

    items = for n <- 0..(@items - 1), do: %{"id" => n, "text" => "item #{n}", "score" => n / 3}
    items = Item.wrap_many(items)
    options = [module: "bench_items", function: "same_batch", pool: :counted, batch_size: @size]
    pipe = Slither.Pipe.build!(:counted, [{:stage, 1, :same, :python, options}])

    measures = [
      {"dispatch", fn -> {:ok, _} = Slither.dispatch(items, options) end},
      {"pipe", fn -> {:ok, _} = Slither.run_pipe(pipe, items) end},
      {"single calls",
       fn ->
         for _ <- 1..@singles, do: {:ok, _} = Slither.Dispatch.call_batch([hd(items)], options)
       end},
      {"store writes",
       fn -> for n <- 1..@writes, do: :ok = Slither.Store.Server.put(Scores, :items, n, n) end}
    ]

    real = for module <- @counting, do: object(module)
    blank = blank()
    for {_name, fun} <- measures, do: fun.()

    results =
      rounds(
        rounds,
        for({name, fun} <- measures, do: {name, fn -> pair(name, fun, real, blank) end})
      )

    load(real)
    counting = rounds(rounds, [{"what a dispatch counts", counting()}])
    results = Map.merge(results, counting)
    ratio = &(results[&1].median / results["#{&1}, bare"].median)

    report("What counting costs", "ms", results, [
      {"what a dispatch counts / its time",
       results["what a dispatch counts"].median / results["dispatch"].median, "<=", 0.02},
      {"dispatch, with / without", ratio.("dispatch"), "<=", 1.02},
      {"pipe, with / without", ratio.("pipe"), "<=", 1.02},
      {"single calls, with / without", ratio.("single calls"), "<=", 1.1},
      {"store writes, with / without", ratio.("store writes"), "<=", 1.15}
    ])
  end

  # All that the batches of a dispatch have counted, by itself: it is less than what two dispatches differ by.
  defp counting do
    facts = %{pool: :counted, pipe: nil, stage: nil, target: "bench_items.same_batch"}
    facts = Map.merge(facts, %{run: "bench", module: "bench_items", function: "same_batch"})
    {place, places} = {Events.place(facts), Events.batch_places(facts)}
    board = Runs.open(Runs.plain(:dispatch, facts, nil))
    inside = fn -> [%{queued: 0, running: 0, retrying: 0, waiting: 0}] end

    timing = %Timing{
      queue: 1_000,
      encode: 30_000,
      wire: 90_000,
      decode: 40_000,
      handler: 200_000
    }

    fn ->
      {time, :ok} =
        :timer.tc(fn ->
          for _ <- 1..div(@items, @size) do
            Runs.entered(Runs.place(board, 0), @size)
            Events.batch_answered(timing, 400_000, places)
            Events.settled(place, ok: @size)
            Runs.decided(Runs.place(board, 0), @size)
            for _ <- 1..2, do: Runs.note(board, inside)
            Runs.due(board)
          end

          :ok
        end)

      time / 1_000
    end
  end

  # Both, one right after the other, in an order of chance.
  defp pair(name, fun, real, blank) do
    both = for {key, code} <- Enum.shuffle(with: real, without: blank), do: {key, time(fun, code)}
    [with: counted, without: bare] = Enum.sort(both)
    %{name => counted, "#{name}, bare" => bare}
  end

  defp time(fun, code) do
    load(code)
    :erlang.garbage_collect()
    {time, _} = :timer.tc(fun)
    time / 1_000
  end

  defp load(code) do
    for {module, binary} <- code do
      :code.purge(module)
      {:module, ^module} = :code.load_binary(module, ~c"bench", binary)
    end
  end

  defp object(module) do
    {^module, binary, _file} = :code.get_object_code(module)
    {module, binary}
  end

  # The same functions, of which none does anything.
  defp blank do
    Code.put_compiler_option(:ignore_module_conflict, true)

    for module <- @counting do
      functions =
        for {name, arity} <- module.__info__(:functions), name not in [:__struct__] do
          arguments = Macro.generate_arguments(arity, __MODULE__)

          quote do:
                  def(unquote(name)(unquote_splicing(arguments)),
                    do: unquote(answer(name, arguments))
                  )
        end

      struct = if module == Runs, do: quote(do: defstruct([:ref, :counts, :at, late?: false]))
      body = {:__block__, [], [struct | functions]}
      real = object(module)

      [{^module, binary}] =
        Code.compile_quoted(quote(do: defmodule(unquote(module), do: unquote(body))))

      load([real])
      {module, binary}
    end
  end

  defp answer(:places, [metrics | _]), do: quote(do: Enum.map(unquote(metrics), fn _ -> nil end))
  defp answer(:open, _arguments), do: quote(do: %__MODULE__{})
  defp answer(:note, [board | _]), do: board
  defp answer(:due, _arguments), do: :infinity
  defp answer(name, _arguments) when name in [:place, :where], do: nil
  # What looks at the counters goes on meanwhile.
  defp answer(name, _arguments) when name in [:of, :all, :read], do: []
  defp answer(name, _arguments) when name in [:definitions, :quantiles], do: Macro.escape(%{})
  defp answer(:get, _arguments), do: 0
  defp answer(_name, _arguments), do: :ok
end

Slither.Bench.Metrics.run()
