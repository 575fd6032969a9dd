defmodule Slither.Python.TimesTest do
  # Where the time of calls goes, seen from both ends: the test plays the process that runs them.
  use ExUnit.Case, async: true

  import Slither.Test.Pools, except: [start_pool: 0, start_pool: 1, call: 3, call: 4]
  import Slither.Test.Peer

  alias Slither.Python.Pool
  alias Slither.Test.Telemetry

  setup do
    {pool, listener} = start_pool()
    peer = ready(listener, pool)
    quick!(pool)
    Telemetry.listen([[:slither, :call, :stop], [:slither, :call, :exception]])
    %{pool: pool, peer: peer, listener: listener}
  end

  defp call(pool, item),
    do: Task.async(fn -> Pool.call(pool, ["function", "m", "f"], [item], timeout: :infinity) end)

  # Something that takes a while.
  defp dally(pool), do: for(_ <- 1..300, do: {:ok, _} = Pool.status(pool))

  defp told(pool) do
    assert_receive {:event, [:slither, :call, _], measurements, %{pool: ^pool} = facts},
                   patience()

    {measurements, facts}
  end

  defp sum(times), do: times.queue + times.encode + times.wire + times.decode + times.handler

  test "what a call waits behind another at its worker is its queue, and none of the wire",
       context do
    %{pool: pool, peer: peer} = context
    asked = System.monotonic_time()
    first = call(pool, "1")
    {id_1, ["1"]} = hear_call(peer)
    second = call(pool, "2")
    {id_2, ["2"]} = hear_call(peer)
    both = System.monotonic_time()
    dally(pool)
    answering = System.monotonic_time()
    answer(peer, id_1, ["a"])
    assert {:ok, ["a"], _} = Task.await(first, patience())
    {times_1, facts} = told(pool)
    assert %{module: "m", function: "f", target: "m.f", worker: 0, session: nil} = facts
    answer(peer, id_2, ["b"])
    assert {:ok, ["b"], _} = Task.await(second, patience())
    {times_2, _facts} = told(pool)
    ended = System.monotonic_time()

    # The first had the worker for itself all the time, which its handler did not use.
    assert times_1.queue < answering - asked
    assert times_1.wire >= answering - both - times_1.handler - times_1.encode - times_1.decode
    assert times_2.queue >= answering - both
    assert times_2.wire <= ended - answering

    for times <- [times_1, times_2] do
      assert sum(times) <= ended - asked
      assert times.duration <= ended - asked
      assert %{size: 1, failed: 0, handler: handler} = times
      assert handler == System.convert_time_unit(2, :microsecond, :native)
    end
  end

  test "a call whose worker ends is told with its reason", %{pool: pool, peer: peer} do
    task = call(pool, "1")
    {_id, ["1"]} = hear_call(peer)
    leave(peer)
    assert {:error, %{reason: :worker_died}} = Task.await(task, patience())

    assert {%{size: 1, duration: duration}, %{reason: :worker_died, target: "m.f"}} = told(pool)
    assert duration > 0
  end
end
