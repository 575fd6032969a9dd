defmodule Slither.Bridge.TablesTest do
  use ExUnit.Case, async: true

  alias Slither.Dispatch
  alias Slither.Store.Server
  alias Slither.Test.Pools

  @pool __MODULE__

  defmodule Shared do
    @behaviour Slither.Store

    @impl true
    def tables do
      [
        %{name: :tables_test_mapping, python: :read_write},
        %{name: :tables_test_shared, python: :read_write},
        %{name: :tables_test_fixed, python: :read},
        %{name: :tables_test_private}
      ]
    end

    @impl true
    def load(tables) do
      :ets.insert(tables[:tables_test_fixed], for(n <- 1..2_000, do: {"key-#{n}", n}))
      :ok
    end
  end

  setup_all do
    start_supervised!({Server, Shared})
    {:ok, pool: Pools.start!(@pool)}
  end

  defp call!(function, items) do
    options = [module: "table_handlers", function: function, pool: @pool, batch_size: 8]

    case Dispatch.run(items, options) do
      {:ok, results} -> Enum.map(results, & &1.payload)
      {:error, error, _partial} -> flunk(Exception.message(error))
    end
  end

  test "a table is a mapping: every operation of one" do
    assert call!("use_everything", [nil]) == [%{"missing" => "e", "left" => ["a", "b", "x"]}]
    assert Server.get(Shared, :tables_test_mapping, "a") == %{"n" => 1}
  end

  test "reads see what BEAM has, walks see every record once" do
    assert call!("read_fixed", ["key-1", "key-2000"]) == [1, 2000]
    assert call!("count_fixed", [nil]) == [[div(2000 * 2001, 2), 2000, 2000]]
  end

  test "a walk that stops early leaves no process behind" do
    before = scans()
    assert call!("walk_a_little", [nil]) == [nil]
    assert eventually(fn -> scans() -- before == [] end)
  end

  test "counters of many workers lose nothing" do
    results = call!("count_up", List.duplicate("hits", 500))
    assert Enum.sort(results) == Enum.to_list(1..500)
    assert Server.get(Shared, :tables_test_shared, "hits") == 500
  end

  test "what is not declared, or declared for reading, is refused with the way to declare it" do
    Server.put(Shared, :tables_test_shared, "a-text", "text")

    attempts = [
      ["tables_test_private", "get"],
      ["tables_test_fixd", "get"],
      ["tables_test_fixed", "put"],
      ["tables_test_shared", "counter"]
    ]

    assert [private, misspelt, read_only, counter] = call!("refused", attempts)
    assert ["UnknownTable", "tables_test_private", message] = private
    assert message =~ "%{name: :tables_test_private, python: :read}"
    assert ["UnknownTable", _, message] = misspelt
    assert message =~ ~s(Did you mean "tables_test_fixed"?)
    assert ["TableRefused", "tables_test_fixed", message] = read_only
    assert message =~ "python: :read_write"
    assert ["TableError", "tables_test_shared", _message] = counter
    assert Server.get(Shared, :tables_test_shared, "a-text") == "text"
  end

  test "a declaration that can't be a mapping does not start" do
    for {spec, words} <- [
          {%{name: :t, type: :bag, python: :read}, "type :set or :ordered_set"},
          {%{name: :t, keypos: 2, python: :read}, "keypos: 1"},
          {%{name: :t, python: :write}, "one of false, :read, :read_write"},
          {%{name: :tables_test_fixed, python: :read}, "already served to Python by"}
        ] do
      module = :"Elixir.Slither.Bridge.TablesTest.T#{System.unique_integer([:positive])}"

      Module.create(
        module,
        quote do
          @behaviour Slither.Store
          @impl true
          def tables, do: [unquote(Macro.escape(spec))]
          @impl true
          def load(_tables), do: :ok
        end,
        __ENV__
      )

      Process.flag(:trap_exit, true)
      assert {:error, error} = Server.start_link(module)
      assert inspect(error) =~ words
    end
  end

  defp scans do
    Registry.select(Slither.Python.Registry, [{{{:scan, :_, :"$1"}, :"$2", :_}, [], [:"$2"]}])
  end

  # The end of a process is seen in the registry a moment later.
  defp eventually(check, tries \\ 100_000) do
    cond do
      check.() -> true
      tries == 0 -> false
      true -> :erlang.yield() && eventually(check, tries - 1)
    end
  end
end
