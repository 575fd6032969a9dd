defmodule Slither.Python.StacksTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{DispatchError, Error}
  alias Slither.Python.{Environment, Pool}

  defp options(options), do: [module: "stack_handlers"] ++ options
  defp hang(pool, way, options \\ []), do: call(pool, "outer", way, options(options))

  defp hanging(pool, way) do
    task = Task.async(fn -> hang(pool, way) end)
    await_running(pool)
    task
  end

  # Asks until a worker has said so: it may still be on its way to where it hangs.
  defp await_stack(pool, text) do
    assert {:ok, [%{stack: stack} = found]} = Pool.stacks(pool)
    if stack && stack =~ text, do: found, else: await_stack(pool, text)
  end

  describe "a call that is over its time says where it was" do
    setup do
      %{pool: ready_pool(preload: ["stack_handlers"])}
    end

    # A busy machine may leave a call no time to get to where it hangs, or its worker none to say
    # where that is: then the next one gets twice as long.
    defp over(pool, way, where, time \\ 250) do
      assert {:error, %DispatchError{reason: :timeout, cause: %Error{} = cause} = error} =
               hang(pool, way, timeout: time)

      stack = cause.details.stack

      if time < patience() and not there?(stack, where),
        do: over(pool, way, where, 2 * time),
        else: {stack, Exception.message(error)}
    end

    defp there?(stack, nil), do: stack == nil
    defp there?(stack, where), do: stack != nil and stack =~ where

    for way <- ~w(spin sleep hold wait_in_c) do
      test "in #{way}", %{pool: pool} do
        {stack, message} = over(pool, unquote(way), " in #{unquote(way)}")

        assert ["Main thread (most recent call first):", first | callers] =
                 String.split(stack, "\n", trim: true)

        assert first =~ ~r{^  File "/.*/stack_handlers\.py", line \d+ in #{unquote(way)}$}
        assert Enum.at(callers, 0) =~ " in inner"
        assert List.last(callers) =~ " in outer"

        assert message =~
                 ~r/it was in #{unquote(way)} \(stack_handlers\.py:\d+\), called by inner \(stack_/
      end
    end

    test "in a thread that it waits for, by that thread's name", %{pool: pool} do
      {stack, _message} = over(pool, "join", "Thread feeder")
      assert [main, feeder] = String.split(stack, "\n\n")
      assert main =~ " in join"
      assert feeder =~ ~r/^Thread feeder \(most recent call first\):\n.* in sleep\n/
    end

    test "deep down, as far as Python tells", %{pool: pool} do
      {stack, message} = over(pool, "deep", " in spin")
      assert message =~ "it was in spin ("
      # Python tells of a hundred frames; up to 3.12 a last line of dots says that there are more.
      assert stack =~ ~r/ in deep\n.* in deep\n/
    end

    test "where it lets no signal through", %{pool: pool} do
      {stack, message} = over(pool, "block", " in block")
      assert stack =~ " in block"
      assert message =~ "it was in spin ("
    end

    test "and is killed all the same when its process is stopped", %{pool: pool} do
      {stack, message} = over(pool, "stop", nil)
      assert stack == nil
      assert message =~ "(raise timeout:)"
    end
  end

  test "a call that is answered while its worker is asked costs no worker" do
    pool = ready_pool(python: fake("asked"))
    await_spared(pool)

    # The next call has its deadline all the same.
    assert {:error, %DispatchError{reason: :timeout} = error} =
             call(pool, "f", "never", timeout: 20)

    assert error.cause.details.stack == nil
  end

  # A process that gets no core to answer in time is killed: another call has another one.
  defp await_spared(pool) do
    {:ok, %{died: before}} = Pool.status(pool)
    answer = call(pool, "f", 1, timeout: 20)
    {:ok, %{died: died}} = Pool.status(pool)
    unless answer == {:ok, 1} and died == before, do: await_spared(pool)
  end

  test "a worker that shares no memory is killed without" do
    {:ok, python} = Environment.interpreter(nil)
    pool = ready_pool(python: interpreter("ulimit -f 1; exec '#{python}' \"$@\""))
    assert {:ok, [%{worker: 0, call: nil, stack: nil}]} = Pool.stacks(pool)

    assert {:error, %DispatchError{reason: :timeout} = error} = hang(pool, "spin", timeout: 500)
    assert error.cause.details.stack == nil
  end

  test "a worker that is not ready in time says what it imports" do
    error = unready(500)
    assert error.details.start_reason == :start_failed
    assert Exception.message(error) =~ ~r/it was in <module> \(stack_hangs_at_import\.py:5\)/
  end

  # Here, too: a busy machine may leave a worker no time to get so far.
  defp unready(time) do
    pool = start_pool(preload: ["stack_hangs_at_import"], startup_timeout: time)
    assert {:error, error} = Pool.await_ready(pool)
    there? = Exception.message(error) =~ "stack_hangs_at_import"
    if there? or time > patience(), do: error, else: unready(2 * time)
  end

  test "a worker that goes on with a call that nobody waits for says where, in the log" do
    pool = ready_pool(cancel_grace: 10)
    listen(pool)
    task = hanging(pool, "sleep")
    Task.shutdown(task, :brutal_kill)
    assert_receive {:log, :warning, "pool " <> text, _metadata}, patience()

    assert text =~
             ~r/the call went on for 10 ms; its worker was killed \(it was in .*it ran stack_handlers\.outer, batch 0/
  end

  test "a worker that does not stop in time says where it is, in the log" do
    pool = ready_pool(shutdown: 50)
    listen(pool)
    hanging(pool, "sleep")
    stop_supervised!(pool)
    assert_receive {:log, :warning, "a Python worker did not stop" <> text, _}, patience()
    assert text =~ "it was in "
  end

  describe "stacks/1" do
    test "tells what each worker runs" do
      pool = ready_pool(size: 2)
      task = hanging(pool, "spin")
      assert {:ok, [_, _] = workers} = Pool.stacks(pool)
      assert [%{stack: stack, os_pid: os_pid}] = Enum.filter(workers, & &1.call)
      assert is_integer(os_pid) and stack =~ " in outer"
      assert [%{stack: "", call: nil}] = Enum.reject(workers, & &1.call)
      Task.shutdown(task, :brutal_kill)
    end

    test "tells what a worker imports that is not ready" do
      pool = start_pool(preload: ["stack_hangs_at_import"])
      assert %{call: nil} = await_stack(pool, "stack_hangs_at_import.py")
    end

    test "answers all who ask at once" do
      pool = ready_pool()
      task = hanging(pool, "sleep")
      await_stack(pool, " in sleep")

      asked = for _ <- 1..20, do: Task.async(fn -> Pool.stacks(pool) end)
      for task <- asked, do: assert({:ok, [%{stack: "Main" <> _}]} = Task.await(task, patience()))
      Task.shutdown(task, :brutal_kill)
    end

    test "names the pools that run where there is none of the name" do
      assert {:error, %Error{reason: :unknown_pool}} = Pool.stacks(:no_such_pool)
    end

    test "disturbs nothing, in Python or in C" do
      pool = ready_pool()
      task = Task.async(fn -> call(pool, "patient", 1, options([])) end)
      await_running(pool)
      assert ask_until(task, pool, 0) > 5
      assert {:ok, found} = Task.await(task, patience())

      assert found == [
               ["sleeps", nil, true],
               ["selects", [[], [], []], true],
               ["polls", [], true],
               ["reads", "x", true],
               ["waits", false, true],
               ["polls_in_c", 0, true],
               ["sleeps_in_c", 0, true],
               ["counts", true, true]
             ]
    end

    defp ask_until(%Task{pid: pid} = task, pool, count) do
      if Process.alive?(pid) do
        {:ok, [%{stack: _}]} = Pool.stacks(pool)
        ask_until(task, pool, count + 1)
      else
        count
      end
    end

    test "leaves the signals to a handler that wants them" do
      for which <- ["last", "all"] do
        pool = ready_pool()
        task = Task.async(fn -> call(pool, "own_handlers", which, options([])) end)
        await_running(pool)
        assert ask_until(task, pool, 0) > 0
        assert {:ok, []} = Task.await(task, patience())
        assert {:ok, [%{stack: ""}]} = Pool.stacks(pool)
      end
    end
  end

  test "a crash beside many threads is told by the thread that it was in" do
    pool = ready_pool()

    assert {:error, %DispatchError{reason: :worker_died, cause: %Error{} = cause} = error} =
             call(pool, "crowd", 60, options([]))

    assert Exception.message(error) =~ ~r/Segmentation fault in string_at .*called by crowd/
    assert cause.details.fatal_error =~ "Current thread"
    assert byte_size(cause.details.fatal_error) < 20_000
  end
end
