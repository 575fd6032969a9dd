defmodule Slither.Run.AnswerTest do
  use ExUnit.Case, async: true

  alias Slither.{Context, Item, PipeError}
  alias Slither.Run.{Answer, Handler, Policy, Result}

  defp handler(policy \\ :halt) do
    outputs = %{left: {:output, :left}, later: {:stage, 3}}

    %Handler{
      module: nil,
      context: %Context{pipe: :sample, stage: :beam},
      policy: %{Policy.new!(policy) | targets: outputs},
      targets: outputs,
      policy_targets: outputs
    }
  end

  defp settle(answer, policy \\ :halt) do
    handler = handler(policy)
    entry = {[7], %Item{id: 7, payload: :old}}
    checked = Answer.check(handler, answer)
    Result.in_order(Answer.settle(Result.new([entry]), handler, entry, checked))
  end

  defp on(answer), do: for({seq, item} <- settle(answer).on, do: {seq, item.id, item.payload})

  test "a payload, bare or not, and an item go on in the item's place" do
    assert on(:new) == [{[7], 7, :new}]
    assert on({:ok, :new}) == [{[7], 7, :new}]
    assert on(%Item{id: :own, payload: :new}) == [{[7], :own, :new}]
    assert settle(:new).took == 1
  end

  test "many go on after one another, with ids and seqs of their own" do
    assert on({:many, [:a, %Item{id: :own, payload: :b}]}) ==
             [{[7, 0], {7, 0}, :a}, {[7, 1], {7, 1}, :b}]

    assert settle({:many, [1, 2, 3]}).expanded == 2
    assert %{on: [], skipped: 1, expanded: 0} = settle({:many, []})
    assert settle({:skip, :why}).skipped == 1
  end

  test "a route leaves the pipe or goes on later, and others are told so" do
    assert %{on: [{[7], {:exit, :left, item}}], out: 1, parts?: true} = settle({:route, :left, 1})
    assert {item.payload, item.route} == {1, :left}
    assert %{on: [{[7], {:to, 3, item}}], out: 0, parts?: true} = settle({:route, :later, 1})
    assert {item.payload, item.route} == {1, nil}
  end

  test "what can't be an answer is an error under the policy" do
    for {answer, reason} <- [
          {{:many, 5}, :invalid_return},
          {{:route, :nowhere, 1}, :unknown_output},
          {%Item{id: 1, payload: 1, meta: nil}, :invalid_return},
          {{:error, :bad}, :handler_error},
          {{:error, %Slither.Error{reason: :own, message: "own"}}, :own}
        ] do
      assert %{halt: {[7], %PipeError{reason: ^reason, stage: :beam, item: 7}}} = settle(answer)
      assert %{skipped: 1, halt: nil, errors: [%{reason: ^reason}]} = settle(answer, :skip)

      assert %{routed: 1, on: [{[7], {:exit, :left, item}}]} = settle(answer, {:route, :left})
      assert %{payload: :old, meta: %{error: %{reason: ^reason}}} = item

      assert %{routed: 0, on: [{[7], {:to, 3, %{route: nil}}}], errors: [_]} =
               settle(answer, {:route, :later})
    end
  end

  test "an enumerable of the user's is read where it may raise" do
    broken = Stream.map([1], fn _ -> raise "broken" end)
    assert_raise RuntimeError, fn -> Answer.check(handler(), {:many, broken}) end

    assert_raise ArgumentError, ~r/which is no map/, fn ->
      Answer.check(handler(), {:many, [%Item{id: 1, payload: 1, meta: 1}]})
    end
  end
end
