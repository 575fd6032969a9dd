defmodule Slither.Run.ManyTest do
  use ExUnit.Case, async: true

  alias Slither.{Context, Error, Item}
  alias Slither.Python.{Outcome, Part}
  alias Slither.Run.{Batch, Many, Plan, Policy}

  defp plan(policy \\ :skip, mode \\ :pool) do
    %Plan{mode: {mode, nil}, policy: Policy.new!(policy), context: %Context{}, many: true}
  end

  defp batch(count, fields \\ []) do
    entries = for n <- 0..(count - 1), do: {[n], %Item{id: n, payload: "p#{n}"}}
    struct!(%Batch{group: 0, number: 0, entries: entries}, fields)
  end

  defp error(reason \\ :python_exception), do: %Error{reason: reason, message: "m"}
  defp part(entries, unsent \\ %{}), do: %Part{values: entries, errors: unsent, bytes: 0}

  defp outcomes(verdicts) do
    for {:settled, {:mixed, outcomes}} <- verdicts, {seq, what, item} <- outcomes do
      {seq, what, item.id, item.payload}
    end
  end

  test "values have the seqs and ids of children, chunk after chunk" do
    {:ok, verdicts, 0, left} = Many.answered(plan(), batch(2), part([{0, false, [:a, :b], nil}]))
    assert outcomes(verdicts) == [{[0, 0], :made, {0, 0}, :a}, {[0, 1], :made, {0, 1}, :b}]
    assert %{at: 0, drawn: 2, entries: [{[0, 2], %{id: 0}}, {[1], _}]} = left

    chunk = [{0, true, [:c], nil}, {1, true, [], nil}]
    {:ok, verdicts, 0, left} = Many.answered(plan(), left, part(chunk))

    assert outcomes(verdicts) ==
             [{[0, 2], :made, {0, 2}, :c}, {[0, 3], :ended, 0, "p0"}, {[1], :none, 1, "p1"}]

    assert %{entries: [], early: 2} = left
  end

  test "an item is tried again only if it gave nothing, together with others" do
    retry = {:retry, max_attempts: 2, base_ms: 0, then: :skip}
    chunk = [{0, true, [], error()}, {1, true, [:a], error()}, {2, true, [], error()}]
    {:ok, verdicts, 3, left} = Many.answered(plan(retry), batch(3), part(chunk))
    assert left.entries == []
    assert [{[1, 0], :made, _, :a}, {[1, 1], :skipped, 1, "p1"}] = outcomes(verdicts)
    assert [again] = for({:retry, batch, _pause} <- verdicts, do: batch)
    assert %{attempt: 2, at: 0, drawn: 0, entries: [{[0], _}, {[2], _}]} = again
  end

  test "the worker counts no items that were not sent" do
    chunk = part([{0, true, [:a], nil}, {1, false, [:b], nil}], %{1 => error(:not_encodable)})
    {:ok, verdicts, 1, left} = Many.answered(plan(), batch(3), chunk)

    assert [{[0, 0], :made, _, :a}, {[0, 1], :ended, _, _}, {[2, 0], :made, _, :b} | unsent] =
             outcomes(verdicts)

    assert [{[1], :skipped, 1, "p1"}] = unsent
    assert %{at: 1, drawn: 1, entries: [{[2, 1], _}]} = left
  end

  test "values of another item than the next are no answer" do
    for entry <- [{1, true, [], nil}, {2, false, [1], nil}] do
      assert {:error, %Error{reason: :protocol_error}} =
               Many.answered(plan(), batch(2), part([entry]))
    end

    assert {:error, %Error{reason: :protocol_error}} =
             Many.answered(plan(), batch(1, entries: []), part([{0, true, [], nil}]))
  end

  test "where its worker ends, the item drawn has failed, and those behind it go again" do
    open = batch(3, drawn: 1, cursor: {self(), 1})
    {verdicts, rest} = Many.cut(plan({:retry, max_attempts: 3, base_ms: 0}), open, error())
    assert [{:halt, [0], _}] = verdicts
    assert [{[1], _}, {[2], _}] = rest
    fresh = %{open | drawn: 0}

    assert {[{:retry, %{entries: [{[0], _}]}, 0}], [_, _]} =
             Many.cut(plan({:retry, max_attempts: 3, base_ms: 0}), fresh, error())

    assert Many.begun?(open) and Many.begun?(fresh) and not Many.begun?(batch(1))
  end

  test "a function on BEAM gives a list for each item at once" do
    plan = plan(:skip, :local)
    answer = Outcome.ok([[1, 2], 3, nil, []], %{2 => error()}, nil)
    {:ok, verdicts, 2, %{entries: []}} = Many.answered(plan, batch(4), answer)

    assert [{[0, 0], :made, _, 1}, {[0, 1], :made, _, 2}, {[0, 2], :ended, _, _} | rest] =
             outcomes(verdicts)

    assert [{[3], :none, 3, _}, {[1], :skipped, 1, _}, {[2], :skipped, 2, _}] = rest
    assert {:error, %Error{reason: :wrong_result}} = Many.answered(plan, batch(3), answer)
  end
end
