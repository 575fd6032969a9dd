defmodule Slither.Run.EntryTest do
  use ExUnit.Case, async: true

  alias Slither.Run.Entry
  alias Slither.Run.Entry.Push

  defp push(items), do: %Push{from: {self(), items}, items: items, count: length(items)}
  defp waiting(items), do: %{push(items) | ref: make_ref()}

  defp full do
    {:ok, entry} = Entry.offer(Entry.new(3), push([1, 2]))
    entry
  end

  test "takes pushes that fit, and gives items in their order" do
    assert {:ok, entry} = Entry.offer(full(), push([3]))
    assert Entry.free(entry) == 0
    assert Entry.offer(entry, push([4])) == :full
    assert {[1, 2], entry} = Entry.take(entry, 2)
    assert {[3], entry} = Entry.take(entry, 1)
    assert Entry.free(entry) == 3
  end

  test "a small push does not overtake a large one that waits" do
    large = waiting([3, 4])
    assert Entry.offer(full(), large) == :full
    entry = Entry.wait(full(), large)
    assert Entry.offer(entry, push([5])) == :full
    assert Entry.free(entry) == 0
    assert {[], entry} = Entry.admit(entry)

    entry = Entry.wait(entry, waiting([5]))
    assert {[1], entry} = Entry.take(entry, 1)
    assert {[^large], entry} = Entry.admit(entry)
    assert {[2, 3], entry} = Entry.take(entry, 2)
    assert {[%Push{items: [5]}], entry} = Entry.admit(entry)
    assert Entry.waiting(entry) == 0
    assert {[4, 5], _entry} = Entry.take(entry, 2)
  end

  test "a push that gives up makes way for those after it" do
    [large, small] = [waiting([3, 4]), waiting([5])]
    entry = full() |> Entry.wait(large) |> Entry.wait(small)
    assert {[], ^entry} = Entry.give_up(entry, make_ref())
    assert {[^large], entry} = Entry.give_up(entry, large.ref)
    assert {[^small], _entry} = Entry.admit(entry)
  end

  test "pushes that wait can all be refused; what is in stays" do
    [one, other] = [waiting([3, 4]), waiting([5])]
    entry = full() |> Entry.wait(one) |> Entry.wait(other)
    assert {[^one, ^other], entry} = Entry.refuse(entry)
    assert {Entry.free(entry), Entry.take(entry, 2) |> elem(0)} == {1, [1, 2]}
  end
end
