defmodule Slither.Pool.RestartTest do
  # Restarts and resizes: new workers take the places of old ones, and no call is lost.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.{Dispatch, Error}
  alias Slither.Dispatch.Settings
  alias Slither.Run.{Carrier, Plan}
  alias Slither.Pool.Handle
  alias Slither.Python.{Board, Pool}

  describe "restart/1" do
    test "ships new Python code under load, with no call lost, and lanes that are held given back" do
      folder = own_module("shipped", "def version(items): return ['old' for _ in items]")
      pool = ready_pool(size: 2, paths: [folder])
      before = os_pids(pool, :ready)

      load = endless(pool, "version", module: "shipped")

      alone =
        Task.async(fn -> for _ <- 1..200, do: call(pool, "version", 0, module: "shipped") end)

      assert call(pool, "version", 0, module: "shipped") == {:ok, "old"}

      write_module(folder, "shipped", "def version(items): return ['new' for _ in items]")
      assert Pool.restart(pool) == :ok
      assert call(pool, "version", 0, module: "shipped") == {:ok, "new"}

      versions = stop_endless(load)
      assert Enum.uniq(versions) -- ["old", "new"] == []
      for answer <- Task.await(alone, patience()), do: assert({:ok, _version} = answer)
      assert %{died: 0, started: 4} = status(pool)
      for os_pid <- before, do: assert(await_down(pool, os_pid) == :restart)
      assert Enum.all?(os_pids(pool, :ready), &(&1 not in before))
    end

    test "lets an old worker finish what it has, while a new one has its place" do
      pool = ready_pool(size: 1)
      old = hd(os_pids(pool, :ready))
      go = path("go")
      long = Task.async(fn -> run(pool, "hold", go) end)
      assert await_running(pool) == old
      restart = Task.async(fn -> Pool.restart(pool) end)
      new = await_up(pool, 1)
      assert run(pool, "pid", 0) == {:ok, new}

      assert [%{status: :draining, calls: 1, os_pid: ^old}, %{os_pid: ^new}] =
               status(pool).workers

      assert Task.yield(restart, 0) == nil
      File.touch!(go)
      assert Task.await(long, patience()) == {:ok, old}
      assert Task.await(restart, patience()) == :ok
      assert await_down(pool, old) == :restart
    end

    test "with code that does not start leaves the old workers in service" do
      folder = own_module("fragile", "def f(items): return items")
      pool = ready_pool(size: 2, preload: ["fragile"], paths: [handlers(), folder])
      before = os_pids(pool, :ready)
      write_module(folder, "fragile", "raise RuntimeError('no such weights')")

      assert {:error, %Error{reason: :start_failed} = error} = Pool.restart(pool)
      assert error.message =~ "RuntimeError: no such weights"
      assert error.python.traceback =~ "fragile.py"
      assert os_pids(pool, :ready) == before
      assert {:ok, os_pid} = run(pool, "pid", 0)
      assert os_pid in before
      assert %{died: 0, error: nil} = status(pool)

      write_module(folder, "fragile", "def f(items): return items")
      assert Pool.restart(pool) == :ok
      assert os_pids(pool, :ready) -- before == os_pids(pool, :ready)
    end

    test "brings a pool that could not start into service at once" do
      folder = own_module("mended", "raise RuntimeError('not yet')")
      pool = start_pool(size: 2, preload: ["mended"], paths: [handlers(), folder])
      assert {:error, %Error{reason: :pool_unavailable}} = Pool.await_ready(pool)
      assert {:error, %Error{reason: :start_failed}} = Pool.restart(pool)
      write_module(folder, "mended", "ready = True")
      assert Pool.restart(pool) == :ok
      assert length(os_pids(pool, :ready)) == 2
      assert {:ok, _pid} = run(pool, "pid", 0)
    end

    test "replaces spares, too" do
      pool = ready_pool(size: 1, spare: 1, window: 2)
      await_up(pool, 1)
      before = for worker <- status(pool).workers, do: worker.os_pid
      assert Pool.restart(pool) == :ok
      for os_pid <- before, do: assert(await_down(pool, os_pid) == :restart)
      await(fn -> length(os_pids(pool, :spare)) == 1 end)
      # Nothing is left of those that went: two workers with two lanes each.
      {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
      await(fn -> Enum.count(:sys.get_state(scheduler).watched, &match?({_, :lane}, &1)) == 4 end)
      assert for(worker <- status(pool).workers, worker.os_pid in before, do: worker) == []
    end

    test "asked for twice at once is done twice" do
      pool = ready_pool(size: 1)
      tasks = for _ <- 1..2, do: Task.async(fn -> Pool.restart(pool) end)
      assert Task.await_many(tasks, patience()) == [:ok, :ok]
      assert %{started: 3, died: 0} = status(pool)
    end

    test "does not wait for a reader that holds a lane and takes nothing" do
      pool = ready_pool(size: 1)
      test = self()

      reader =
        Task.async(fn ->
          1..50
          |> Dispatch.stream(opts(pool, "pid", batch_size: 1))
          |> Enum.map(fn item ->
            if item.payload == hd(os_pids(pool, :ready)) and Process.get(:told) == nil do
              Process.put(:told, true)
              send(test, :reads)
              receive do: (:go_on -> :ok)
            end

            item.payload
          end)
        end)

      assert_receive :reads, patience()
      assert Pool.restart(pool) == :ok
      send(reader.pid, :go_on)
      assert length(Task.await(reader, patience())) == 50
      assert %{died: 0} = status(pool)
    end

    test "leaves a session with the worker that holds it, which waits for its end" do
      pool = ready_pool(size: 1)
      session = "s-#{inspect(make_ref())}"
      assert {:ok, [old, 1]} = call(pool, "count", 1, session_id: session)
      assert Pool.restart(pool) == :ok
      assert call(pool, "count", 1, session_id: session) == {:ok, [old, 2]}
      assert {:ok, other} = run(pool, "pid", 1)
      assert other != old
      assert [%{os_pid: ^old, sessions: 1}] = workers(pool, :draining)
      assert {:ok, [^other, 1]} = call(pool, "count", 1, session_id: "another")
      assert Slither.Session.stop(session) == :ok
      assert await_down(pool, old) == :restart
    end

    test "of a pool that stops meanwhile is an error" do
      pool = ready_pool(size: 1)
      never = path("never")
      Process.flag(:trap_exit, true)
      _call = Task.async(fn -> run(pool, "hold", never) end)
      await_running(pool)
      restart = Task.async(fn -> Pool.restart(pool) end)
      await_up(pool, 1)
      stop_supervised!(pool)
      assert {:error, %Error{reason: :pool_unavailable}} = Task.await(restart, patience())
      # The name of a pool that is gone is known for a moment.
      assert {:error, %Error{reason: reason}} = Pool.restart(pool)
      assert reason in [:unknown_pool, :pool_unavailable]
    end
  end

  describe "a run" do
    test "keeps its lane from batch to batch, until the worker is to leave" do
      pool = quick_pool(size: 1)
      {:ok, handle} = Pool.handle(pool)
      {:ok, options} = Settings.check(opts(pool, "pid", max_in_flight: 1), "test")
      {:ok, plan} = Plan.new(options, %Slither.Context{}, false)
      carrier = plan |> Carrier.Pool.open({self(), :run}) |> Carrier.Pool.want(1, 0)
      assert_receive {{_test, :run}, {:granted, ref, _lane} = granted}, patience()
      {:ok, carrier} = Carrier.Pool.message(carrier, granted)
      {:ok, ^ref, carrier} = Carrier.Pool.place(carrier)
      carrier = Carrier.Pool.done(carrier, ref, 0)
      assert {:ok, ^ref, carrier} = Carrier.Pool.place(carrier)
      Board.recall(handle.board, 0)
      carrier = Carrier.Pool.done(carrier, ref, 0)
      assert {:none, _carrier} = Carrier.Pool.place(carrier)
      assert [%{calls: 0}] = status(pool).workers
    end
  end

  describe "resize/2" do
    test "to more workers gives them to runs that go on already" do
      pool = ready_pool(size: 1)
      go = path("go")
      options = opts(pool, "hold", batch_size: 1, max_in_flight: 8)
      run = Task.async(fn -> Dispatch.run(List.duplicate(go, 4), options) end)
      first = await_running(pool)
      assert Pool.resize(pool, 4) == :ok
      others = for _ <- 1..3, do: await_running(pool)
      assert length(Enum.uniq([first | others])) == 4
      File.touch!(go)
      assert {:ok, items} = Task.await(run, patience())
      assert Enum.sort(for(item <- items, do: item.payload)) == Enum.sort([first | others])
      assert %{size: 4, died: 0} = status(pool)
      assert {:ok, handle} = Pool.handle(pool)
      assert Handle.lanes(handle) == 4 * handle.window
    end

    test "to fewer lets those that leave finish what they have" do
      pool = ready_pool(size: 3)
      load = endless(pool, "pid", module: "lifecycle_handlers")
      assert Pool.resize(pool, 1) == :ok
      assert [%{worker: 0}] = workers(pool, :ready)
      assert Enum.all?(stop_endless(load), &is_integer/1)
      assert %{size: 1, died: 0} = status(pool)
      await(fn -> length(status(pool).workers) == 1 end)
    end

    test "gives new workers their share of the cores" do
      pool = ready_pool(size: 1)
      cores = System.schedulers_online()
      assert call(pool, "environment", "OMP_NUM_THREADS") == {:ok, "#{cores}"}
      assert Pool.resize(pool, cores + 1) == :ok
      # Those that run go on with what they have; the next restart gives all the same.
      assert Pool.restart(pool) == :ok
      assert call(pool, "environment", "OMP_NUM_THREADS") == {:ok, "1"}
    end

    test "that can't start its workers leaves the pool as it was" do
      folder = own_module("full", "ready = True")
      options = [size: 1, preload: ["full"], paths: [handlers(), folder], start: :spawn]
      pool = ready_pool(options)
      write_module(folder, "full", "raise MemoryError('no room')")
      assert {:error, %Error{reason: :start_failed} = error} = Pool.resize(pool, 2)
      assert error.message =~ "no room"
      assert %{size: 1, workers: [%{status: :ready}]} = status(pool)
      assert {:ok, _pid} = run(pool, "pid", 0)
    end

    test "takes a number of workers that a pool can have" do
      pool = ready_pool(size: 1)
      assert {:error, %Error{reason: :invalid_option} = error} = Pool.resize(pool, 0)

      assert Exception.message(error) ==
               "Slither.Python.Pool.resize/2: option :size takes an integer of 1 or more, or a range such as 1..8, got 0"

      assert {:error, %Error{reason: :invalid_option} = error} = Pool.resize(pool, 1_001)

      assert Exception.message(error) ==
               "pool #{inspect(pool)}: options :size and :spare come to 1001 workers; " <>
                 "a pool has at most 1000"

      assert {:error, ^error} = Pool.check(name: pool, size: 1_000, spare: 1)
      assert {:error, %Error{reason: :unknown_pool}} = Pool.resize(:slither_none, 2)
      assert Pool.resize(pool, 1) == :ok
    end
  end
end
