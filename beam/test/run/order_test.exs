defmodule Slither.Run.OrderTest do
  use ExUnit.Case, async: true

  alias Slither.Run.Order

  describe "a buffer that preserves the order" do
    test "gives all outcomes in the input's order, each once" do
      at_random(fn groups ->
        {taken, order} = play(groups, Order.new(:preserve))
        assert taken == seqs(0, items(groups))
        assert Order.idle?(order)
        assert order.complete == 0
      end)
    end

    test "ends with the earliest failure, after all that comes before it" do
      at_random(fn groups ->
        count = items(groups)
        failures = for _ <- 1..:rand.uniform(3), do: :rand.uniform(count) - 1
        {taken, order} = play(groups, Order.new(:preserve), failures)
        last = Enum.min(failures)
        assert taken == seqs(0, last) ++ [{:halt, last}]
        assert order.over? and Order.idle?(order)
      end)
    end
  end

  describe "a buffer of what is completed" do
    test "gives all outcomes, each once" do
      at_random(fn groups ->
        {taken, order} = play(groups, Order.new(:as_completed))
        assert Enum.sort(taken) == seqs(0, items(groups))
        assert Order.idle?(order)
      end)
    end

    test "gives what is decided before its group is settled" do
      {id, order} = Order.open(Order.new(:as_completed), 2)
      order = Order.add(order, id, {:ok, [{1, :b}]})
      assert {[{:ok, [{1, :b}]}], 0, order} = Order.take(order)
      refute Order.idle?(order)
    end

    test "ends with a failure at once" do
      {id, order} = Order.open(Order.new(:as_completed), 2)
      order = order |> Order.halt(id, 3, :error) |> Order.settle(id, 0)
      assert {[{:halt, 3, :error}], 0, %{over?: true}} = Order.take(order)
    end
  end

  describe "settle/3" do
    test "counts the groups that nothing is open of, until they are taken" do
      {first, order} = Order.open(Order.new(:preserve), 1)
      {second, order} = Order.open(order, 1)
      order = Order.settle(order, second, 10)
      assert order.complete == 1
      assert {[], 0, %{complete: 1} = order} = Order.take(order)
      order = order |> Order.add(first, {:ok, [{0, :a}]}) |> Order.settle(first, 25)
      assert order.complete == 2
      assert {[{:ok, _}], 0, %{complete: 0} = order} = Order.take(order)
      # The second was settled at 10 and had its turn at 25.
      assert order.waited == 15
    end

    test "gives back the bytes that were held for a group when it is taken" do
      {first, order} = Order.open(Order.new(:preserve), 1)
      {second, order} = Order.open(order, 1)
      order = order |> Order.hold(first, 5) |> Order.hold(second, 7)
      order = Order.settle(order, second, 0)
      assert {[], 0, order} = Order.take(order)
      assert {[], 12, _order} = order |> Order.settle(first, 0) |> Order.take()
    end
  end

  describe "at_once?/2" do
    test "holds of the last batch of a group that has its turn, and has nothing held" do
      {first, order} = Order.open(Order.new(:preserve), 1)
      {second, order} = Order.open(order, 1)
      assert Order.at_once?(order, first)
      refute Order.at_once?(order, second)
      refute order |> Order.grow(first) |> Order.at_once?(first)
      refute order |> Order.add(first, {:ok, []}) |> Order.at_once?(first)
      refute order |> Order.halt(first, 1, :error) |> Order.at_once?(first)
      assert Order.at_once?(%{order | ordering: :as_completed}, second)
    end
  end

  describe "ready/3" do
    test "lets go what nothing ahead of can come any more" do
      assert Order.ready([ok: [{1, :a}, {2, :b}]], nil, 3) == {[ok: [{1, :a}, {2, :b}]], []}
      assert Order.ready([ok: [{1, :a}, {4, :b}]], nil, 3) == {[], [ok: [{1, :a}, {4, :b}]]}
      assert Order.ready([], nil, 3) == {[], []}
    end

    test "sorts what has come in several pieces" do
      chunks = [{:mixed, [{6, :skipped, :c}]}, {:ok, [{2, :b}, {7, :d}]}, {:ok, [{1, :a}]}]

      assert Order.ready(chunks, nil, 7) ==
               {[mixed: [{1, :ok, :a}, {2, :ok, :b}, {6, :skipped, :c}]], [mixed: [{7, :ok, :d}]]}
    end

    test "lets all go once nothing is open" do
      assert Order.ready([ok: [{[1], :a}]], nil, nil) == {[mixed: [{[1], :ok, :a}]], []}
    end

    test "is over once only what comes after the failure is open" do
      assert Order.ready([ok: [{1, :a}]], {2, :error}, 3) == :over
      assert Order.ready([ok: [{1, :a}]], {2, :error}, nil) == :over
      assert Order.ready([ok: [{1, :a}]], {4, :error}, 3) == {[ok: [{1, :a}]], []}
    end
  end

  ## A flow, played at random: whatever happens, and in whatever order

  defp at_random(check) do
    for seed <- 1..500 do
      :rand.seed(:exsss, {seed, seed, seed})
      groups = groups()

      try do
        check.(groups)
      rescue
        error in ExUnit.AssertionError ->
          message = "seed #{seed}, groups #{inspect(groups)}: #{error.message}"
          reraise %{error | message: message}, __STACKTRACE__
      end
    end
  end

  defp seqs(from, to), do: Enum.to_list(from..(to - 1)//1)

  # Groups of batches of seqs; a group's items may be in any of its batches.
  defp groups do
    sizes = for _ <- 1..:rand.uniform(4), do: :rand.uniform(6)

    {groups, _next} =
      Enum.map_reduce(sizes, 0, fn size, next ->
        seqs = Enum.shuffle(next..(next + size - 1))
        {Enum.chunk_every(seqs, :rand.uniform(3)), next + size}
      end)

    groups
  end

  defp items(groups), do: groups |> List.flatten() |> length()

  defp play(groups, order, failures \\ []) do
    {batches, order} =
      Enum.flat_map_reduce(groups, order, fn batches, order ->
        {id, order} = Order.open(order, length(batches))
        {for(seqs <- batches, do: {id, seqs}), order}
      end)

    step(batches, order, failures, [])
  end

  # One of the batches that are out yields its first item, is split, or is answered.
  defp step([], order, _failures, taken), do: take(order, taken)

  defp step(batches, order, failures, taken) do
    {id, seqs} = batch = Enum.random(batches)
    others = List.delete(batches, batch)

    {batches, order} =
      case {:rand.uniform(3), seqs} do
        {1, [first | rest]} ->
          open = [{id, rest} | others]
          {open, order |> Order.early(id) |> decide(id, [first], failures) |> pass(id, open)}

        {2, [_, _ | _]} ->
          {left, right} = Enum.split(seqs, div(length(seqs), 2))
          {[{id, left}, {id, right} | others], Order.grow(order, id)}

        _answered ->
          {others, order |> decide(id, seqs, failures) |> Order.settle(id, 0) |> pass(id, others)}
      end

    {taken, order} = if :rand.uniform(2) == 1, do: take(order, taken), else: {taken, order}
    if order.over?, do: take(order, taken), else: step(batches, order, failures, taken)
  end

  defp decide(order, id, seqs, failures) do
    order =
      case Enum.find(seqs, &(&1 in failures)) do
        nil -> order
        _one -> seqs |> Enum.filter(&(&1 in failures)) |> Enum.reduce(order, &fail(&2, id, &1))
      end

    case seqs -- failures do
      [] -> order
      good -> Order.add(order, id, {:ok, for(seq <- good, do: {seq, :item})})
    end
  end

  defp fail(order, id, seq), do: Order.halt(order, id, seq, :error)

  defp pass(order, id, batches) do
    case Order.passing(order, id) do
      nil ->
        order

      id ->
        open = for {^id, seqs} <- batches, seq <- seqs, do: seq
        Order.pass(order, id, Enum.min(open, fn -> nil end), 0)
    end
  end

  defp take(order, taken) do
    {chunks, _bytes, order} = Order.take(order)

    {taken ++
       Enum.flat_map(chunks, fn
         {:ok, entries} -> for {seq, :item} <- Enum.sort(entries), do: seq
         {:mixed, outcomes} -> for {seq, :ok, :item} <- outcomes, do: seq
         {:halt, seq, :error} -> [{:halt, seq}]
       end), order}
  end
end
