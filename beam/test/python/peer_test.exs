defmodule Slither.Python.PeerTest do
  # What a worker's owner and its lanes do, seen from both ends: by those who make calls, and by
  # the process that runs them, which the test plays.
  use ExUnit.Case, async: true

  import Slither.Test.Pools, except: [start_pool: 0, start_pool: 1, call: 3, call: 4]
  import Slither.Test.Peer

  alias Slither.{Dispatch, Error}
  alias Slither.Pool.Scheduler
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Lane, Outcome, Pool}

  @target ["function", "m", "f"]

  defp pool(options \\ []) do
    {pool, listener} = start_pool(options)
    peer = ready(listener, pool)
    %{pool: pool, listener: listener, peer: peer}
  end

  # Its calls are known to be short, so that it holds two.
  defp quick(%{pool: pool} = context) do
    quick!(pool)
    context
  end

  defp call(pool, items, options \\ []) do
    options = Keyword.put_new(options, :timeout, :infinity)
    Task.async(fn -> Pool.call(pool, @target, items, options) end)
  end

  defp await(task), do: Task.await(task, patience())

  # Two calls, the second behind the first: the order in which callers ask is that of the frames.
  defp two_calls(%{pool: pool, peer: peer}, first \\ [], second \\ []) do
    task_1 = call(pool, ["1"], first)
    assert {id_1, ["1"]} = hear_call(peer)
    task_2 = call(pool, ["2"], second)
    assert {id_2, ["2"]} = hear_call(peer)
    {{task_1, id_1}, {task_2, id_2}}
  end

  describe "the start" do
    test "tells the process what it is, and how the pool is set" do
      {pool, listener} = start_pool(preload: ["m"], paths: ["/p"], log_level: :warning)
      peer = accept(listener)
      say(peer, {:hello, Frame.version(), %{"pid" => peer.os_pid}})
      assert {:welcome, 2, settings} = hear(peer)

      # The folder of large values is this VM's own.
      {"/dev/shm/slither-" <> _, settings} = Map.pop(settings, "blobs")

      assert settings == %{
               "pool" => to_string(pool),
               "worker" => 0,
               "max_frame" => 268_435_456,
               "preload" => ["m"],
               "paths" => ["/p"],
               "credits" => 200,
               "ahead" => 16,
               "capture" => true,
               "log_level" => "warning",
               "main" => nil,
               "argv" => [],
               "secret" => nil,
               "spans" => false,
               "rlimits" => nil,
               "watch" => nil,
               "initializer" => nil,
               "marker" => false,
               "stacks" => false
             }

      say(peer, {:ready, %{}})
      assert await_up(pool) == peer.os_pid
    end

    # What each process of a pool says, until none is to be had.
    defp each_says(listener, say) do
      start_supervised!(
        {Task, fn -> for _ <- Stream.cycle([nil]), do: listener |> accept() |> say.() end}
      )
    end

    test "fails in Python's words" do
      {pool, listener} = start_pool()
      fault = %{"kind" => "import", "message" => "m", "type" => "T", "traceback" => "t"}

      each_says(listener, fn peer ->
        say(peer, {:hello, Frame.version(), %{"pid" => peer.os_pid}})
        {:welcome, _version, _settings} = hear(peer)
        say(peer, {:failed, fault})
        leave(peer)
      end)

      assert {:error, %Error{reason: :pool_unavailable} = error} = Pool.await_ready(pool)
      assert error.message == "no worker could be started: a Python worker can't start: T: m"
      assert %{type: "T", traceback: "t"} = error.python
    end

    test "fails with a process of another version, which is told ours" do
      {pool, listener} = start_pool()

      each_says(listener, fn peer ->
        say(peer, {:hello, 99, %{"pid" => peer.os_pid}})
        {:welcome, 2, _settings} = hear(peer)
        leave(peer)
      end)

      assert {:error, error} = Pool.await_ready(pool)
      assert error.details.start_reason == :version_mismatch
      assert error.message =~ "it speaks protocol 99, this BEAM speaks 2"
    end

    test "has a time" do
      {pool, listener} = start_pool(startup_timeout: 50)

      each_says(listener, fn peer ->
        say(peer, {:hello, Frame.version(), %{"pid" => peer.os_pid}})
        await_end(peer)
      end)

      assert {:error, error} = Pool.await_ready(pool)
      assert error.message =~ "it was not ready after 50 ms"
      assert error.hint =~ "raise startup_timeout"
    end
  end

  describe "calls" do
    test "are as many as a worker may hold; each answer goes to who waits for it" do
      %{pool: pool, peer: peer} = context = quick(pool())
      {{task_1, id_1}, {task_2, id_2}} = two_calls(context)
      # A third waits for a lane.
      task_3 = call(pool, ["3"])
      answer(peer, id_2, [22])
      answer(peer, id_1, [11])
      assert {id_3, ["3"]} = hear_call(peer)
      answer(peer, id_3, [33])
      assert await(task_2) == {:ok, [22], %{}}
      assert await(task_1) == {:ok, [11], %{}}
      assert await(task_3) == {:ok, [33], %{}}
      # The next call of a lane has the next of its ids.
      assert Enum.sort([id_1, id_2]) == [1, 2]
      assert id_3 in [3, 4]
    end

    test "over their time end the process; those behind go to the next" do
      context = quick(pool())
      {{task_1, _id}, {task_2, _id_2}} = two_calls(context, timeout: 50)
      await_end(context.peer)
      assert {:error, %Error{reason: :timeout} = error} = await(task_1)
      assert error.message == "the call ran for more than 50 ms; its worker was killed"
      assert error.details.target == @target
      next = ready(context.listener, context.pool)
      assert {id, ["2"]} = hear_call(next)
      answer(next, id, [2])
      assert await(task_2) == {:ok, [2], %{}}
    end

    test "of a process that ends fail where it ran them; those behind go to the next" do
      context = quick(pool())
      {{task_1, _id}, {task_2, _id_2}} = two_calls(context)
      leave(context.peer)
      assert {:error, %Error{reason: :worker_died} = error} = await(task_1)

      assert error.message ==
               "Python worker 0 (pid #{context.peer.os_pid}) died: exit status 7"

      assert %{status: 7, signal: nil, batch: 0, attempt: 1} = error.details
      next = ready(context.listener, context.pool)
      assert {id, ["2"]} = hear_call(next)
      answer(next, id, [2])
      assert await(task_2) == {:ok, [2], %{}}
    end

    test "of an owner that is killed fail, and its process ends" do
      context = pool()
      task = call(context.pool, ["1"])
      hear_call(context.peer)
      workers = {:via, Registry, {Slither.Python.Registry, {:workers, context.pool}}}
      [{_id, owner, _type, _modules}] = DynamicSupervisor.which_children(workers)
      Process.exit(owner, :kill)
      assert {:error, %Error{reason: :worker_died} = error} = await(task)
      assert error.message == "the worker's owner ended: killed"
      await_end(context.peer)
      ready(context.listener, context.pool)
    end

    # A pool that ends shuts its workers down; a caller may hear of that before it hears of the pool.
    test "of an owner that its pool ends fail as calls of a pool that stopped" do
      context = pool()
      task = call(context.pool, ["1"])
      hear_call(context.peer)
      workers = {:via, Registry, {Slither.Python.Registry, {:workers, context.pool}}}
      [{_id, owner, _type, _modules}] = DynamicSupervisor.which_children(workers)
      :sys.terminate(owner, :shutdown)
      assert {:error, %Error{reason: :pool_unavailable} = error} = await(task)
      assert error.message == "the pool stopped"
      await_end(context.peer)
      ready(context.listener, context.pool)
    end

    test "that a process refuses by no number end it, in its words" do
      context = pool()
      task = call(context.pool, ["1"])
      hear_call(context.peer)
      say(context.peer, {:error, 0, %{"kind" => "protocol", "message" => "no frame"}})
      assert {:error, %Error{reason: :protocol_error} = error} = await(task)

      assert error.message ==
               "Python worker 0 broke the protocol: it refused a frame: no frame"

      await_end(context.peer)
    end
  end

  describe "calls whose caller is gone" do
    test "are cancelled, and given up with their process when the grace is over" do
      context = pool(cancel_grace: 50)
      task = call(context.pool, ["1"])
      {id, _items} = hear_call(context.peer)
      Task.shutdown(task, :brutal_kill)
      assert hear(context.peer) == {:cancel, id}
      await_end(context.peer)
      assert await_down(context.pool, context.peer.os_pid) == :cancelled
    end

    test "leave the lane to others once they are answered" do
      context = pool(cancel_grace: patience())
      task = call(context.pool, ["1"])
      {id, _items} = hear_call(context.peer)
      Task.shutdown(task, :brutal_kill)
      assert hear(context.peer) == {:cancel, id}
      next = call(context.pool, ["2"])
      say(context.peer, {:error, id, %{"kind" => "cancelled", "message" => "m"}})
      assert {id, ["2"]} = hear_call(context.peer)
      answer(context.peer, id, [2])
      assert await(next) == {:ok, [2], %{}}
    end

    test "have their grace from when they begin" do
      context = quick(pool(cancel_grace: 50))
      {{task_1, id_1}, {task_2, id_2}} = two_calls(context)
      Task.shutdown(task_2, :brutal_kill)
      assert hear(context.peer) == {:cancel, id_2}
      {pool, os_pid} = {context.pool, context.peer.os_pid}
      refute_receive {:down, ^pool, %{os_pid: ^os_pid}}, 100
      answer(context.peer, id_1, [1])
      assert await(task_1) == {:ok, [1], %{}}
      assert await_down(pool, os_pid) == :cancelled
    end
  end

  describe "a call that is killed" do
    defp job(lane, ref, items) do
      Lane.run(lane, %Job{
        inbox: {self(), :t},
        ref: ref,
        head: Frame.call_head(@target, %{}),
        payloads: items
      })
    end

    defp lane(pool) do
      {:ok, handle} = Pool.handle(pool)
      ref = make_ref()
      Scheduler.request(handle, {self(), :t}, ref, [])
      assert_receive {{_, :t}, {:granted, ^ref, lane}}, patience()
      {lane, ref}
    end

    defp outcome(ref) do
      assert_receive {{_, :t}, {:done, ^ref, %Outcome{kind: :error, error: error}}}, patience()
      error
    end

    test "ends its process where that runs it" do
      context = pool()
      {lane, ref} = lane(context.pool)
      job(lane, ref, ["1"])
      hear_call(context.peer)
      Lane.kill(lane, ref)
      await_end(context.peer)

      assert_receive {{_, :t}, {:done, ^ref, %Outcome{kind: :died, error: %{reason: :killed}}}},
                     patience()
    end

    test "is cancelled where it has not begun" do
      context = quick(pool())
      {lane_1, ref_1} = lane(context.pool)
      {lane_2, ref_2} = lane(context.pool)
      job(lane_1, ref_1, ["1"])
      {id_1, _items} = hear_call(context.peer)
      job(lane_2, ref_2, ["2"])
      {id_2, _items} = hear_call(context.peer)
      Lane.kill(lane_2, ref_2)
      assert hear(context.peer) == {:cancel, id_2}
      say(context.peer, {:error, id_2, %{"kind" => "cancelled", "message" => "m"}})
      assert outcome(ref_2).message == "the call was killed by its caller"
      answer(context.peer, id_1, [1])
      assert_receive {{_, :t}, {:done, ^ref_1, %Outcome{kind: :ok, values: [1]}}}, patience()
    end
  end

  describe "results that come before their call is done" do
    test "are passed on, and give the process credit as they are taken" do
      context = pool()
      task = call(context.pool, ["1", "2", "3"])
      {id, _items} = hear_call(context.peer)
      say(context.peer, {:part, id, 0, [1], nil})
      assert hear(context.peer) == {:credit, id, 1}
      fault = %{"kind" => "failure", "message" => "no"}
      say(context.peer, {:part, id, 1, [nil], %{1 => fault}})
      assert hear(context.peer) == {:credit, id, 1}
      answer(context.peer, id, [3])
      assert {:ok, [1, nil, 3], %{1 => %Error{reason: :handler_failure}}} = await(task)
    end

    defp stream(pool, items, options) do
      options = [module: "m", function: "f", pool: pool, batch_size: 40] ++ options
      test = self()

      spawn_link(fn ->
        Enum.each(Dispatch.stream(items, options), fn item ->
          send(test, {:read, self(), item.payload})
          receive do: (:next -> :ok)
        end)

        send(test, :read_all)
      end)
    end

    # The reader has taken the first part, and reads no more: the second waits for it.
    defp stall(peer, id) do
      say(peer, {:part, id, 0, Enum.to_list(1..16), nil})
      assert hear(peer) == {:credit, id, 16}
      assert_receive {:read, reader, 1}, patience()
      say(peer, {:part, id, 16, Enum.to_list(17..32), nil})
      reader
    end

    test "cost a handler that waits for their reader none of its time" do
      context = pool()
      stream(context.pool, Enum.to_list(1..40), timeout: 100)
      {id, _items} = hear_call(context.peer)
      reader = stall(context.peer, id)
      {pool, os_pid} = {context.pool, context.peer.os_pid}
      refute_receive {:down, ^pool, %{os_pid: ^os_pid}}, 200

      for n <- 2..17 do
        send(reader, :next)
        assert_receive {:read, ^reader, ^n}, patience()
      end

      # It goes on, and its time with it.
      assert hear(context.peer) == {:credit, id, 16}
      assert await_down(pool, os_pid) == :timeout
    end

    test "are all let go once somebody else waits for the worker" do
      context = pool(window: 1)
      stream(context.pool, Enum.to_list(1..40), timeout: :infinity)
      {id, _items} = hear_call(context.peer)
      reader = stall(context.peer, id)
      task = call(context.pool, ["x"])
      assert hear(context.peer) == {:credit, id, 8}
      answer(context.peer, id, Enum.to_list(33..40))
      # The lane has gone back before its results are read.
      assert {id, ["x"]} = hear_call(context.peer)
      answer(context.peer, id, ["y"])
      assert await(task) == {:ok, ["y"], %{}}

      for n <- 2..40 do
        send(reader, :next)
        assert_receive {:read, ^reader, ^n}, patience()
      end

      send(reader, :next)
      assert_receive :read_all, patience()
    end
  end

  describe "a process" do
    test "gets credit for what it has logged, fifty at a time" do
      context = pool()
      log = {:log, 0, "debug", "root", "line", 0, nil}
      for _ <- 1..49, do: say(context.peer, log)
      say(context.peer, {:ping, 7})
      assert hear(context.peer) == {:pong, 7}
      say(context.peer, log)
      assert hear(context.peer) == {:credit, 0, 50}
    end

    test "is answered what it asks of tables, also between calls" do
      context = pool()
      say(context.peer, {:table_call, 3, 0, "peer_test_none", "get", ["k"]})
      assert {:view_reply, 3, 1, %{"kind" => _kind, "message" => _why}} = hear(context.peer)
    end

    test "is told to stop, and killed when its time is over" do
      context = pool(shutdown: 50)
      listen(context.pool)

      told =
        Task.async(fn ->
          told = hear(context.peer)
          await_end(context.peer)
          told
        end)

      :ok = stop_supervised(context.pool)
      assert Task.await(told, patience()) == {:shutdown, 50}
      assert_receive {:log, :warning, "a Python worker did not stop within 50 ms: killed" <> _, _}
    end

    test "is told to stop, and answers what it has" do
      context = pool(shutdown: patience())
      task = call(context.pool, ["1"])
      {id, _items} = hear_call(context.peer)

      leaving =
        Task.async(fn ->
          assert {:shutdown, _grace} = hear(context.peer)
          answer(context.peer, id, [1])
          leave(context.peer)
        end)

      :ok = stop_supervised(context.pool)
      assert await(task) == {:ok, [1], %{}}
      Task.await(leaving, patience())
      assert await_down(context.pool, context.peer.os_pid) == :shutdown
    end
  end

  describe "values of a session" do
    test "whose reader stops as the first answer comes are dropped by the session's next call" do
      %{pool: pool, peer: peer} = pool()
      options = [module: "m", function: "f", pool: pool, cardinality: :many, timeout: :infinity]

      reader =
        Task.async(fn ->
          Enum.take(Dispatch.stream(["x"], [session_id: "crossing"] ++ options), 2)
        end)

      assert {:call, id, _target, %{"run" => run}, _batch, _attempt, ["x"]} = hear(peer)
      say(peer, {:part, id, 0, [[0, false, [1, 2]]], nil})
      assert for(item <- await(reader), do: item.payload) == [1, 2]
      # The process has answered by then, and keeps the rest.
      assert hear(peer) == {:cancel, id}
      say(peer, {:result, id, [[0, false, [3]]], nil, [1, 2, 3]})
      assert {:call, drop, ["drop", "run"], context, _batch, _attempt, [nil]} = hear(peer)
      assert %{"run" => ^run, "session" => "crossing"} = context
      answer(peer, drop, [true])
    end
  end
end
