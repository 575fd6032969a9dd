defmodule Slither.Python.KillingTest do
  # What happens between the decision to kill a worker and its death: calls that slip in then have
  # done nothing, and are not to fail for it. The test plays the process, and holds its owner
  # still while things come to that: so they come in the order that is to be seen.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools, except: [start_pool: 0, start_pool: 1, call: 3, call: 4]
  import Slither.Test.Peer

  alias Slither.{Dispatch, Error}
  alias Slither.Protocol.Frame
  alias Slither.Python.Pool
  alias Slither.Python.Worker.Inbox

  @killed %Error{reason: :killed, message: "it is killed"}

  setup do
    {pool, listener} = start_pool()
    peer = ready(listener, pool)
    quick!(pool)
    workers = {:via, Registry, {Slither.Python.Registry, {:workers, pool}}}
    [{_id, owner, _type, _modules}] = DynamicSupervisor.which_children(workers)
    %{pool: pool, peer: peer, listener: listener, owner: owner}
  end

  defp call(pool, item) do
    Task.async(fn -> Pool.call(pool, ["function", "m", "f"], [item], timeout: :infinity) end)
  end

  defp await(task), do: Task.await(task, patience())

  # The owner reads that it is to kill a call, and then that call's answer, which has come too late:
  # by then the process has begun the next.
  defp kill_too_late(%{owner: owner, peer: peer}, id, value) do
    Inbox.kill_call(owner, id, @killed)
    answer(peer, id, [value])
    await_frame(owner)
    :sys.resume(owner)
  end

  # Its owner is held still, and reads none.
  defp await_frame(owner) do
    {:messages, messages} = Process.info(owner, :messages)
    frame? = &match?({port, {:data, _frame}} when is_port(port), &1)
    unless Enum.any?(messages, frame?), do: await_frame(owner)
  end

  # What the process hears until it is dead.
  defp hear_all(peer) do
    case :gen_tcp.recv(peer.socket, 0, patience()) do
      {:ok, body} -> [Frame.decode(body) | hear_all(peer)]
      {:error, :closed} -> []
    end
  end

  test "a call behind the one that is killed goes to the next worker, though it may have begun",
       context do
    %{pool: pool, peer: peer, listener: listener, owner: owner} = context
    :sys.suspend(owner)
    first = call(pool, "1")
    {id, ["1"]} = hear_call(peer)
    second = call(pool, "2")
    {_id, ["2"]} = hear_call(peer)
    kill_too_late(context, id, "a")

    # It has answered, if late: its caller has that.
    assert await(first) == {:ok, ["a"], %{}}
    await_end(peer)
    next = ready(listener, pool)
    assert {id, ["2"]} = hear_call(next)
    answer(next, id, ["b"])
    assert await(second) == {:ok, ["b"], %{}}
  end

  test "no call is sent to a worker that is being killed", context do
    %{pool: pool, peer: peer, listener: listener, owner: owner} = context
    options = [module: "m", function: "f", pool: pool, batch_size: 1, max_in_flight: 1]
    :sys.suspend(owner)
    run = Task.async(fn -> Dispatch.run(["1", "2"], options) end)
    {id, ["1"]} = hear_call(peer)
    kill_too_late(context, id, "a")

    # The run keeps its lane, and has it make the next call at once.
    assert hear_all(peer) == []
    next = ready(listener, pool)
    assert {id, ["2"]} = hear_call(next)
    answer(next, id, ["b"])
    assert {:ok, items} = await(run)
    assert Enum.map(items, & &1.payload) == ["a", "b"]
  end

  test "the call that it is killed for fails with the reason, and no other", context do
    %{pool: pool, peer: peer, listener: listener, owner: owner} = context
    first = call(pool, "1")
    {id, ["1"]} = hear_call(peer)
    second = call(pool, "2")
    {_id, ["2"]} = hear_call(peer)
    Inbox.kill_call(owner, id, @killed)
    assert {:error, %Error{reason: :killed, message: "it is killed"}} = await(first)
    await_end(peer)
    next = ready(listener, pool)
    assert {id, ["2"]} = hear_call(next)
    answer(next, id, ["b"])
    assert await(second) == {:ok, ["b"], %{}}
  end
end
