defmodule Slither.Run.PartsTest do
  use ExUnit.Case, async: true

  alias Slither.Run.Parts

  describe "sort/3" do
    test "parts what went well from what failed" do
      entries = [{1, :a}, {2, :b}, {3, :c}]

      assert Parts.sort(entries, [10, nil, 30], %{1 => :why}) ==
               {[{{1, :a}, 10}, {{3, :c}, 30}], [{{2, :b}, :why}]}
    end
  end

  describe "first/1" do
    test "is the lowest seq, in whatever order the entries are" do
      assert Parts.first([%{entries: [{5, :a}, {4, :b}]}, %{entries: [{9, :c}]}]) == 4
      assert Parts.first([]) == nil
    end
  end

  describe "ready/3" do
    test "lets go what nothing ahead of can come any more" do
      assert Parts.ready([ok: [{1, :a}, {2, :b}]], nil, 3) == {[ok: [{1, :a}, {2, :b}]], []}
      assert Parts.ready([ok: [{1, :a}, {4, :b}]], nil, 3) == {[], [ok: [{1, :a}, {4, :b}]]}
      assert Parts.ready([], nil, 3) == {[], []}
    end

    test "sorts what has come in several pieces" do
      chunks = [{:mixed, [{6, :skipped, :c}]}, {:ok, [{2, :b}, {7, :d}]}, {:ok, [{1, :a}]}]

      assert Parts.ready(chunks, nil, 7) ==
               {[mixed: [{1, :ok, :a}, {2, :ok, :b}, {6, :skipped, :c}]], [mixed: [{7, :ok, :d}]]}
    end

    test "lets all go once nothing is open" do
      assert Parts.ready([ok: [{[1], :a}]], nil, nil) == {[mixed: [{[1], :ok, :a}]], []}
    end

    test "is over once only what comes after the failure is open" do
      assert Parts.ready([ok: [{1, :a}]], {2, :error}, 3) == :over
      assert Parts.ready([ok: [{1, :a}]], {2, :error}, nil) == :over
      assert Parts.ready([ok: [{1, :a}]], {4, :error}, 3) == {[ok: [{1, :a}]], []}
    end
  end
end
