defmodule Slither.Test.DurableModel do
  @moduledoc false
  # What a writer's n-th write does to a store, and what its rows are after n of them. Each
  # write is one operation, and every kind comes in turn.

  alias Slither.Store.Server

  @kinds [:put, :put_new, :bulk_insert, :update, :update_counter, :delete, :take, :add, :drop]

  def write(store, writer, n) do
    key = &{writer, &1}

    case kind(n) do
      :put -> :ok = Server.put(store, :items, key.(:put), n)
      :put_new -> true = Server.put_new(store, :items, key.({:new, n}), n)
      :bulk_insert -> :ok = Server.bulk_insert(store, :items, for(k <- 1..3, do: {key.(k), n}))
      :update -> {:ok, _} = Server.update(store, :items, key.(:updates), 1, &(&1 + 1))
      :update_counter -> Server.update_counter(store, :items, key.(:count), 1, 0)
      :delete -> :ok = Server.delete(store, :items, key.(rem(n, 3) + 1))
      :take -> Server.take(store, :items, key.({:new, n - 5}))
      :add -> :ok = Server.put(store, :bag, writer, n)
      :drop -> if rem(n, 2) == 0, do: Server.delete(store, :bag, writer)
    end
  end

  @doc "The rows of a writer after `n` writes."
  def rows(writer, n) do
    1..n//1
    |> Enum.reduce({%{}, []}, &step(&1, kind(&1), &2))
    |> then(fn {items, bag} ->
      {Map.new(items, fn {key, value} -> {{writer, key}, value} end), Enum.sort(bag)}
    end)
  end

  defp step(n, :put, {items, bag}), do: {Map.put(items, :put, n), bag}
  defp step(n, :put_new, {items, bag}), do: {Map.put(items, {:new, n}, n), bag}

  defp step(n, :bulk_insert, {items, bag}),
    do: {Enum.reduce(1..3, items, &Map.put(&2, &1, n)), bag}

  defp step(_n, :update, {items, bag}), do: {Map.update(items, :updates, 1, &(&1 + 1)), bag}

  defp step(_n, :update_counter, {items, bag}),
    do: {Map.update(items, :count, 1, &(&1 + 1)), bag}

  defp step(n, :delete, {items, bag}), do: {Map.delete(items, rem(n, 3) + 1), bag}
  defp step(n, :take, {items, bag}), do: {Map.delete(items, {:new, n - 5}), bag}
  defp step(n, :add, {items, bag}), do: {items, [n | bag]}
  defp step(n, :drop, {items, bag}), do: {items, if(rem(n, 2) == 0, do: [], else: bag)}

  @doc "Every writer's rows, as a store has them."
  def found(store) do
    items = store |> Server.stream(:items) |> Enum.group_by(fn {{writer, _}, _} -> writer end)

    for writer <- 1..4, into: %{} do
      {writer, {Map.new(items[writer] || []), Enum.sort(Server.get(store, :bag, writer))}}
    end
  end

  @doc "After how many writes a writer's rows are as they were found; of several, the last."
  def reached(found, writer, from \\ 0) do
    {items, _bag} = found[writer]
    # Every ninth write counts up, so that there are not many to try.
    rounds = Map.get(items, {writer, :count}, 0)
    at_least = max(from, (rounds - 1) * length(@kinds))

    Enum.find(((rounds + 1) * length(@kinds))..at_least//-1, fn n ->
      rows(writer, n) == found[writer]
    end)
  end

  defp kind(n), do: Enum.at(@kinds, rem(n - 1, length(@kinds)))
end
