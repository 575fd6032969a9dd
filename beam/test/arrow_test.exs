defmodule Slither.ArrowTest do
  # What BEAM does with a table of Arrow by itself. Explorer is no dependency: a module with the
  # functions that are called stands in for it.
  use ExUnit.Case, async: false

  alias Slither.{Arrow, Error}

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
