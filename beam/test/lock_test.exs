defmodule Slither.LockTest do
  use ExUnit.Case, async: true

  alias Slither.Lock

  setup do
    name = "slither-lock-#{System.pid()}-#{System.unique_integer([:positive])}"
    dir = Path.join(System.tmp_dir!(), name)
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)
    {:ok, dir: dir, path: Path.join(dir, "thing.lock")}
  end

  test "of many who come at once to a lock that was left behind, one has it", %{dir: dir} do
    for round <- 1..60 do
      path = Path.join(dir, "#{round}.lock")
      left_behind(path)
      left_behind(String.replace_suffix(path, ".lock", ".00112233aabbccdd.lock"))
      gate = :atomics.new(1, [])
      holders = :atomics.new(1, [])

      takers =
        for _ <- 1..4 do
          Task.async(fn ->
            wait_for(gate)
            take(path, holders)
          end)
        end

      :atomics.put(gate, 1, 1)
      # Each holds it in turn, and alone.
      assert Task.await_many(takers, 60_000) == [1, 1, 1, 1]
    end

    assert File.ls!(dir) == []
  end

  test "who waits gets it when it is free, and is told when it is not", %{path: path} do
    {:ok, lock} = Lock.take(path)
    assert Lock.take(path, 0) == {:error, :locked}

    waits =
      Task.async(fn -> with {:ok, lock} <- Lock.take(path, 60_000), do: Lock.release(lock) end)

    refute Task.yield(waits, 50)
    Lock.release(lock)
    assert Task.await(waits) == :ok
  end

  test "a holder that is killed lets it go", %{path: path} do
    test = self()

    {holder, monitor} =
      spawn_monitor(fn ->
        {:ok, _lock} = Lock.take(path)
        send(test, :held)
        receive do: (:never -> :ok)
      end)

    assert_receive :held
    assert Lock.take(path, 0) == {:error, :locked}
    Process.exit(holder, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}
    assert {:ok, lock} = Lock.take(path)
    Lock.release(lock)
  end

  test "locks whose names begin alike are two", %{dir: dir, path: path} do
    {:ok, one} = Lock.take(path)
    assert {:ok, other} = Lock.take(Path.join(dir, "thing.more.lock"), 0)
    for lock <- [one, other], do: Lock.release(lock)
  end

  test "a folder that can't be used is an error with its reason", %{dir: dir} do
    assert Lock.take(Path.join([dir, "missing", "thing.lock"])) == {:error, :enoent}
  end

  defp left_behind(path) do
    {:ok, socket} = :gen_tcp.listen(0, [:binary, ifaddr: {:local, path}])
    :gen_tcp.close(socket)
  end

  # How many held it while we did.
  defp take(path, holders) do
    {:ok, lock} = Lock.take(path, 30_000)
    count = :atomics.add_get(holders, 1, 1)
    :erlang.yield()
    most = max(count, :atomics.get(holders, 1))
    :atomics.sub(holders, 1, 1)
    Lock.release(lock)
    most
  end

  defp wait_for(gate), do: if(:atomics.get(gate, 1) == 0, do: wait_for(gate))
end
