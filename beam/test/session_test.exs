defmodule Slither.SessionTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError, Error, Session}
  alias Slither.Python.Pool
  alias Slither.Pool.{Call, Line, SessionCalls}
  alias Slither.Test.Telemetry

  doctest Slither.Session

  defp keeping(pool, function, options),
    do: [pool: pool, module: "keeping_handlers", function: function, batch_size: 1] ++ options

  defp count(pool, session, options \\ []) do
    case Dispatch.run([1], keeping(pool, "count", [session_id: session] ++ options)) do
      {:ok, [%{payload: counted}]} -> counted
      {:error, error, []} -> error
    end
  end

  # Each worker's sessions and runs that have state; sessions of these calls have none.
  defp held(pool, worker) do
    {:ok, handle} = Pool.handle(pool)
    {:ok, %{workers: workers}} = Pool.status(pool)
    assert Enum.at(workers, worker).status == :ready

    Call.hold(handle, [worker: pid(handle, worker), service: :move], fn call ->
      target = ["function", "keeping_handlers", "held"]
      %{kind: :ok, values: [[sessions, runs]]} = Call.once(call, target, %{}, [0])
      {sessions, runs}
    end)
  end

  defp pid(handle, worker), do: :sys.get_state(handle.scheduler).ledger.workers[worker].pid

  defp fifo do
    fifo = path("fifo")
    {_output, 0} = System.cmd("mkfifo", [fifo])
    fifo
  end

  # Sessions of the test's own: stop/1 finds a session in whatever pool has it.
  defp id(name), do: "#{name}-#{inspect(make_ref())}"

  defp await_ended(pool, at) do
    text = "ended at #{at}"
    assert_receive {:log, :info, ^text, %{pool: ^pool}}, patience()
  end

  describe "stop/1" do
    test "takes a string" do
      assert {:error, error} = Session.stop(123)
      assert error.reason == :invalid_argument
      assert Exception.message(error) =~ "takes the id of a session, a string, got 123"
    end

    test "drops the state in Python, and a later call begins anew" do
      pool = ready_pool()
      listen(pool)
      session = id("a")
      assert [os_pid, 1] = count(pool, session)
      assert [os_pid, 2] == count(pool, session)
      assert held(pool, 0) == {[session], []}
      assert Session.stop(session) == :ok
      assert held(pool, 0) == {[], []}
      await_ended(pool, 2)
      assert Session.list(pool) == {:ok, []}
      assert [os_pid, 1] == count(pool, session)
    end

    test "may be asked for twice, and of what never was" do
      pool = ready_pool()
      session = id("a")
      count(pool, session)
      assert for(_ <- 1..3, do: Session.stop(session)) == [:ok, :ok, :ok]
      assert Session.stop(id("never")) == :ok
    end

    test "ends the session in every pool that holds it, and no other session" do
      [one, two] = for _ <- 1..2, do: ready_pool()
      session = id("a")
      other = id("b")
      for pool <- [one, two], session <- [session, other], do: count(pool, session)
      assert Session.stop(session) == :ok
      for pool <- [one, two], do: assert(held(pool, 0) == {[other], []})
    end

    test "kills a worker that does not come to its end, and the log says where it was" do
      pool = ready_pool()
      listen(pool)
      session = id("a")
      Dispatch.run([1], keeping(pool, "hang_at_the_end", session_id: session))
      {:ok, handle} = Pool.handle(pool)

      Call.hold(handle, [worker: pid(handle, 0), service: :stop], fn call ->
        over = [timeout: 500]
        Call.once(call, ["session", "end"], %{"session" => session}, [nil], over)
      end)

      assert_receive {:log, :warning, "pool " <> line, %{pool: ^pool}}, patience()
      assert line =~ "the call ran for more than 500 ms; its worker was killed (raise timeout:;"
      assert line =~ "it was in say (keeping_handlers.py:"
      assert line =~ "; it ran session end, batch 0"
    end

    test "takes its turn after the calls that came before" do
      pool = ready_pool(window: 2)
      session = id("a")
      gate = fifo()
      before = keeping(pool, "count_and_wait", session_id: session)
      first = Task.async(fn -> Dispatch.run([gate], before) end)
      await_running(pool)
      Telemetry.listen([[:slither, :session, :stop]])
      stop = Task.async(fn -> Session.stop(session) end)
      File.write!(gate, "go on")
      assert {:ok, [%{payload: [_pid, 1]}]} = Task.await(first, patience())
      assert Task.await(stop, patience()) == :ok

      assert_received {:event, _name, _measurements,
                       %{pool: ^pool, session: ^session, reason: :stopped}}

      assert [_pid, 1] = count(pool, session)
    end

    test "is refused in the process that reads a run of the session" do
      pool = ready_pool()
      session = id("a")
      stream = Dispatch.stream(1..3, keeping(pool, "count", session_id: session))

      stops =
        for %{payload: [_pid, n]} <- stream do
          {n, Session.stop(session)}
        end

      assert [{1, {:error, %Error{reason: :session_in_use} = error}}, {2, _}, {3, _}] = stops
      assert Exception.message(error) =~ "stop it once its run is over, or from another process"
      assert Session.stop(session) == :ok
      assert [_pid, 1] = count(pool, session)
    end

    test "lets a lost session begin anew" do
      pool = ready_pool()
      session = id("a")
      [os_pid, 1] = count(pool, session)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
      assert %DispatchError{reason: :session_lost} = count(pool, session)
      assert Session.list(pool) == {:ok, [%{id: session, worker: nil, status: :lost}]}
      assert Session.stop(session) == :ok
      assert [_pid, 1] = count(pool, session)
    end

    test "of a worker that dies meanwhile is done" do
      pool = ready_pool()
      session = id("a")
      options = keeping(pool, "count_and_wait", session_id: session)
      gate = fifo()
      first = Task.async(fn -> Dispatch.run([gate], options) end)
      os_pid = await_running(pool)
      stop = Task.async(fn -> Session.stop(session) end)
      signal(os_pid, "KILL")
      assert {:error, %DispatchError{reason: :worker_died}, []} = Task.await(first, patience())
      assert Task.await(stop, patience()) == :ok
    end
  end

  describe "list/1" do
    test "says which worker holds a session, and whether it is busy" do
      pool = ready_pool(size: 2)
      [one, two] = Enum.sort([id("a"), id("b")])
      count(pool, one)
      gate = fifo()
      busy = keeping(pool, "count_and_wait", session_id: two)
      task = Task.async(fn -> Dispatch.run([gate], busy) end)
      await_running(pool)

      assert {:ok, [idle, busy]} = Session.list(pool)
      assert %{id: ^one, status: :idle} = idle
      assert %{id: ^two, status: :busy} = busy
      assert Enum.sort([idle.worker, busy.worker]) == [0, 1]
      assert {:ok, %{workers: [%{sessions: 1}, %{sessions: 1}]}} = Pool.status(pool)
      File.write!(gate, "go on")
      assert {:ok, _items} = Task.await(task, patience())
    end
  end

  describe "an idle session" do
    test "ends after the pool's session_idle" do
      pool = ready_pool(session_idle: 20)
      listen(pool)
      Telemetry.listen([[:slither, :session, :stop]])
      session = id("a")
      assert [_pid, 1] = count(pool, session)

      assert_receive {:event, _name, _measurements,
                      %{pool: ^pool, session: ^session, reason: :idle}},
                     patience()

      await_ended(pool, 1)
      assert [_pid, 1] = count(pool, session)
    end

    test "is forgotten, too, where it is lost" do
      pool = ready_pool(session_idle: 20)
      session = id("a")
      gate = fifo()
      options = keeping(pool, "count_and_wait", session_id: session)
      task = Task.async(fn -> Dispatch.run([gate], options) end)
      signal(await_running(pool), "KILL")
      assert {:error, %DispatchError{reason: :worker_died}, []} = Task.await(task, patience())
      {:ok, handle} = Pool.handle(pool)
      :erlang.trace(handle.scheduler, true, [:receive])
      assert_forgotten(handle)
      :erlang.trace(handle.scheduler, false, [:receive])
    end
  end

  # Looks at the list each time that the scheduler has looked at who is idle.
  defp assert_forgotten(handle) do
    assert_receive {:trace, _pid, :receive, :age}, patience()

    if Session.list(handle.name) != {:ok, []},
      do: assert_forgotten(handle),
      else: assert(:ets.tab2list(handle.sessions) == [])
  end

  describe "a lost session" do
    test "is told by its id" do
      pool = ready_pool()
      session = id("a")
      [os_pid, 1] = count(pool, session)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
      assert %DispatchError{reason: :session_lost, cause: cause} = count(pool, session)
      assert %Error{reason: :session_lost, details: %{session: ^session}} = cause
    end

    test "is not tried again, as no second attempt can mend it" do
      pool = ready_pool()
      session = id("a")
      [os_pid, 1] = count(pool, session)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
      retry = {:retry, max_attempts: 5, base_ms: 60_000}
      error = count(pool, session, on_error: retry)
      assert %DispatchError{reason: :session_lost, attempts: 1} = error
    end

    test "begins anew on another worker with on_session_lost: :rebind" do
      pool = ready_pool()
      session = id("a")
      [os_pid, 1] = count(pool, session)
      signal(os_pid, "KILL")
      await_down(pool, os_pid)
      assert [other, 1] = count(pool, session, on_session_lost: :rebind)
      assert other != os_pid
      # It is a session as any other from then on.
      assert [other, 2] == count(pool, session)
    end

    test "lets the run go on that asked to rebind" do
      pool = ready_pool()
      options = keeping(pool, "count_or_die", session_id: id("a"), on_session_lost: :rebind)
      options = options ++ [on_error: {:retry, max_attempts: 2, base_ms: 1}]
      assert {:ok, items} = Dispatch.run([1, 2, -3, 4], options)
      assert [[one, 1], [one, 2], [two, 1], [two, 2]] = Enum.map(items, & &1.payload)
      assert one != two
    end

    test "is not overtaken in its order by batches behind one that is tried again" do
      pool = ready_pool()
      retry = [on_error: {:retry, max_attempts: 3, base_ms: 20}]
      options = [pool: pool, module: "keeping_handlers", batch_size: 1, session_id: id("a")]
      again = options ++ [function: "count_at_last"] ++ retry
      assert {:ok, items} = Dispatch.run(1..6, again)
      assert for(%{payload: [_pid, n]} <- items, do: n) == Enum.to_list(1..6)
      split = options ++ [function: "count_alone", isolate: true]
      assert {:ok, items} = Dispatch.run(1..6, Keyword.put(split, :batch_size, 3))
      assert for(%{payload: [_pid, n]} <- items, do: n) == Enum.to_list(7..12)
    end

    test "lets a pipe's stage go on that asked to rebind" do
      defmodule Rebinding do
        use Slither.Pipe

        pipe :rebinding do
          stage :count, :python,
            module: "keeping_handlers",
            function: "count_or_die",
            pool: Slither.SessionTest.Rebinding,
            batch_size: 1,
            on_session_lost: :rebind

          on_error :count, {:retry, max_attempts: 2, base_ms: 1}
        end
      end

      ready_pool(name: Rebinding)
      assert {:ok, outputs} = Slither.run_pipe(Rebinding, [1, -2, 3], session_id: id("a"))
      assert [[_, 1], [two, 1], [two, 2]] = Enum.map(outputs.default, & &1.payload)
    end

    test "is lost, too, when the pool's scheduler fails" do
      pool = ready_pool()
      session = id("a")
      [os_pid, 1] = count(pool, session)
      {:ok, handle} = Pool.handle(pool)
      monitor = Process.monitor(handle.scheduler)
      Process.exit(handle.scheduler, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}
      assert await_up(pool) != os_pid
      assert %DispatchError{reason: :session_lost} = count(pool, session)
      assert [_pid, 1] = count(pool, session, on_session_lost: :rebind)
    end
  end

  describe "the state of a run" do
    test "is gone in each worker when the run ends" do
      pool = ready_pool(size: 2)
      listen(pool)
      assert {:ok, items} = Dispatch.run(1..40, keeping(pool, "count", []))
      pids = items |> Enum.map(&hd(&1.payload)) |> Enum.uniq()

      for pid <- pids do
        most = Enum.max(for %{payload: [^pid, n]} <- items, do: n)
        await_ended(pool, most)
      end

      for worker <- 0..1, do: assert(held(pool, worker) == {[], []})
    end

    test "is gone when the run fails" do
      pool = ready_pool()
      listen(pool)
      assert {:error, _error, []} = Dispatch.run([1], keeping(pool, "count_and_fail", []))
      await_ended(pool, 1)
    end

    test "is gone when the input fails" do
      pool = ready_pool()
      listen(pool)
      input = Stream.map(1..5, fn n -> if n == 4, do: raise("no more"), else: n end)
      options = keeping(pool, "count", max_in_flight: 1)
      assert_raise RuntimeError, "no more", fn -> Dispatch.run(input, options) end
      assert_receive {:log, :info, "ended at " <> _, _meta}, patience()
      assert held(pool, 0) == {[], []}
    end

    test "is gone when a stream is left early" do
      pool = ready_pool()
      listen(pool)
      endless = Stream.iterate(1, &(&1 + 1))
      options = keeping(pool, "count", max_in_flight: 2)
      assert [%{payload: [_pid, 1]}] = endless |> Dispatch.stream(options) |> Enum.take(1)
      assert_receive {:log, :info, "ended at " <> _, _meta}, patience()
      # A call that was out may have asked once more.
      assert_emptied(pool)
    end

    test "is gone when the caller is killed, and so is what its last call asks for later" do
      for function <- ["count_and_wait", "wait_and_count"] do
        pool = ready_pool(cancel_grace: patience())
        listen(pool)
        gate = fifo()
        caller = spawn(fn -> Dispatch.run([gate], keeping(pool, function, [])) end)
        await_running(pool)
        kill(caller, pool)
        File.write!(gate, "go on")
        await_ended(pool, 1)
        assert held(pool, 0) == {[], []}
      end
    end

    test "is gone when a run of a pipe ends, and lives from stage to stage" do
      defmodule Counting do
        use Slither.Pipe

        pipe :counting do
          stage :one, :python,
            module: "keeping_handlers",
            function: "count",
            pool: Slither.SessionTest.Counting

          stage :two, :python,
            module: "keeping_handlers",
            function: "count",
            pool: Slither.SessionTest.Counting
        end
      end

      pool = ready_pool(name: Counting)
      listen(pool)
      assert {:ok, outputs} = Slither.run_pipe(Counting, [1, 2, 3])
      assert [[_, 4], [_, 5], [_, 6]] = Enum.map(outputs.default, & &1.payload)
      await_ended(pool, 6)
      assert held(pool, 0) == {[], []}
    end

    test "costs nothing where no handler asks for any" do
      pool = ready_pool()
      {:ok, handle} = Pool.handle(pool)
      assert {:ok, _items} = Dispatch.run(1..10, keeping(pool, "no_state", []))
      state = :sys.get_state(handle.scheduler)
      assert {state.runs, Line.count(state.ledger.line)} == {%{}, 0}
      {:ok, _results, _errors} = Pool.call(pool, ["function", "keeping_handlers", "held"], [1])
      assert held(pool, 0) == {[], []}
    end

    test "goes on, unharmed, while other runs end" do
      pool = ready_pool()
      long = Dispatch.stream(1..50, keeping(pool, "count", max_in_flight: 1))

      counts =
        for %{payload: [_pid, n]} <- long do
          assert {:ok, [%{payload: [_, 1]}]} = Dispatch.run([1], keeping(pool, "count", []))
          n
        end

      assert counts == Enum.to_list(1..50)
    end
  end

  # Waits for each state that is told to be gone.
  defp assert_emptied(pool) do
    unless held(pool, 0) == {[], []} do
      assert_receive {:log, :info, "ended at " <> _, _meta}, patience()
      assert_emptied(pool)
    end
  end

  # A caller's death is known once the scheduler has seen it.
  defp kill(caller, pool) do
    {:ok, handle} = Pool.handle(pool)
    monitor = Process.monitor(caller)
    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^monitor, :process, _pid, :killed}
    _ = :sys.get_state(handle.scheduler)
  end

  describe "moving" do
    defp remember(pool, session, value, options \\ []) do
      options = [module: "moving_handlers", function: "remember", session_id: session] ++ options
      {:ok, [%{payload: remembered}]} = Dispatch.run([value], [pool: pool] ++ options)
      remembered
    end

    # The worker that holds a session, and the other worker.
    defp two_workers(pool, session) do
      {:ok, handle} = Pool.handle(pool)
      slot = slot_of(pool, session)
      {handle, pid(handle, slot), pid(handle, 1 - slot)}
    end

    defp slot_of(pool, session) do
      {:ok, list} = Session.list(pool)
      Enum.find(list, &(&1.id == session)).worker
    end

    test "takes a session's state to another worker, with its calls to come" do
      pool = ready_pool(size: 2)
      listen(pool)
      session = id("a")
      [one, [1]] = remember(pool, session, 1)
      {handle, from, to} = two_workers(pool, session)
      assert SessionCalls.move(handle, session, from) == :ok
      left = "left #{one}"
      assert_receive {:log, :info, ^left, _meta}, patience()
      assert [two, [1, "moved", 2]] = remember(pool, session, 2)
      assert two != one
      assert SessionCalls.move(handle, session, from) == :ok
      assert SessionCalls.move(handle, session, to) == :ok
      assert [one, [1, "moved", 2, "moved", 3]] == remember(pool, session, 3)
    end

    test "needs no pair for a session without state" do
      pool = ready_pool(size: 2)
      session = id("a")
      options = keeping(pool, "no_state", session_id: session)
      assert {:ok, _items} = Dispatch.run([1], options)
      {handle, from, to} = two_workers(pool, session)
      assert SessionCalls.move(handle, session, from) == :ok
      assert pid(handle, slot_of(pool, session)) == to
    end

    test "leaves a session where it is, and as it was, where that fails" do
      pool = ready_pool(size: 2)
      session = id("a")

      for word <- ["stays", "refused"] do
        session = session <> word
        [os_pid, [^word]] = remember(pool, session, word)
        {handle, from, _to} = two_workers(pool, session)
        assert {:error, error} = SessionCalls.move(handle, session, from)
        assert %Error{reason: :python_exception} = error
        assert remember(pool, session, 2) == [os_pid, [word, 2]]
        assert Session.stop(session) == :ok
      end
    end

    test "leaves a session where it is while no pair is registered" do
      pool = ready_pool(size: 2)
      session = id("a")
      [os_pid, 1] = count(pool, session)
      {handle, from, _to} = two_workers(pool, session)
      assert {:error, error} = SessionCalls.move(handle, session, from)
      assert %Error{reason: :not_movable} = error
      assert [os_pid, 2] == count(pool, session)
    end

    test "finds no place in a pool of one" do
      pool = ready_pool()
      session = id("a")
      [os_pid, [1]] = remember(pool, session, 1)
      {:ok, handle} = Pool.handle(pool)

      assert {:error, %Error{reason: :no_worker}} =
               SessionCalls.move(handle, session, pid(handle, 0))

      assert remember(pool, session, 2) == [os_pid, [1, 2]]
    end

    test "loses a session whose worker dies of it, and no other" do
      pool = ready_pool(size: 2)
      session = id("a")
      [_os_pid, ["dies"]] = remember(pool, session, "dies")
      {handle, from, _to} = two_workers(pool, session)

      assert {:error, %Error{reason: :worker_died}} = SessionCalls.move(handle, session, from)

      assert %DispatchError{reason: :session_lost} = count(pool, session)
      assert [_pid, 1] = count(pool, id("b"))
    end

    test "comes before the calls that wait, and they go on where the session is then" do
      pool = ready_pool(size: 2)
      session = id("a")
      gate = fifo()
      [one, [1]] = remember(pool, session, 1)
      {handle, from, _to} = two_workers(pool, session)
      busy = keeping(pool, "count_and_wait", session_id: session)
      held = Task.async(fn -> Dispatch.run([gate], busy) end)
      await_running(pool)
      waits = Task.async(fn -> remember(pool, session, 2) end)
      await_queue(handle, 1)
      move = Task.async(fn -> SessionCalls.move(handle, session, from) end)
      await_queue(handle, 2)
      File.write!(gate, "go on")
      assert {:ok, [%{payload: [^one, 1]}]} = Task.await(held, patience())
      assert Task.await(move, patience()) == :ok
      assert [two, [1, "moved", 2]] = Task.await(waits, patience())
      assert two != one
    end
  end

  # Those who ask are other processes: the only sign is the queue itself.
  defp await_queue(handle, length, deadline \\ now() + patience()) do
    {:ok, %{queue: queue}} = Pool.status(handle.name)

    if queue != length do
      assert now() < deadline
      :erlang.yield()
      await_queue(handle, length, deadline)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  describe "a worker that leaves" do
    test "hands its sessions over to the one that takes its place" do
      pool = ready_pool(size: 2)
      sessions = for n <- 1..6, do: id("s#{n}")
      before = for session <- sessions, do: remember(pool, session, 1)
      assert Pool.restart(pool) == :ok
      later = for session <- sessions, do: remember(pool, session, 2)
      old = for [os_pid, [1]] <- before, uniq: true, do: os_pid
      # A session may move to a worker that leaves next, and may be asked before it has moved.
      assert length(for [_pid, [1 | seen]] <- later, 2 in seen, do: :ok) == 6
      new = for [pid, [1, "moved" | _]] <- later, uniq: true, do: pid
      assert new != []
      assert old -- new == old
      for os_pid <- old, do: assert(await_down(pool, os_pid) == :restart)
    end

    test "waits for sessions that can't move, until they are stopped" do
      pool = ready_pool(size: 1)
      session = id("a")
      [os_pid, 1] = count(pool, session)
      assert Pool.restart(pool) == :ok
      assert [os_pid, 2] == count(pool, session)
      assert [other, 1] = count(pool, id("b"))
      assert other != os_pid
      assert Session.stop(session) == :ok
      assert await_down(pool, os_pid) == :restart
      assert [^other, 1] = count(pool, session)
    end

    test "waits for sessions that can't move, until they are idle" do
      pool = ready_pool(size: 1, session_idle: 30)
      [os_pid, 1] = count(pool, id("a"))
      assert Pool.restart(pool) == :ok
      assert await_down(pool, os_pid) == :restart
    end

    test "does not wait for the state of runs" do
      pool = ready_pool(size: 1)
      stream = Dispatch.stream(1..40, keeping(pool, "count", max_in_flight: 1))

      counts =
        for %{payload: [os_pid, n]} <- stream do
          if n == 5, do: assert(Pool.restart(pool) == :ok)
          {os_pid, n}
        end

      assert length(counts) == 40
      assert [[_ | _], [_ | _] | _] = counts |> Enum.group_by(&elem(&1, 0)) |> Map.values()
    end
  end

  describe "new sessions" do
    # How many sessions each of a pool's workers has, once so many are bound.
    defp spread(pool, count) do
      case Session.list(pool) do
        {:ok, sessions} when length(sessions) == count ->
          sessions |> Enum.frequencies_by(& &1.worker) |> Map.values()

        {:ok, _fewer} ->
          spread(pool, count)
      end
    end

    defp ask(pool, count),
      do: for(n <- 1..count, do: Task.async(fn -> count(pool, id("s#{n}")) end))

    defp answered(tasks), do: for(t <- tasks, do: assert([_pid, 1] = Task.await(t, patience())))

    test "spread evenly over workers that are ready, busy or not" do
      pool = ready_pool(size: 4)
      gates = [fifo(), fifo()]
      wait = keeping(pool, "count_and_wait", [])
      busy = for gate <- gates, do: Task.async(fn -> Dispatch.run([gate], wait) end)
      for _ <- gates, do: await_running(pool)
      asked = ask(pool, 8)
      assert spread(pool, 8) == [2, 2, 2, 2]
      for gate <- gates, do: File.write!(gate, "go on")
      answered(asked)
      Task.await_many(busy, patience())
    end

    test "spread evenly while the pool starts, if they come at once" do
      pool = start_pool(size: 4)
      answered(ask(pool, 8))
      assert spread(pool, 8) == [2, 2, 2, 2]
    end

    test "spread evenly while the pool starts, if they come one by one" do
      pool = start_pool(size: 4)
      assert Pool.await_ready(pool) == :ok
      for _ <- 1..8, do: answered(ask(pool, 1))
      assert spread(pool, 8) == [2, 2, 2, 2]
    end
  end

  describe "many sessions" do
    test "keep their order and their state, spread over the workers, while others end" do
      pool = ready_pool(size: 2)
      sessions = for n <- 1..20, do: id("s#{n}")

      counts =
        sessions
        |> Task.async_stream(
          fn session ->
            first = for n <- 1..5, do: {n, count(pool, session)}
            :ok = Session.stop(session)
            first ++ for(n <- 1..5, do: {n, count(pool, session)})
          end,
          max_concurrency: 20,
          timeout: patience()
        )
        |> Enum.flat_map(fn {:ok, counted} -> counted end)

      assert for({n, [_pid, count]} <- counts, n != count, do: {n, count}) == []
      assert length(counts) == 200
      assert {:ok, %{workers: [%{sessions: 10}, %{sessions: 10}]}} = Pool.status(pool)
    end

    test "may be asked for before a worker is there" do
      pool = start_pool()
      tasks = for session <- [id("a"), id("b")], do: Task.async(fn -> count(pool, session) end)
      assert [[pid, 1], [pid, 1]] = Task.await_many(tasks, patience())
    end
  end
end
