defmodule Slither.Pipe.ManyTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators
  import Slither.Test.Pools

  alias Slither.{Context, DispatchError, Item, Stage}
  alias Slither.{Dispatch, Pipe}
  alias Slither.Pipe.{Document, Runner}

  defmodule Cut do
    use Slither.Pipe

    pipe :cut do
      stage(:pieces, :python, module: "many_handlers", function: "split", cardinality: :many)
      stage(:up, :beam, handler: &String.upcase(&1.payload))
    end
  end

  setup_all do
    {:ok, pool: start!(__MODULE__)}
  end

  defp python(name, function, pool, options \\ %{}) do
    %{
      "name" => name,
      "type" => "python",
      "module" => "many_handlers",
      "function" => function,
      "options" => Map.merge(%{"pool" => "#{pool}"}, options)
    }
  end

  defp many(name, function, pool, options \\ %{}),
    do: python(name, function, pool, Map.merge(%{"cardinality" => "many"}, options))

  defp pipe(stages, policies \\ []) do
    document = %{"version" => 1, "name" => "p", "stages" => stages, "outputs" => ["bad"]}
    {:ok, definition} = Document.parse(Map.put(document, "on_error", policies))
    definition
  end

  defp payloads(items), do: Enum.map(items, & &1.payload)

  # What `scripted` makes of rows: values, and the rows that fail.
  defp values(rows), do: for(row <- rows, at <- 0..(made(row) - 1)//1, do: [row["n"], at])
  defp made(%{"count" => count, "fail" => fail}), do: min(count, fail)
  defp made(%{"count" => count}), do: count
  defp failed(rows), do: for(%{"fail" => _} = row <- rows, do: row["n"])

  defp script do
    for n <- 0..:rand.uniform(12) do
      row = %{"n" => n, "count" => pick([0, 0, 1, 2, :rand.uniform(50)])}
      if one_in(4), do: Map.put(row, "fail", :rand.uniform(50) - 1), else: row
    end
  end

  defp accounted(receipt) do
    ended = receipt.out + receipt.skipped + receipt.routed + receipt.failed
    assert receipt.in + receipt.expanded == ended
    receipt
  end

  describe "whatever items make, each is accounted for, in order," do
    @tag timeout: 300_000
    test "in a dispatch", %{pool: pool} do
      check_all(60, fn -> {script(), pick([1, 3, 64]), pick([:skip, {:route, :bad}])} end, fn
        {rows, size, policy} ->
          options = [module: "many_handlers", function: "scripted", cardinality: :many]
          options = options ++ [pool: pool, batch_size: size, on_error: policy, receipt: true]
          assert {:ok, items, receipt} = Dispatch.run(rows, options)
          {bad, good} = Enum.split_with(items, & &1.meta[:error])
          assert payloads(good) == values(rows)
          assert Enum.map(bad, & &1.payload["n"]) == failed(rows)
          # A failed item stands behind what it has made.
          assert Enum.map(items, &place/1) == Enum.sort(Enum.map(items, &place/1))
          none = Enum.count(rows, &(made(&1) == 0 and &1["fail"] == nil))
          assert accounted(receipt).skipped + receipt.routed == length(bad) + none
          assert receipt.out == length(good)
      end)
    end

    @tag timeout: 300_000
    test "in a pipe", %{pool: pool} do
      check_all(60, fn -> {script(), pick([1, 3, 64]), pick(["skip", "route", "halt"])} end, fn
        {rows, size, policy} ->
          policy = if policy == "route", do: %{"route" => "bad"}, else: policy

          pipe =
            pipe(
              [
                many("many", "scripted", pool, %{"batch_size" => size}),
                python("second", "same", pool, %{"batch_size" => 7})
              ],
              [%{"stage" => "many", "policy" => policy}]
            )

          case Runner.run(pipe, rows, receipt: true) do
            {:ok, outputs, receipt} ->
              assert payloads(outputs["default"]) == values(rows)
              bad = if policy == "skip", do: [], else: failed(rows)
              assert Enum.map(outputs["bad"], & &1.payload["n"]) == bad
              assert accounted(receipt).failed == 0

            {:error, _error, partial, receipt} ->
              assert policy == "halt"
              first = hd(failed(rows))
              ahead = Enum.take_while(rows, &(&1["n"] <= first))
              assert payloads(partial["default"]) == values(ahead)
              assert accounted(receipt).failed >= 1
          end
      end)
    end
  end

  defp place(%Item{payload: [n, at]}), do: {n, at}
  defp place(%Item{payload: %{"n" => n}}), do: {n, 50}

  test "an item that makes a million does not run ahead of the stages behind it" do
    pool = start_pool(size: 1)
    path = path("made")
    pipe = pipe([many("many", "counting", pool), python("plus", "plus", pool)])
    rows = [%{"path" => path}, %{"path" => path <> "2"}]
    outputs = pipe |> Runner.stream(rows) |> Enum.take(10)
    assert for({"default", item} <- outputs, do: item.payload) == Enum.to_list(1..10)
    assert await_closed(path) <= 10_000
  end

  defp await_closed(path) do
    case with {:ok, text} <- File.read(path), do: String.split(text) do
      [count, "closed"] -> String.to_integer(count)
      _not_yet -> Process.sleep(10) && await_closed(path)
    end
  end

  test "all of one item comes out, through a second stage on one worker, and as completed" do
    pool = start_pool(size: 1)
    row = %{"path" => path("made"), "count" => 30_000}

    for ordering <- ["preserve", "as_completed"] do
      options = %{"ordering" => ordering}

      pipe =
        pipe([many("many", "counting", pool, options), python("plus", "plus", pool, options)])

      assert {:ok, outputs} = Runner.run(pipe, [row])
      assert outputs["default"] |> payloads() |> Enum.sort() == Enum.to_list(1..30_000)
    end
  end

  test "a checkpoint takes an item for finished once all it has made is out", %{pool: pool} do
    {path, log} = {path("checkpoint"), path("log")}
    pipe = pipe([many("many", "scripted", pool), python("same", "same", pool)])
    row = &%{"n" => &1, "count" => &2, "log" => log}
    stops = Map.merge(row.(3, 1_500), %{"fail" => 1_200, "once" => path("once")})
    rows = [row.(0, 0), row.(1, 1), row.(2, 2_500), stops, row.(4, 3)]
    assert {:error, _failure, _partial} = Runner.run(pipe, rows, checkpoint: path)
    assert {:ok, outputs} = Runner.run(pipe, rows, checkpoint: path)

    assert payloads(outputs["default"]) ==
             for(r <- rows, at <- 0..(r["count"] - 1)//1, do: [r["n"], at])

    begun = log |> File.read!() |> String.split("\n", trim: true) |> Enum.frequencies()
    assert %{"begin 1" => 1, "begin 2" => 1, "begin 3" => 2} = begun
  end

  test "a long-running pipe tells of an item once all it has made is out", %{pool: pool} do
    policy = [%{"stage" => "many", "policy" => "skip"}]
    pipe = pipe([many("many", "scripted", pool), python("same", "same", pool)], policy)
    test = self()
    sinks = %{"default" => &send(test, {:out, &1.payload})}
    start_supervised!({Pipe, {pipe, name: __MODULE__.Live, sinks: sinks}})
    rows = for count <- [1_500, 0, 2], do: %{"n" => count, "count" => count}
    rows = rows ++ [%{"n" => 3, "count" => 5, "fail" => 2}]
    :ok = Pipe.push(__MODULE__.Live, rows, ack: :mine)
    told = acks(%{}, 4)
    assert %{0 => :ok, 1 => {:skipped, :no_items}, 2 => :ok, 3 => {:skipped, failure}} = told
    assert is_exception(failure)
  end

  defp acks(told, count) when map_size(told) == count, do: told

  defp acks(told, count) do
    assert_receive {Pipe, :ack, :mine, more}, patience()
    for {index, _fate} <- more, do: refute(is_map_key(told, index))
    acks(Map.merge(told, Map.new(more)), count)
  end

  test "stands in a pipe of a module, with functions in place of Python" do
    for split <- [fn texts -> Enum.map(texts, &String.split/1) end, &streams/1] do
      assert {:ok, %{default: items}} =
               Slither.Testing.run_pipe(Cut, ["a b", "", "c"], python: %{pieces: split})

      assert payloads(items) == ["A", "B", "C"]
    end

    wrong = fn texts -> texts end

    assert {:error, error, _partial} =
             Slither.Testing.run_pipe(Cut, ["a"], python: %{pieces: wrong})

    assert Exception.message(error) =~ "cardinality: :many takes a list"
  end

  defp streams(texts), do: Enum.map(texts, fn text -> Stream.map(String.split(text), & &1) end)

  test "a stage by hand answers with many", %{pool: pool} do
    options = [module: "many_handlers", function: "scripted", pool: pool, cardinality: :many]
    {:ok, state} = Stage.Python.init(options)

    rows = [
      %{"n" => 0, "count" => 2},
      %{"n" => 1, "count" => 0},
      %{"n" => 2, "count" => 2, "fail" => 1}
    ]

    # Items of one id, as a caller may have.
    items = for row <- rows, do: %Item{id: :same, payload: row}

    assert [{:many, [[0, 0], [0, 1]]}, {:many, []}, {:error, %DispatchError{}}] =
             Stage.Python.handle_batch(items, Context.new(), state)
  end
end
