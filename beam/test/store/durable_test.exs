defmodule Slither.Store.DurableTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.Error
  alias Slither.Store.Server
  alias Slither.Test.{DurableModel, Stores, VMs}

  # Every write waits for the disk, and the disk for whoever else uses it.
  @moduletag timeout: 600_000

  # Not ExUnit's tmp_dir, which two runs of the suite side by side would share.
  setup do
    name = "slither-#{System.pid()}-#{System.unique_integer([:positive])}"
    dir = Path.join(System.tmp_dir!(), name)
    on_exit(fn -> File.rm_rf!(dir) end)
    {:ok, tmp_dir: dir}
  end

  @tables [
    %{name: :items, durable: true},
    %{name: :events, type: :bag, durable: true},
    %{name: :cache}
  ]

  defp seeded(options \\ []) do
    load = fn tables ->
      :ets.insert(tables[:items], {:seed, 1})
      :ets.insert(tables[:cache], {:seed, 1})
      :ok
    end

    Stores.define(Keyword.merge([tables: @tables, load: load], options))
  end

  defp start(module, dir, options \\ []),
    do: start_supervised!({Server, {module, [dir: dir] ++ options}})

  defp restart(module, dir, options \\ []) do
    stop_supervised!({Server, module})
    start(module, dir, options)
  end

  defp rows(store, table), do: store |> Server.stream(table) |> Enum.sort()

  test "writes of every kind come back after a restart", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir)
    Server.put(module, :items, 1, :a)
    Server.bulk_insert(module, :items, [{2, :b}, {3, :c, :d}])
    Server.update(module, :items, 1, &{&1, :again})
    Server.update_counter(module, :items, :n, 2, 0)
    Server.put_new(module, :items, 4, :e)
    Server.delete(module, :items, 2)
    Server.take(module, :items, 4)
    for n <- 1..3, do: Server.put(module, :events, 1, n)
    Server.put(module, :cache, 1, :volatile)

    before = {rows(module, :items), rows(module, :events)}
    restart(module, dir)
    assert {rows(module, :items), rows(module, :events)} == before
    assert Server.get(module, :cache, 1) == nil
    assert Server.info(module).dir == dir
  end

  test "load/1 seeds a durable table once; from then on its log is the truth", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir)
    assert Server.get(module, :items, :seed) == 1
    Server.delete(module, :items, :seed)
    restart(module, dir)
    assert Server.get(module, :items, :seed) == nil
    assert Server.get(module, :cache, :seed) == 1
    Server.put(module, :items, 1, :kept)
    assert Server.reload(module) == :ok
    assert rows(module, :items) == [{1, :kept}]
  end

  test "a table that becomes durable is seeded beside those the log knows", %{tmp_dir: dir} do
    start(seeded(tables: [%{name: :items, durable: true}, %{name: :cache}]), dir, name: "grows")
    Server.put("grows", :items, :seed, :mine)
    stop_supervised!({Server, "grows"})
    tables = [%{name: :items, durable: true}, %{name: :cache, durable: true}]
    start(seeded(tables: tables), dir, name: "grows")
    assert Server.get("grows", :items, :seed) == :mine
    assert Server.get("grows", :cache, :seed) == 1
  end

  test "stores of one directory keep apart", %{tmp_dir: dir} do
    module = seeded()
    for name <- ["a b", "a_b", {:a, 1}], do: start(module, dir, name: name)
    Server.put("a b", :items, 1, :mine)
    for name <- ["a b", "a_b"], do: stop_supervised!({Server, name})
    for name <- ["a b", "a_b"], do: start(module, dir, name: name)
    assert Server.get("a b", :items, 1) == :mine
    assert Server.get("a_b", :items, 1) == nil
  end

  test "the log is compacted as it grows, under writes", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir, compact_after: 50)

    1..4
    |> Task.async_stream(
      fn id -> for n <- 1..300, do: Server.put(module, :items, {id, rem(n, 7)}, n) end,
      timeout: 120_000
    )
    |> Stream.run()

    before = rows(module, :items)
    assert length(before) == 4 * 7 + 1
    restart(module, dir)
    assert rows(module, :items) == before
    # One snapshot, one segment; and the lock.
    assert dir |> File.ls!() |> Enum.map(&Path.extname/1) |> Enum.sort() == ~w(.lock .log .snap)
  end

  test "a stop in the middle of a compaction loses nothing", %{tmp_dir: dir} do
    module = seeded()

    for round <- 1..15 do
      start(module, dir, compact_after: 3)
      assert Enum.all?(1..(round - 1)//1, &(Server.get(module, :items, &1) == &1))
      for n <- 1..3, do: Server.put(module, :items, {:filler, n}, round)
      Server.put(module, :items, round, round)
      stop_supervised!({Server, module})
    end
  end

  test "a torn last record is dropped, and all before it comes back", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir)
    for n <- 1..20, do: Server.put(module, :items, n, String.duplicate("x", 100))
    stop_supervised!({Server, module})
    [segment] = Path.wildcard(Path.join(dir, "*.log"))
    whole = File.read!(segment)

    # The last record is the one that says that the log was closed.
    end_of_log = 16 + byte_size(:erlang.term_to_binary(:closed))

    for cut <- [1, 50, 120] do
      File.write!(segment, binary_part(whole, 0, byte_size(whole) - end_of_log - cut))
      assert capture_log(fn -> start(module, dir) end) =~ "torn"
      assert Enum.count(1..19, &Server.get(module, :items, &1)) == 19
      assert Server.get(module, :items, 20) == nil
      stop_supervised!({Server, module})
      Enum.each(File.ls!(dir), &File.rm!(Path.join(dir, &1)))
      start(module, dir)
      for n <- 1..20, do: Server.put(module, :items, n, String.duplicate("x", 100))
      stop_supervised!({Server, module})
      [^segment] = Path.wildcard(Path.join(dir, "*.log"))
    end

    # A segment that was only just begun.
    File.write!(Path.rootname(segment, ".1.log") <> ".2.log", binary_part(whole, 0, 5))
    start(module, dir)
    assert Server.size(module, :items) == 21
  end

  test "a log cut at any byte comes back up to there", %{tmp_dir: dir} do
    module = seeded(tables: [%{name: :items, durable: true}, %{name: :cache}])
    start(module, dir)
    for n <- 1..3, do: Server.put(module, :items, n, String.duplicate("x", n))
    stop_supervised!({Server, module})
    [segment] = Path.wildcard(Path.join(dir, "*.log"))
    [snapshot] = Path.wildcard(Path.join(dir, "*.snap"))
    {whole, rows} = {File.read!(segment), File.read!(snapshot)}

    counts =
      for cut <- 0..byte_size(whole) do
        Enum.each(File.ls!(dir), &File.rm!(Path.join(dir, &1)))
        File.write!(snapshot, rows)
        File.write!(segment, binary_part(whole, 0, cut))

        capture_log(fn -> start(module, dir) end)
        found = for {n, text} when is_integer(n) <- rows(module, :items), do: {n, byte_size(text)}
        # Whole records, from the first on.
        assert found == for(n <- 1..length(found)//1, do: {n, n})
        assert Server.put(module, :items, :more, cut) == :ok
        stop_supervised!({Server, module})
        length(found)
      end

    assert counts == Enum.sort(counts)
    assert Enum.uniq(counts) == Enum.to_list(0..3)
  end

  test "a ttl may come and go: rows of before have the ttl of now", %{tmp_dir: dir} do
    clock = :atomics.new(1, [])
    options = [name: "ttl", clock: fn -> :atomics.get(clock, 1) end]
    with_ttl = Stores.define(tables: [%{name: :items, durable: true, ttl: 100}])
    without = Stores.define(tables: [%{name: :items, durable: true}])

    # In the segment at first, in the snapshot then.
    start(with_ttl, dir, options)
    Server.put("ttl", :items, 1, :a)
    stop_supervised!({Server, "ttl"})

    for _ <- 1..2 do
      start(without, dir, options)
      :atomics.put(clock, 1, 1_000)
      assert rows("ttl", :items) == [{1, :a}]
      stop_supervised!({Server, "ttl"})
    end

    start(without, dir, options)
    Server.put("ttl", :items, 2, :b)
    stop_supervised!({Server, "ttl"})
    start(with_ttl, dir, options)
    :atomics.put(clock, 1, 1_099)
    assert rows("ttl", :items) == [{1, :a}, {2, :b}]
    :atomics.put(clock, 1, 1_100)
    assert rows("ttl", :items) == []
  end

  test "what was swept stays away", %{tmp_dir: dir} do
    clock = :atomics.new(1, [])
    options = [name: "swept", clock: fn -> :atomics.get(clock, 1) end]
    with_ttl = Stores.define(tables: [%{name: :items, durable: true, ttl: 100}])
    start(with_ttl, dir, options)
    Server.put("swept", :items, 1, :a)
    :atomics.put(clock, 1, 100)
    Slither.Store.Sweeper.sweep("swept")
    Server.put("swept", :items, 2, :b)
    stop_supervised!({Server, "swept"})
    start(Stores.define(tables: [%{name: :items, durable: true}]), dir, options)
    assert rows("swept", :items) == [{2, :b}]
  end

  test "a seed that failed is made up for by the next start", %{tmp_dir: dir} do
    down = Stores.define(tables: @tables, load: fn _ -> {:error, :down} end)
    options = [name: "late", on_load_error: :start_empty]

    for round <- 1..3 do
      capture_log(fn -> start(down, dir, options ++ [compact_after: 2]) end)
      assert Server.get("late", :items, :seed) == nil
      for n <- 1..9, do: Server.put("late", :items, n, round)
      Stores.kill_owner("late")
      for n <- 1..9, do: Server.put("late", :items, n, round)
      stop_supervised!({Server, "late"})
    end

    start(seeded(), dir, options)
    assert rows("late", :items) == for(n <- 1..9, do: {n, 3}) ++ [{:seed, 1}]
    Server.delete("late", :items, :seed)
    stop_supervised!({Server, "late"})
    start(seeded(), dir, options)
    assert Server.get("late", :items, :seed) == nil
  end

  test "a reload beside writes and compactions loses none of them", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir, compact_after: 20)

    writers =
      for id <- 1..2 do
        Task.async(fn -> for n <- 1..300, do: Server.put(module, :items, {id, rem(n, 11)}, n) end)
      end

    for _ <- 1..100, do: assert(Server.reload(module) == :ok)
    Task.await_many(writers, 120_000)
    before = rows(module, :items)
    assert length(before) == 2 * 11 + 1
    restart(module, dir)
    assert rows(module, :items) == before
  end

  test "a record that is damaged and was on disk stops the start, and is left alone",
       %{tmp_dir: dir} do
    Process.flag(:trap_exit, true)
    module = seeded()
    start(module, dir)
    for n <- 1..20, do: Server.put(module, :items, n, String.duplicate("x", 100))
    stop_supervised!({Server, module})
    [segment] = Path.wildcard(Path.join(dir, "*.log"))
    whole = File.read!(segment)

    # In the head of a record, where its size is, and in its payload.
    for at <- [20, 300, byte_size(whole) - 60] do
      <<before::binary-size(at), byte, rest::binary>> = whole
      File.write!(segment, [before, Bitwise.bxor(byte, 0x55), rest])
      assert {:error, error} = Server.start_link(module, dir: dir)
      assert %Error{reason: :log_unusable, details: %{cause: {:damaged_log_file, _, _}}} = error
      assert Exception.message(error) =~ "is damaged at byte"
      assert File.read!(segment) != whole
    end

    File.write!(segment, whole)
    start(module, dir)
    assert Server.size(module, :items) == 21
  end

  test "a directory of any length can be locked", %{tmp_dir: dir} do
    deep = Path.join([dir | List.duplicate(String.duplicate("d", 60), 4)])
    module = seeded()
    refute capture_log(fn -> start(module, deep) end) =~ "#{deep}"
    assert deep |> Path.join("*.lock") |> Path.wildcard() |> length() == 1
    stop_supervised!({Server, module})
    assert deep |> Path.join("*.lock") |> Path.wildcard() == []
  end

  test "stores whose names begin alike leave each other's files alone", %{tmp_dir: dir} do
    File.mkdir_p!(dir)
    other = Path.join(dir, "Alike.Longer.7.snap.new")
    own = Path.join(dir, "Alike.7.snap.new")
    for file <- [other, own], do: File.write!(file, "half")
    start(seeded(), dir, name: Alike)
    assert File.exists?(other)
    refute File.exists?(own)
  end

  @tag :capture_log
  test "a directory or a log that can't be used stops the start, and says so", %{tmp_dir: dir} do
    Process.flag(:trap_exit, true)
    File.mkdir_p!(dir)
    file = Path.join(dir, "file")
    File.write!(file, "")

    for {bad, words} <- [
          {Path.join(file, "log"), "not a directory"},
          {file, "file already exists"},
          {"", "no such file or directory"}
        ] do
      assert {:error, error} = Server.start_link(seeded(), dir: bad)
      assert %Error{reason: :log_unusable, details: %{dir: ^bad}} = error
      assert Exception.message(error) =~ words
    end

    # Its records have no second element.
    start(Stores.define(tables: [%{name: :items, durable: true}]), dir, name: "shape")
    Server.bulk_insert("shape", :items, [{1}])
    stop_supervised!({Server, "shape"})
    changed = Stores.define(tables: [%{name: :items, durable: true, keypos: 2}])
    assert {:error, error} = Server.start_link(changed, dir: dir, name: "shape")
    assert %Error{reason: :log_unusable} = error
    start(Stores.define(tables: [%{name: :items, durable: true}]), dir, name: "shape")
    assert Server.get("shape", :items, 1) == {1}
  end

  test "a log that is no log stops the start and is left alone", %{tmp_dir: dir} do
    Process.flag(:trap_exit, true)
    module = seeded()
    start(module, dir)
    stop_supervised!({Server, module})
    [snapshot] = Path.wildcard(Path.join(dir, "*.snap"))
    File.write!(snapshot, String.duplicate("not a log", 10))
    assert {:error, %Error{reason: :log_unusable} = error} = Server.start_link(module, dir: dir)
    assert {:not_a_log_file, _} = error.details.cause
    assert Exception.message(error) =~ "#{snapshot} is no log"
    assert File.read!(snapshot) =~ "not a log"
  end

  test "the owner may be killed; the log goes on", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir)

    for n <- 1..5 do
      Server.put(module, :items, n, n)
      Stores.kill_owner(module)
      Server.put(module, :items, -n, n)
    end

    restart(module, dir)
    assert Enum.all?(1..5, &(Server.get(module, :items, &1) == &1))
    assert Enum.all?(1..5, &(Server.get(module, :items, -&1) == &1))
  end

  test "deadlines come back with their records", %{tmp_dir: dir} do
    clock = :atomics.new(1, [])
    options = [clock: fn -> :atomics.get(clock, 1) end]
    module = seeded(tables: [%{name: :items, durable: true, ttl: 100}, %{name: :cache}])
    start(module, dir, options)
    :atomics.put(clock, 1, 50)
    Server.put(module, :items, 1, :late)
    restart(module, dir, options)
    restart(module, dir, options)
    :atomics.put(clock, 1, 120)
    assert rows(module, :items) == [{1, :late}]
    :atomics.put(clock, 1, 150)
    assert rows(module, :items) == []
  end

  # A VM of its own, killed by the system while four processes write. It prints each write
  # after it was acknowledged; what was printed must be there when the next VM starts.
  describe "kill -9 of the VM" do
    @rounds 6

    for sync <- [:always, 5] do
      @tag sync: sync
      test "with sync: #{sync} loses nothing that was acknowledged before", context do
        %{tmp_dir: dir, sync: sync} = context

        Enum.reduce(1..@rounds, %{}, fn round, acknowledged ->
          vm = VMs.open("durable_writer.exs", [dir, inspect(sync)])
          found = vm |> VMs.wait_for("found ") |> VMs.term()

          for writer <- 1..4 do
            # Rows are those of some number of writes, in order: no hole, and nothing torn.
            assert reached = DurableModel.reached(found, writer), "#{writer}: #{inspect(found)}"
            acked = Map.get(acknowledged, writer, 0)
            assert reached >= acked, "#{writer}: lost #{acked}"
          end

          for _ <- 1..(60 + 13 * round), do: VMs.wait_for(vm, "ack ")
          # Whatever it said before it died counts: each says more than those before.
          VMs.kill(vm, acknowledged, &note/2)
        end)
      end
    end

    test "lets the next VM have the log, which it kept from others", %{tmp_dir: dir} do
      Process.flag(:trap_exit, true)
      module = Stores.define(tables: [%{name: :items, durable: true}])
      vm = VMs.open("durable_writer.exs", [dir, ":always"])
      VMs.wait_for(vm, "ack ")
      options = [name: Writer.Store, dir: dir]
      assert {:error, %Error{reason: :log_locked} = error} = Server.start_link(module, options)
      assert Exception.message(error) =~ "another VM writes this log"
      VMs.wait_for(vm, "ack ")
      VMs.kill(vm, nil, fn _line, nil -> nil end)
      start_supervised!({Server, {module, options}})
      assert Server.size(Writer.Store, :items) > 0
    end
  end

  # The limit is of a file's size: what a full disk does to the log, and a new segment does not.
  test "a disk that is full once costs no write that was acknowledged", %{tmp_dir: dir} do
    for {sync, ending} <- [{":always", "stop"}, {":always", "kill"}, {"20", "stop"}] do
      File.rm_rf!(dir)
      # Blocks of 512 or 1,024 bytes, as the shell has it. A signal tells of the limit, too.
      vm = VMs.open("full_disk.exs", [dir, sync], "trap '' XFSZ; ulimit -f 128")
      refused = VMs.wait_for(vm, "refused ")
      acknowledged = vm |> VMs.wait_for("acknowledged ") |> VMs.term()

      # More than one file could hold: the next took what one could not. Between two syncs it may
      # be more than any could.
      if sync == ":always" do
        assert refused == ":not_synced :not_logged"
        assert length(acknowledged) == 60
      end

      if ending == "kill",
        do: VMs.kill(vm, nil, fn _line, nil -> nil end),
        else: Port.command(vm, "stop\n") && VMs.rest(vm, nil, fn _line, nil -> nil end)

      module = Stores.define(tables: [%{name: :items, durable: true}])
      # A torn end is dropped, which is logged.
      capture_log(fn -> start(module, dir, name: "full") end)
      for {key, n} <- acknowledged, do: assert(Server.get("full", :items, key) == n)
      stop_supervised!({Server, "full"})
    end
  end

  test "a log whose process ends goes on with the next segment", %{tmp_dir: dir} do
    module = seeded()
    start(module, dir)
    Server.put(module, :items, 1, :before)
    owner = Stores.owner(module)
    writer = :sys.get_state(owner).commits.journal.writer
    monitor = Process.monitor(writer)

    capture_log(fn ->
      Process.exit(writer, :kill)
      assert_receive {:DOWN, ^monitor, _, _, _}
      assert Server.put(module, :items, 2, :after) == :ok
    end)

    assert Stores.owner(module) == owner
    restart(module, dir)
    assert rows(module, :items) == [{1, :before}, {2, :after}, {:seed, 1}]
  end

  test "a disk that does not answer fails its writers; what they wrote is in the log when it does",
       %{tmp_dir: dir} do
    module = seeded()
    start(module, dir)
    owner = Stores.owner(module)
    writer = :sys.get_state(owner).commits.journal.writer
    :erlang.suspend_process(writer)

    capture_log(fn ->
      waits = Task.async(fn -> refusal(fn -> Server.put(module, :items, 1, :late) end) end)
      {ref, _what} = asked(owner)
      # Ten seconds have passed.
      send(owner, {Slither.Store.Commits, {:late, ref}})
      assert Task.await(waits) == :not_synced
      assert refusal(fn -> Server.put(module, :items, 2, :refused) end) == :not_logged
      assert Server.get(module, :items, 2) == nil
      assert Server.put(module, :cache, 1, :not_durable) == :ok
      :erlang.resume_process(writer)
      assert eventually(fn -> refusal(fn -> Server.put(module, :items, 3, :on) end) == nil end)
    end)

    restart(module, dir)
    assert rows(module, :items) == [{1, :late}, {3, :on}, {:seed, 1}]
  end

  defp refusal(fun) do
    fun.()
    nil
  rescue
    error in Error -> error.reason
  end

  # The write is on its way to the owner.
  defp asked(owner), do: :sys.get_state(owner).commits.journal.asked || asked(owner)

  defp eventually(fun), do: fun.() || eventually(fun)

  defp note("ack " <> line, acknowledged) do
    [writer, n] = line |> String.split() |> Enum.map(&String.to_integer/1)
    Map.put(acknowledged, writer, n)
  end

  defp note(_line, acknowledged), do: acknowledged
end
