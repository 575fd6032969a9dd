defmodule Slither.Store.ReloadTest do
  use ExUnit.Case, async: true

  alias Slither.Store.{Directory, Server}
  alias Slither.Test.Stores

  # A load that puts the number of the generation into both tables.
  defp counted(rows \\ 50) do
    counter = :counters.new(1, [])

    load = fn tables ->
      :counters.add(counter, 1, 1)
      n = :counters.get(counter, 1)
      for table <- [:left, :right], i <- 1..rows, do: :ets.insert(tables[table], {i, n})
      :ok
    end

    [tables: [%{name: :left}, %{name: :right}, %{name: :log}], load: load]
  end

  # A load that the test lets go, from the first reload on.
  defp gated do
    {test, loads} = {self(), :counters.new(1, [])}

    load = fn _tables ->
      :counters.add(loads, 1, 1)

      if :counters.get(loads, 1) > 1 do
        send(test, {:loading, self()})
        receive do: ({:finish, result} -> result)
      else
        :ok
      end
    end

    Stores.start(tables: [%{name: :items}, %{name: :log, type: :bag}], load: load)
  end

  defp begin_reload(store) do
    task = Task.async(fn -> Server.reload(store) end)
    assert_receive {:loading, loader}
    {task, loader}
  end

  defp finish_reload({task, loader}, result \\ :ok) do
    send(loader, {:finish, result})
    Task.await(task, 60_000)
  end

  describe "a reload" do
    test "replaces what was there by what load/1 gives now" do
      store = Stores.start(counted())
      Server.put(store, :left, :mine, 1)
      assert Server.reload(store) == :ok
      assert Server.get(store, :left, 1) == 2
      assert Server.get(store, :left, :mine) == nil
      assert Server.info(store).generation == 2
    end

    test "shows the old tables while it loads" do
      store = gated()
      Server.put(store, :items, 1, :old)
      {_task, loader} = reload = begin_reload(store)
      assert Server.get(store, :items, 1) == :old
      assert Process.alive?(loader)
      assert finish_reload(reload) == :ok
      assert Server.get(store, :items, 1) == nil
    end

    test "keeps the writes that came while it loaded, in order, and their writers read them" do
      store = gated()
      Server.put(store, :items, :gone, 1)
      reload = begin_reload(store)

      Server.put(store, :items, 1, :first)
      Server.put(store, :items, 1, :second)
      Server.update_counter(store, :items, :n, 1, 10)
      Server.update_counter(store, :items, :n, 1)
      Server.put(store, :items, 2, :deleted)
      Server.delete(store, :items, 2)
      Server.put(store, :log, :k, :a)
      Server.put(store, :log, :k, :b)

      seen = fn ->
        [
          Server.get(store, :items, 1),
          Server.get(store, :items, :n),
          Server.get(store, :items, 2),
          Enum.sort(Server.get(store, :log, :k))
        ]
      end

      assert seen.() == [:second, 12, nil, [:a, :b]]
      assert finish_reload(reload) == :ok
      assert seen.() == [:second, 12, nil, [:a, :b]]
      assert Server.get(store, :items, :gone) == nil
    end

    test "that fails changes nothing, keeps the writes and returns its reason" do
      store = gated()
      reload = begin_reload(store)
      Server.put(store, :items, 1, :written)
      assert finish_reload(reload, {:error, :no_database}) == {:error, :no_database}
      assert Server.get(store, :items, 1) == :written
      assert Server.info(store).generation == 1
      assert finish_reload(begin_reload(store)) == :ok
    end

    test "whose loader is killed returns that" do
      store = gated()
      {task, loader} = begin_reload(store)
      Process.exit(loader, :kill)
      assert Task.await(task, 60_000) == {:error, {:exit, :killed}}
      assert Server.put(store, :items, 1, 1) == :ok
    end

    test "asked for during a reload loads again afterwards, once for all who ask" do
      store = gated()
      {first, loader} = begin_reload(store)
      later = for _ <- 1..3, do: Task.async(fn -> Server.reload(store) end)
      waiting = fn -> length(:sys.get_state(Stores.owner(store)).waiting) end
      Stores.until(fn -> waiting.() == 3 end)
      send(loader, {:finish, :ok})
      assert Task.await(first, 60_000) == :ok
      assert_receive {:loading, loader}
      send(loader, {:finish, :ok})
      assert Task.await_many(later, 60_000) == [:ok, :ok, :ok]
      assert Server.info(store).generation == 3
    end

    test "frees the old tables" do
      store = Stores.start(counted())
      old = for {_, table} <- Directory.get(store).tables, do: table.tid
      Server.reload(store)
      Stores.until(fn -> Enum.all?(old, &(:ets.info(&1) == :undefined)) end)
    end

    test "leaves a fold and a stream that are under way the tables they began with" do
      store = Stores.start(counted(2_000))

      [{1, 1}] =
        store |> Server.stream(:left) |> Stream.filter(&(elem(&1, 0) == 1)) |> Enum.to_list()

      old = Directory.get(store).tables.left.tid

      total =
        Server.fold(store, :left, 0, fn {_, n}, sum ->
          if sum == 0, do: Server.reload(store)
          sum + n
        end)

      assert total == 2_000
      assert Server.get(store, :left, 1) == 2
      Stores.until(fn -> :ets.info(old) == :undefined end)
    end

    test "frees the old tables when a process that streamed them is killed" do
      store = Stores.start(counted(2_000))
      old = Directory.get(store).tables.left.tid
      test = self()

      {:ok, reader} =
        Task.start(fn ->
          store
          |> Server.stream(:left)
          |> Enum.each(fn _ ->
            send(test, :reading)
            receive do: (:never -> :ok)
          end)
        end)

      assert_receive :reading
      Server.reload(store)
      assert is_list(:ets.info(old))
      Process.exit(reader, :kill)
      Stores.until(fn -> :ets.info(old) == :undefined end)
    end

    test "tells those who watch" do
      store = Stores.start(counted())
      ref = Server.watch(store, :left)
      Server.reload(store)
      assert_receive {Slither.Store, ^ref, %{kind: :reload, keys: :all, generation: 2}}
    end

    test "emits its events" do
      store = gated()
      test = self()
      events = for phase <- [:start, :stop, :exception], do: [:slither, :store, :reload, phase]

      handler = fn [_, _, _, phase], measured, meta, _ ->
        if meta.store == store, do: send(test, {phase, measured, meta})
      end

      Slither.Telemetry.attach({__MODULE__, store}, events, handler, nil)
      on_exit(fn -> Slither.Telemetry.detach({__MODULE__, store}) end)

      finish_reload(begin_reload(store))
      finish_reload(begin_reload(store), {:error, :bad})
      assert_receive {:start, %{system_time: _}, %{generation: 1}}
      assert_receive {:stop, %{rows: 0, duration: _}, %{generation: 2}}
      assert_receive {:exception, %{duration: _}, %{generation: 2, reason: :bad}}
    end
  end

  # Readers check, on every read through thousands of reloads, what no reader may ever see
  # broken; writers check that they read back what they wrote, through reloads and after.
  @tag timeout: 600_000
  test "readers and writers never see an empty, half or mixed generation" do
    store = Stores.start(counted(20))
    stop = :atomics.new(1, [])
    running? = fn -> :atomics.get(stop, 1) == 0 end

    readers = for _ <- 1..2, do: Task.async(fn -> read(store, running?, 0, 0) end)
    writers = [Task.async(fn -> write(store, running?, 1, 1) end)]
    for _ <- 1..2_000, do: assert(Server.reload(store) == :ok)
    :atomics.put(stop, 1, 1)

    for count <- Task.await_many(readers ++ writers, 300_000), do: assert(count > 0)
    assert Server.info(store).generation == 2_001
  end

  defp read(store, running?, last, count) do
    # One call sees one generation, whole.
    many = Server.get_many(store, :left, Enum.to_list(1..20))
    assert map_size(many) == 20
    assert [left] = many |> Map.values() |> Enum.uniq()

    # Calls in order see generations in order, over all tables.
    right = Server.get!(store, :right, 7)
    assert right >= left and left >= last
    assert Server.size(store, :right) == 20
    assert [again] = store |> Server.match(:right, {:_, :"$1"}) |> Enum.uniq()
    assert again == [again |> hd() |> max(right)]
    folded = Server.fold(store, :left, [], fn {_, n}, all -> [n | all] end)
    assert length(folded) == 20 and length(Enum.uniq(folded)) == 1
    assert hd(folded) >= right

    # Short turns: more of them meet a swap.
    :erlang.yield()
    if running?.(), do: read(store, running?, hd(folded), count + 1), else: count + 1
  end

  # A reload drops what was written before it began. So a row may be gone later, but a
  # row that is there is the last one written, and never one of an earlier time.
  defp write(store, running?, id, n) do
    assert Server.put(store, :log, id, n) == :ok
    assert Server.get(store, :log, id) in [n, nil]
    assert {:ok, _} = Server.update(store, :log, {id, :u}, &((&1 || 0) + 1))
    :erlang.yield()
    if running?.(), do: write(store, running?, id, n + 1), else: n
  end
end
