defmodule Slither.Run.Fill do
  @moduledoc false
  # Puts the values that batches gave into their items. Pure; called for every item of every run,
  # by the flow, the chain or the dispatch that drives it, in the driver's process.

  alias Slither.Item
  alias Slither.Run.Batch

  @doc "Entries with values in their items."
  @spec entries([Batch.entry()], [term], pos_integer) :: [Batch.entry()]
  def entries([{seq, item} | entries], [value | values], 1),
    do: [{seq, %{item | payload: value}} | entries(entries, values, 1)]

  def entries([], [], _attempt), do: []

  def entries([{seq, item} | entries], [value | values], attempt),
    do: [{seq, tried(%{item | payload: value}, attempt)} | entries(entries, values, attempt)]

  @doc "The items of entries, with values."
  @spec items([Batch.entry()], [term], pos_integer) :: [Item.t()]
  def items([{_seq, item} | entries], [value | values], attempt),
    do: [tried(%{item | payload: value}, attempt) | items(entries, values, attempt)]

  def items([], [], _attempt), do: []

  @doc "As `items/3`, each item put onto a list, so that the last one is the first there."
  @spec onto([Item.t()], [Batch.entry()], [term], pos_integer) :: [Item.t()]
  def onto(acc, [{_seq, item} | entries], [value | values], 1),
    do: onto([%{item | payload: value} | acc], entries, values, 1)

  def onto(acc, [], [], _attempt), do: acc

  def onto(acc, [{_seq, item} | entries], [value | values], attempt),
    do: onto([tried(%{item | payload: value}, attempt) | acc], entries, values, attempt)

  @doc "The item, with how often it was tried where that was more than once."
  @spec tried(Item.t(), pos_integer) :: Item.t()
  def tried(item, 1), do: item
  def tried(item, attempts), do: Item.put_meta(item, attempts: attempts)
end
