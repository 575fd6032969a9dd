defmodule Slither.Store.CrashTest do
  use ExUnit.Case, async: true

  alias Slither.Store.{Directory, Server}
  alias Slither.Test.Stores

  test "the serving process may be killed: no acknowledged write is lost" do
    store = Stores.start()

    writers =
      for id <- 1..3 do
        Task.async(fn -> Enum.map(1..400, &{{id, &1}, acknowledged?(store, {id, &1})}) end)
      end

    for _ <- 1..8 do
      before = Server.size(store, :items)
      Stores.kill_owner(store)
      # Reads never stop.
      assert Server.size(store, :items) >= before
      assert Server.put(store, :items, :alive, 1) == :ok
    end

    for {key, true} <- writers |> Task.await_many(120_000) |> List.flatten() do
      assert Server.get(store, :items, key) == key
    end
  end

  test "a kill in the middle of a reload leaves the old tables and frees the new" do
    test = self()
    loads = :counters.new(1, [])

    load = fn tables ->
      :counters.add(loads, 1, 1)

      if :counters.get(loads, 1) == 2 do
        send(test, {:loading, self(), tables})
        receive do: (:never -> :ok)
      end

      :ok
    end

    store = Stores.start(load: load)
    Server.put(store, :items, 1, :kept)
    reload = Task.async(fn -> catch_error(Server.reload(store)) end)
    assert_receive {:loading, loader, tables}
    monitor = Process.monitor(loader)
    Stores.kill_owner(store)
    assert %Slither.Error{reason: :store_unavailable} = Task.await(reload, 60_000)
    assert_receive {:DOWN, ^monitor, _, _, _}
    assert :ets.info(tables[:items]) == :undefined
    assert Server.get(store, :items, 1) == :kept
    assert Server.reload(store) == :ok
    assert Server.get(store, :items, 1) == nil
  end

  test "kills among reloads never show a broken table" do
    load = fn tables -> :ets.insert(tables[:items], for(i <- 1..10, do: {i, i})) && :ok end
    store = Stores.start(load: load)
    stop = :atomics.new(1, [])
    reader = Task.async(fn -> read(store, stop) end)

    reloader =
      Task.async(fn ->
        for _ <- 1..300 do
          try do
            Server.reload(store)
          rescue
            error in Slither.Error -> assert error.reason == :store_unavailable
          end
        end
      end)

    for _ <- 1..8, do: Stores.kill_owner(wait_for_owner(store))
    Task.await(reloader, 120_000)
    :atomics.put(stop, 1, 1)
    assert Task.await(reader, 60_000) == :ok

    # Whatever generation they were of, no table is left but the current one.
    current = Directory.get(store).tables.items.tid
    heir = GenServer.whereis(Directory.via(store, :heir))
    wait_for_owner(store)

    Stores.until(fn ->
      owned = for tid <- :ets.all(), :ets.info(tid, :name) == :items, do: tid
      mine = for tid <- owned, :ets.info(tid, :heir) == heir, do: tid
      mine == [current]
    end)
  end

  test "an heir that is killed takes the owner with it, and the store loads anew" do
    load = fn tables -> :ets.insert(tables[:items], {1, :loaded}) && :ok end
    store = Stores.start(load: load)
    heir = GenServer.whereis(Directory.via(store, :heir))
    owner = Stores.owner(store)
    Process.exit(heir, :kill)
    # A new heir takes the old tables out of sight before a new owner begins.
    Stores.until(fn -> Stores.owner(store) not in [nil, owner] end)
    Stores.until(fn -> store in Server.stores() end)
    assert Server.get(store, :items, 1) == :loaded
  end

  defp wait_for_owner(store) do
    Stores.until(fn -> is_pid(Stores.owner(store)) end)
    store
  end

  defp read(store, stop) do
    assert Server.size(store, :items) == 10
    assert Server.get(store, :items, 7) == 7
    if :atomics.get(stop, 1) == 0, do: read(store, stop), else: :ok
  end

  defp acknowledged?(store, key) do
    Server.put(store, :items, key, key) == :ok
  rescue
    # The owner was killed in the middle: the write may be there or not.
    error in Slither.Error -> error.reason != :store_unavailable
  end
end
