defmodule Slither.Python.CancelTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{Dispatch, Error}
  alias Slither.Pool.Scheduler
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Lane, Outcome, Pool}

  defmodule Views do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :cancel_test, type: :set}]

    @impl true
    def views, do: [%{name: :cancel_test_view, scope: :session, handler: fn _ -> 1 end}]

    @impl true
    def load(_tables), do: :ok
  end

  defp run_options(pool, function, options \\ []) do
    [module: "cancel_handlers", function: function, pool: pool, timeout: :infinity] ++ options
  end

  # A caller that is killed once its call runs.
  defp abandon(pool, function, payload) do
    caller = spawn(fn -> Dispatch.run([payload], run_options(pool, function)) end)
    os_pid = await_running(pool)
    kill(caller)
    os_pid
  end

  defp kill(caller) do
    monitor = Process.monitor(caller)
    Process.exit(caller, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^caller, :killed}
  end

  defp fifo do
    fifo = path("fifo")
    {_output, 0} = System.cmd("mkfifo", [fifo])
    fifo
  end

  defp os_pid(pool) do
    {:ok, [%{payload: os_pid}]} =
      Dispatch.run([0], module: "flow_handlers", function: "pids", pool: pool)

    os_pid
  end

  # Other processes do what is waited for: the state of theirs is the only sign of it.
  defp await(fun, deadline \\ System.monotonic_time(:millisecond) + patience()) do
    unless fun.() do
      assert System.monotonic_time(:millisecond) < deadline
      :erlang.yield()
      await(fun, deadline)
    end
  end

  defp status(pool) do
    {:ok, status} = Pool.status(pool)
    status
  end

  describe "a running call whose caller dies" do
    test "learns of it if it looks, and its worker lives on" do
      pool = ready_pool(cancel_grace: patience())
      word = fifo()
      os_pid = abandon(pool, "heed", word)
      assert File.read!(word) == "cancelled"
      assert os_pid(pool) == os_pid
    end

    test "is ended with its worker when the grace is over, if it does not look" do
      pool = ready_pool(cancel_grace: 20)
      os_pid = abandon(pool, "ignore", 1)
      assert await_down(pool, os_pid) == :cancelled
      other = await_up(pool)
      assert os_pid(pool) == other
    end

    test "gets no answer from views of its session any more" do
      start_supervised!({Slither.Store.Server, Views})
      pool = ready_pool(cancel_grace: patience())
      word = fifo()
      abandon(pool, "ask_when_cancelled", word)
      assert File.read!(word) =~ "the call's session has ended"
    end

    test "is told even while the pipe to its worker is full" do
      pool = quick_pool(window: 2, cancel_grace: patience(), start: :spawn)
      [gate, word] = [fifo(), fifo()]
      caller = spawn(fn -> Dispatch.run([[gate, word]], run_options(pool, "heed_late")) end)
      await_running(pool)
      large = [path("large"), String.duplicate("x", 4_000_000)]
      next = Task.async(fn -> Dispatch.run([large], run_options(pool, "leave_file")) end)
      {:ok, handle} = Pool.handle(pool)
      %{ledger: %{workers: %{0 => %{pid: worker}}}} = :sys.get_state(handle.scheduler)
      await(fn -> match?([_, _], :sys.get_state(worker).calls.queue) end)
      port = port(:sys.get_state(worker).process.transport)
      await(fn -> Port.info(port, :queue_size) != {:queue_size, 0} end)
      kill(caller)
      await(fn -> :sys.get_state(worker).calls.cancelled != [] end)
      # That it was not told yet is what this test is about.
      assert Port.info(port, :queue_size) != {:queue_size, 0}
      File.write!(gate, "go on")
      assert File.read!(word) == "cancelled"
      assert {:ok, [%{payload: _os_pid}]} = Task.await(next, patience())
    end
  end

  # A forked worker has a socket.
  defp port(%{port: port}), do: port
  defp port(%{socket: %{socket: port}}), do: port

  describe "a stream" do
    test "that is left early pulls its input no further, and runs nothing more" do
      pool = ready_pool(cancel_grace: patience())
      test = self()
      paths = for n <- 1..9, do: path("item#{n}")
      input = Stream.each(paths, &send(test, {:pulled, &1}))
      options = run_options(pool, "leave_file", batch_size: 1, max_in_flight: 2)
      assert [%{payload: os_pid}] = input |> Dispatch.stream(options) |> Enum.take(1)
      assert os_pid(pool) == os_pid
      for path <- Enum.take(paths, -6), do: refute_received({:pulled, ^path})
      refute Enum.any?(Enum.take(paths, -6), &File.exists?/1)
    end

    test "whose reader is killed cancels what is out" do
      pool = ready_pool(cancel_grace: 20)
      options = run_options(pool, "ignore")
      reader = spawn(fn -> Enum.each(Dispatch.stream([1], options), & &1) end)
      os_pid = await_running(pool)
      kill(reader)
      assert await_down(pool, os_pid) == :cancelled
    end

    test "that is halted by its reader cancels the call that runs then" do
      pool = quick_pool(cancel_grace: patience(), size: 2)
      [gate, word] = [fifo(), fifo()]

      input = [%{"gate" => gate}, %{"heed" => word}]
      options = run_options(pool, "either", batch_size: 1, ordering: :as_completed)
      task = Task.async(fn -> Enum.take(Dispatch.stream(input, options), 1) end)
      for _ <- 1..2, do: await_running(pool)
      File.write!(gate, "go on")
      assert [_item] = Task.await(task, patience())
      assert File.read!(word) == "cancelled"
    end
  end

  describe "calls that have not begun" do
    test "are dropped from the pool's queue when their caller dies" do
      pool = ready_pool(window: 1, cancel_grace: patience())
      gate = fifo()
      holder = Task.async(fn -> Dispatch.run([gate], run_options(pool, "gated")) end)
      os_pid = await_running(pool)
      never = for n <- 1..3, do: path("never#{n}")

      callers =
        for path <- never,
            do: spawn(fn -> Dispatch.run([path], run_options(pool, "leave_file")) end)

      await(fn -> status(pool).queue == 3 end)
      Enum.each(callers, &kill/1)
      await(fn -> status(pool).queue == 0 end)
      File.write!(gate, "go on")
      assert {:ok, [%{payload: ^os_pid}]} = Task.await(holder, patience())
      assert os_pid(pool) == os_pid
      refute Enum.any?(never, &File.exists?/1)
    end

    test "are dropped by the worker that holds them" do
      pool = quick_pool(window: 2, cancel_grace: patience())
      gate = fifo()
      holder = Task.async(fn -> Dispatch.run([gate], run_options(pool, "gated")) end)
      os_pid = await_running(pool)
      never = path("never")
      caller = spawn(fn -> Dispatch.run([never], run_options(pool, "leave_file")) end)
      {:ok, handle} = Pool.handle(pool)
      %{ledger: %{workers: %{0 => %{pid: worker}}}} = :sys.get_state(handle.scheduler)
      await(fn -> match?([_, _], :sys.get_state(worker).calls.queue) end)
      kill(caller)
      await(fn -> :sys.get_state(worker).calls.cancelled != [] end)
      File.write!(gate, "go on")
      assert {:ok, [%{payload: ^os_pid}]} = Task.await(holder, patience())
      assert os_pid(pool) == os_pid
      refute File.exists?(never)
    end

    test "are not sent if their caller dies while they are encoded" do
      pool = ready_pool(cancel_grace: 20)
      os_pid = os_pid(pool)
      {:ok, handle} = Pool.handle(pool)
      test = self()

      caller =
        spawn(fn ->
          ref = make_ref()
          Scheduler.request(handle, {self(), :lane}, ref, [])
          receive do: ({{_, :lane}, {:granted, ^ref, lane}} -> send(test, {:granted, ref, lane}))
          Process.sleep(:infinity)
        end)

      assert_receive {:granted, ref, lane}, patience()
      # It has the job before it, and then the word that nobody waits.
      :erlang.suspend_process(lane)

      Lane.run(lane, %Job{
        inbox: {test, :lane},
        ref: ref,
        head: Frame.call_head(["function", "cancel_handlers", "ignore"], %{}),
        payloads: [1]
      })

      kill(caller)
      await(fn -> match?(%{owner: nil}, lease(handle, ref)) end)
      :erlang.resume_process(lane)

      assert_receive {{_, :lane}, {:done, ^ref, %Outcome{error: %Error{reason: :cancelled}}}},
                     patience()

      assert os_pid(pool) == os_pid
    end
  end

  defp lease(handle, ref), do: :sys.get_state(handle.scheduler).ledger.leases[ref]

  test "a run that halts cancels what it has out" do
    pool = quick_pool(cancel_grace: patience(), size: 2)
    [gate, word] = [fifo(), fifo()]
    input = [%{"gate" => gate, "fail" => "now"}, %{"heed" => word}]
    options = run_options(pool, "either", batch_size: 1, max_in_flight: 2)
    task = Task.async(fn -> Dispatch.run(input, options) end)
    for _ <- 1..2, do: await_running(pool)
    File.write!(gate, "go on")
    assert {:error, %{reason: :python_exception}, []} = Task.await(task, patience())
    assert File.read!(word) == "cancelled"
  end
end
