defmodule Slither.Pool.PoolTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Lifecycle, only: [await: 1]
  import Slither.Test.Pools

  alias Slither.{DispatchError, Error, Testing}
  alias Slither.Pool.{Call, Scheduler}
  alias Slither.Python.Pool

  describe "options" do
    test "that are wrong are named, with what is accepted" do
      for {options, message} <- [
            {[name: :p, sise: 2],
             ~r/^pool :p: unknown option :sise. Did you mean :size\? Accepted: :name, :size, /},
            {[name: :p, size: 0],
             "pool :p: option :size takes an integer of 1 or more, or a range such as 1..8, got 0"},
            {[size: 1], "pool nil: option :name is required: an atom"},
            {[name: "p"], "pool \"p\": option :name takes an atom, got \"p\""},
            {[name: :p, preload: "m"],
             "pool :p: option :preload takes a list, each element a string (UTF-8), got \"m\""},
            {[name: :p, preload: [:m]],
             "pool :p: option :preload takes a list, each element a string (UTF-8), got [:m]"},
            {[name: :p, startup_timeout: 0],
             "pool :p: option :startup_timeout takes milliseconds (1 to 4294967295) or :infinity, got 0"},
            {[name: :p, python: :python],
             "pool :p: option :python takes a string (UTF-8), or {:uv, \"requirements.txt\"} or " <>
               "{:uv, \"pyproject.toml\"}, or one of nil, got :python"},
            {[name: :p, capture: nil], "pool :p: option :capture takes true or false, got nil"},
            {%{name: :p}, "pool nil: takes a keyword list, got %{name: :p}"}
          ] do
        assert {:error, %Error{} = error} = Pool.check(options)
        assert Exception.message(error) =~ message
      end
    end

    test "stop a pool from starting with the error" do
      assert {:error, %Error{reason: :unknown_option}} = Pool.start_link(name: :p, sise: 2)
    end

    test "have defaults" do
      assert {:ok, options} = Pool.check(name: :p)
      assert options[:size] == 2
      assert options[:window] == 4
      assert options[:max_queue] == 10_000
      assert options[:startup_timeout] == 60_000
    end

    test "reach the workers: env, cd, paths and preload" do
      folder = Path.dirname(path("x"))

      pool =
        ready_pool(
          env: [{"SLITHER_A", "1"}, {"HOME", nil}, SLITHER_B: "two"],
          cd: folder,
          preload: ["slither_test_handlers"]
        )

      options = options(pool, "environment")
      assert {:ok, results} = Slither.dispatch(["SLITHER_A", "SLITHER_B", "HOME"], options)
      assert Enum.map(results, & &1.payload) == ["1", "two", nil]
      assert call(pool, "folder", 1) == {:ok, folder}

      snakepit = [pool: pool, executor: Slither.Dispatch.Executors.Snakepit, command: "named"]
      assert {:ok, [%{payload: 42}]} = Slither.dispatch([21], snakepit)
    end

    test "bound the threads of numerical libraries, unless told" do
      pool = ready_pool(size: 1, env: [MKL_NUM_THREADS: "3"])
      names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]
      assert {:ok, [omp, mkl]} = Slither.dispatch(names, options(pool, "environment"))
      assert String.to_integer(omp.payload) >= 1
      assert mkl.payload == "3"
    end

    test "take a start without a limit" do
      pool = ready_pool(startup_timeout: :infinity)
      assert call(pool, "identity", 1) == {:ok, 1}
    end
  end

  describe "an unknown pool" do
    test "is an error that names the nearest" do
      pool = ready_pool()
      near = :"#{pool}x"

      assert {:error, %Error{reason: :unknown_pool} = error, []} =
               Slither.dispatch([1], pool: near, module: "m", function: "f")

      assert Exception.message(error) =~
               "no pool #{inspect(near)} is running. Did you mean #{inspect(pool)}?"

      assert pool in error.details.known
      assert {:error, %Error{reason: :unknown_pool}} = Pool.status(near)
      assert {:error, %Error{reason: :unknown_pool}} = Pool.await_ready(near)
    end

    test "says how to declare one" do
      assert {:error, error} = Pool.status(:slither_none)
      assert error.hint =~ "declare one: config :slither, pools: [slither_none: [size: 2]]"
    end
  end

  describe "a pool that can't start its workers" do
    test "has no interpreter" do
      pool = start_pool(python: "/no/such/python")
      error = unavailable(pool, :no_interpreter)
      assert error.message =~ ~s(no Python interpreter "/no/such/python")
      assert error.hint =~ "set the pool's python: option"
    end

    test "has a file that is no program" do
      path = path("python")
      File.write!(path, "\0\1\2 not a program")
      File.chmod!(path, 0o755)
      assert unavailable(start_pool(python: path), [:no_interpreter, :start_failed])
    end

    test "has an interpreter without the slither package" do
      pool = start_pool(python: interpreter("unset PYTHONPATH\nexec python3 -I -S \"$@\""))
      error = unavailable(pool, :start_failed)
      assert error.message =~ "No module named 'slither'"
      assert error.message =~ "exit status 1"
      assert error.message =~ "#{error.details.python} -m pip install slither-beam"
    end

    test "has an interpreter without msgpack: which one, and what installs it" do
      python = interpreter(~s(exec python3 -S "$@"))
      error = unavailable(start_pool(python: python), :start_failed)
      assert error.message =~ "#{python}: "
      assert error.message =~ "No module named 'msgpack'"
      assert error.message =~ "#{python} -m pip install 'msgpack>=1.0.8'"
    end

    test "has a program that is not Python" do
      pool = start_pool(python: interpreter("echo not today >&2; exit 9"))
      error = unavailable(pool, :start_failed)
      assert error.message =~ "not today (exit status 9); it ended with exit status 9"
    end

    test "has a preload module that raises: the Python traceback is in the error" do
      error = unavailable(start_pool(preload: ["slither_raises"]), :start_failed)
      assert error.python.type == "RuntimeError"
      assert error.python.message == "this module has no model to load"
      assert error.python.traceback =~ ~r/slither_raises.py", line 1/
      assert Exception.message(error) =~ "RuntimeError: this module has no model to load"
    end

    test "has a preload module that does not exist" do
      error = unavailable(start_pool(preload: ["slither_no_such_module"]), :start_failed)
      assert error.message =~ "no module is named 'slither_no_such_module'"
    end

    test "has a preload module that imports what does not exist" do
      error = unavailable(start_pool(preload: ["slither_imports_missing"]), :start_failed)
      assert error.message =~ "slither_test_no_such_dependency"
      assert error.python.traceback =~ "slither_imports_missing.py"
    end

    test "has a preload module that is never ready" do
      pool = start_pool(preload: ["slither_never_ready"], startup_timeout: 500)
      error = unavailable(pool, :start_failed)
      assert error.message =~ "it was not ready after 500 ms"
      assert error.hint =~ "raise startup_timeout"
    end

    test "has a worker of another protocol: both versions are named" do
      for mode <- ["version", "version, ends"] do
        error = unavailable(start_pool(python: fake(mode)), :version_mismatch)

        assert error.message =~
                 "it speaks protocol 99, this BEAM speaks #{Slither.Protocol.Frame.version()}"
      end
    end

    test "has a worker that breaks the protocol before it is ready" do
      for {mode, why} <- [
            {"noise at start", "the reserved byte"},
            {"result before ready", "an answer to no call"}
          ] do
        error = unavailable(start_pool(python: fake(mode), start: :spawn), :protocol_error)
        assert error.message =~ "Python worker 0 broke the protocol: #{why}"
      end
    end

    test "has a worker that says nothing, or ends" do
      error = unavailable(start_pool(python: fake("silent"), startup_timeout: 500), :start_failed)
      assert error.message =~ "it was not ready after 500 ms"
      error = unavailable(start_pool(python: fake("ends at start")), :start_failed)
      assert error.message =~ "exit status 7"
    end

    test "has a worker whose failure is of an odd shape" do
      assert unavailable(start_pool(python: fake("odd failure")), :start_failed).message =~ "m"
    end

    test "answers calls at once, those that wait too" do
      pool = start_pool(preload: ["slither_raises"])
      # It is sent before any worker could fail three times.
      assert {:error, %DispatchError{reason: :pool_unavailable}} = call(pool, "identity", 1)
      assert {:error, %DispatchError{reason: :pool_unavailable}} = call(pool, "identity", 1)
      assert {:ok, %{error: %Error{}, started: 0, queue: 0}} = Pool.status(pool)
    end

    test "serves again once its workers can start" do
      path = path("slither_late.py")
      File.write!(path, "raise RuntimeError('not yet')")
      pool = start_pool(preload: ["slither_late"], paths: [handlers(), Path.dirname(path)])
      assert unavailable(pool, :start_failed).python.message == "not yet"
      # Python keeps what it compiled: another size makes it look again.
      File.write!(path, "ready = True\n")
      await_up(pool)
      assert call(pool, "identity", 1) == {:ok, 1}
      assert {:ok, %{error: nil}} = Pool.status(pool)
    end
  end

  describe "await_ready/2" do
    test "leaves nobody behind who waits no more" do
      pool = start_pool(python: fake("silent"))
      {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
      for _ <- 1..200, do: assert({:error, %Error{}} = Pool.await_ready(pool, 1))
      {waiter, monitor} = spawn_monitor(fn -> Pool.await_ready(pool, :infinity) end)
      assert waits(scheduler, 1)
      Process.exit(waiter, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^waiter, :killed}, patience()
      assert waits(scheduler, 0)
    end

    test "is an error when no worker was ready in time, and leaves no message" do
      pool = start_pool(preload: ["slither_never_ready"])
      assert {:error, %Error{reason: :start_timeout} = error} = Pool.await_ready(pool, 20)
      assert Exception.message(error) == "pool #{inspect(pool)}: no worker was ready after 20 ms"
      stop_supervised!(pool)
      refute_received {_ref, {:error, _error}}
    end

    test "is :ok at once when there is a worker" do
      assert Pool.await_ready(ready_pool(), 5_000) == :ok
    end
  end

  describe "status/1" do
    test "says what each worker does" do
      pool = quick_pool(size: 2, window: 2)
      assert {:ok, status} = Pool.status(pool)
      assert %{name: ^pool, size: 2, queue: 0, started: 2, died: 0, error: nil} = status

      assert [%{worker: 0, status: :ready, calls: 0}, %{worker: 1, status: :ready}] =
               status.workers

      for %{os_pid: os_pid} <- status.workers, do: assert(alive?(os_pid))

      for _ <- 1..3, do: lease(pool)
      assert {:ok, %{queue: 0, workers: [%{calls: 2}, %{calls: 1}]}} = Pool.status(pool)
      lease(pool)
      request(pool)
      assert {:ok, %{queue: 1, workers: [%{calls: 2}, %{calls: 2}]}} = Pool.status(pool)
    end

    test "shows a worker that starts" do
      pool = start_pool(preload: ["slither_never_ready"])
      assert {:ok, %{workers: [worker], started: 0}} = Pool.status(pool)
      assert %{worker: 0, status: :starting, os_pid: nil, calls: 0, age: nil, rss: nil} = worker
    end
  end

  describe "lanes" do
    test "are granted up to the window, then in the order of requests" do
      pool = quick_pool(window: 2)
      {handle, one, _lane} = lease(pool)
      {_handle, _two, _lane} = lease(pool)
      {_handle, first, nil} = request(pool)
      {_handle, second, nil} = request(pool)
      assert {:ok, %{queue: 2}} = Pool.status(pool)
      refute_received {{_, :lane}, {:granted, _ref, _lane}}
      Scheduler.release(handle, one)
      assert_receive {{_, :lane}, {:granted, ^first, _lane}}, patience()
      Scheduler.release(handle, first)
      assert_receive {{_, :lane}, {:granted, ^second, _lane}}, patience()
    end

    test "of a caller that died are free again" do
      pool = ready_pool(window: 1)
      test = self()

      {caller, monitor} =
        spawn_monitor(fn ->
          lease(pool)
          send(test, :leased)
          Process.sleep(:infinity)
        end)

      assert_receive :leased, patience()
      {_handle, ref, nil} = request(pool)
      assert {:ok, %{queue: 1}} = Pool.status(pool)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}, patience()
      assert_receive {{_, :lane}, {:granted, ^ref, _lane}}, patience()
    end

    test "of a caller that died in a call are free once it is answered" do
      pool = ready_pool(window: 1)
      go = path("go")
      caller = spawn(fn -> call(pool, "hold", go) end)
      running = await_running(pool)
      {_handle, ref, nil} = request(pool)
      Process.exit(caller, :kill)
      assert {:ok, %{queue: 1, died: 0}} = Pool.status(pool)
      File.touch!(go)
      assert_receive {{_, :lane}, {:granted, ^ref, _lane}}, patience()
      assert {:ok, %{workers: [%{os_pid: ^running}], died: 0}} = Pool.status(pool)
    end

    test "are not kept for waiters that died" do
      pool = ready_pool(window: 1)
      {handle, one, _lane} = lease(pool)
      {waiter, monitor} = spawn_monitor(fn -> call(pool, "identity", 1) end)
      {_handle, two, nil} = request(pool)
      Process.exit(waiter, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^waiter, :killed}, patience()
      Scheduler.release(handle, one)
      assert_receive {{_, :lane}, {:granted, ^two, _lane}}, patience()
      Scheduler.release(handle, two)
      assert call(pool, "identity", 1) == {:ok, 1}
    end
  end

  describe "max_queue:" do
    test "answers :saturated at once beyond it" do
      pool = ready_pool(window: 1, max_queue: 1)
      {handle, one, _lane} = lease(pool)
      {_handle, two, nil} = request(pool)
      assert {:error, %DispatchError{reason: :saturated} = error} = call(pool, "identity", 1)

      assert Exception.message(error.cause) =~
               "pool #{inspect(pool)}: its queue is full: 1 call waits already; the limit is 1"

      assert error.cause.details == %{pool: pool, queue: 1, limit: 1}
      Scheduler.release(handle, one)
      assert_receive {{_, :lane}, {:granted, ^two, _lane}}, patience()
      Scheduler.release(handle, two)
      assert call(pool, "identity", 1) == {:ok, 1}
    end
  end

  describe "max_queue: of a run" do
    test "has it wait for its own batches" do
      # Four lanes could be had; while the pool starts, none is there, and one may be waited for.
      pool = start_pool(size: 2, max_queue: 1)
      options = options(pool, "identity", batch_size: 1)
      assert {:ok, items} = Slither.dispatch(1..100, options)
      assert Enum.map(items, & &1.payload) == Enum.to_list(1..100)
    end

    test "has it wait for others once it has begun" do
      pool = ready_pool(window: 1, max_queue: 1)
      gate = path("gate")
      retry = {:retry, max_attempts: 2, base_ms: 500, jitter: false}
      options = options(pool, "hold_and_fail_first", on_error: retry)
      task = Task.async(fn -> Slither.dispatch([gate], options) end)
      await_running(pool)
      {handle, one, nil} = request(pool)
      File.write!(gate, "")
      assert_receive {{_, :lane}, {:granted, ^one, _lane}}, patience()
      # The run pauses, and others have its place and all of the queue.
      {_handle, two, nil} = request(pool, admitted: true)
      await_queue(pool, 2)
      for ref <- [one, two], do: Scheduler.release(handle, ref)
      assert {:ok, [%{payload: ^gate}]} = Task.await(task, patience())
    end

    defp await_queue(pool, count) do
      {:ok, %{queue: queue}} = Pool.status(pool)
      if queue < count, do: await_queue(pool, count)
    end
  end

  describe "queue_timeout:" do
    test "ends a wait that is too long" do
      pool = ready_pool(window: 1)
      {handle, ref, _lane} = lease(pool)
      assert {:error, %DispatchError{} = error} = call(pool, "identity", 1, queue_timeout: 20)
      assert error.reason == :queue_timeout
      assert error.cause.where == "pool #{inspect(pool)}"
      assert {:ok, %{queue: 0}} = Pool.status(pool)
      Scheduler.release(handle, ref)
      assert call(pool, "identity", 1, queue_timeout: 60_000) == {:ok, 1}
    end

    test "holds for a call behind one that may wait longer" do
      pool = ready_pool(window: 1)
      {handle, ref, _lane} = lease(pool)
      now = System.monotonic_time(:millisecond)
      {_handle, patient, nil} = request(pool, deadline: now + 600_000)
      {_handle, hasty, nil} = request(pool, deadline: now + 20)
      assert_receive {{_, :lane}, {:denied, ^hasty, %Error{reason: :queue_timeout}}}, 30_000
      Scheduler.release(handle, ref)
      assert_receive {{_, :lane}, {:granted, ^patient, _lane}}, patience()
    end
  end

  describe "session_id:" do
    test "pins a session's calls to one worker, with its state" do
      pool = ready_pool(size: 3)

      for session <- ["a", "b", "c"] do
        calls = Enum.map(1..5, fn _ -> call(pool, "count", 1, session_id: session) end)
        assert [{:ok, [pid, 1]}, {:ok, [pid, 2]}, {:ok, [pid, 3]}, _, {:ok, [pid, 5]}] = calls
      end
    end

    test "keeps a session's batches in order" do
      pool = ready_pool(size: 3)
      options = options(pool, "count", batch_size: 1, session_id: "s")
      assert {:ok, results} = Slither.dispatch(Enum.to_list(1..20), options)

      assert for([_pid, count] <- Enum.map(results, & &1.payload), do: count) ==
               Enum.to_list(1..20)
    end

    test "of a worker that died is lost, and others are not" do
      pool = ready_pool(size: 2)
      assert {:ok, [gone, 1]} = call(pool, "count", 1, session_id: "a")
      assert {:ok, [lives, 1]} = call(pool, "count", 1, session_id: "b")
      assert gone != lives
      signal(gone, "KILL")
      assert await_down(pool, gone) == :worker_died

      for _ <- 1..2 do
        assert {:error, %DispatchError{reason: :session_lost} = error} =
                 call(pool, "count", 1, session_id: "a")

        assert error.cause.details == %{session: "a"}
        assert error.cause.message =~ ~s(the worker that held session "a" is gone)
      end

      assert call(pool, "count", 1, session_id: "b") == {:ok, [lives, 2]}
      assert {:ok, [_pid, 1]} = call(pool, "count", 1, session_id: "c")
    end

    test "whose call waits is lost when its worker dies" do
      pool = ready_pool(size: 1, window: 2)
      go = path("go")
      task = Task.async(fn -> call(pool, "hold", go, session_id: "s") end)
      os_pid = await_running(pool)
      {_handle, ref, nil} = request(pool, session: "s")
      assert {:ok, %{queue: 1}} = Pool.status(pool)
      signal(os_pid, "KILL")
      assert_receive {{_, :lane}, {:denied, ^ref, %Error{reason: :session_lost}}}, patience()
      assert {:error, %DispatchError{reason: :worker_died}} = Task.await(task, patience())
    end
  end

  describe "pools" do
    test "live side by side, each with its workers" do
      one = ready_pool(size: 1, env: [WHO: "one"])
      two = ready_pool(size: 1, env: [WHO: "two"])
      assert call(one, "environment", "WHO") == {:ok, "one"}
      assert call(two, "environment", "WHO") == {:ok, "two"}
      assert {:error, %{reason: :worker_died}} = call(one, "leave", 1)
      assert {:ok, %{died: 0}} = Pool.status(two)
    end

    test "can't share a name" do
      pool = ready_pool()
      # The test is linked to what it starts, and lives on.
      assert {:error, {:already_started, pid}} = Pool.start_link(name: pool)

      assert {:error, {:already_started, ^pid}} =
               Testing.Pool.start_link(name: pool, functions: %{})

      assert Process.alive?(pid)
      assert call(pool, "identity", 1) == {:ok, 1}
    end

    test "can be started again under their name" do
      pool = ready_pool()
      assert {:ok, first} = call(pool, "pid", 1)
      stop_supervised!(pool)
      assert {:error, %Error{reason: :unknown_pool}} = Pool.status(pool)
      start_supervised!({Pool, name: pool, size: 1, paths: [handlers()]}, id: :again)
      assert {:ok, second} = call(pool, "pid", 1)
      assert first != second
    end

    test "that end while a call runs fail it" do
      pool = ready_pool()
      task = Task.async(fn -> call(pool, "spin", 1) end)
      await_running(pool)
      stop_supervised!(pool)
      assert {:error, %DispatchError{} = error} = Task.await(task, patience())
      assert error.reason in [:pool_unavailable, :worker_stopped, :worker_died]
    end
  end

  test "a run leaves no message with its caller, whatever became of it" do
    pool = ready_pool(size: 2)
    Slither.Telemetry.detach({Slither.Test.Pools, pool})
    options = options(pool, "identity", batch_size: 1, on_error: :skip)
    assert {:ok, _results} = Slither.dispatch(1..20, options)
    assert {:error, _error} = call(pool, "raises", 1)
    assert {:error, _error} = call(pool, "leave", 1)
    assert {:error, _error} = call(pool, "spin", 1, timeout: 50)

    assert {:error, _error, _partial} =
             Slither.dispatch(1..20, options(pool, "raises", batch_size: 1))

    assert Enum.take(Slither.Dispatch.stream(1..100, options), 3) |> length() == 3
    assert Pool.await_ready(pool) == :ok
    # Every late message of the pool's is sent before it answers this.
    assert {:ok, _status} = Pool.status(pool)
    reports = flush()

    assert Enum.reject(
             reports,
             &match?({kind, ^pool, _} when kind in [:up, :down, :start, :progress], &1)
           ) == []
  end

  test "what a lane tells while nobody waits is not left with who held it" do
    pool = ready_pool(window: 1)
    Slither.Telemetry.detach({Slither.Test.Pools, pool})
    _reports = flush()
    {:ok, handle} = Pool.handle(pool)

    held =
      Call.hold(handle, [], fn call ->
        Process.exit(call.lane, :kill)
        await(fn -> Process.info(self(), :message_queue_len) == {:message_queue_len, 1} end)
        :held
      end)

    assert held == :held
    assert flush() == []
  end

  # A look through all 200,000 in each of 200 calls: some 40 times as long.
  # What is left of a mailbox.
  defp flush do
    receive do
      message -> [message | flush()]
    after
      0 -> []
    end
  end

  describe "a lane" do
    test "that crashes costs its call and its worker, and nobody waits for it" do
      pool = ready_pool(window: 1)
      {handle, ref, lane} = lease(pool)
      {^handle, next, nil} = request(pool)
      Process.exit(lane, :kill)
      assert_receive {{_, :lane}, {:lane_lost, ^ref, %Error{reason: :worker_died}}}, patience()
      assert_receive {{_, :lane}, {:granted, ^next, other}}, patience()
      assert Process.alive?(other)
      assert {:ok, %{died: 1, started: 2}} = Pool.status(pool)
    end

    test "ends with its pool" do
      pool = ready_pool(window: 3)
      {_handle, _ref, _lane} = lease(pool)
      {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
      lanes = for {lane, :lane} <- :sys.get_state(scheduler).watched, do: lane
      assert length(lanes) == 3
      monitors = Enum.map(lanes, &Process.monitor/1)
      stop_supervised!(pool)
      for monitor <- monitors, do: assert_receive({:DOWN, ^monitor, _, _, _}, patience())
    end
  end

  defp unavailable(pool, reasons) do
    assert {:error, %Error{reason: :pool_unavailable} = error} = Pool.await_ready(pool)
    assert error.details.start_reason in List.wrap(reasons)
    assert error.message =~ "no worker could be started: "
    assert error.where == "pool #{inspect(pool)}"
    error
  end

  # Asks for a lane in this process's name; what becomes of it comes as a message.
  defp request(pool, options \\ []) do
    {:ok, handle} = Pool.handle(pool)
    ref = make_ref()
    :ok = Scheduler.request(handle, {self(), :lane}, ref, options)
    {handle, ref, nil}
  end

  defp lease(pool) do
    {handle, ref, nil} = request(pool)
    assert_receive {{_, :lane}, {:granted, ^ref, lane}}, patience()
    {handle, ref, lane}
  end

  test "a pool that lives and does not answer is said to do so" do
    pool = ready_pool()
    {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
    :ok = :sys.suspend(scheduler)

    for ask <- [&Pool.status/1, &Slither.Session.list/1] do
      Task.async(fn -> ask.(pool) end)
    end
    |> Task.await_many(patience())
    |> Enum.each(fn answer ->
      assert {:error, %Error{reason: :timeout} = error} = answer
      assert Exception.message(error) =~ "the pool gave no answer within 5000 ms"
    end)

    :ok = :sys.resume(scheduler)
    assert {:ok, %{name: ^pool}} = Pool.status(pool)
  end

  # The state is the only trace of one who waits.
  defp waits(scheduler, count),
    do: await(fn -> map_size(:sys.get_state(scheduler).awaiting) == count end)
end
