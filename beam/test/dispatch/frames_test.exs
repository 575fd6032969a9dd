defmodule Slither.Dispatch.FramesTest do
  # `as:`, which gives a function its batch as one frame of pandas, polars or Arrow.
  use ExUnit.Case, async: true

  alias Slither.{Dispatch, DispatchError, Error, Pipe, Stage}
  alias Slither.Test.Pools

  @pool __MODULE__
  @rows [%{"done" => 1, "all" => 4}, %{"done" => 3, "all" => 4}, %{"done" => 2, "all" => 8}]
  @rated for row <- @rows, do: Map.put(row, "rate", row["done"] / row["all"])

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["frame_handlers"])}
  end

  defmodule Rates do
    use Slither.Pipe

    pipe :rates do
      stage :rate, :python,
        module: "frame_handlers",
        function: "rate_pandas",
        as: :pandas,
        pool: Slither.Dispatch.FramesTest

      output :bad
      on_error :rate, {:route, :bad}
    end
  end

  defp run(items, function, options) do
    where = [module: "frame_handlers", function: function, pool: @pool]
    Dispatch.run(items, where ++ options)
  end

  defp payloads(items), do: Enum.map(items, & &1.payload)

  for kind <- [:pandas, :polars, :arrow] do
    test "a batch of #{kind} has a row for each item, and each row is a result" do
      {:ok, items} = run(@rows, "rate_#{unquote(kind)}", as: unquote(kind), batch_size: 2)
      assert payloads(items) == @rated
    end
  end

  test "an item that is no map fails alone, and the error says why" do
    {:ok, items} = run([hd(@rows), 7], "rate_pandas", as: :pandas, on_error: :skip)
    assert [%{payload: rated}, %{payload: 7, meta: %{error: error}}] = items
    assert rated == hd(@rated)
    assert %DispatchError{reason: :python_exception} = error
    assert Exception.message(error) =~ "an item is a dict of columns, not a int"
  end

  test "fewer rows than items are no results, and the error says what to do" do
    assert {:error, %DispatchError{reason: :wrong_result} = error, []} =
             run(@rows, "large", as: :pandas)

    assert Exception.message(error) =~ "2 results for a frame of 3 rows"
  end

  test "a function may be marked in Python instead" do
    {:ok, items} = run(@rows, "marked", [])
    assert payloads(items) == @rated
    {:ok, items} = run(@rows, "marked", each: :auto)
    assert payloads(items) == @rated

    assert {:error, error, []} = run(@rows, "marked", as: :polars)
    assert Exception.message(error) =~ "marked as one of a frame of pandas"
  end

  test "is an option of a stage" do
    {:ok, outputs} = Pipe.Runner.run(Rates, @rows ++ ["no row"])
    assert payloads(outputs.default) == @rated
    assert payloads(outputs.bad) == ["no row"]
  end

  test "is an option of a gather" do
    options = [module: "frame_handlers", function: "rate_pandas", as: :pandas, pool: @pool]
    start_supervised!({Slither.Gather, [name: {@pool, :rates}] ++ options})

    answers =
      for row <- @rows ++ ["no row"],
          do: Task.async(fn -> Slither.Gather.call({@pool, :rates}, row) end)

    assert [{:ok, one}, {:ok, two}, {:ok, three}, {:error, error}] = Task.await_many(answers)
    assert [one, two, three] == @rated
    assert Exception.message(error) =~ "an item is a dict of columns"

    assert {:error, %Error{reason: :invalid_option}} =
             Slither.Gather.start_link([name: :odd, each: true] ++ options)
  end

  test "is checked where it is given" do
    assert {:error, %Error{reason: :invalid_option} = error, []} = run(@rows, "large", as: :numpy)

    assert Exception.message(error) =~ ":pandas, :polars"

    for options <- [[cardinality: :many], [each: true]] do
      assert {:error, %Error{reason: :invalid_option}, []} =
               run(@rows, "large", [as: :pandas] ++ options)
    end

    assert {:error, %Error{}} =
             Stage.Python.init(module: "m", function: "f", as: :arrow, each: true)
  end
end
