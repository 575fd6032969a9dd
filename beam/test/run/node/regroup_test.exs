defmodule Slither.Run.Node.RegroupTest do
  use ExUnit.Case, async: true

  alias Slither.Item
  alias Slither.Run.Mailbox
  alias Slither.Run.Node.Regroup

  defp entries(numbers), do: for(n <- numbers, do: {[n], %Item{id: n, payload: 10 * n}})
  defp made(result), do: for({seq, item} <- result.on, do: {seq, item.id, item.payload})

  defp regroup(size, timeout \\ :infinity) do
    mailbox = Mailbox.open()
    {mailbox, %Regroup{size: size, timeout: timeout, inbox: Mailbox.inbox(mailbox, 0)}}
  end

  test "makes one of as many as it is told, in the place of the last" do
    {_mailbox, node} = regroup(2)
    assert {result, node} = Regroup.push(node, entries(1..5))
    assert made(result) == [{[2], [1, 2], [10, 20]}, {[4], [3, 4], [30, 40]}]
    assert %{took: 4, expanded: -2} = result
    assert Regroup.waiting(node) == %{batching: 1}

    assert {nil, ^node} = Regroup.advance(node, false)
    assert {rest, node} = Regroup.advance(node, true)
    assert {made(rest), rest.took, rest.expanded} == {[{[5], [5], [50]}], 1, 0}
    assert {nil, _node} = Regroup.advance(node, true)
  end

  test "makes one of what is there once its time is up, and knows an old timer" do
    {mailbox, node} = regroup(2, 1)
    {_result, node} = Regroup.push(node, entries([1]))
    assert {0, {:timer, timer}} = Mailbox.await(mailbox)
    assert {nil, ^node} = Regroup.message(node, {:timer, make_ref()})
    assert {result, node} = Regroup.message(node, {:timer, timer})
    assert made(result) == [{[1], [1], [10]}]
    assert {nil, ^node} = Regroup.message(node, {:timer, timer})
  end
end
