defmodule Slither.Dispatch.Strategies.WeightedBatch do
  @moduledoc """
  Batches whose weights add up to at most `max_weight`; an item heavier than that goes alone.

  `weight_fn` takes an item and gives a number of 0 or more: bytes, pixels, tokens.

      iex> alias Slither.{Dispatch.Strategies.WeightedBatch, Item}
      iex> items = Item.wrap_many([3, 3, 9, 1])
      iex> batches = WeightedBatch.batch(items, max_weight: 6, weight_fn: & &1.payload)
      iex> Enum.map(batches, fn batch -> Enum.map(batch, & &1.payload) end)
      [[3, 3], [9], [1]]
  """

  @behaviour Slither.Dispatch.Strategy

  alias Slither.Dispatch.Strategy

  @impl true
  @spec batch(Enumerable.t(), keyword) :: Enumerable.t()
  def batch(items, options), do: Strategy.stream(__MODULE__, items, options)

  @impl true
  @spec init(keyword) :: map
  def init(options) do
    %{
      max: Keyword.fetch!(options, :max_weight),
      weigh: Keyword.fetch!(options, :weight_fn),
      weight: 0,
      held: []
    }
  end

  @impl true
  @spec want(map) :: pos_integer
  def want(_state), do: 1

  @impl true
  @spec add([Strategy.entry()], map) :: {[Strategy.group()], map}
  def add(entries, state), do: add(entries, state, [])

  @impl true
  @spec flush(map) :: [Strategy.group()]
  def flush(%{held: []}), do: []
  def flush(%{held: held}), do: [[Enum.reverse(held)]]

  defp add([], state, groups), do: {Enum.reverse(groups), state}

  defp add([{_seq, item} = entry | rest], state, groups) do
    weight = weight!(state.weigh.(item), item)

    if state.held == [] or state.weight + weight <= state.max do
      add(rest, %{state | weight: state.weight + weight, held: [entry | state.held]}, groups)
    else
      add(rest, %{state | weight: weight, held: [entry]}, flush(state) ++ groups)
    end
  end

  defp weight!(weight, _item) when is_number(weight) and weight >= 0, do: weight

  defp weight!(other, item) do
    raise Slither.Error,
      reason: :invalid_option,
      message:
        "weight_fn must give a number of 0 or more, got #{inspect(other)} for item " <>
          inspect(item.id)
  end
end
