defmodule Slither.Python.LifecycleTest do
  # How workers start, what they are as processes, and how they leave.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError, Error}
  alias Slither.Python.Pool

  describe "spare:" do
    test "workers take the place of one that dies, though no other can start" do
      folder = own_module("gate", "ready = True")
      # Forked, another would have what their template has imported.
      options = [start: :spawn, preload: ["gate"], paths: [handlers(), folder]]
      pool = ready_pool([size: 1, spare: 1] ++ options)
      await_up(pool, 1)
      assert [serves] = os_pids(pool, :ready)
      assert [waits] = os_pids(pool, :spare)
      go = path("go")

      write_module(
        folder,
        "gate",
        "import os, time\nwhile not os.path.exists(#{inspect(go)}): time.sleep(.002)"
      )

      signal(serves, "KILL")
      assert await_down(pool, serves) == :worker_died
      assert run(pool, "pid", 0) == {:ok, waits}
      assert [%{os_pid: ^waits}] = workers(pool, :ready)
      assert [_behind] = workers(pool, :starting)
      File.touch!(go)
      await(fn -> length(os_pids(pool, :spare)) == 1 end)
      assert %{died: 1, started: 3} = status(pool)
    end

    test "workers that die are replaced, and no call notices" do
      pool = ready_pool(size: 1, spare: 1)
      await_up(pool, 1)
      assert [serves] = os_pids(pool, :ready)
      assert [waits] = os_pids(pool, :spare)
      signal(waits, "KILL")
      assert await_down(pool, waits) == :worker_died
      assert run(pool, "pid", 0) == {:ok, serves}
      await(fn -> length(os_pids(pool, :spare)) == 1 end)
      assert %{died: 1} = status(pool)
    end

    test "workers get no calls" do
      pool = ready_pool(size: 1, spare: 2)
      assert {:ok, items} = Dispatch.run(1..100, opts(pool, "pid", batch_size: 1))
      assert [pid] = items |> Enum.map(& &1.payload) |> Enum.uniq()
      assert [pid] == os_pids(pool, :ready)
    end
  end

  test "workers whose calls nobody waits for are ended without a word; idle ones go on" do
    pool = ready_pool(size: 2)
    listen(pool)
    task = Task.async(fn -> call(pool, "spin", 0) end)
    busy = await_running(pool)
    [idle] = os_pids(pool, :ready) -- [busy]
    assert Pool.kill_busy(pool) == :ok
    assert await_down(pool, busy) == :worker_stopped
    assert {:error, %DispatchError{cause: %Error{reason: :worker_stopped}}} = Task.await(task)
    assert idle in os_pids(pool, :ready)
    stop_supervised!(pool)
    refute_received {:log, :error, _text, _metadata}
  end

  describe "a worker that leaves" do
    defp notes do
      folder = Path.dirname(path("x"))
      {folder, [env: [NOTES: folder], preload: ["lifecycle_handlers"], shutdown: 30_000]}
    end

    test "runs its stop hooks: with its pool, after a limit, and on restart" do
      {folder, options} = notes()
      pool = ready_pool([size: 2, max_requests: 3] ++ options)
      [recycled, restarted] = os_pids(pool, :ready)
      # Alone, its calls go to the first.
      await(fn -> run(pool, "pid", 0) != {:ok, recycled} end)
      assert await_down(pool, recycled) == :max_requests
      assert Pool.restart(pool) == :ok
      assert await_down(pool, restarted) == :restart
      last = os_pids(pool, :ready)
      stop_supervised!(pool)
      for os_pid <- last, do: assert(await_down(pool, os_pid) == :shutdown)

      for os_pid <- [recycled, restarted | last] do
        assert File.read!(Path.join(folder, "#{os_pid}")) == "stopped"
        assert ends?(os_pid)
      end
    end

    test "with its pool answers the call that it runs" do
      {_folder, options} = notes()
      pool = ready_pool([size: 1] ++ options)
      go = path("go")
      task = Task.async(fn -> run(pool, "hold", go) end)
      os_pid = await_running(pool)
      {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
      monitor = Process.monitor(scheduler)
      stop = Task.async(fn -> Supervisor.stop(supervisor(scheduler)) end)
      # The word to stop has been sent when the scheduler is on its way out.
      await(fn -> terminating?(scheduler) end)
      File.touch!(go)
      assert Task.await(task, patience()) == {:ok, os_pid}
      assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, patience()
      Task.await(stop, patience())
    end

    test "is killed where its hooks take longer than shutdown:" do
      options = [env: [HANG_AT_STOP: "1"], preload: ["lifecycle_handlers"], shutdown: 300]
      pool = ready_pool([size: 1] ++ options)
      [os_pid] = os_pids(pool, :ready)
      stop_supervised!(pool)
      assert await_down(pool, os_pid) == :shutdown
      assert ends?(os_pid)
    end
  end

  defp supervisor(scheduler) do
    {:dictionary, dictionary} = Process.info(scheduler, :dictionary)
    hd(dictionary[:"$ancestors"])
  end

  defp terminating?(scheduler) do
    case Process.info(scheduler, :current_function) do
      {:current_function, {Slither.Pool.Effects, _function, _arity}} -> true
      nil -> true
      _ -> false
    end
  end

  describe "a pool that starts" do
    test "answers its first call as soon as one worker is ready" do
      folder = Path.dirname(path("x"))
      go = path("go")

      # Whoever makes the file is ready at once, the other waits.
      write_module(folder, "first_come", """
      import os, time
      from slither.worker import on_start

      @on_start
      def come():
          try:
              os.close(os.open(#{inspect(Path.join(folder, "first"))}, os.O_CREAT | os.O_EXCL))
          except FileExistsError:
              while not os.path.exists(#{inspect(go)}):
                  time.sleep(0.002)
      """)

      pool = start_pool(size: 2, preload: ["first_come"], paths: [handlers(), folder])
      assert {:ok, os_pid} = run(pool, "pid", 0)
      assert os_pids(pool, :ready) == [os_pid]
      assert [%{os_pid: nil}] = workers(pool, :starting)
      File.touch!(go)
      await(fn -> length(os_pids(pool, :ready)) == 2 end)
    end

    test "answers at once with the traceback while it can't, and serves when it can" do
      folder = own_module("weights", "raise FileNotFoundError('weights.bin')")
      pool = start_pool(size: 2, preload: ["weights"], paths: [handlers(), folder])

      for _ <- 1..3 do
        assert {:error, %DispatchError{reason: :pool_unavailable, cause: cause}} =
                 run(pool, "pid", 0)

        assert cause.python.type == "FileNotFoundError"
        assert cause.python.traceback =~ "weights.py"
      end

      write_module(folder, "weights", "loaded = True")
      # Nobody asks for it: it tries by itself.
      await_up(pool, 0)
      assert {:ok, _pid} = run(pool, "pid", 0)
      await(fn -> length(os_pids(pool, :ready)) == 2 end)
      assert %{error: nil} = status(pool)
    end
  end

  describe "a worker's process" do
    test "sees how its children end" do
      pool = ready_pool(size: 1)
      assert run(pool, "children", 0) == {:ok, [7, -13, 5]}
    end

    test "is not interrupted, and gets an exception for a broken pipe" do
      pool = ready_pool(size: 1)
      assert run(pool, "interrupted", 1) == {:ok, 1}
      assert run(pool, "broken_pipe", 1) == {:ok, "BrokenPipeError"}
      assert %{died: 0} = status(pool)
    end

    test "that closes its channel is gone, and only its call with it" do
      pool = quick_pool(size: 1)
      [first] = os_pids(pool, :ready)
      assert {:error, %DispatchError{reason: :worker_died}} = run(pool, "close_channel", 1)
      assert await_down(pool, first) == :worker_died
      assert {:ok, second} = run(pool, "pid", 0)
      assert second != first
    end

    # The port tells of a closed channel only when the process ends, or is written to.
    test "that closes its channel and goes on is ended when its call is over time" do
      pool = quick_pool(size: 1)
      [first] = os_pids(pool, :ready)

      assert {:error, %DispatchError{reason: :timeout}} =
               run(pool, "close_channel", "go on", timeout: 500)

      assert ends?(first)
      assert {:ok, _pid} = run(pool, "pid", 0)
    end
  end

  describe "a single call" do
    test "that its worker had not begun goes to another" do
      pool = quick_pool(size: 1, window: 2)
      never = path("never")
      target = ["function", "lifecycle_handlers", "hold"]
      first = Task.async(fn -> Pool.call(pool, target, [never]) end)
      os_pid = await_running(pool)
      target = ["function", "lifecycle_handlers", "pid"]
      second = Task.async(fn -> Pool.call(pool, target, [0]) end)
      await(fn -> match?([%{calls: 2}], workers(pool, :ready)) end)
      signal(os_pid, "KILL")
      assert {:error, %Error{reason: :worker_died}} = Task.await(first, patience())
      assert {:ok, [other], errors} = Task.await(second, patience())
      assert errors == %{}
      assert other != os_pid
    end
  end

  describe "status/1" do
    test "counts what each worker has done, and says how old and how large it is" do
      pool = ready_pool(size: 1, spare: 1)
      await_up(pool, 1)
      for _ <- 1..3, do: assert({:ok, _pid} = run(pool, "pid", 0))
      assert {:error, _error} = call(pool, "raises", 1)
      assert %{size: 1, spare: 1} = status(pool)
      assert [%{served: 4, calls: 0, sessions: 0} = ready] = workers(pool, :ready)
      assert [%{served: 0, calls: 0} = spare] = workers(pool, :spare)
      for worker <- [ready, spare], do: assert(worker.rss > 5_000_000 and worker.age >= 0)
    end
  end

  describe "many dispatches at once" do
    test "share a pool batch by batch: a small one is not held up by a greedy one" do
      pool = quick_pool(size: 1, window: 2)
      greedy = opts(pool, "unhurried", batch_size: 1, max_in_flight: 1_000)
      {stop, task} = endless(pool, "unhurried", greedy)
      await(fn -> hd(status(pool).workers).served > 10 end)

      small = opts(pool, "unhurried", batch_size: 1, max_in_flight: 2)
      assert {:ok, items} = Dispatch.run(1..30, small)
      numbers = for item <- items, do: List.last(item.payload)
      theirs = List.last(numbers) - hd(numbers) - 29
      stop_endless({stop, task})
      # The greedy one has two calls out or waiting at any time, as the small one has.
      assert theirs <= 3 * 30
    end
  end
end
