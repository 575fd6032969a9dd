defmodule Slither.Store.ReloadTest do
  use ExUnit.Case, async: true

  alias Slither.Store.{Directory, Server, Sweeper}
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

  test "drops no loaded row because an old one's time was up while it loaded" do
    clock = :atomics.new(1, [])
    {test, loads} = {self(), :counters.new(1, [])}

    load = fn tables ->
      :counters.add(loads, 1, 1)
      n = :counters.get(loads, 1)
      :ets.insert(tables[:items], {:k, n})
      if n > 1, do: send(test, {:loading, self()}) && receive(do: (:finish -> :ok)), else: :ok
    end

    options = [clock: fn -> :atomics.get(clock, 1) end, sweep_interval: 3_600_000]
    store = Stores.start([tables: [%{name: :items, ttl: 100}], load: load], options)
    reload = Task.async(fn -> Server.reload(store) end)
    assert_receive {:loading, loader}
    :atomics.put(clock, 1, 100)
    assert Server.get(store, :items, :k) == nil
    assert Sweeper.sweep(store) == :ok
    assert Server.size(store, :items) == 0
    send(loader, :finish)
    assert Task.await(reload, 60_000) == :ok
    # Its time begins when it is loaded.
    assert Server.get(store, :items, :k) == 2
    :atomics.put(clock, 1, 199)
    assert Server.get(store, :items, :k) == 2
    :atomics.put(clock, 1, 200)
    assert Server.get(store, :items, :k) == nil
  end

  test "a load that writes to its store, or asks for a reload, waits for nobody" do
    test = self()
    first? = :atomics.new(1, [])

    load = fn tables ->
      if :atomics.add_get(first?, 1, 1) > 1 do
        {store, _} = :persistent_term.get({__MODULE__, test})
        :ets.insert(tables[:items], {:loaded, 1})
        writers = for n <- 1..3, do: Task.async(fn -> Server.put(store, :items, n, n) end)
        [:ok, :ok, :ok] = Task.await_many(writers)
        # The tables are the loader's alone.
        task = Task.async(fn -> catch_error(:ets.insert(tables[:items], {:alien, 1})) end)
        send(test, {:alien, Task.await(task)})
        {:error, error} = Server.reload(store)
        send(test, {:reload, error})
      end

      :ok
    end

    store = Stores.start(load: load)
    :persistent_term.put({__MODULE__, test}, {store, test})
    on_exit(fn -> :persistent_term.erase({__MODULE__, test}) end)
    assert Server.reload(store) == :ok
    assert_received {:alien, :badarg}
    assert_received {:reload, %Slither.Error{reason: :reload_in_load}}
    assert store |> Server.keys(:items) |> Enum.sort() == [1, 2, 3, :loaded]
  end

  @tag :capture_log
  test "a load that breaks its tables changes nothing, and leaves no table" do
    {test, bad} = {self(), :atomics.new(1, [])}

    load = fn tables ->
      send(test, {:tables, Map.values(tables)})

      case :atomics.get(bad, 1) do
        0 -> :ets.insert(tables[:items], {1, :first}) && :ok
        1 -> :ets.delete(tables[:items]) && :ok
        2 -> :ets.give_away(tables[:items], test, nil) && :ok
        3 -> raise "broke"
        4 -> throw(:broke)
        5 -> exit(:broke)
        6 -> Process.exit(self(), :kill)
        7 -> spawn_link(fn -> exit(:broke) end) && receive(do: (:never -> :ok))
        8 -> {:ok, tables}
      end
    end

    store = Stores.start(load: load)
    owner = Stores.owner(store)
    assert_received {:tables, _first}

    for n <- 1..8 do
      :atomics.put(bad, 1, n)
      assert {:error, _reason} = Server.reload(store)
      assert Server.get(store, :items, 1) == :first
      assert_received {:tables, [tid]}
      if n == 2, do: :ets.delete(tid)
      Stores.until(fn -> :ets.info(tid) == :undefined end)
    end

    assert Stores.owner(store) == owner
    assert Server.info(store).generation == 1
  end

  test "hundreds of reloads leave no table, process, term or name behind" do
    store = Stores.start(counted(3))
    # What a first one sets up for good is there before it is counted.
    assert Server.reload(store) == :ok
    Server.fold(store, :left, 0, fn _, n -> n end)
    owned = fn -> for t <- :ets.all(), :ets.info(t, :name) in [:left, :right, :log], do: t end
    mine = fn -> for t <- owned.(), :ets.info(t, :heir) == heir(store), do: t end
    terms = fn -> for {{Directory, ^store} = key, _} <- :persistent_term.get(), do: key end
    names = fn -> Registry.keys(Slither.Store.Registry, heir(store)) end
    {links, named} = {links(store), names.()}

    for n <- 1..300 do
      if rem(n, 10) == 0 do
        # One that ends in the middle of a stream.
        spawn(fn -> store |> Server.stream(:left) |> Enum.each(fn _ -> exit(:normal) end) end)
      end

      assert Server.reload(store) == :ok
    end

    processes = Directory.get(store).processes

    Stores.until(fn ->
      Sweeper.sweep(store)
      length(mine.()) == 3 and :ets.match(processes, {{:pin, :_, :_}, :"$1"}) == []
    end)

    Stores.until(fn -> :ets.tab2list(processes) == [] end)
    assert links(store) == links
    assert names.() == named
    assert terms.() == [{Directory, store}]
  end

  # Readers check, on every read through thousands of reloads, what no reader may ever see
  # broken; writers check on every write, through the same reloads, that none is lost.
  @tag timeout: 600_000
  test "readers and writers never see an empty, half or mixed generation, nor a write lost" do
    loads = :counters.new(1, [])
    # Now and then it takes a while, so that many writes come while it loads.
    {counted, pause} = {counted(20), fn n -> if rem(n, 4) == 0, do: pass(50) end}

    load = fn tables ->
      :counters.add(loads, 1, 1)
      pause.(:counters.get(loads, 1))
      counted[:load].(tables)
    end

    store = Stores.start(Keyword.put(counted, :load, load))
    # Whether all go on; reads; writes; writes that began while a load ran.
    seen = :counters.new(4, [])

    tasks =
      for(_ <- 1..2, do: Task.async(fn -> read(store, seen, 0) end)) ++
        for id <- 1..2, do: Task.async(fn -> write(store, loads, seen, id, 1) end)

    reloads = reload_until(store, 0, fn n -> n >= 2_000 and enough?(seen) end)
    :counters.add(seen, 1, 1)
    Task.await_many(tasks, 300_000)
    assert Server.info(store).generation == reloads + 1
  end

  # However busy the machine is, and whoever gets to run.
  defp enough?(seen),
    do:
      :counters.get(seen, 2) > 200 and :counters.get(seen, 3) > 1_000 and
        :counters.get(seen, 4) > 100

  defp reload_until(store, n, done?) do
    if done?.(n) do
      n
    else
      assert Server.reload(store) == :ok
      reload_until(store, n + 1, done?)
    end
  end

  defp stopped?(seen), do: :counters.get(seen, 1) == 1

  defp pass(0), do: :ok
  defp pass(n), do: :erlang.yield() && pass(n - 1)

  defp read(store, seen, last) do
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
    :counters.add(seen, 2, 1)
    if stopped?(seen), do: :ok, else: read(store, seen, hd(folded))
  end

  # Only a load that began after a write may drop it. Loads count up as they begin, and load n
  # makes generation n: so while the generation is none that began later, the write is there.
  defp write(store, loads, seen, id, n) do
    began = :counters.get(loads, 1)
    if Server.info(store).generation < began, do: :counters.add(seen, 4, 1)

    case rem(n, 4) do
      0 -> Server.put(store, :log, id, n)
      1 -> Server.bulk_insert(store, :log, [{{id, :other}, n}, {id, n}])
      2 -> Server.update(store, :log, id, fn _ -> n end)
      3 -> Server.delete(store, :log, id) && Server.put_new(store, :log, id, n)
    end

    found = Server.get(store, :log, id)
    if found != n, do: assert({found, Server.info(store).generation > began} == {nil, true})

    # A counter goes up by one, or starts anew.
    began = :counters.get(loads, 1)
    count = Server.update_counter(store, :log, {id, :count}, 1, 0)
    more = Server.update_counter(store, :log, {id, :count}, 1, 0)
    if more != count + 1, do: assert({more, Server.info(store).generation > began} == {1, true})

    # What was deleted does not come back with a table.
    Server.delete(store, :log, {id, :count}) && Server.put(store, :log, {id, :gone}, n)
    Server.take(store, :log, {id, :gone})
    assert Server.get(store, :log, {id, :gone}) == nil

    :erlang.yield()
    :counters.add(seen, 3, 1)
    if stopped?(seen), do: :ok, else: write(store, loads, seen, id, n + 1)
  end

  defp heir(store), do: GenServer.whereis(Directory.via(store, :heir))

  defp links(store) do
    for role <- [:owner, :heir, :instance],
        do: {role, Process.info(GenServer.whereis(Directory.via(store, role)), :links)}
  end
end
