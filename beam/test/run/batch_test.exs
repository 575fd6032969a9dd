defmodule Slither.Run.BatchTest do
  use ExUnit.Case, async: true

  alias Slither.Run.Batch

  defp batch(entries, fields \\ []),
    do: struct!(%Batch{group: 0, number: 0, entries: entries}, fields)

  test "first/1 is the lowest seq, in whatever order the entries are" do
    assert Batch.first([batch([{5, :a}, {4, :b}]), batch([{9, :c}])]) == 4
    assert Batch.first([]) == nil
  end

  test "decided/3 leaves the rest, and remembers how many went before it" do
    whole = batch([{1, :a}, {2, :b}, {3, :c}], early: 1, early_failed: 1)
    assert {rest, [{1, :a}, {2, :b}]} = Batch.decided(whole, 2, 1)
    assert rest == batch([{3, :c}], early: 3, early_failed: 2)
    assert Batch.size(rest) == Batch.size(whole)
  end

  test "begins?/2 looks at the first entry alone" do
    assert Batch.begins?(batch([{1, :a}, {2, :b}]), 1)
    refute Batch.begins?(batch([{1, :a}, {2, :b}]), 2)
    refute Batch.begins?(batch([]), 1)
  end
end
