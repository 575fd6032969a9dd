defmodule Slither.Python.AsyncTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError}

  defmodule Rows do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :async_rows, type: :set, python: :read}]

    @impl true
    def views, do: [%{name: :async_test_view, scope: :global, handler: & &1["key"]}]

    @impl true
    def load(tables) do
      :ets.insert(tables[:async_rows], for(n <- 1..10, do: {n, n * n}))
      :ok
    end
  end

  defp python(pool, function, options \\ []) do
    [module: "async_handlers", function: function, pool: pool, timeout: patience()]
    |> Keyword.merge(options)
  end

  defp results(values, pool, function, options \\ []) do
    assert {:ok, items} = Dispatch.run(values, python(pool, function, options))
    Enum.map(items, & &1.payload)
  end

  defp abandon(pool, function, payload) do
    caller = spawn(fn -> Dispatch.run([payload], python(pool, function)) end)
    os_pid = await_running(pool)
    Process.exit(caller, :kill)
    os_pid
  end

  test "an async handler's results are those of any other" do
    pool = ready_pool(size: 2)
    assert results(1..500, pool, "double", batch_size: 7) == Enum.map(1..500, &(2 * &1))
  end

  test "an exception comes with its own traceback" do
    pool = ready_pool()
    assert {:error, %DispatchError{} = error, []} = Dispatch.run([1], python(pool, "raises"))
    assert error.reason == :python_exception
    assert error.cause.python.traceback =~ "in raises"
    refute error.cause.python.traceback =~ "asyncio"
  end

  test "views, tables, sessions and contexts work inside" do
    start_supervised!({Slither.Store.Server, Rows})
    pool = ready_pool()
    assert results(1..10, pool, "asks") == for(n <- 1..10, do: [n, n * n])
    assert results(1..10, pool, "asks_at_once") == Enum.to_list(1..10)
    options = [session_id: "s", batch_size: 1]
    assert results(1..3, pool, "counts", options) == [[0, 1], [1, 2], [2, 3]]
  end

  test "items run at once, and fail alone" do
    pool = ready_pool()
    assert results(List.duplicate(40, 40), pool, "meets") == List.duplicate(40, 40)
    assert {:ok, items} = Dispatch.run(1..60, python(pool, "item", on_error: :skip))
    assert Enum.map(items, & &1.payload) == Enum.to_list(1..60)

    for item <- items do
      assert item.meta[:skipped] == if(rem(item.payload, 5) == 0, do: true)
      if error = item.meta[:error], do: assert(Exception.message(error) =~ "item #{item.payload}")
    end
  end

  test "a call whose caller is gone is cancelled, and its worker lives on" do
    pool = ready_pool(cancel_grace: patience())
    fifo = path("word")
    {_, 0} = System.cmd("mkfifo", [fifo])
    os_pid = abandon(pool, "heed", fifo)
    assert File.read!(fifo) == "cancelled"
    assert results([0], pool, "pids") == [os_pid]
  end

  test "one that goes on is ended with its worker when the grace is over" do
    pool = ready_pool(cancel_grace: 20)
    os_pid = abandon(pool, "ignores", 1)
    assert await_down(pool, os_pid) == :cancelled
    assert results([0], pool, "pids") == [await_up(pool)]
  end

  test "a task that a call leaves behind is no part of the next" do
    pool = ready_pool()
    path = path("left")
    assert results([path], pool, "leaves_a_task") == [path]
    assert results([1], pool, "double") == [2]
    refute File.exists?(path)
  end

  test "a call that runs over its time is ended as any other" do
    pool = ready_pool()
    options = python(pool, "ignores", timeout: 50)
    assert {:error, %DispatchError{reason: :timeout}, []} = Dispatch.run([1], options)
  end
end
