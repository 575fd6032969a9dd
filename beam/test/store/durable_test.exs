defmodule Slither.Store.DurableTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.Store.Server
  alias Slither.Test.Stores

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
    # One snapshot, one segment.
    assert dir |> File.ls!() |> length() == 2
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

    for cut <- [1, 50, 120] do
      File.write!(segment, binary_part(whole, 0, byte_size(whole) - cut))
      # As a killed VM leaves it: not marked as closed.
      mark_open(segment)
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

  test "a log that is no log stops the start and is left alone", %{tmp_dir: dir} do
    Process.flag(:trap_exit, true)
    module = seeded()
    start(module, dir)
    stop_supervised!({Server, module})
    [snapshot] = Path.wildcard(Path.join(dir, "*.snap"))
    File.write!(snapshot, String.duplicate("not a log", 10))
    assert {:error, {:not_a_log_file, _}} = Server.start_link(module, dir: dir)
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

  # disk_log repairs what is not marked as closed: magic number, then status.
  defp mark_open(file) do
    <<magic::binary-4, _closed::binary-4, rest::binary>> = File.read!(file)
    File.write!(file, [magic, <<6, 7, 8, 9>>, rest])
  end

  # A VM of its own, killed by the system while four processes write. It prints each write
  # after it was acknowledged; what was printed must be there when the next VM starts.
  describe "kill -9 of the VM" do
    @rounds 5

    for sync <- [:always, 5] do
      test "with sync: #{sync} loses nothing that was acknowledged before", %{tmp_dir: dir} do
        sync = unquote(sync)

        Enum.reduce(1..@rounds, %{}, fn round, acknowledged ->
          vm = open_vm(dir, sync)
          {found, _} = wait_for(vm, "found ")
          found = found |> Base.decode64!() |> :erlang.binary_to_term()

          for {writer, n} <- acknowledged, sync == :always do
            assert Map.get(found, writer, 0) >= n, "#{inspect(writer)}: lost #{n}"
          end

          # With an interval, whole prefixes are kept: no hole before the last one found.
          assert found[:holes] == []
          kill_after(vm, 40 + 13 * round, acknowledged)
        end)
      end
    end
  end

  defp open_vm(dir, sync) do
    script = Path.expand("../support/durable_writer.exs", __DIR__)
    paths = for path <- :code.get_path(), path = to_string(path), path =~ "_build", do: path
    pa = Enum.flat_map(paths, &["-pa", &1])
    args = pa ++ [script, dir, inspect(sync)]
    options = [:binary, :exit_status, :hide, line: 1_000_000, args: args]
    Port.open({:spawn_executable, System.find_executable("elixir")}, options)
  end

  defp wait_for(port, prefix) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        if String.starts_with?(line, prefix),
          do: {String.replace_prefix(line, prefix, ""), port},
          else: wait_for(port, prefix)

      {^port, {:exit_status, status}} ->
        flunk("the VM ended with #{status}")
    after
      120_000 -> flunk("the VM said nothing")
    end
  end

  defp kill_after(port, lines, acknowledged) do
    acknowledged = read_lines(port, lines, acknowledged)
    {:os_pid, pid} = Port.info(port, :os_pid)
    {_, 0} = System.cmd("kill", ["-9", to_string(pid)])
    # What it said before it died counts.
    drain(port, acknowledged)
  end

  defp read_lines(_port, 0, acknowledged), do: acknowledged

  defp read_lines(port, lines, acknowledged) do
    {line, _} = wait_for(port, "ack ")
    read_lines(port, lines - 1, note(line, acknowledged))
  end

  defp drain(port, acknowledged) do
    receive do
      {^port, {:data, {:eol, "ack " <> line}}} -> drain(port, note(line, acknowledged))
      {^port, {:data, _torn}} -> drain(port, acknowledged)
      {^port, {:exit_status, _status}} -> acknowledged
    after
      120_000 -> flunk("the VM did not die")
    end
  end

  defp note(line, acknowledged) do
    [writer, n] = line |> String.split() |> Enum.map(&String.to_integer/1)
    Map.put(acknowledged, writer, n)
  end
end
