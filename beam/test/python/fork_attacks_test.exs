defmodule Slither.Python.ForkAttacksTest do
  # A template that is killed, stopped, refused or can't fork, and what its workers share: the pool
  # goes on, and says what it has to.
  use ExUnit.Case, async: true

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.Error
  alias Slither.Python.Pool

  defp pool(options),
    do: ready_pool([start: :fork, paths: [handlers()]] |> Keyword.merge(options))

  defp says(pool, module), do: call(pool, "says", 0, module: module)

  # A forked worker's parent is its template, which leads a group of its own.
  defp parent(os_pid) do
    {:ok, stat} = File.read("/proc/#{os_pid}/stat")
    [_name, rest] = String.split(stat, ") ", parts: 2)
    rest |> String.split() |> Enum.at(1) |> String.to_integer()
  end

  defp python?(os_pid), do: File.read!("/proc/#{os_pid}/cmdline") =~ "slither.worker"

  defp template(pool) do
    [parent] = pool |> os_pids(:ready) |> Enum.map(&parent/1) |> Enum.uniq()
    true = python?(parent)
    parent
  end

  test "killed: its workers end with it, what they ran fails, and others start from another" do
    pool = pool(size: 2)
    old = template(pool)
    before = os_pids(pool, :ready)
    never = path("never")
    running = Task.async(fn -> run(pool, "hold", never) end)
    await_running(pool)
    signal(old, "KILL")
    assert {:error, %{reason: :worker_died}} = Task.await(running, patience())
    for os_pid <- [old | before], do: assert(ends?(os_pid))
    await(fn -> length(os_pids(pool, :ready)) == 2 end)
    assert {:ok, os_pid} = run(pool, "pid", 0)
    assert os_pid not in before
    assert template(pool) != old
  end

  test "killed again and again under load: each call ends in one way, and the pool goes on" do
    pool = pool(size: 2)
    stop = :atomics.new(1, [])

    callers =
      for _ <- 1..3,
          do: Task.async(fn -> call_until(pool, fn -> :atomics.get(stop, 1) == 1 end) end)

    for _ <- 1..5 do
      await(fn -> os_pids(pool, :ready) != [] end)
      for os_pid <- Enum.take(os_pids(pool, :ready), 1), alive?(os_pid), do: kill_parent(os_pid)
    end

    :atomics.put(stop, 1, 1)

    for answer <- callers |> Task.await_many(patience()) |> Enum.concat() do
      case answer do
        {:ok, os_pid} -> assert is_integer(os_pid)
        {:error, error} -> assert error.reason in [:worker_died, :pool_unavailable]
      end
    end

    await(fn -> length(os_pids(pool, :ready)) == 2 end)
    assert {:ok, _os_pid} = run(pool, "pid", 0)
  end

  defp call_until(pool, over?) do
    answer = run(pool, "pid", 0)
    if over?.(), do: [answer], else: [answer | call_until(pool, over?)]
  end

  defp kill_parent(os_pid) do
    template = parent(os_pid)
    if python?(template), do: signal(template, "KILL")
  rescue
    # It has ended meanwhile.
    _gone in [File.Error, MatchError] -> :ok
  end

  test "stopped: it is found to hang once a worker is wanted of it" do
    pool = pool(size: 1)
    old = template(pool)
    [worker] = os_pids(pool, :ready)
    signal(old, "STOP")
    # Those that are there go on.
    assert run(pool, "pid", 0) == {:ok, worker}
    signal(worker, "KILL")
    assert {:ok, os_pid} = run(pool, "pid", 0)
    assert os_pid != worker
    assert ends?(old)
    assert template(pool) != old
  end

  test "with a thread that runs it is refused: workers are spawned, and one warning says why" do
    folder =
      own_module("threaded", """
      import os, threading, time
      thread = threading.Thread(target=time.sleep, args=(10_000,), name="pumping", daemon=True)
      thread.start()
      def says(items): return [thread.is_alive() for _ in items]
      """)

    name = unique(:threaded)
    listen(name)
    pool = pool(name: name, size: 2, preload: ["threaded"], paths: [folder])
    assert_receive {:log, :warning, text, _metadata}, patience()
    assert text =~ "threads are running: pumping"
    # The thread runs in each of them, as it would not after a fork.
    assert says(pool, "threaded") == {:ok, true}
    for os_pid <- os_pids(pool, :ready), do: refute(python?(parent(os_pid)))
    assert Pool.restart(pool) == :ok
    assert says(pool, "threaded") == {:ok, true}
  end

  test "that can't fork says why, and is asked again" do
    full = path("full")

    folder =
      own_module("crowded", """
      import os
      fork = os.fork
      def refuse():
          if os.path.exists(#{inspect(full)}):
              raise BlockingIOError(11, "Resource temporarily unavailable")
          return fork()
      os.fork = refuse
      def says(items): return [os.getpid() for _ in items]
      """)

    pool = pool(preload: ["crowded"], paths: [folder])
    [os_pid] = os_pids(pool, :ready)
    File.touch!(full)
    signal(os_pid, "KILL")
    await(fn -> match?(%{error: %Error{}}, status(pool)) end)
    assert {:error, error} = says(pool, "crowded")
    assert Exception.message(error) =~ "starts no more processes"
    File.rm!(full)
    assert Pool.restart(pool) == :ok
    assert {:ok, _os_pid} = says(pool, "crowded")
  end

  test "imports once for all workers, what it prints then is said once, and its hooks run once" do
    notes = path("notes")

    folder =
      own_module("counted", """
      import os
      from slither.worker import on_template
      print("imported")
      loaded = []
      @on_template
      def load():
          with open(#{inspect(notes)}, "a") as file: file.write("x")
          loaded.append(os.getpid())
      def says(items): return [loaded[:] for _ in items]
      """)

    name = unique(:counted)
    listen(name)
    pool = pool(name: name, size: 3, preload: ["counted"], paths: [folder])
    template = template(pool)
    assert says(pool, "counted") == {:ok, [template]}
    assert File.read!(notes) == "x"
    assert_received {:log, :info, "imported", _metadata}
    refute_received {:log, :info, "imported", _metadata}
  end

  test "made anew by restart/1, with what has changed; one that can't start leaves the last" do
    folder = own_module("versioned", "def says(items): return [1 for _ in items]")
    pool = pool(preload: ["versioned"], paths: [folder])
    old = template(pool)
    write_module(folder, "versioned", "def says(items): return [2 for _ in items]")
    # Workers that are replaced are of the code that serves, until the pool is told otherwise.
    [os_pid] = os_pids(pool, :ready)
    signal(os_pid, "KILL")
    assert says(pool, "versioned") == {:ok, 1}
    assert template(pool) == old
    assert Pool.restart(pool) == :ok
    assert says(pool, "versioned") == {:ok, 2}
    new = template(pool)
    assert new != old
    assert ends?(old)

    write_module(folder, "versioned", "raise ValueError('not so')")
    assert {:error, %Error{reason: :start_failed} = error} = Pool.restart(pool)
    assert Exception.message(error) =~ "not so"
    [os_pid] = os_pids(pool, :ready)
    signal(os_pid, "KILL")
    assert says(pool, "versioned") == {:ok, 2}
    assert template(pool) == new
  end

  test "gone with its pool, as are its workers" do
    pool = pool(size: 2)
    pids = [template(pool) | os_pids(pool, :ready)]
    stop_supervised!(pool)
    for os_pid <- pids, do: refute(alive?(os_pid))
  end

  test "a file that it has opened is each worker's, at one place; what a worker writes is its own" do
    text = path("text")
    File.write!(text, "0123456789")

    folder =
      own_module("opened", """
      import io, os
      file = open(#{inspect(text)}, "rb")
      kept = []
      def says(items):
          kept.append(os.getpid())
          return [[len(set(kept)), os.pread(file.fileno(), 3, 2).decode()] for _ in items]
      """)

    pool = pool(size: 2, preload: ["opened"], paths: [folder])

    {:ok, items} =
      Slither.dispatch(
        List.duplicate(0, 16),
        options(pool, "says", module: "opened", batch_size: 1)
      )

    assert Enum.uniq(for item <- items, do: item.payload) == [[1, "234"]]
  end
end
