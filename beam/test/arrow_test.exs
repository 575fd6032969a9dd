defmodule Slither.ArrowTest do
  # What BEAM does with a table of Arrow by itself. Explorer is no dependency: a module with the
  # functions that are called stands in for it.
  use ExUnit.Case, async: false

  alias Slither.{Arrow, Error}
  alias Slither.Test.Pools

  doctest Arrow

  test "what no table has is refused" do
    assert %Error{reason: :invalid_arrow} = refused(fn -> Arrow.new("", ["a"], 1, :numpy) end)
    assert refused(fn -> Arrow.new("", :a, 1) end).message =~ "names"
    assert refused(fn -> Arrow.new("", [<<255>>], 1) end).message =~ "UTF-8"
    assert refused(fn -> Arrow.new("", ["a"], -1) end).message =~ "rows"
    assert refused(fn -> Arrow.new(~c"data", ["a"], 1) end).message =~ "IPC"
    assert refused(fn -> Arrow.new("", List.duplicate("a", 65_536), 1) end).message =~ "65535"
  end

  test "inspect shows no data, and no wall of names" do
    table = Arrow.new(String.duplicate("x", 1_000), for(n <- 1..500, do: "column_#{n}"), 3)
    assert inspect(table) == "#Slither.Arrow<table of 3 rows: 500 columns, 1000 bytes>"
  end

  describe "Python" do
    setup do
      {:ok, pool: Pools.start!(:"arrow_test_#{System.unique_integer([:positive])}")}
    end

    test "makes tables, which go on as they are", %{pool: pool} do
      columns = %{"name" => ["a", "b", nil], "n" => [1, 2, 3]}
      {:ok, table} = Slither.call("pyarrow", "table", [columns], pool: pool)
      assert %Arrow{kind: :table, columns: ["n", "name"], rows: 3} = table
      assert {:ok, ^table} = Slither.call("builtins", "max", [[table]], pool: pool)
      {:ok, frame} = Slither.call("pandas", "DataFrame", [columns], pool: pool)
      assert %Arrow{kind: :pandas, columns: ["n", "name"], rows: 3} = frame
      {:ok, frame} = Slither.call("polars", "from_arrow", [table], pool: pool)
      assert %Arrow{kind: :polars, rows: 3} = frame
      rows = Slither.call("polars", "DataFrame.to_dicts", [frame], pool: pool)
      assert {:ok, [%{"n" => 1, "name" => "a"}, _second, %{"name" => nil}]} = rows
      assert {:ok, 3} = Slither.call("operator", "length_hint", [table], pool: pool)
    end

    test "makes one of bytes that come from elsewhere", %{pool: pool} do
      {:ok, %Arrow{data: data}} = Slither.call("pyarrow", "table", [%{"n" => [1, 2]}], pool: pool)

      frame = Arrow.new(data, ["n"], 2, :pandas)
      assert {:ok, %{"n" => %{0 => 1, 1 => 2}}} = to_dict(frame, pool)
    end

    test "that can't read the data fails the call that needs it, and no more", %{pool: pool} do
      odd = Arrow.new("no stream", ["n"], 2, :pandas)
      assert {:ok, ^odd} = Slither.call("builtins", "max", [[odd]], pool: pool)
      assert {:error, error} = Slither.call("pandas", "DataFrame.head", [odd], pool: pool)
      assert Exception.message(error) =~ "'Arrow' object has no attribute"
    end

    defp to_dict(frame, pool),
      do: Slither.call("pandas", "DataFrame.to_dict", [frame], pool: pool)
  end

  describe "Explorer" do
    test "where it is not loaded, the error says how to get it" do
      refute Code.ensure_loaded?(Explorer.DataFrame)
      table = Arrow.new("", ["a"], 1)
      error = refused(fn -> Arrow.to_explorer(table) end)
      assert error.reason == :explorer_missing
      assert Exception.message(error) =~ ~s({:explorer, "~> 0.8"})
    end

    test "reads the data, and makes it" do
      Code.compile_string("""
      defmodule Explorer.DataFrame do
        def load_ipc_stream("bad"), do: {:error, %RuntimeError{message: "no stream"}}
        def load_ipc_stream(data), do: {:ok, %{data: data, rows: 2}}
        def dump_ipc_stream(%{data: :never}), do: {:error, "no such type"}
        def dump_ipc_stream(frame), do: {:ok, frame.data}
        def names(_frame), do: ["a", "b"]
        def n_rows(frame), do: frame.rows
      end
      """)

      on_exit(fn ->
        :code.purge(Explorer.DataFrame)
        :code.delete(Explorer.DataFrame)
      end)

      table = Arrow.new("stream", ["a", "b"], 2, :polars)
      frame = Arrow.to_explorer(table)
      assert frame == %{data: "stream", rows: 2}
      assert Arrow.from_explorer(frame, :polars) == table
      assert Arrow.from_explorer(frame).kind == :table

      assert refused(fn -> Arrow.to_explorer(%{table | data: "bad"}) end).message == "no stream"
      assert refused(fn -> Arrow.from_explorer(%{data: :never}) end).message == "no such type"
    end
  end

  defp refused(fun), do: assert_raise(Error, fun)
end
