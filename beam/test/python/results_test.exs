defmodule Slither.Python.ResultsTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators

  alias Slither.Error
  alias Slither.Protocol.Block
  alias Slither.Python.Lane.Results

  @fault %{"kind" => "failure", "message" => "no"}

  defp unsent(index),
    do: {index, %Error{reason: :not_encodable, message: "payload #{index}"}}

  describe "part/4" do
    test "gives the values of the next items" do
      results = Results.new(4, %{}, 16)
      assert {:ok, [:a, :b], errors, results} = Results.part(results, 0, [:a, :b], nil)
      assert errors == %{}
      assert {:ok, [:c], _none, results} = Results.part(results, 2, [:c], nil)
      assert Results.rest(results, [:d], nil) == {:ok, [:d], %{}}
    end

    test "has the errors by their index in the part" do
      results = Results.new(5, %{}, 16)
      {:ok, _values, _none, results} = Results.part(results, 0, [:a, :b], nil)

      assert {:ok, [:c, nil], errors, results} =
               Results.part(results, 2, [:c, nil], %{3 => @fault})

      assert %{1 => %Error{reason: :handler_failure}} = errors
      assert {:ok, [nil], %{0 => %Error{}}} = Results.rest(results, [nil], %{4 => @fault})
    end

    test "refuses one that is empty, out of order, beyond the items, or the last" do
      {:ok, _values, _none, results} = Results.part(Results.new(4, %{}, 16), 0, [:a], nil)

      for {index, values, faults} <- [
            {1, [], nil},
            {0, [:b], nil},
            {2, [:b], nil},
            {1, [:b, :c, :d], nil},
            {1, [:b, :c, :d, :e], nil},
            {1, [nil], %{0 => @fault}},
            {1, [nil], %{2 => @fault}},
            {1, [nil], %{"1" => @fault}}
          ] do
        assert {:error, why} = Results.part(results, index, values, faults)
        assert is_binary(why)
      end
    end

    test "refuses what follows a part that had no credit" do
      results = Results.new(10, %{}, 1)
      assert {:ok, _, _, results} = Results.part(results, 0, [1], nil)
      assert Results.stalled?(results)
      # What a handler had yielded before it failed needs none.
      assert {:ok, _, _, results} = Results.part(results, 1, [2, 3], nil)
      assert Results.part(results, 3, [4], nil) == {:error, "a part without credit"}
      refute results |> Results.allow(3) |> Results.stalled?()
    end
  end

  describe "rest/3" do
    test "refuses another count" do
      assert Results.rest(Results.new(2, %{}, 1), [1], nil) == {:error, "1 results for 2 items"}
      {:ok, _, _, results} = Results.part(Results.new(3, %{}, 1), 0, [1], nil)
      assert Results.rest(results, [2, 3, 4], nil) == {:error, "3 results for 2 items"}
    end
  end

  describe "the results of a block" do
    test "are kept until they are one" do
      block = fn data, errors -> %Block{count: byte_size(data), data: data, errors: errors} end
      results = Results.new(5, %{}, 16)
      assert {:kept, 2, results} = Results.part(results, 0, block.(<<1, 2>>, nil), nil)
      faults = %{2 => @fault}
      assert {:kept, 1, results} = Results.part(results, 2, block.(<<0xC0>>, faults), faults)
      assert {:error, _why} = Results.rest(results, block.(<<4>>, nil), nil)
      assert {:ok, [whole], errors} = Results.rest(results, block.(<<4, 5>>, nil), nil)
      assert whole == %Block{count: 5, data: <<1, 2, 0xC0, 4, 5>>, errors: faults}
      assert errors == %{}
    end

    test "that come at once are as they came" do
      block = %Block{count: 2, data: <<1, 2>>, errors: %{1 => @fault}}
      assert Results.rest(Results.new(2, %{}, 1), block, %{1 => @fault}) == {:ok, [block], %{}}
    end
  end

  test "however results come in parts, each item has its own" do
    check_all(500, &call/0, fn {total, unsent, faults, cuts} ->
      sent = Enum.reject(0..(total - 1), &is_map_key(unsent, &1))
      results = Results.new(total, unsent, 1_000)
      # Python numbers the items that it was sent, and has `nil` where one failed.
      values = for {item, at} <- Enum.with_index(sent), do: if(!faults[at], do: item)
      {got, results, values, at} = take(cuts, [], results, values, 0, faults)
      assert Results.left(results) == length(values)
      ours = Map.filter(faults, fn {index, _fault} -> index >= at end)
      assert {:ok, rest, errors} = Results.rest(results, values, ours)
      got = got ++ together(rest, errors)
      assert length(got) == total

      for {outcome, item} <- Enum.with_index(got) do
        index = Enum.find_index(sent, &(&1 == item))

        cond do
          unsent[item] -> assert outcome == {:error, "payload #{item}"}
          faults[index] -> assert outcome == {:error, "no"}
          true -> assert outcome == {:ok, item}
        end
      end
    end)
  end

  defp take([cut | cuts], got, results, values, at, faults) when cut < length(values) do
    {now, later} = Enum.split(values, cut)
    ours = Map.filter(faults, fn {index, _fault} -> index >= at and index < at + cut end)
    ours = if ours == %{}, do: pick([nil, %{}]), else: ours
    assert {:ok, part, errors, results} = Results.part(results, at, now, ours)
    take(cuts, got ++ together(part, errors), results, later, at + cut, faults)
  end

  defp take(_cuts, got, results, values, at, _faults), do: {got, results, values, at}

  defp together(values, errors) do
    assert Enum.all?(Map.keys(errors), &(&1 in 0..(length(values) - 1)))

    for {value, at} <- Enum.with_index(values),
        do: if(error = errors[at], do: {:error, error.message}, else: {:ok, value})
  end

  defp call do
    total = :rand.uniform(12)
    unsent = for index <- 0..(total - 1), one_in(4), into: %{}, do: unsent(index)
    # One that has all items unsent makes no call.
    unsent = if map_size(unsent) == total, do: Map.delete(unsent, total - 1), else: unsent
    count = total - map_size(unsent)
    faults = for index <- 0..(count - 1), one_in(4), into: %{}, do: {index, @fault}
    {total, unsent, faults, many(6, fn -> :rand.uniform(4) end)}
  end
end
