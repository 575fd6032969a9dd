defmodule Slither.Store.ServerTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Store.Server
  alias Slither.Test.{FeatureStore, Stores}

  @tables [
    %{name: :items},
    %{name: :events, type: :bag},
    [name: :ranks, type: :ordered_set],
    %{name: :rows, keypos: 2}
  ]

  describe "doctests" do
    setup do
      start_supervised!({Server, {FeatureStore, name: MyApp.FeatureStore, views: false}})
      :ok
    end

    doctest Slither.Store.Server
  end

  describe "reads and writes" do
    setup do: {:ok, store: Stores.start(tables: @tables)}

    test "a pair reads as its value, nothing as nil", %{store: store} do
      assert Server.put(store, :items, "a", %{x: 1}) == :ok
      assert Server.get(store, :items, "a") == %{x: 1}
      assert Server.get(store, :items, "b") == nil
    end

    test "a longer record, or one with its key elsewhere, reads whole", %{store: store} do
      Server.bulk_insert(store, :items, [{"a", 1, 2}, {"b"}])
      assert Server.get(store, :items, "a") == {"a", 1, 2}
      assert Server.get(store, :items, "b") == {"b"}
      Server.put(store, :rows, "k", {1, "k"})
      assert Server.get(store, :rows, "k") == {1, "k"}
    end

    test "a bag adds, and reads as a list", %{store: store} do
      assert Server.get(store, :events, 1) == []
      Server.put(store, :events, 1, :a)
      Server.put(store, :events, 1, :b)
      Server.put(store, :events, 1, :a)
      assert Enum.sort(Server.get(store, :events, 1)) == [:a, :b]
      assert Server.keys(store, :events) == [1]
      assert Enum.sort(Server.take(store, :events, 1)) == [:a, :b]
      assert Server.get(store, :events, 1) == []
    end

    test "get! tells a stored nil from nothing", %{store: store} do
      Server.put(store, :items, "a", nil)
      assert Server.get!(store, :items, "a") == nil

      error = assert_raise Error, fn -> Server.get!(store, :items, "b") end
      assert error.reason == :not_found

      assert Exception.message(error) ==
               "store #{inspect(store)}, table :items: has nothing under key \"b\""
    end

    test "put_new writes only where there is nothing", %{store: store} do
      assert Server.put_new(store, :items, 1, :a)
      refute Server.put_new(store, :items, 1, :b)
      assert Server.get(store, :items, 1) == :a
    end

    test "delete and take remove", %{store: store} do
      Server.bulk_insert(store, :items, [{1, :a}, {2, :b}])
      assert Server.delete(store, :items, 1) == :ok
      assert Server.take(store, :items, 2) == :b
      assert Server.take(store, :items, 2) == nil
      assert Server.size(store, :items) == 0
    end

    test "update gives the function what get gives", %{store: store} do
      assert Server.update(store, :items, 1, &{:was, &1}) == {:ok, {:was, nil}}
      assert Server.update(store, :items, 1, &{:was, &1}) == {:ok, {:was, {:was, nil}}}
      assert Server.update(store, :items, 2, 10, &(&1 + 1)) == {:ok, 10}
      assert Server.update(store, :items, 2, 10, &(&1 + 1)) == {:ok, 11}
      Server.bulk_insert(store, :items, [{3, :x, 1}])
      Server.update(store, :items, 3, fn {3, :x, n} -> {3, :x, n + 1} end)
      assert Server.get(store, :items, 3) == {3, :x, 2}
      Server.update(store, :rows, "k", fn nil -> {0, "k"} end)
      assert Server.get(store, :rows, "k") == {0, "k"}
    end

    test "concurrent updates of one key are all counted", %{store: store} do
      work = fn _ -> for _ <- 1..50, do: Server.update(store, :items, :n, 1, &(&1 + 1)) end
      1..8 |> Task.async_stream(work, timeout: :infinity) |> Stream.run()
      assert Server.get(store, :items, :n) == 400
    end

    test "update_counter adds, and refuses what is no integer", %{store: store} do
      assert Server.update_counter(store, :items, :n, 5, 10) == 15
      assert Server.update_counter(store, :items, :n, -1) == 14
      error = assert_raise Error, fn -> Server.update_counter(store, :items, :none, 1) end
      assert error.reason == :not_a_counter
      Server.put(store, :items, :s, "text")
      assert_raise Error, fn -> Server.update_counter(store, :items, :s, 1, 0) end
    end

    test "match, select, fold, keys, size and stream see all records", %{store: store} do
      Server.bulk_insert(store, :ranks, for(n <- 3..1//-1, do: {n, n * n}))
      assert Server.match(store, :ranks, {:"$1", 4}) == [[2]]
      assert Server.select(store, :ranks, [{{:"$1", :"$2"}, [{:>, :"$2", 1}], [:"$1"]}]) == [2, 3]
      assert Server.fold(store, :ranks, [], fn {k, _}, acc -> [k | acc] end) == [3, 2, 1]
      assert Server.keys(store, :ranks) == [1, 2, 3]
      assert Server.size(store, :ranks) == 3
      assert store |> Server.stream(:ranks) |> Enum.to_list() == [{1, 1}, {2, 4}, {3, 9}]
      assert Server.get_many(store, :ranks, [1, 3, 5]) == %{1 => 1, 3 => 9}
    end

    test "a stream holds one piece of the table at a time", %{store: store} do
      Server.bulk_insert(store, :items, for(n <- 1..20_000, do: {n, List.duplicate(n, 20)}))

      task =
        Task.async(fn ->
          store
          |> Server.stream(:items)
          |> Stream.chunk_every(1_000)
          |> Enum.map(fn _ ->
            :erlang.garbage_collect()
            elem(Process.info(self(), :total_heap_size), 1)
          end)
          |> Enum.max()
        end)

      # The table is more than 20_000 * 45 words.
      assert Task.await(task, 60_000) < 200_000
    end

    test "a stream that ends with its process leaves nothing behind for long", %{store: store} do
      Server.bulk_insert(store, :items, for(n <- 1..2_000, do: {n, n}))
      walk = fn -> store |> Server.stream(:items) |> Enum.each(fn _ -> exit(:normal) end) end
      {pid, monitor} = spawn_monitor(walk)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}
      assert Slither.Store.Sweeper.sweep(store) == :ok
      assert [] = :ets.tab2list(Slither.Store.Directory.get(store).processes)
    end

    test "an abandoned stream leaves nothing behind", %{store: store} do
      Server.bulk_insert(store, :items, for(n <- 1..2_000, do: {n, n}))
      assert store |> Server.stream(:items) |> Enum.take(3) |> length() == 3

      assert [] =
               :ets.match(Slither.Store.Directory.get(store).processes, {{:pin, :_, :_}, :"$1"})
    end
  end

  test "no read waits for a process of the store" do
    store = Stores.start(tables: @tables)
    Server.bulk_insert(store, :items, [{1, :a}, {2, :b}])

    for role <- [:owner, :heir, :sweeper],
        do: :sys.suspend(GenServer.whereis(Slither.Store.Directory.via(store, role)))

    assert Server.get(store, :items, 1) == :a
    assert Server.get!(store, :items, 2) == :b
    assert Server.get_many(store, :items, [1, 2, 3]) == %{1 => :a, 2 => :b}
    assert Server.match(store, :items, {:"$1", :a}) == [[1]]
    assert Server.select(store, :items, [{{:"$1", :b}, [], [:"$1"]}]) == [2]
    assert Server.fold(store, :items, 0, fn _, n -> n + 1 end) == 2
    assert store |> Server.stream(:items) |> Enum.count() == 2
    assert store |> Server.keys(:items) |> Enum.sort() == [1, 2]
    assert Server.size(store, :items) == 2
    assert %{generation: 1} = Server.info(store)

    # Or they can't be stopped.
    for role <- [:owner, :heir, :sweeper],
        do: :sys.resume(GenServer.whereis(Slither.Store.Directory.via(store, role)))
  end

  describe "mistakes" do
    setup do: {:ok, store: Stores.start(tables: @tables)}

    test "an unknown store is named with the nearest" do
      start_supervised!({Server, {FeatureStore, name: My.LongName.Store, views: false}})
      error = assert_raise Error, fn -> Server.get(My.LongNam.Store, :features, 1) end
      assert error.reason == :unknown_store
      assert Exception.message(error) =~ "store My.LongNam.Store: is not running."
      assert Exception.message(error) =~ "Did you mean My.LongName.Store?"
    end

    test "an unknown table is named with the known ones", %{store: store} do
      for read <- [
            &Server.get(&1, :item, 1),
            &Server.put(&1, :item, 1, 1),
            &Server.stream(&1, :item)
          ] do
        error = assert_raise Error, fn -> read.(store) end

        assert Exception.message(error) ==
                 "store #{inspect(store)}: has no table :item. Did you mean :items? " <>
                   "(its tables: :events, :items, :ranks, :rows)"
      end
    end

    test "bad arguments are refused in the caller", %{store: store} do
      owner = Stores.owner(store)

      for bad <- [
            fn -> Server.bulk_insert(store, :items, [{1, 1}, :two]) end,
            fn -> Server.bulk_insert(store, :rows, [{1}]) end,
            fn -> Server.put(store, :rows, "k", {1, "other"}) end,
            # ETS tells 1 from 1.0, save in an :ordered_set.
            fn -> Server.put(store, :rows, 1, {1, 1.0}) end,
            fn -> Server.put(store, :rows, "k", {1}) end,
            fn -> Server.put(store, :rows, "k", :no_record) end,
            fn -> Server.put_new(store, :rows, "k", {1, "other"}) end,
            fn -> Server.update(store, :rows, "k", fn nil -> {1, "other"} end) end,
            fn -> Server.bulk_insert(store, :items, [{}]) end,
            fn -> Server.update_counter(store, :rows, "k", 1, 0) end,
            fn -> Server.update_counter(store, :events, 1, 1, 0) end,
            fn -> Server.update_counter(store, :items, 1, 1, :zero) end,
            fn -> Server.update(store, :items, 1, :no_function) end,
            fn -> Server.update(store, :events, 1, & &1) end,
            fn -> Server.update_counter(store, :items, 1, 1.5, 0) end,
            fn -> Server.select(store, :items, [{:bad}]) end
          ] do
        error = assert_raise Error, bad
        assert error.reason == :invalid_argument
        assert Exception.message(error) =~ inspect(store)
      end

      assert Server.size(store, :items) == 0
      assert Stores.owner(store) == owner
    end

    test "a function that fails in update fails its caller alone", %{store: store} do
      owner = Stores.owner(store)
      Server.put(store, :items, 1, :before)
      assert_raise RuntimeError, fn -> Server.update(store, :items, 1, fn _ -> raise "no" end) end
      assert catch_throw(Server.update(store, :items, 1, fn _ -> throw(:no) end)) == :no
      assert catch_exit(Server.update(store, :items, 1, fn _ -> exit(:no) end)) == :no
      assert Server.get(store, :items, 1) == :before
      assert Stores.owner(store) == owner
    end

    test "a function that kills its process takes nothing with it", %{store: store} do
      owner = Stores.owner(store)
      Server.put(store, :items, 1, :before)
      kill = fn _ -> Process.exit(self(), :kill) end
      {pid, monitor} = spawn_monitor(fn -> Server.update(store, :items, 1, kill) end)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
      assert Server.get(store, :items, 1) == :before
      assert Stores.owner(store) == owner
    end

    test "a function may use its store: nobody waits for anybody", %{store: store} do
      Server.put(store, :items, 1, 1)

      uses = fn n ->
        Server.put(store, :items, :other, n)
        {:ok, _} = Server.update(store, :items, :inner, 0, &(&1 + 1))
        assert Server.take(store, :items, :other) == n
        n + 1
      end

      assert Server.update(store, :items, 1, uses) == {:ok, 2}
      assert Server.get(store, :items, :inner) == 0

      # A reload takes the row away, so that it runs once more.
      once = :atomics.new(1, [])

      reloads = fn n ->
        if :atomics.add_get(once, 1, 1) == 1, do: assert(Server.reload(store) == :ok)
        {:was, n}
      end

      assert Server.update(store, :items, 1, reloads) == {:ok, {:was, nil}}
    end

    @tag timeout: 120_000
    test "a function that changes its own key is told, in the end", %{store: store} do
      Server.put(store, :items, 1, 0)
      changes = fn n -> Server.update_counter(store, :items, 1, 1) + n end
      error = assert_raise Error, fn -> Server.update(store, :items, 1, changes) end
      assert error.reason == :contended
    end

    test "a function that never returns holds up nobody else", %{store: store} do
      test = self()

      {:ok, stuck} =
        Task.start(fn ->
          Server.update(store, :items, 1, fn _ ->
            send(test, :entered)
            receive do: (:never -> :ok)
          end)
        end)

      assert_receive :entered
      assert Server.put(store, :items, 1, :written) == :ok
      assert Server.get(store, :items, 1) == :written
      Process.exit(stuck, :kill)
    end
  end

  describe "instances" do
    test "of one module live side by side, under any name" do
      module = Stores.define()
      start_supervised!({Server, {module, name: {:tenant, 1}}})
      start_supervised!({Server, {module, name: "two"}})
      Server.put({:tenant, 1}, :items, 1, :one)
      assert Server.get("two", :items, 1) == nil
      assert {:tenant, 1} in Server.stores()
      assert "two" in Server.stores()
    end

    test "info says what a store holds" do
      store = Stores.start(tables: [%{name: :items, ttl: 1_000}])
      Server.put(store, :items, 1, 1)
      info = Server.info(store)
      assert %{module: ^store, store: ^store, generation: 1, dir: nil} = info
      assert [%{name: :items, size: 1, durable: false, ttl: 1_000, type: :set}] = info.tables
      assert info.memory_words > 0
    end

    test "a stopped store is unknown" do
      store = Stores.start()
      stop_supervised!({Server, store})
      assert_raise Error, ~r/is not running/, fn -> Server.get(store, :items, 1) end
      assert_raise Error, ~r/is not running/, fn -> Server.put(store, :items, 1, 1) end
      refute store in Server.stores()
    end
  end

  describe "a pid in place of a name" do
    setup do
      module = Stores.define(tables: [%{name: :items}, %{name: :short, ttl: 60_000}])
      pid = start_supervised!({Server, {module, name: {:named, 1}}})
      {:ok, pid: pid}
    end

    test "reads and writes, where it is the store's supervisor or its owner", %{pid: pid} do
      for pid <- [pid, Stores.owner({:named, 1})] do
        assert Server.put(pid, :items, :a, 1) == :ok
        assert Server.get(pid, :items, :a) == 1
        assert Server.get!(pid, :items, :a) == 1
        assert Server.put_new(pid, :short, :a, 1)
        assert Server.update(pid, :items, :a, &(&1 + 1)) == {:ok, 2}
        assert Server.update_counter(pid, :items, :a, 1) == 3
        assert Server.get({:named, 1}, :items, :a) == 3
        assert Server.stream(pid, :items) |> Enum.to_list() == [a: 3]
        assert Server.match(pid, :items, {:"$1", 3}) == [[:a]]
        assert Server.reload(pid) == :ok
        assert Server.info(pid).store == {:named, 1}
        assert Server.size(pid, :items) == 0
      end
    end

    test "watches, and names the store in events, changes and errors", %{pid: pid} do
      Slither.Test.Telemetry.listen_own([[:slither, :store, :write]])
      ref = Server.watch(pid, :items)
      Server.put(pid, :items, :a, 1)
      assert_receive {Slither.Store, ^ref, %{store: {:named, 1}, keys: [:a]}}
      assert_received {:event, _write, %{count: 1}, %{store: {:named, 1}}}
      assert Server.unwatch(pid, ref) == :ok
      error = assert_raise Error, fn -> Server.get!(pid, :items, :b) end
      assert Exception.message(error) =~ "store {:named, 1}, table :items: has nothing"
    end

    test "of no store is unknown", %{pid: pid} do
      assert_raise Error, ~r/is not running/, fn -> Server.get(self(), :items, 1) end
      stop_supervised!({Server, {:named, 1}})
      error = assert_raise Error, fn -> Server.put(pid, :items, 1, 1) end
      assert error.reason == :unknown_store
    end
  end

  describe "watch/2" do
    setup do: {:ok, store: Stores.start(tables: @tables)}

    test "tells of each change of the table", %{store: store} do
      ref = Server.watch(store, :items)
      Server.put(store, :items, 1, :a)
      Server.put(store, :ranks, 1, :a)
      Server.bulk_insert(store, :items, [{2, :b}, {3, :c}])
      Server.delete(store, :items, 2)

      assert_receive {Slither.Store, ^ref, change}
      assert change == %{store: store, table: :items, kind: :put, keys: [1], generation: 1}
      assert_receive {Slither.Store, ^ref, %{kind: :bulk_insert, keys: [2, 3]}}
      assert_receive {Slither.Store, ^ref, %{kind: :delete, keys: [2]}}
      refute_received {Slither.Store, ^ref, _}
    end

    test "ends with unwatch", %{store: store} do
      ref = Server.watch(store, :items)
      Server.unwatch(store, ref)
      Server.put(store, :items, 1, :a)
      refute_received {Slither.Store, ^ref, _}
    end

    test "ends with the watcher", %{store: store} do
      watcher = Task.async(fn -> Server.watch(store, :items) end)
      Task.await(watcher, 60_000)
      processes = Slither.Store.Directory.get(store).processes
      Stores.until(fn -> :ets.match(processes, {{:watch, :_}, :"$1", :_}) == [] end)
    end

    test "survives the owner, and tells that it may have missed a change", %{store: store} do
      ref = Server.watch(store, :items)
      Stores.kill_owner(store)
      Server.put(store, :items, 1, :a)
      assert_receive {Slither.Store, ^ref, %{kind: :recover, keys: :all, generation: 1}}
      assert_receive {Slither.Store, ^ref, %{kind: :put}}
    end

    test "ends with the store, and says so", %{store: store} do
      ref = Server.watch(store, :items)
      stop_supervised!({Server, store})
      assert_receive {:DOWN, ^ref, :process, _, :shutdown}
    end

    test "of a store whose processes are killed ends, and says so", %{store: store} do
      ref = Server.watch(store, :items)
      heir = GenServer.whereis(Slither.Store.Directory.via(store, :heir))
      Process.exit(heir, :kill)
      assert_receive {:DOWN, ^ref, :process, ^heir, :killed}
    end
  end

  describe "ttl" do
    setup do
      clock = :atomics.new(1, [])
      tables = [%{name: :items, ttl: 100}, %{name: :events, type: :bag, ttl: 100}]
      load = fn tables -> :ets.insert(tables[:items], {:loaded, 1}) && :ok end
      options = [clock: fn -> :atomics.get(clock, 1) end, sweep_interval: 3_600_000]
      {:ok, clock: clock, store: Stores.start([tables: tables, load: load], options)}
    end

    test "no read sees a record past its time", %{store: store, clock: clock} do
      :atomics.put(clock, 1, 50)
      Server.put(store, :items, :put, 2)
      Server.put(store, :events, 1, :a)
      assert Server.size(store, :items) == 2

      :atomics.put(clock, 1, 100)
      assert Server.get(store, :items, :loaded) == nil
      assert Server.get(store, :items, :put) == 2
      assert Server.get_many(store, :items, [:loaded, :put]) == %{put: 2}
      assert Server.keys(store, :items) == [:put]
      assert Server.size(store, :items) == 1
      assert Server.match(store, :items, {:"$1", :_}) == [[:put]]
      assert store |> Server.stream(:items) |> Enum.to_list() == [{:put, 2}]
      assert_raise Error, fn -> Server.get!(store, :items, :loaded) end

      :atomics.put(clock, 1, 150)
      assert Server.get(store, :events, 1) == []
      assert Server.size(store, :events) == 0
    end

    test "a write meets nothing where a record is past its time", %{store: store, clock: clock} do
      :atomics.put(clock, 1, 100)
      assert Server.update(store, :items, :loaded, :fresh, & &1) == {:ok, :fresh}
      :atomics.put(clock, 1, 199)
      assert Server.get(store, :items, :loaded) == :fresh
      Server.put(store, :events, 1, :old)
      :atomics.put(clock, 1, 300)
      Server.put(store, :events, 1, :new)
      assert Server.get(store, :events, 1) == [:new]
      assert Server.take(store, :items, :loaded) == nil
      assert Server.put_new(store, :items, :loaded, 1)
    end

    test "a key of an :ordered_set has one time, however it is written" do
      clock = :atomics.new(1, [])
      options = [clock: fn -> :atomics.get(clock, 1) end, sweep_interval: 3_600_000]
      store = Stores.start([tables: [%{name: :ranks, type: :ordered_set, ttl: 100}]], options)
      Server.put(store, :ranks, 1, :old)
      :atomics.put(clock, 1, 50)
      Server.put(store, :ranks, 1.0, :new)
      :atomics.put(clock, 1, 149)
      Slither.Store.Sweeper.sweep(store)
      assert Server.get(store, :ranks, 1) == :new
      assert Server.keys(store, :ranks) == [1.0]
      :atomics.put(clock, 1, 150)
      assert Server.get(store, :ranks, 1) == nil
      assert Server.size(store, :ranks) == 0
    end

    test "a record of a bag lives as long as the last of its key", %{store: store, clock: clock} do
      Server.put(store, :events, 1, :a)
      :atomics.put(clock, 1, 60)
      Server.put(store, :events, 1, :b)
      :atomics.put(clock, 1, 159)
      assert Enum.sort(Server.get(store, :events, 1)) == [:a, :b]
      :atomics.put(clock, 1, 160)
      assert Server.get(store, :events, 1) == []
    end

    test "walks and selections of many rows leave out what is past its time", context do
      %{store: store, clock: clock} = context
      Server.bulk_insert(store, :items, for(n <- 1..2_000, do: {n, n}))
      :atomics.put(clock, 1, 50)
      kept = for n <- 1..2_000//2, do: {n, -n}
      Server.bulk_insert(store, :items, kept)
      :atomics.put(clock, 1, 100)
      assert store |> Server.stream(:items) |> Enum.sort() == kept
      assert store |> Server.select(:items, [{:"$1", [], [:"$1"]}]) |> Enum.sort() == kept
      assert store |> Server.match(:items, {:"$1", :_}) |> length() == 1_000
      assert Server.size(store, :items) == 1_000
      assert Server.put_new(store, :items, 2, :again)
      refute Server.put_new(store, :items, 1, :again)
      assert_raise Error, fn -> Server.update_counter(store, :items, 4, 1) end
      assert Server.update_counter(store, :items, 4, 1, 0) == 1
    end

    test "is swept by itself, as often as asked", %{} do
      store = Stores.start([tables: [%{name: :items, ttl: 1}]], sweep_interval: 1)
      ref = Server.watch(store, :items)
      Server.put(store, :items, 1, 1)
      assert_receive {Slither.Store, ^ref, %{kind: :put}}
      assert_receive {Slither.Store, ^ref, %{kind: :expire, keys: [1]}}
      assert %{tables: [%{size: 0}]} = Server.info(store)
    end

    test "a sweep removes what is past its time", %{store: store, clock: clock} do
      ref = Server.watch(store, :items)
      Server.bulk_insert(store, :items, for(n <- 1..1_200, do: {n, n}))
      :atomics.put(clock, 1, 100)
      assert Slither.Store.Sweeper.sweep(store) == :ok
      assert_receive {Slither.Store, ^ref, %{kind: :bulk_insert}}

      swept =
        for _ <- 1..3 do
          assert_receive {Slither.Store, ^ref, %{kind: :expire, keys: keys}}, 5_000
          keys
        end

      assert swept |> List.flatten() |> Enum.uniq() |> length() == 1_201
      assert Server.info(store).tables |> Enum.map(& &1.size) == [0, 0]
    end
  end

  describe "telemetry" do
    setup do
      test = self()
      clock = :atomics.new(1, [])
      options = [clock: fn -> :atomics.get(clock, 1) end, sweep_interval: 3_600_000]
      tables = [%{name: :items, ttl: 100}, %{name: :events, type: :bag}]
      store = Stores.start([tables: tables], options)

      handler = fn event, measured, %{store: from} = meta, _ ->
        if from == store, do: send(test, {event, measured, meta, self()})
      end

      Slither.Telemetry.attach({__MODULE__, store}, [:slither, :store, :write], handler, nil)
      on_exit(fn -> Slither.Telemetry.detach({__MODULE__, store}) end)
      {:ok, store: store, clock: clock}
    end

    test "each kind of write is told with its count", %{store: store, clock: clock} do
      event = [:slither, :store, :write]

      for {kind, count, write} <- [
            {:put, 1, fn -> Server.put(store, :items, 1, 1) end},
            {:put, 1, fn -> Server.put(store, :events, 1, 1) end},
            {:put_new, 1, fn -> Server.put_new(store, :items, 2, 1) end},
            {:bulk_insert, 2, fn -> Server.bulk_insert(store, :items, [{1, 1}, {2, 2}]) end},
            {:update, 1, fn -> Server.update(store, :items, 1, &(&1 + 1)) end},
            {:update, 1, fn -> Server.update(store, :items, 3, 1, &(&1 + 1)) end},
            {:update_counter, 1, fn -> Server.update_counter(store, :items, 1, 1) end},
            {:delete, 1, fn -> Server.delete(store, :items, 1) end},
            {:take, 1, fn -> Server.take(store, :items, 2) end},
            {:expire, 1,
             fn -> :atomics.put(clock, 1, 100) && Slither.Store.Sweeper.sweep(store) end}
          ] do
        write.()
        assert_received {^event, %{count: ^count} = measured, meta, pid}
        assert map_size(measured) == 1
        assert Map.delete(meta, :table) == %{store: store, kind: kind}
        assert meta.table in [:items, :events]
        # A handler may be slow: never at the cost of all writes.
        assert pid != Stores.owner(store)
      end

      refute_received {^event, _, _, _}
    end

    test "what writes nothing tells of nothing", %{store: store} do
      Server.put(store, :items, 1, 1)
      assert_received {_, _, _, _}
      Server.put_new(store, :items, 1, 2)
      Server.take(store, :items, :none)
      Server.bulk_insert(store, :items, [])
      catch_error(Server.update_counter(store, :items, :none, 1))
      catch_error(Server.update(store, :items, 1, fn _ -> raise "no" end))
      Slither.Store.Sweeper.sweep(store)
      refute_received {_, _, _, _}
    end
  end
end
