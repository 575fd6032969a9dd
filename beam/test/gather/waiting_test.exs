defmodule Slither.Gather.WaitingTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3]

  alias Slither.Gather.Waiting

  test "a key's items go in the order in which they came, no more than a batch" do
    waiting = Enum.reduce(0..4, Waiting.new(3), &Waiting.put(&2, &1, :a, "item #{&1}", &1))
    assert Waiting.oldest(waiting) == {:a, 0}
    assert Waiting.full(waiting) == {:key, :a}
    assert {[{0, "item 0"}, {1, "item 1"}, {2, "item 2"}], 0, waiting} = Waiting.take(waiting, :a)
    assert Waiting.full(waiting) == nil
    assert {[{3, _}, {4, _}], 3, waiting} = Waiting.take(waiting, :a)
    assert Waiting.oldest(waiting) == nil
    assert Waiting.count(waiting) == 0
  end

  test "batches counts whole ones, and keys whose oldest item is due" do
    waiting = Enum.reduce(0..4, Waiting.new(2), &Waiting.put(&2, &1, rem(&1, 2), nil, &1))
    # Key 0 has items 0, 2 and 4; key 1 has items 1 and 3.
    assert Waiting.batches(waiting, -1) == 2
    {[{0, _}, {2, _}], 0, waiting} = Waiting.take(waiting, 0)
    assert Waiting.batches(waiting, 3) == 1
    assert Waiting.batches(waiting, 4) == 2
  end

  # Against a plain list of `{seq, key}`, the oldest first.
  test "it holds what was put in and neither taken nor deleted, by key and in order" do
    check_all(300, &steps/0, fn {max, steps} ->
      {waiting, model, _next} =
        Enum.reduce(steps, {Waiting.new(max), [], 0}, fn step, {waiting, model, next} ->
          {waiting, model} = apply_step(step, waiting, model, next, max)
          check!(waiting, model, max)
          {waiting, model, next + 1}
        end)

      {seqs, waiting} = Waiting.empty(waiting)
      assert seqs == for({seq, _key} <- model, do: seq)
      assert Waiting.count(waiting) == 0
    end)
  end

  defp steps, do: {:rand.uniform(4), for(_ <- 1..:rand.uniform(60), do: step())}

  defp step do
    case :rand.uniform(10) do
      n when n <= 5 -> {:put, Enum.random([:a, :b, :c])}
      n when n <= 7 -> {:take, :rand.uniform(3) - 1}
      _ -> {:delete, :rand.uniform(60) - 1}
    end
  end

  defp apply_step({:put, key}, waiting, model, seq, _max),
    do: {Waiting.put(waiting, seq, key, {:payload, seq}, seq), model ++ [{seq, key}]}

  defp apply_step({:take, index}, waiting, model, _next, max) do
    case model |> Enum.map(&elem(&1, 1)) |> Enum.uniq() |> Enum.at(index) do
      nil ->
        {waiting, model}

      key ->
        expected = model |> Enum.filter(&(elem(&1, 1) == key)) |> Enum.take(max)
        {taken, since, waiting} = Waiting.take(waiting, key)
        assert taken == for({seq, _key} <- expected, do: {seq, {:payload, seq}})
        assert since == expected |> hd() |> elem(0)
        {waiting, model -- expected}
    end
  end

  defp apply_step({:delete, seq}, waiting, model, _next, _max) do
    case {Waiting.delete(waiting, seq), List.keymember?(model, seq, 0)} do
      {{:ok, waiting}, true} -> {waiting, List.keydelete(model, seq, 0)}
      {:error, false} -> {waiting, model}
    end
  end

  defp check!(waiting, model, max) do
    assert Waiting.count(waiting) == length(model)

    assert Waiting.oldest(waiting) ==
             with([{seq, key} | _] <- model, do: {key, seq}, else: ([] -> nil))

    sizes = Enum.frequencies_by(model, &elem(&1, 1))

    assert Waiting.batches(waiting, -1) ==
             sizes |> Map.values() |> Enum.map(&div(&1, max)) |> Enum.sum()

    full = for {key, size} <- sizes, size >= max, do: {:key, key}
    assert Waiting.full(waiting) in if(full == [], do: [nil], else: full)
  end
end
