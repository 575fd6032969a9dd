defmodule Slither.Python.CancelTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Dispatch

  defp run_options(pool, function),
    do: [module: "cancel_handlers", function: function, pool: pool, timeout: :infinity]

  # A caller that is killed once its call runs.
  defp abandon(pool, function, payload) do
    caller = spawn(fn -> Dispatch.run([payload], run_options(pool, function)) end)
    os_pid = await_running(pool)
    Process.exit(caller, :kill)
    os_pid
  end

  test "a handler that looks learns that its caller is gone, and its worker lives on" do
    pool = ready_pool(cancel_grace: patience())
    fifo = path("word")
    {_, 0} = System.cmd("mkfifo", [fifo])
    os_pid = abandon(pool, "heed", fifo)
    assert File.read!(fifo) == "cancelled"
    assert {:ok, [%{payload: ^os_pid}]} = Dispatch.run([0], pids(pool))
  end

  test "one that does not is ended with its worker when the grace is over" do
    pool = ready_pool(cancel_grace: 20)
    os_pid = abandon(pool, "ignore", 1)
    assert await_down(pool, os_pid) == :cancelled
    other = await_up(pool)
    assert {:ok, [%{payload: ^other}]} = Dispatch.run([0], pids(pool))
  end

  test "a stream that is left early does the same" do
    pool = ready_pool(cancel_grace: 20)
    test = self()

    reader =
      spawn(fn ->
        input = Stream.each([1], fn _ -> send(test, :pulled) end)
        Enum.each(Dispatch.stream(input, run_options(pool, "ignore")), & &1)
      end)

    assert_receive :pulled
    os_pid = await_running(pool)
    Process.exit(reader, :kill)
    assert await_down(pool, os_pid) == :cancelled
  end

  defp pids(pool), do: [module: "flow_handlers", function: "pids", pool: pool]
end
