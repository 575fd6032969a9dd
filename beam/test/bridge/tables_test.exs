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
        %{name: :tables_test_odd, python: :read_write},
        %{name: :tables_test_loaded, python: :read},
        %{name: :tables_test_private}
      ]
    end

    @impl true
    def load(tables) do
      :ets.insert(tables[:tables_test_fixed], for(n <- 1..2_000, do: {"key-#{n}", n}))
      now = System.unique_integer([:positive, :monotonic])
      :ets.insert(tables[:tables_test_loaded], for(n <- 1..2_001, do: {n, now}))
      :ok
    end
  end

  setup_all do
    start_supervised!({Server, Shared})
    {:ok, pool: Pools.start!(@pool)}
  end

  setup do
    for key <- Server.keys(Shared, :tables_test_odd),
        do: Server.delete(Shared, :tables_test_odd, key)

    :ok
  end

  defp call!(function, items, pool \\ @pool) do
    options = [module: "table_handlers", function: function, pool: pool, batch_size: 80]
    options = [timeout: Pools.patience()] ++ options

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

  test "keys of every kind come back as they went" do
    assert call!("use_odd_keys", [nil]) == [nil]
  end

  test "a value that this Python makes nothing of is the error of its reader alone" do
    array = fn text, size, shape ->
      data = :binary.copy(<<0>>, Tuple.product(shape) * size)
      %Slither.Tensor{dtype: {:numpy, text, size}, shape: shape, data: data}
    end

    odd = %{
      "pickled" => %Slither.Pickled{data: :binary.copy("x", 64)},
      "objects" => array.("|O", 8, {2}),
      "nonsense" => array.("<nonsense", 1, {1}),
      "huge" => array.("<U0", 0, {0xFFFFFFFFFFFF}),
      "within" => %{"a" => [{1, %Slither.Pickled{data: :binary.copy("x", 64)}}]}
    }

    Server.bulk_insert(Shared, :tables_test_odd, Map.to_list(odd))
    Server.put(Shared, :tables_test_odd, "good", 1)
    {:ok, %{died: died}} = Slither.Python.Pool.status(@pool)
    asked = Map.keys(odd) ++ ["good"]
    answers = call!("try_each", asked)
    assert {%{"value" => 1}, answers} = List.pop_at(answers, -1)

    for answer <- answers do
      assert %{"error" => "TableError", "message" => message} = answer
      assert message =~ ~r/^table 'tables_test_odd': the answer: (a pickled|no array|the array)/
    end

    assert {:ok, %{died: ^died}} = Slither.Python.Pool.status(@pool)
  end

  test "a value that Python can't have is the error of its reader alone" do
    bad = %{
      "improper" => [1 | 2],
      "bits" => <<1::3>>,
      "fun" => &is_nil/1,
      "set" => MapSet.new([1, 1.0]),
      "text" => <<255>>,
      "keys" => %{1 => 1, 1.0 => 2},
      "map_key" => %{%{} => 1},
      "deep" => Enum.reduce(1..2_000, 0, fn _, deep -> [deep] end),
      "struct" => %{__struct__: "x"},
      "pid" => self()
    }

    Server.bulk_insert(Shared, :tables_test_odd, Map.to_list(bad))
    Server.put(Shared, :tables_test_odd, "good", 1)
    assert [%{"value" => 1} | answers] = call!("try_each", ["good" | Map.keys(bad)])

    for answer <- answers do
      assert %{"error" => "TableError", "message" => message} = answer
      assert message =~ ~r/^table 'tables_test_odd': the answer/
    end
  end

  test "BEAM's keys that have no like in Python are not found by what they look like there" do
    Server.bulk_insert(Shared, :tables_test_odd, [{:atom, 1}, {[1, 2], 2}, {{3, 4}, 3}, {5.0, 5}])

    assert [%{"error" => "KeyError"}, %{"error" => "KeyError"}, %{"value" => 3}, five] =
             call!("try_each", ["atom", {1, 2}, {3, 4}, 5])

    assert %{"error" => "KeyError"} = five
  end

  test "keys that Python wrote are terms of Elixir" do
    key = {~D[2024-01-02], Slither.Decimal.new("1.10"), "a"}
    assert call!("put_each", [[key, 1], [{MapSet.new([1])}, 2]]) == [nil, nil]
    assert Server.get(Shared, :tables_test_odd, key) == 1
    assert Server.get(Shared, :tables_test_odd, {Slither.FrozenSet.new([1])}) == 2
  end

  test "a value or an answer that is over the limit of a frame leaves the worker as it was" do
    Server.put(Shared, :tables_test_odd, "huge", String.duplicate("x", 200_000))
    pool = Pools.ready_pool(size: 1, max_frame: 100_000)
    [os_pid] = for %{os_pid: pid} <- workers(pool), do: pid
    assert [%{"error" => "TableError", "message" => message}] = call!("try_each", ["huge"], pool)
    assert message =~ "100000"
    assert [set, big, deep, cycle] = call!("write_each", ~w(set big deep cycle), pool)
    assert [_, "table 'tables_test_odd': " <> _] = set
    assert big |> List.last() =~ "the limits are 1 and 100000"
    for failure <- [deep, cycle], do: assert(List.last(failure) =~ "nests")
    assert [%{"error" => "KeyError"}] = call!("try_each", ["k"], pool)
    assert [%{os_pid: ^os_pid}] = workers(pool)
  end

  defp workers(pool) do
    {:ok, %{workers: workers}} = Slither.Python.Pool.status(pool)
    workers
  end

  test "a walk over a table that it changes sees each record of before once" do
    # More than one part.
    assert call!("walk_and_write", [520]) == [[520, 520, 520]]
  end

  test "a walk stays with the generation it began with; the next sees the new one" do
    [ask, done] = for name <- ["ask", "done"], do: Pools.path(name)
    for fifo <- [ask, done], do: {_, 0} = System.cmd("mkfifo", [fifo])
    request = %{"ask" => ask, "done" => done}
    walk = Task.async(fn -> call!("walk_over_a_reload", [request]) end)
    assert File.read!(ask) == "reload"
    old = Server.get(Shared, :tables_test_loaded, 1)
    assert Server.reload(Shared) == :ok
    new = Server.get(Shared, :tables_test_loaded, 1)
    File.write!(done, "done")
    assert Task.await(walk, Pools.patience()) == [[[old], [new]]]
    assert new > old
  end

  test "a walk that is forgotten ends with its worker" do
    pool = Pools.ready_pool(size: 1)
    before = scans()
    call!("forget_walk", [nil], pool)
    assert [scan] = scans() -- before
    monitor = Process.monitor(scan)
    stop_supervised!(pool)
    assert_receive {:DOWN, ^monitor, :process, ^scan, :normal}, Pools.patience()
  end

  test "an operation that is none, or has other arguments, is an error of its own" do
    requests = [
      ["nothing", [1]],
      ["get", []],
      ["put", [[[1]]]],
      ["put", [[[1, 2], [3]]]],
      ["put", [[1, 2]]],
      ["put", ["text"]],
      ["get_many", [5]],
      ["scan", ["text"]],
      ["scan", [12_345]],
      ["update_counter", ["n", 1.5, 0]],
      ["update_counter", ["n", true, 0]]
    ]

    for answer <- call!("ask_raw", requests) do
      assert %{"error" => "table 'tables_test_odd': " <> _} = answer
    end

    assert Server.size(Shared, :tables_test_odd) == 0
  end

  test "tables are gone with their store" do
    name = :"tables_test_gone_#{System.unique_integer([:positive])}"
    store = Slither.Test.Stores.start(tables: [%{name: name, python: :read}])
    assert call!("is_unknown", [to_string(name)]) == [false]
    stop_supervised!({Server, store})
    assert eventually(fn -> call!("is_unknown", [to_string(name)]) == [true] end)
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
