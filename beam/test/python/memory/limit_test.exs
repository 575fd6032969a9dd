defmodule Slither.Python.Memory.LimitTest do
  # Workers that take more than `max_memory`, by each way that gives them work.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError, Error, Gather, Session}
  alias Slither.Python.Pool
  alias Slither.Python.Memory.{Groups, Watched}

  @limit 150_000_000
  @much 300

  defp pool(options \\ []), do: ready_pool([max_memory: @limit] ++ options)

  defp takes(pool, function \\ "take", options \\ []),
    do: options(pool, function, Keyword.merge([module: "memory_handlers", each: true], options))

  # What a worker says that takes nothing.
  defp os_pid(pool) do
    assert {:ok, [%{payload: os_pid}]} = Dispatch.run([0], takes(pool))
    os_pid
  end

  defp assert_memory(%DispatchError{reason: :memory, cause: cause}), do: assert_memory(cause)

  defp assert_memory(%Error{reason: :memory} = error) do
    assert %{limit: @limit, taken: taken, processes: [largest | _]} = error.details
    assert taken > @limit
    assert largest.bytes > 100_000_000
    assert error.message =~ ~r/took \d+ MB, and max_memory is 150 MB; it was killed/
    error
  end

  describe "a call that takes too much" do
    test "fails with what was taken and where it was; its worker is replaced" do
      pool = pool()
      os_pid = os_pid(pool)
      assert {:error, error, []} = Dispatch.run([@much], takes(pool))
      error = assert_memory(error)
      assert [%{os_pid: ^os_pid}] = error.details.processes
      assert error.details.stack =~ "memory_handlers.py"
      assert error.hint =~ "raise max_memory"
      assert error.hint =~ "it was in "
      assert await_down(pool, os_pid) == :memory
      assert os_pid(pool) != os_pid
    end

    test "as large as a GB, fails too" do
      assert {:error, error, []} = Dispatch.run([1_000], takes(pool()))
      assert_memory(error)
    end

    test "in a process that it has started, fails, and that ends, too" do
      pool = pool()
      assert {:error, error, []} = Dispatch.run([@much], takes(pool, "take_in_child"))
      %{details: %{processes: [child | _]}, hint: hint} = assert_memory(error)
      assert hint =~ "of it by #{child.name} (pid #{child.os_pid})"
      assert ends?(child.os_pid)
    end

    test "is found among those of its batch" do
      pool = pool()

      options =
        takes(pool, "take_on_seven", each: false, batch_size: 12, isolate: true, on_error: :skip)

      assert {:ok, items} = Dispatch.run(0..11, options)
      {failed, good} = Enum.split_with(items, & &1.meta[:skipped])
      assert [%{meta: %{error: error}, payload: 7}] = failed
      assert_memory(error)
      assert length(good) == 11
    end

    test "fails as often as its policy has it tried" do
      options = takes(pool(), "take", on_error: {:retry, max_attempts: 2, then: :skip})
      assert {:ok, [%{meta: %{error: %{attempts: 2} = error}}]} = Dispatch.run([@much], options)
      assert_memory(error)
    end

    test "fails in a call, a stream of one, a gather and a session" do
      pool = pool()
      assert {:error, error} = Slither.call("memory_handlers", "take", [@much], pool: pool)
      assert_memory(error)
      stream = Slither.stream_call("memory_handlers", "draw", [@much], pool: pool)
      assert_memory(assert_raise(Error, fn -> Enum.each(stream, &assert(&1 == "first")) end))

      gather = unique(:gather)

      start_supervised!(
        {Gather,
         name: gather, pool: pool, module: "memory_handlers", function: "take_each", max_wait: 0}
      )

      assert {:error, error} = Gather.call(gather, @much, patience())
      assert_memory(error)

      session = "kept #{pool}"
      assert {:error, error, []} = Dispatch.run([@much], takes(pool, "keep", session_id: session))
      assert_memory(error)
      assert {:error, lost, []} = Dispatch.run([0], takes(pool, "keep", session_id: session))
      assert lost.reason == :session_lost
      assert Session.stop(session) == :ok
    end
  end

  describe "a worker" do
    test "that takes too much between two calls is replaced" do
      pool = pool()
      assert {:ok, [%{payload: os_pid}]} = Dispatch.run([@much], takes(pool, "take_later"))
      assert await_down(pool, os_pid) == :memory
      assert os_pid(pool) != os_pid
    end

    test "that takes too much as it starts does not start, and the pool says why" do
      pool = start_pool(max_memory: @limit, preload: ["large_at_start"], start: :spawn)
      assert {:error, error} = Pool.await_ready(pool, patience())
      message = Exception.message(error)
      assert message =~ ~r/it took \d+ MB as it started, and max_memory is 150 MB/
    end

    test "is not charged for what its processes share" do
      pool = pool(max_memory: 2 * @limit)
      gate = path("gate")
      {_output, 0} = System.cmd("mkfifo", [gate])

      task = Task.async(fn -> Dispatch.run([[150, 4, gate]], takes(pool, "fork_with")) end)

      os_pid = await_running(pool)
      {%{^os_pid => processes}, _known} = Groups.read(%Groups{}, [os_pid], 0)
      assert length(processes) == 5
      assert processes |> Enum.map(& &1.bytes) |> Enum.sum() > 600_000_000
      watched = %Watched{limit: 2 * @limit}
      assert {:within, watched} = Watched.look(watched, processes, 0, &Groups.share/1)
      assert {_rss, taken} = watched.share
      assert taken in 150_000_000..300_000_000
      File.write!(gate, "")
      assert {:ok, [%{payload: 4}]} = Task.await(task, patience())
    end
  end
end
