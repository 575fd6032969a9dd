defmodule Slither.Python.WorkerTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{DispatchError, Error}
  alias Slither.Python.{Environment, OSProcess, Pool}

  describe "a handler's output" do
    test "never gets among the frames, however it is written" do
      pool = quick_pool()
      values = Enum.map(1..50, &%{"n" => &1})
      options = options(pool, "noisy", batch_size: 5)
      assert {:ok, results} = Slither.dispatch(values, options)
      assert Enum.map(results, & &1.payload) == values
    end

    test "goes to Logger with the pool, the worker and the call" do
      pool = quick_pool()
      listen(pool)
      assert {:ok, 1} = call(pool, "noisy", 1)

      # A call's lines are sent before its answer.
      logs = logged()

      for {level, text} <- [
            {:info, "printed"},
            {:info, "no end of line"},
            {:info, "put by C"},
            {:info, "from a child"},
            {:info, "\uFFFD\uFFFD raw bytes"},
            {:warning, "printed to stderr"},
            {:warning, "straight to descriptor 2"},
            {:warning, "child error"},
            {:warning, "UserWarning: warned"},
            {:error, "logged"}
          ] do
        line = Enum.find(logs, fn {at, line, _metadata} -> at == level and line =~ text end)
        assert {_level, _line, metadata} = line, "no #{level} with #{text} in #{inspect(logs)}"
        assert %{pool: ^pool, worker: 0, call: 1} = metadata
        assert is_binary(metadata.python_logger) and is_integer(metadata.os_pid)
      end
    end

    test "is dropped rather than waited for" do
      pool = quick_pool()
      listen(pool)
      assert {:ok, 5_000} = call(pool, "flood", 5_000)
      assert Enum.count(logged(), &(elem(&1, 0) == :info)) < 5_000
    end

    test "stays on the terminal with capture: false" do
      pool = quick_pool(capture: false)
      listen(pool)
      assert {:ok, 1} = call(pool, "identity", 1)
      refute_received {:log, :info, _text, _metadata}
    end
  end

  describe "a worker that dies" do
    test "fails only the call it was running, and names the signal" do
      pool = quick_pool(window: 3)
      path = path("go")
      options = options(pool, "hold", batch_size: 1, on_error: :skip)
      task = Task.async(fn -> Slither.dispatch([path, "a", "b", "c"], options) end)
      os_pid = await_running(pool)
      for _ <- 1..3, do: assert_receive({:start, ^pool, _metadata}, patience())
      signal(os_pid, "KILL")

      assert {:ok, [first | rest]} = Task.await(task, patience())
      assert %DispatchError{reason: :worker_died, cause: %Error{} = error} = first.meta.error
      assert error.message == "Python worker 0 (pid #{os_pid}) died: killed by signal 9 (SIGKILL)"
      assert %{status: 137, signal: 9, os_pid: ^os_pid, batch: 0, stderr: ""} = error.details
      assert error.where == "pool #{inspect(pool)}"

      second = await_up(pool)
      assert second != os_pid

      # Lanes write side by side: a later call may have reached the worker before the one that holds.
      assert Enum.all?(rest, &(&1.payload in [os_pid, second]))
      refute Enum.any?(rest, & &1.meta[:skipped])
      assert await_down(pool, os_pid) == :worker_died
    end

    test "gives what it held to a worker that lives" do
      pool = quick_pool(size: 2, window: 2)
      go = path("go")
      # Each worker gets one call that holds it and one behind it.
      options = options(pool, "hold", batch_size: 1, on_error: :skip, ordering: :as_completed)
      stop = path("stop")
      task = Task.async(fn -> Slither.dispatch([go, stop, "a", "b"], options) end)
      one = await_running(pool)
      two = await_running(pool)
      for _ <- 1..4, do: assert_receive({:start, ^pool, _metadata}, patience())
      signal(one, "KILL")
      assert await_down(pool, one) == :worker_died
      for path <- [go, stop], do: File.touch!(path)
      assert {:ok, results} = Task.await(task, patience())
      {failed, good} = Enum.split_with(results, & &1.meta[:skipped])
      assert [%{meta: %{error: %{reason: :worker_died}}}] = failed
      assert length(good) == 3
      assert two in Enum.map(good, & &1.payload)
    end

    test "says with which status it left" do
      pool = quick_pool()
      assert {:error, %DispatchError{reason: :worker_died} = error} = call(pool, "leave", 3)
      assert Exception.message(error) =~ ~r/died: exit status 3$/
    end

    test "says which signal ended it" do
      pool = quick_pool()

      for {signal, name} <- [{15, "SIGTERM"}, {6, "SIGABRT"}, {9, "SIGKILL"}] do
        assert {:error, %DispatchError{reason: :worker_died} = error} =
                 call(pool, "kill_self", signal)

        assert Exception.message(error) =~ "killed by signal #{signal} (#{name})"
      end

      assert {:error, %DispatchError{reason: :worker_died} = error} = call(pool, "crash", 1)
      assert Exception.message(error) =~ "killed by signal 11 (SIGSEGV)"
      assert {:ok, 1} = call(pool, "identity", 1)
    end

    test "may be retried" do
      pool = quick_pool()
      path = path("once")
      retry = {:retry, max_attempts: 2, base_ms: 1}
      assert {:ok, ^path} = call(pool, "once", path, on_error: retry)
    end

    test "is counted, and its place is filled" do
      pool = quick_pool(size: 2)
      os_pid = os_pid(pool, 1)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
      next = await_up(pool, 1)
      assert {:ok, %{died: 1, started: 3, workers: workers}} = Pool.status(pool)
      assert [%{status: :ready}, %{status: :ready, os_pid: ^next}] = workers
    end

    test "takes the processes that its handlers started with it" do
      pool = quick_pool()
      test = self()

      id = {__MODULE__, pool}
      event = [:slither, :worker, :progress]

      report = fn _, %{done: done}, %{pool: p}, _ ->
        if p == pool, do: send(test, {:child, done})
      end

      :ok = Slither.Telemetry.attach(id, event, report, nil)
      on_exit(fn -> Slither.Telemetry.detach(id) end)

      task = Task.async(fn -> call(pool, "with_child", 1) end)
      assert_receive {:child, child}, patience()
      assert alive?(child)
      os_pid = await_running(pool)
      signal(os_pid, "KILL")
      assert {:error, %{reason: :worker_died}} = Task.await(task, patience())
      assert ends?(child)
    end
  end

  describe "a worker that dies while a child of its holds its pipes" do
    for how <- ["fork", "fork in a session", "fork in C", "program"] do
      test "fails its call with its status, after #{how}" do
        pool = ready_pool()

        for {ending, status} <- [{"kill", 137}, {"exit", 7}] do
          item = [unquote(how), ending]

          assert {:error, %DispatchError{reason: :worker_died, cause: cause}} =
                   call(pool, "leave_child", item, timeout: :infinity)

          assert cause.details.status == status
        end
      end

      test "is not taken for ready while it is idle, after #{how}" do
        pool = ready_pool()
        assert {:ok, first} = call(pool, "leave_child", [unquote(how), "stay"])
        signal(first, "KILL")
        assert await_down(pool, first) == :worker_died
        assert await_up(pool) != first
      end
    end

    test "fails its call also where its status is not to be had" do
      pool = ready_pool()
      item = ["fork in C, in a session", "kill"]
      assert {:error, error} = call(pool, "leave_child", item, timeout: :infinity)
      assert %{reason: :worker_died, cause: %{details: %{status: nil}}} = error
      assert Exception.message(error) =~ "a process that it has started may hold its pipe"
      assert {:ok, 1} = call(pool, "identity", 1)
    end

    test "takes the child with it, where that is of its group" do
      pool = unique(:test_pool)
      listen(pool)
      ready_pool(name: pool)
      assert {:ok, os_pid} = call(pool, "leave_child", ["fork in C", "stay"])
      assert_receive {:log, :info, "child " <> child, _metadata}, patience()
      child = String.to_integer(child)
      # It outlives its handler, but not the worker.
      assert alive?(child)
      signal(os_pid, "KILL")
      assert ends?(child)
      assert await_down(pool, os_pid) == :worker_died
    end
  end

  describe "the log of a pool" do
    setup do
      pool = unique(:test_pool)
      listen(pool)
      %{pool: ready_pool(name: pool)}
    end

    test "has a line of a worker that ended by itself, whatever the policy", %{pool: pool} do
      options = options(pool, "leave", on_error: :skip)
      assert {:ok, [%{meta: %{skipped: true}}]} = Slither.dispatch([3], options)
      assert_receive {:log, :error, line, metadata}, patience()
      assert line =~ ~r/^pool #{inspect(pool)}: Python worker 0 \(pid \d+\) died: exit status 3/
      assert line =~ "; it ran slither_test_handlers.leave, batch 0"
      assert %{pool: ^pool, worker: 0, status: 3, signal: nil, batch: 0} = Map.new(metadata)
      refute_received {:log, :error, _line, _metadata}
    end

    test "has one of a worker that was killed while it ran nothing", %{pool: pool} do
      os_pid = os_pid(pool, 0)
      signal(os_pid, "KILL")
      assert await_down(pool, os_pid) == :worker_died
      assert_receive {:log, :error, line, metadata}, patience()
      assert line =~ "died: killed by signal 9 (SIGKILL)"
      assert line =~ "; it ran no call"
      assert %{status: 137, signal: 9} = Map.new(metadata)
    end

    test "has none of a worker that was told to stop, or was over its time", %{pool: pool} do
      assert {:error, %{reason: :timeout}} = call(pool, "spin", 1, timeout: 100)
      await_up(pool)
      :ok = Pool.restart(pool)
      stop_supervised!(pool)
      refute_received {:log, :error, _line, _metadata}
    end
  end

  describe "timeout:" do
    test "kills a worker that is busy in Python, and replaces it" do
      pool = quick_pool(preload: ["slither_test_handlers"])
      started = System.monotonic_time(:millisecond)

      assert {:error, %DispatchError{reason: :timeout} = error} =
               call(pool, "spin", 1, timeout: 100)

      assert System.monotonic_time(:millisecond) - started < 10_000

      assert Exception.message(error) =~
               "the call ran for more than 100 ms; its worker was killed " <>
                 "(raise timeout:; it was in spin (slither_test_handlers.py:"

      os_pid = await_running(pool)
      assert ends?(os_pid)
      assert await_down(pool, os_pid) == :timeout
      assert {:ok, again} = call(pool, "pid", 1)
      assert again != os_pid
    end

    test "counts from when the call begins to run, not from when it was sent" do
      pool = quick_pool(window: 2)
      go = path("go")
      options = options(pool, "hold", batch_size: 1, timeout: :infinity)
      task = Task.async(fn -> Slither.dispatch([go], options) end)
      await_running(pool)
      # The call may have run for a while by now.
      quick!(pool)
      behind = Task.async(fn -> call(pool, "identity", 1, timeout: 1_000) end)
      assert_receive {:start, ^pool, _metadata}, patience()
      assert_receive {:start, ^pool, _metadata}, patience()
      assert Task.yield(behind, 1_200) == nil
      File.touch!(go)
      assert {:ok, [_result]} = Task.await(task, patience())
      assert {:ok, 1} = Task.await(behind, patience())
    end

    test "fails only the call that ran too long" do
      pool = quick_pool(window: 3, preload: ["slither_test_handlers"])
      options = options(pool, "hold", batch_size: 1, on_error: :skip, timeout: 1_000)
      never = path("never")
      assert {:ok, [late, a, b]} = Slither.dispatch([never, "a", "b"], options)
      assert late.meta.error.reason == :timeout
      assert is_integer(a.payload) and is_integer(b.payload)
    end
  end

  describe "what Python answers" do
    setup do
      %{pool: quick_pool()}
    end

    test "an exception comes with its type, message and traceback", %{pool: pool} do
      assert {:error, %DispatchError{reason: :python_exception, cause: cause} = error} =
               call(pool, "raises", "x")

      assert cause.python.type == "ValueError"
      assert cause.python.message == "no luck with 'x'"
      assert cause.python.traceback =~ ~r/slither_test_handlers.py", line \d+, in raises/
      assert Exception.message(error) =~ "ValueError: no luck with 'x'"
      assert {:ok, 1} = call(pool, "identity", 1)
    end

    test "an exception comes with what it holds and refers to, as data", %{pool: pool} do
      assert {:error, %DispatchError{cause: cause}} = call(pool, "raises_holding", 404)
      assert [raised, reason] = cause.details["raised"]
      assert %{"type" => "LookupError", "args" => ["gone"], "cause" => 1} = raised
      assert %{"attributes" => %{"status" => 404}, "notes" => ["asked twice"]} = raised
      assert %{"left_out" => %{"lock" => "lock"}} = raised
      assert %{"type" => "FileNotFoundError", "attributes" => %{"errno" => 2}} = reason
    end

    test "a failed item fails alone", %{pool: pool} do
      options = options(pool, "fails", on_error: :skip)
      assert {:ok, [zero, one, two]} = Slither.dispatch([0, 1, 2], options)
      assert {zero.payload, two.payload} == {0, 2}
      assert %{reason: :handler_failure, cause: %{message: "odd"}} = one.meta.error
    end

    test "an item that can't be sent fails alone, either way", %{pool: pool} do
      options = options(pool, "unsendable", on_error: :skip)
      items = ["a", self(), "bad", <<255>>, "b"]
      assert {:ok, [a, pid, bad, bytes, b]} = Slither.dispatch(items, options)
      assert {a.payload, b.payload} == {"a", "b"}
      assert pid.meta.error.cause.message == "payload: a pid can't be sent"
      assert bytes.meta.error.cause.message =~ "Slither.Bytes.new/1"
      assert bad.meta.error.cause.message =~ ~s(result["tags"][0]: a range cannot be sent)
      for item <- [pid, bad, bytes], do: assert(item.meta.error.reason == :not_encodable)
    end

    test "an item that no encoder knows costs no worker", %{pool: pool} do
      for odd <- [%{__struct__: 1}, %{~U[2024-01-01 00:00:00Z] | year: -5}, %{[1 | 2] => 1}] do
        assert {:error, %DispatchError{reason: :not_encodable}} = call(pool, "identity", odd)
      end

      assert {:ok, %{died: 0, started: 1}} = Pool.status(pool)
    end

    test "too few results, or no list, is an error", %{pool: pool} do
      assert {:error, %DispatchError{reason: :wrong_result} = fewer} = call(pool, "fewer", 1)
      assert Exception.message(fewer) =~ "the handler returned 0 results for 1 items"
      assert {:error, %DispatchError{reason: :wrong_result} = other} = call(pool, "no_list", 1)
      assert Exception.message(other) =~ "the handler returned dict, not a list"
    end

    test "a module, function or command that is not there is named", %{pool: pool} do
      assert {:error, %{reason: :import_failed} = error} = call(pool, "f", 1, module: "no_module")
      assert Exception.message(error) =~ "no module is named 'no_module'"
      assert {:error, %{reason: :import_failed} = error} = call(pool, "identiti", 1)
      assert Exception.message(error) =~ "did you mean identity?"

      snakepit = [pool: pool, executor: Slither.Dispatch.Executors.Snakepit, command: "nmed"]
      assert {:error, %{reason: :unknown_command} = error, []} = Slither.dispatch([1], snakepit)
      assert Exception.message(error) =~ "no command is named 'nmed'; registered: named"
    end
  end

  describe "max_frame:" do
    test "bounds calls and answers, and costs no worker" do
      pool = quick_pool(max_frame: 100_000)
      text = String.duplicate("a", 200_000)
      assert {:error, %DispatchError{reason: :too_large} = error} = call(pool, "identity", text)
      assert Exception.message(error) =~ "a frame holds 100000 (lower batch_size"
      assert {:error, %DispatchError{reason: :too_large} = error} = call(pool, "size", 200_000)
      assert Exception.message(error) =~ "the limit is 100000"
      assert {:ok, %Slither.Bytes{data: data}} = call(pool, "size", 90_000)
      assert byte_size(data) == 90_000
      assert {:ok, %{died: 0}} = Pool.status(pool)
    end
  end

  describe "a worker that breaks the protocol" do
    for mode <-
          ["noise", "unknown kind", "empty frame", "no array", "welcome", "hello again"] ++
            ["ready again", "fields", "results", "timing", "count", "cut", "error", "no call"] ++
            ["empty part", "part of all", "part of another", "part fields"] ++
            ["state of no call"] do
      test "with #{mode} is ended, named and replaced" do
        pool = quick_pool(python: fake(unquote(mode)))
        first = os_pid(pool, 0)
        assert {:error, %DispatchError{reason: :protocol_error} = error} = call(pool, "f", 1)
        assert Exception.message(error) =~ ~r/broke the protocol: ./
        assert await_down(pool, first) == :protocol_error
        assert await_up(pool) != first
        assert ends?(first)
      end
    end

    for {mode, why} <- [
          {"asks and does not read", "it has asked 4096 questions"},
          {"too long", "a frame of 20000"},
          {"tells of state again and again", "a session frame outside a call, or a second one"}
        ] do
      test "and #{mode} is ended before its call is over time" do
        pool = ready_pool(python: fake(unquote(mode)), max_frame: 1_000_000)
        assert {:error, %DispatchError{reason: reason} = error} = call(pool, "f", 1)
        assert reason == :protocol_error
        assert Exception.message(error) =~ unquote(why)
        assert Task.Supervisor.children(Slither.TaskSupervisor) |> length() < 4_200
      end
    end

    for mode <- ["answers twice", "answers ahead"] do
      test "and #{mode} gives no item the answer of another" do
        pool = ready_pool(python: fake(unquote(mode)))
        first = os_pid(pool, 0)
        options = options(pool, "f", batch_size: 1, max_in_flight: 1, on_error: :skip)
        assert {:ok, items} = Slither.dispatch(1..6, options)
        for item <- items, do: assert(item.meta[:error] || is_integer(item.payload))
        assert await_down(pool, first) == :protocol_error
      end
    end

    test "is not one that runs first what was noted second" do
      pool = quick_pool(python: fake("second first"))
      options = options(pool, "f", batch_size: 3)
      assert {:ok, items} = Slither.dispatch(1..6, options)
      assert Enum.map(items, & &1.payload) == Enum.to_list(1..6)
      assert {:ok, %{died: 0}} = Pool.status(pool)
    end

    test "with the same results twice is ended, and the first stand" do
      pool = ready_pool(python: fake("part twice"))
      first = os_pid(pool, 0)
      options = options(pool, "f", batch_size: 40, on_error: :skip)
      assert {:ok, [%{payload: 1, meta: good} | bad]} = Slither.dispatch(1..40, options)
      assert good == %{}
      for item <- bad, do: assert(item.meta.error.reason == :protocol_error)
      assert await_down(pool, first) == :protocol_error
    end

    test "without a call to fail is named by the batch that it could not keep" do
      pool = ready_pool(python: fake("no call, no marker"))
      assert {:error, %DispatchError{reason: :worker_died} = error} = call(pool, "f", 1)
      assert Exception.message(error) =~ "4 workers ended while they held this batch; the last: "
      assert Exception.message(error) =~ "broke the protocol: an answer to no call"
    end

    # The port hears nothing any more of a pipe that announced so much, not even its end.
    test "that announces more than a port can count costs its call alone, dead or alive" do
      pool = ready_pool(python: fake("announces 4 GiB and dies"))

      assert {:error, %DispatchError{reason: :worker_died}} =
               call(pool, "f", 1, timeout: :infinity)

      pool = ready_pool(python: fake("announces 4 GiB"))
      assert {:error, %DispatchError{reason: :timeout}} = call(pool, "f", 1, timeout: 500)
      await_up(pool)
    end

    test "within an error map costs its call alone" do
      pool = quick_pool(python: fake("odd item errors"))
      assert {:error, %DispatchError{reason: :protocol_error}} = call(pool, "f", 1)

      pool = quick_pool(python: fake("odd error"))
      assert {:error, %DispatchError{reason: :python_exception} = error} = call(pool, "f", 1)
      assert Exception.message(error) =~ "m"
      assert {:ok, %{died: 0}} = Pool.status(pool)
    end
  end

  describe "what a worker notes of its calls" do
    test "has no name that another user could take, or that could be left behind" do
      pool = quick_pool()
      # One memory for what it runs, and one for where its threads are.
      assert {:ok, [_, _] = lines} = call(pool, "marker", 1)
      for line <- lines, do: assert(line =~ ~r/ \/memfd:slither-[0-9a-f]{16} \(deleted\)$/)
    end

    test "is not read from a file that is another than the worker says" do
      pool = ready_pool(python: fake("other memory"))
      assert call(pool, "f", 1) == {:ok, false}
    end

    test "is done without where there is no memory for it" do
      {:ok, python} = Environment.interpreter(nil)
      pool = quick_pool(python: interpreter("ulimit -f 1; exec '#{python}' \"$@\""))
      assert {:ok, []} = call(pool, "marker", 1)
      assert {:error, %DispatchError{reason: :worker_died} = error} = call(pool, "kill_self", 9)
      assert %{signal: 9, batch: 0} = error.cause.details
      assert {:ok, 1} = call(pool, "identity", 1)
    end
  end

  describe "a pool that ends" do
    test "leaves no process, whatever its workers do" do
      pool = quick_pool(size: 2)
      Process.flag(:trap_exit, true)
      task = Task.async(fn -> call(pool, "spin", 1) end)
      busy = await_running(pool)
      idle = Enum.find([os_pid(pool, 0), os_pid(pool, 1)], &(&1 != busy))
      stop_supervised!(pool)
      assert {:error, %DispatchError{} = error} = Task.await(task, patience())
      assert error.reason in [:pool_unavailable, :worker_died, :worker_stopped]
      # The guard kills them as their owners end.
      for os_pid <- [busy, idle], do: assert(ends?(os_pid))
    end
  end

  describe "OSProcess.since/1" do
    test "tells a process from those that had its pid, and will have" do
      since = OSProcess.since(String.to_integer(System.pid()))
      assert since > OSProcess.since(1)
      port = Port.open({:spawn_executable, "/bin/cat"}, [])
      {:os_pid, os_pid} = Port.info(port, :os_pid)
      assert OSProcess.since(os_pid) >= since
      assert OSProcess.since(os_pid) == OSProcess.since(os_pid)
      assert OSProcess.since(4_194_305) == 0
    end
  end

  describe "OSProcess.describe/1" do
    test "names signals and statuses" do
      assert OSProcess.describe(0) == "exit status 0"
      assert OSProcess.describe(1) == "exit status 1"
      assert OSProcess.describe(137) == "killed by signal 9 (SIGKILL)"
      assert OSProcess.describe(138) == "killed by signal 10"
      assert OSProcess.describe(255) == "exit status 255"
    end
  end

  defp os_pid(pool, slot) do
    {:ok, %{workers: workers}} = Pool.status(pool)
    Enum.at(workers, slot).os_pid
  end

  defp logged do
    receive do
      {:log, level, line, metadata} -> [{level, line, metadata} | logged()]
    after
      0 -> []
    end
  end
end
