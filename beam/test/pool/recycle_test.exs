defmodule Slither.Pool.RecycleTest do
  # Workers that reach a limit are replaced between calls, and no call fails.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.Dispatch
  alias Slither.Python.Pool

  describe "max_requests:" do
    test "replaces a worker, with no call failed and no fault reported" do
      pool = unique(:test_pool)
      listen(pool)
      Logger.put_module_level(Slither.Pool.Effects, :info)
      ready_pool(name: pool, size: 1, max_requests: 5, shutdown: patience())
      [first] = os_pids(pool, :ready)
      numbers = for _ <- 1..23, do: run(pool, "numbered", 0)
      assert Enum.all?(numbers, &match?({:ok, [0, n]} when n in 1..23, &1))
      assert await_down(pool, first) == :max_requests
      assert_receive {:log, :info, line, %{pool: ^pool}}, patience()
      assert line =~ ~r/: worker 0 \(pid #{first}\) leaves after \d+ calls: max_requests$/
      assert %{died: 0} = status(pool)
    end

    test "under load neither fails a batch nor lets many leave at once" do
      pool = ready_pool(size: 3, max_requests: 20)
      load = endless(pool, "pid", module: "lifecycle_handlers")

      for _ <- 1..6 do
        assert_receive {:down, ^pool, %{reason: :max_requests}}, patience()
        assert length(workers(pool, :ready)) == 3
      end

      assert load |> stop_endless() |> Enum.all?(&is_integer/1)
      assert %{died: 0} = status(pool)
    end

    test "leaves a worker in service whose replacement can't start, until one does" do
      folder = own_module("spoilt", "ready = True")
      pool = unique(:test_pool)
      listen(pool)
      options = [name: pool, preload: ["spoilt"], paths: [handlers(), folder], max_requests: 3]
      # What is forked is of what was imported before.
      options = [shutdown: patience(), start: :spawn] ++ options
      ready_pool(options)
      [first] = os_pids(pool, :ready)
      write_module(folder, "spoilt", "raise RuntimeError('spoilt')")
      for _ <- 1..5, do: assert(run(pool, "pid", 0) == {:ok, first})
      assert_receive {:log, :warning, line, %{pool: ^pool}}, patience()
      assert line =~ "a worker can't start: "
      assert line =~ "RuntimeError: spoilt"
      for _ <- 1..5, do: assert(run(pool, "pid", 0) == {:ok, first})
      write_module(folder, "spoilt", "ready = True")
      assert await_down(pool, first) == :max_requests
      assert {:ok, _other} = run(pool, "pid", 0)
      assert %{died: 0} = status(pool)
    end

    test "takes a spare, where there is one" do
      pool = ready_pool(size: 1, spare: 1, max_requests: 1)
      await_up(pool, 1)
      [first] = os_pids(pool, :ready)
      [next] = os_pids(pool, :spare)
      assert run(pool, "pid", 0) == {:ok, first}
      assert await_down(pool, first) == :max_requests
      assert run(pool, "pid", 0) == {:ok, next}
    end
  end

  describe "max_calls:" do
    test "gives no worker more calls, and lets no more than :size be at work" do
      for {size, spare, max_calls} <- [{2, 0, 1}, {2, 2, 3}, {1, 1, 2}] do
        pool = ready_pool(size: size, spare: spare, max_calls: max_calls, window: 4)
        options = opts(pool, "timed", batch_size: 1, max_in_flight: 8)
        assert {:ok, results} = Dispatch.run(Enum.to_list(1..12), options)
        calls = Enum.map(results, & &1.payload)
        counts = calls |> Enum.frequencies_by(&hd/1) |> Map.values()
        assert Enum.max(counts) <= max_calls

        at_work =
          for [_, at, _] <- calls, do: Enum.count(calls, fn [_, b, e] -> b <= at and at < e end)

        assert Enum.max(at_work) <= size
        assert %{died: 0} = status(pool)
      end
    end

    test "takes a spare at once, and tells why the worker leaves" do
      pool = ready_pool(size: 1, spare: 1, max_calls: 1)
      await_up(pool, 1)
      [first] = os_pids(pool, :ready)
      [next] = os_pids(pool, :spare)
      assert run(pool, "pid", 0) == {:ok, first}
      assert run(pool, "pid", 0) == {:ok, next}
      assert await_down(pool, first) == :max_calls
    end

    test "counts a call that fails, and one whose caller is gone" do
      pool = ready_pool(size: 1, max_calls: 1)
      [first] = os_pids(pool, :ready)
      assert {:error, _unknown} = run(pool, "missing", 0)
      go = path("go")
      caller = spawn(fn -> run(pool, "hold", go) end)
      second = await_running(pool)
      Process.exit(caller, :kill)
      File.touch!(go)
      assert {:ok, third} = run(pool, "pid", 0)
      assert length(Enum.uniq([first, second, third])) == 3
    end

    test "lets the pool be restarted and resized while calls come" do
      pool = ready_pool(size: 2, max_calls: 1)
      load = endless(pool, "pid", module: "lifecycle_handlers")
      assert Pool.restart(pool) == :ok
      assert Pool.resize(pool, 3) == :ok
      assert Pool.resize(pool, 1) == :ok
      pids = stop_endless(load)
      assert pids == Enum.uniq(pids)
      assert %{died: 0, size: 1} = status(pool)
    end

    test "leaves a session where its state is" do
      pool = ready_pool(size: 1, max_calls: 1)
      assert {:ok, first} = run(pool, "pid", 0, session_id: "s")
      assert {:ok, other} = run(pool, "pid", 0)
      assert run(pool, "pid", 0, session_id: "s") == {:ok, first}
      assert other != first
    end
  end

  describe "max_age:" do
    test "replaces a worker that did nothing, too" do
      pool = start_pool(size: 1, max_age: 500)
      first = await_up(pool)
      assert await_down(pool, first) == :max_age
      assert {:ok, _pid} = run(pool, "pid", 0)
      assert %{died: 0} = status(pool)
    end

    test "replaces spares, too" do
      pool = start_pool(size: 1, spare: 1, max_age: 500)

      for os_pid <- [await_up(pool, 0), await_up(pool, 1)] do
        assert await_down(pool, os_pid) == :max_age
      end

      assert %{died: 0} = status(pool)
    end
  end

  describe "max_rss:" do
    @mb 1_048_576

    # What a worker takes that has just started.
    defp fresh do
      pool = ready_pool(size: 1)
      [%{rss: rss}] = status(pool).workers
      stop_supervised!(pool)
      assert rss > 5 * @mb
      rss
    end

    defp grow(pool, os_pid) do
      case run(pool, "grow", 8 * @mb) do
        {:ok, ^os_pid} -> grow(pool, os_pid)
        {:ok, _other} -> :ok
      end
    end

    test "replaces a worker that grows, with no call failed" do
      limit = fresh() + 60 * @mb
      pool = ready_pool(size: 1, max_rss: limit)
      [first] = os_pids(pool, :ready)
      assert :ok = grow(pool, first)
      assert await_down(pool, first) == :max_rss
      assert %{died: 0} = status(pool)
    end

    test "replaces one that is idle after it has grown" do
      limit = fresh() + 20 * @mb
      pool = ready_pool(size: 1, max_rss: limit)
      [first] = os_pids(pool, :ready)
      for _ <- 1..3, do: assert({:ok, ^first} = run(pool, "grow", 1))
      assert {:ok, _pid} = run(pool, "grow", 40 * @mb)
      assert await_down(pool, first) == :max_rss
    end

    test "below what a fresh worker takes is said, and not applied" do
      pool = unique(:test_pool)
      listen(pool)
      ready_pool(name: pool, size: 2, max_rss: 1_000_000, shutdown: patience())
      before = os_pids(pool, :ready)
      for _ <- 1..20, do: assert({:ok, _pid} = run(pool, "grow", @mb))
      assert_receive {:log, :warning, line, _metadata}, patience()
      assert line =~ ~r/max_rss is 1000000 bytes, and a worker that has just started takes \d+/
      assert os_pids(pool, :ready) == before
      # Once for the pool.
      refute_received {:log, :warning, _line, _metadata}
    end

    test "that the first call exceeds each time is said, and no longer applied" do
      limit = fresh() + 20 * @mb
      pool = unique(:test_pool)
      listen(pool)
      ready_pool(name: pool, size: 1, max_rss: limit, shutdown: patience())

      # Two workers go, the third stays.
      for _ <- 1..2 do
        [os_pid] = os_pids(pool, :ready)
        assert run(pool, "load", 60 * @mb) == {:ok, os_pid}
        assert await_down(pool, os_pid) == :max_rss
      end

      [third] = os_pids(pool, :ready)
      assert run(pool, "load", 60 * @mb) == {:ok, third}
      assert_receive {:log, :warning, line, _metadata}, patience()
      assert line =~ "one worker after another is beyond it after its first calls"
      for _ <- 1..5, do: assert(run(pool, "load", 60 * @mb) == {:ok, third})
      assert %{died: 0, started: 3} = status(pool)
    end
  end
end
