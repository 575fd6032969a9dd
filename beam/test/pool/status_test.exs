defmodule Slither.Pool.StatusTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.Metrics.Series
  alias Slither.Pipe
  alias Slither.Pipe.Runner
  alias Slither.Pool.Scheduler
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Lane, Pool}

  defp status(pool) do
    {:ok, status} = Pool.status(pool)
    assert_agrees(status)
    status
  end

  # What holds of every status, at whatever moment it is asked for.
  defp assert_agrees(status) do
    running = for %{runs: %{}} = worker <- status.workers, do: worker
    assert length(running) <= status.busy and status.busy <= length(status.workers)
    assert status.ready == Enum.count(status.workers, &(&1.status == :ready))
    assert status.queue == 0 == (status.oldest_wait == nil)
    assert status.busy_share >= 0.0 and status.busy_share <= 1.0
    assert status.since_free == nil or status.since_free >= 0
    for worker <- status.workers, do: assert(length(worker.said) <= 20)
    for %{runs: run} <- running, do: assert(run.since >= 0)
    status
  end

  # Looks until it is so, or the test's own time is over.
  defp await(pool, so?) do
    status = status(pool)
    if so?.(status), do: status, else: await(pool, so?)
  end

  # A call that runs until the file is there; returns the file.
  defp hold(pool, options) do
    go = path("go")
    task = Task.async(fn -> call(pool, "hold", go, options) end)
    await_running(pool)
    {go, task}
  end

  defp go_on({go, task}) do
    File.touch!(go)
    assert {:ok, _held} = Task.await(task, patience())
  end

  describe "runs" do
    test "is nil while a worker is at no call" do
      pool = ready_pool(size: 2)

      assert %{busy: 0, ready: 2, queue: 0, oldest_wait: nil, since_free: nil} =
               status = status(pool)

      assert status.max_queue == 10_000
      assert status.busy_share == 0.0 and status.busy_time == 0
      assert [%{runs: nil, said: []}, %{runs: nil, said: []}] = status.workers
    end

    test "says of a dispatch what runs, since when, and how long it may" do
      pool = ready_pool()
      held = hold(pool, timeout: 50_000)
      assert %{busy: 1, workers: [%{runs: runs, calls: 1}]} = status(pool)
      assert %{call: "slither_test_handlers.hold", pipe: nil, stage: nil, session: nil} = runs
      assert %{batch: 0, attempt: 1, items: 1, stalled: false} = runs
      assert is_binary(runs.run)
      assert runs.since + runs.deadline <= 50_001
      # Each is rounded by itself.
      await(pool, &(hd(&1.workers).runs.since > runs.since))
      await(pool, &(hd(&1.workers).runs.deadline < runs.deadline))
      go_on(held)
      assert %{busy: 0, workers: [%{runs: nil, served: 1}]} = status(pool)
    end

    test "names a single call, and its session" do
      pool = ready_pool()
      go = path("go")
      target = ["function", "slither_test_handlers", "hold"]

      task =
        Task.async(fn -> Pool.call(pool, target, [go], session_id: "s", timeout: :infinity) end)

      await_running(pool)
      assert %{workers: [%{runs: runs, sessions: 1}]} = status(pool)
      assert %{call: "slither_test_handlers.hold", session: "s", run: nil, deadline: nil} = runs
      File.touch!(go)
      assert {:ok, [_held], %{}} = Task.await(task, patience())
    end

    test "names the pipe and the stage, the items and the attempt" do
      pool = ready_pool()
      go = path("go")

      options = [pool: pool, module: "slither_test_handlers", function: "hold"]
      pipe = Pipe.build!(:status_pipe, [{:stage, 1, :held, :python, options}])

      task = Task.async(fn -> Runner.run(pipe, [go, go, go]) end)
      await_running(pool)
      assert %{workers: [%{runs: runs}]} = status(pool)
      assert %{pipe: :status_pipe, stage: :held, items: 3, batch: 0, attempt: 1} = runs
      File.touch!(go)
      Task.await(task, patience())
    end

    test "counts the attempts of a batch" do
      pool = ready_pool()
      go = path("go")
      options = [on_error: {:retry, max_attempts: 2}, module: "status_handlers"]
      task = Task.async(fn -> call(pool, "hold_attempts", go, options) end)

      for attempt <- 1..2 do
        await_running(pool)
        assert %{workers: [%{runs: %{attempt: ^attempt}}]} = status(pool)
        File.touch!("#{go}.#{attempt}")
      end

      assert Task.await(task, patience()) == {:ok, go}
    end

    test "says that a handler waits for whoever reads its results" do
      pool = ready_pool()
      {:ok, handle} = Pool.handle(pool)
      {inbox, ref} = {{self(), :lane}, make_ref()}
      Scheduler.request(handle, inbox, ref, [])
      assert_receive {^inbox, {:granted, ^ref, lane}}, patience()
      head = Frame.call_head(["function", "stream_handlers", "numbers"], %{})
      numbers = Enum.to_list(1..10_000)
      Lane.run(lane, %Job{inbox: inbox, ref: ref, head: head, payloads: numbers})
      # Nobody takes a result, and nobody waits for the worker.
      found = await(pool, &match?(%{workers: [%{runs: %{stalled: true}}]}, &1))
      assert %{busy: 1, workers: [%{runs: %{call: "stream_handlers.numbers"}}]} = found
      Lane.taken(lane, ref, 10_000)
      assert_receive {^inbox, {:done, ^ref, %{kind: :ok}}}, patience()
      Scheduler.release(handle, ref)
      assert %{busy: 0} = status(pool)
    end

    test "of a worker that hangs in C, or is stopped, is told all the same" do
      pool = ready_pool(preload: ["stack_handlers"])
      hang = [module: "stack_handlers"]
      task = Task.async(fn -> call(pool, "outer", "hold", [timeout: 60_000] ++ hang) end)
      os_pid = await_running(pool)
      assert %{workers: [%{runs: %{call: "stack_handlers.outer"}}]} = status(pool)
      signal(os_pid, "STOP")
      assert %{busy: 1, workers: [%{runs: %{call: "stack_handlers.outer"}}]} = status(pool)
      Task.shutdown(task, :brutal_kill)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
    end

    test "of one whose owner does not answer is left out, and the rest is told" do
      pool = ready_pool(size: 2)
      held = hold(pool, timeout: 50_000)
      {:ok, handle} = Pool.handle(pool)
      {:ok, owners} = Scheduler.owners(handle)
      %{workers: workers} = status(pool)
      at = Enum.find_index(workers, &(&1.runs != nil))
      owner = Enum.at(owners, at)
      :sys.suspend(owner)
      assert %{busy: 1, workers: workers} = status(pool)
      assert %{runs: nil, said: [], status: :ready, calls: 1} = Enum.at(workers, at)
      assert %{runs: nil, calls: 0, rss: rss} = Enum.at(workers, 1 - at)
      assert rss > 0
      :sys.resume(owner)
      go_on(held)
    end

    test "is nil, and the death is counted, when a worker has died at a call" do
      pool = ready_pool()
      held = hold(pool, timeout: 50_000)
      %{busy_time: before, workers: [%{os_pid: os_pid}]} = status(pool)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
      assert {:error, _died} = held |> elem(1) |> Task.await(patience())
      await_up(pool)
      found = status(pool)
      assert %{died: 1, started: 2, busy: 0, ready: 1, workers: [%{runs: nil, served: 0}]} = found
      assert found.busy_time >= before
      # The next worker has the time of the one before it, and goes on counting.
      assert %{busy_time: same} = status(pool)
      assert same == found.busy_time
    end
  end

  describe "who waits" do
    test "is told by the first of them, and since when nobody was free" do
      pool = ready_pool(window: 1, max_queue: 3)
      held = hold(pool, timeout: 50_000)
      assert %{queue: 0, oldest_wait: nil, since_free: since} = status(pool)
      assert since >= 0
      tasks = for n <- 1..3, do: Task.async(fn -> call(pool, "identity", n) end)
      found = await(pool, &(&1.queue == 3))
      assert %{max_queue: 3, busy: 1} = found
      assert found.oldest_wait <= found.since_free
      # The queue is full: the next is refused, and is not the one that waits longest.
      assert {:error, %{reason: :saturated}} = call(pool, "identity", 4)
      later = await(pool, &(&1.oldest_wait > found.oldest_wait))
      assert later.queue == 3 and later.since_free >= later.oldest_wait
      assert later.busy_share > 0.0 and later.busy_time > found.busy_time
      go_on(held)
      assert Enum.sort(Task.await_many(tasks, patience())) == [ok: 1, ok: 2, ok: 3]
      assert %{queue: 0, oldest_wait: nil, since_free: nil, busy: 0} = status(pool)
    end

    test "is the same when ten thousand do" do
      pool = ready_pool(window: 1)
      held = hold(pool, timeout: 50_000)
      {:ok, handle} = Pool.handle(pool)
      refs = for _ <- 1..10_000, do: make_ref()
      asked = System.monotonic_time(:millisecond)
      for ref <- refs, do: Scheduler.request(handle, {self(), :lane}, ref, [])
      found = await(pool, &(&1.queue == 10_000))
      assert found.oldest_wait <= System.monotonic_time(:millisecond) - asked
      # When the first has left the queue, the second has waited longest, which is less.
      [first | rest] = refs
      Scheduler.release(handle, first)
      for ref <- tl(rest), do: Scheduler.release(handle, ref)
      assert %{queue: 1, oldest_wait: wait} = status(pool)
      assert wait >= found.oldest_wait
      Scheduler.release(handle, hd(rest))
      assert %{queue: 0, oldest_wait: nil} = status(pool)
      go_on(held)
    end
  end

  test "a pool that can't start says why, and that nobody was ever free" do
    pool = start_pool(preload: ["slither_imports_missing"], size: 2)
    assert {:error, _unavailable} = Pool.await_ready(pool)
    found = status(pool)
    assert %{ready: 0, busy: 0, started: 0, error: %Slither.Error{}} = found
    later = await(pool, &(&1.since_free > found.since_free))
    assert later.busy_share == 0.0 and later.busy_time == 0
  end

  test "the last lines of a worker come with their levels" do
    pool = ready_pool()

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        assert {:ok, _said} = call(pool, "speak", "x", module: "voice_handlers")
        %{workers: [%{said: said}]} = await(pool, &(length(hd(&1.workers).said) >= 5))
        said = for %{level: level, text: text} <- said, do: {level, text}

        for line <- [{"error", "logged x"}, {"critical", "critical x"}, {"info", "printed x"}],
            do: assert(line in said)
      end)

    assert log =~ "logged x"
  end

  test "a pool of functions tells what they run, too" do
    test = self()
    pool = unique(:status_functions)

    hold = fn [x] ->
      send(test, {:holds, self()})
      receive do: (:go_on -> [x])
    end

    start_supervised!({Slither.Testing.Pool, name: pool, size: 1, functions: %{"m.f" => hold}})
    assert Pool.await_ready(pool) == :ok
    options = [pool: pool, module: "m", function: "f", timeout: 50_000]
    task = Task.async(fn -> Slither.dispatch([1], options) end)
    assert_receive {:holds, function}, patience()
    assert %{busy: 1, workers: [%{runs: runs}]} = status(pool)
    assert %{call: "m.f", items: 1, attempt: 1, deadline: left} = runs
    assert left <= 50_000
    send(function, :go_on)
    assert {:ok, [_item]} = Task.await(task, patience())
    found = status(pool)
    assert %{busy: 0, workers: [%{runs: nil, served: 1}]} = found
    assert found.busy_time > 0
  end

  describe "what is counted" do
    defp counted(metric, pool) do
      label = {:pool, Atom.to_string(pool)}
      Enum.find(Series.read(), &(&1.name == metric and label in &1.labels))
    end

    test "is all time at calls, and each grant, whatever becomes of workers" do
      pool = ready_pool(size: 3)
      began = System.monotonic_time()
      stop = :atomics.new(1, [])

      # Looks at the pool all the while.
      looks =
        Task.async(fn ->
          Stream.repeatedly(fn -> status(pool) end)
          |> Stream.take_while(fn _ -> :atomics.get(stop, 1) == 0 end)
          |> Enum.reduce(0, fn found, before ->
            assert found.busy_time >= before
            found.busy_time
          end)
        end)

      callers =
        for n <- 1..8 do
          Task.async(fn ->
            for round <- 1..30 do
              # Some of them end their worker, by SIGKILL.
              if rem(n * 31 + round, 40) == 0,
                do: call(pool, "kill_self", 9),
                else: call(pool, "sleep_a_little", round)
            end
          end)
        end

      {answers, _log} = ExUnit.CaptureLog.with_log(fn -> Task.await_many(callers, patience()) end)

      :atomics.put(stop, 1, 1)
      Task.await(looks, patience())
      found = await(pool, &(&1.busy == 0 and &1.queue == 0 and &1.ready == 3))
      ended = System.monotonic_time()
      assert found.died > 0 and found.since_free == nil and found.busy_share > 0.0

      # Each call that was answered has slept for 6 ms; three workers can't do more than they have time.
      slept = answers |> List.flatten() |> Enum.count(&match?({:ok, _}, &1)) |> Kernel.*(6)
      assert found.busy_time >= System.convert_time_unit(slept, :millisecond, :native)
      assert found.busy_time <= 3 * (ended - began)

      # A dispatch asks for one lane at least, and each call that went on has had one.
      assert counted("slither_pool_wait_seconds", pool).count >= 8 * 30
    end
  end
end
