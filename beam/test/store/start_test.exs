defmodule Slither.Store.StartTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.{Error, Store}
  alias Slither.Store.{Server, Views}
  alias Slither.Test.{FeatureStore, Stores}

  # A start that fails ends linked processes; what matters is what it returns.
  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp refused(options, start_options \\ []) do
    {:error, %Error{} = error} = Server.start_link(Stores.define(options), start_options)
    Exception.message(error)
  end

  describe "load/1" do
    test "is done before the start returns" do
      start_supervised!({Server, FeatureStore})
      assert Server.get(FeatureStore, :features, "user:42") == %{tier: "gold"}
      assert {:ok, view} = Views.fetch("lookup_feature")
      assert view.handler.(%{"key" => "user:42"}, nil) == %{"value" => %{tier: "gold"}}
    end

    test "shows nothing before it is done" do
      test = self()

      load = fn tables ->
        :ets.insert(tables[:items], {1, 1})
        send(test, {:loading, self()})
        receive do: (:go -> :ok)
      end

      module = Stores.define(load: load)
      start = Task.async(fn -> start_and_hold(module) end)
      assert_receive {:loading, loader}
      assert_raise Error, ~r/is not running/, fn -> Server.get(module, :items, 1) end
      refute module in Server.stores()
      send(loader, :go)
      assert Task.yield(start, 0) == nil
      Stores.until(fn -> module in Server.stores() end)
      assert Server.get(module, :items, 1) == 1
      Task.shutdown(start)
    end

    test "stops the start with the reason it returns" do
      module = Stores.define(load: fn _ -> {:error, :no_database} end)
      assert Server.start_link(module) == {:error, :no_database}
      refute module in Server.stores()
    end

    @tag :capture_log
    test "stops the start with what it raises, throws or exits with" do
      raising = Stores.define(load: fn _ -> raise ArgumentError, "no file" end)
      assert Server.start_link(raising) == {:error, %ArgumentError{message: "no file"}}

      assert {:error, {:throw, :up}} =
               Server.start_link(Stores.define(load: fn _ -> throw(:up) end))

      killed = Stores.define(load: fn _ -> Process.exit(self(), :kill) end)
      assert Server.start_link(killed) == {:error, {:exit, :killed}}
    end

    test "must return :ok or an error" do
      assert {:error, %Error{reason: :invalid_return} = error} =
               Server.start_link(Stores.define(load: fn _ -> :oops end))

      assert Exception.message(error) =~ "must return :ok or {:error, reason}, got :oops"
    end

    test "may fail where an empty start is asked for, and it is logged" do
      module = Stores.define(load: fn _ -> {:error, :no_database} end)

      log =
        capture_log(fn ->
          start_supervised!({Server, {module, on_load_error: :start_empty}})
        end)

      assert log =~ "starts empty: :no_database"
      assert Server.size(module, :items) == 0
    end

    test "fails the supervisor that lists the store, with the reason" do
      module = Stores.define(load: fn _ -> {:error, :no_database} end)
      child = Server.child_spec(module)

      assert {:error, {:shutdown, {:failed_to_start_child, {Server, ^module}, :no_database}}} =
               Supervisor.start_link([child], strategy: :one_for_one)
    end
  end

  describe "specs" do
    test "an unknown key is named with its table and the nearest" do
      assert refused(tables: [%{name: :items, read_concurency: true}]) =~
               ~r/table :items of .*: unknown option :read_concurency. Did you mean :read_concurrency\?/
    end

    test "a bad value is named with what is accepted" do
      assert refused(tables: [%{name: :items, type: :heap}]) =~
               "option :type takes one of :set, :bag, :ordered_set, got :heap"

      assert refused(tables: [%{name: :items, ttl: 0}]) =~ "option :ttl takes"
    end

    test "a table needs a name, once" do
      assert refused(tables: [%{type: :set}]) =~ "option :name is required"
      assert refused(tables: [%{name: :a}, %{name: :a}]) =~ "table :a of"
      assert refused(tables: []) =~ "at least one table"
      assert refused(tables: [:items]) =~ "table 1 of"
    end

    test "every key of a table is checked, and named" do
      for {key, bad} <- [
            name: "text",
            type: :duplicate_bag,
            keypos: 0,
            keypos: 1.0,
            read_concurrency: 1,
            write_concurrency: :auto,
            compressed: nil,
            durable: "yes",
            ttl: -1,
            ttl: 1.5,
            python: true
          ] do
        message = refused(tables: [Map.put(%{name: :items}, key, bad)])
        named = if key == :name, do: "text", else: :items
        assert message =~ ~r/^table #{inspect(named)} of .*: option #{inspect(key)} takes /
      end

      assert refused(tables: %{name: :items}) =~ "must return a list"
      assert refused(tables: [%{name: :ok}, {:name, :pair}]) =~ "table 2 of"
      assert refused(tables: [[{:name, :items} | :improper]]) != ""
    end

    test "every option of a store is checked, and named" do
      for {key, bad} <- [
            dir: :atom,
            dir: <<255>>,
            sync: 0,
            sync: :never,
            sync: 100_000_000_000,
            compact_after: 0,
            on_load_error: :ignore,
            views: :none,
            sweep_interval: 0,
            sweep_interval: 100_000_000_000,
            clock: &is_nil/1
          ] do
        assert refused([], [{key, bad}]) =~
                 ~r/^Slither.Store.Server.start_link\/2 of .*: option #{inspect(key)} takes /
      end

      assert refused([], :no_list) =~ "takes a keyword list"
      long = %{name: :look, handler: fn p -> p end, timeout_ms: 100_000_000_000}
      assert refused(views: [long]) =~ "option :timeout_ms takes milliseconds (1 to 4294967295)"
    end

    test "a module whose tables/0 or views/0 fails is told of, however it fails" do
      for {fail, words} <- [
            {fn -> raise "no file" end, "no file"},
            {fn -> throw(:up) end, ":up"},
            {fn -> exit(:gone) end, ":gone"}
          ],
          function <- [:tables, :views] do
        module = Stores.define([{function, {:call, fail}}])
        assert {:error, %Error{reason: :store_module_failed} = error} = Server.start_link(module)
        assert Exception.message(error) =~ "#{inspect(module)}.#{function}/0: "
        assert Exception.message(error) =~ words
      end
    end

    test "a durable table needs a directory" do
      assert refused(tables: [%{name: :items, durable: true}]) =~
               "table :items is durable, so option :dir is required"
    end

    test "an unknown option of a store is named with the nearest" do
      assert refused([], on_load_eror: :stop) =~ "Did you mean :on_load_error?"
    end

    test "a module that is no store is refused" do
      assert {:error, %Error{reason: :not_a_store} = error} = Server.start_link(Enum)

      assert Exception.message(error) ==
               "Enum: is no store: it lacks tables/0 and load/1 (see Slither.Store)"
    end
  end

  describe "views" do
    defp view(name), do: %{name: name, handler: fn params -> params end}

    defp name, do: "view_#{System.unique_integer([:positive])}"

    test "are found by their name while the store runs" do
      name = name()
      store = Stores.start(views: [view(name)])

      assert {:ok, view} = Views.fetch(name)
      assert %{name: ^name, store: ^store, mode: :scalar, scope: :session} = view
      assert view.timeout_ms == 5_000
      assert view in Views.all()

      stop_supervised!({Server, store})
      Stores.until(fn -> Views.fetch(name) == :error end)
    end

    test "survive the owner" do
      name = name()
      store = Stores.start(views: [view(name)])
      Stores.kill_owner(store)
      assert {:ok, %{store: ^store}} = Views.fetch(name)
    end

    test "are checked: keys, values, handler" do
      assert refused(views: [%{name: :look, handler: &(&1 && &2), mod: :scalar}]) =~
               ~r/view :look of .*: unknown option :mod. Did you mean :mode\?/

      assert refused(views: [%{name: :look}]) =~ "option :handler is required"

      assert refused(views: [%{name: :look, handler: fn -> 1 end}]) =~
               "option :handler takes a function of arity 1 or 2"

      assert refused(views: [view(:look), view("look")]) =~ "view \"look\" of"
    end

    test "of one name can't be served by two stores" do
      name = name()
      first = Stores.start(views: [view(name)])
      second = Stores.define(views: [view(name() <> "x"), view(name)])

      assert {:error, %Error{reason: :duplicate_view} = error} = Server.start_link(second)
      message = Exception.message(error)
      assert message =~ inspect(first) and message =~ inspect(second) and message =~ name
      assert {:ok, %{store: ^first}} = Views.fetch(name)

      start_supervised!({Server, {second, views: false}})
    end

    test "of a module that runs twice are served by the first instance" do
      {name, table} = {name(), name()}
      tables = [%{name: :items, python: :read, as: table}]
      module = Stores.define(tables: tables, views: [view(name)])
      start_supervised!({Server, module})
      start_supervised!({Server, {module, name: {module, 2}}})
      assert {:ok, %{store: ^module}} = Views.fetch(name)
      assert {:ok, %{store: ^module}} = Views.fetch_table(table)
      assert Server.put({module, 2}, :items, 1, :second) == :ok
      assert Server.get(module, :items, 1) == nil

      assert {:error, %Error{reason: :duplicate_view}} =
               Server.start_link(module, name: {module, 3}, views: true)

      # The first comes back with them, although it was its own that stood in the way.
      Stores.kill_owner(module)
      stop_supervised!({Server, module})
      start_supervised!({Server, module})
      assert {:ok, %{store: ^module}} = Views.fetch(name)
    end
  end

  test "the events of a load tell its rows, or its reason" do
    test = self()
    load = fn tables -> :ets.insert(tables[:items], [{1, 1}, {2, 2}]) && :ok end
    good = Stores.define(load: load)
    bad = Stores.define(load: fn _ -> {:error, :no_database} end)
    events = for phase <- [:start, :stop, :exception], do: [:slither, :store, :load, phase]

    handler = fn [_, _, _, phase], measured, meta, _ ->
      if meta.store in [good, bad], do: send(test, {phase, measured, meta})
    end

    Slither.Telemetry.attach({__MODULE__, :load}, events, handler, nil)
    on_exit(fn -> Slither.Telemetry.detach({__MODULE__, :load}) end)

    start_supervised!({Server, good})
    assert_received {:start, %{system_time: _}, %{store: ^good}}
    assert_received {:stop, %{rows: 2, duration: _}, %{store: ^good}}
    Server.start_link(bad)
    assert_received {:exception, %{duration: _}, %{store: ^bad, reason: :no_database}}
  end

  test "the supervisor of the application starts the stores it is given" do
    # Its registry has a fixed name and runs already; the children it would start are what counts.
    {:ok, {_flags, [registry, configured]}} = Store.Supervisor.init(stores: [FeatureStore])
    assert %{id: Slither.Store.Registry} = registry
    assert %{start: {Supervisor, :start_link, [[child], _options]}} = configured

    assert %{start: {Slither.Store.Restarter, :start_link, [FeatureStore]}, type: :supervisor} =
             child
  end

  @tag :capture_log
  test "a configured store that can't go on is started again, and costs nobody else" do
    down = :atomics.new(1, [])
    load = fn _tables -> if :atomics.get(down, 1) == 0, do: :ok, else: {:error, :disk} end
    ill = Stores.define(tables: [%{name: :items}], load: load)
    well = Stores.define(tables: [%{name: :items}])
    keepers = for store <- [ill, well], do: Slither.Store.Restarter.child_spec(store)
    {:ok, supervisor} = Supervisor.start_link(keepers, strategy: :one_for_one)
    children = Supervisor.which_children(supervisor)

    :ok = Server.put(well, :items, 1, :kept)
    :atomics.put(down, 1, 1)
    instance = GenServer.whereis(Slither.Store.Directory.via(ill, :instance))
    monitor = Process.monitor(instance)
    Process.exit(instance, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}
    assert Server.get(well, :items, 1) == :kept
    :atomics.put(down, 1, 0)
    assert comes_back(ill)
    assert Supervisor.which_children(supervisor) == children
    :ok = Supervisor.stop(supervisor)
    refute ill in Server.stores()
  end

  defp comes_back(store), do: store in Server.stores() or comes_back(store)

  defp start_and_hold(module) do
    {:ok, _pid} = Server.start_link(module)
    receive do: (:never -> :ok)
  end
end
