defmodule Slither.Pool.StatusTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Pipe
  alias Slither.Pipe.Runner
  alias Slither.Python.Pool

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
      %{workers: [%{runs: later}]} = await(pool, &(hd(&1.workers).runs.since > runs.since))
      assert later.deadline < runs.deadline
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
  end
end
