defmodule Slither.Dispatch.Strategies.WeightedBatch do
  @moduledoc """
  Batches whose weights add up to at most `max_weight`; an item heavier than that goes alone.
  With `batch_size: :auto` they have no more items than that finds, either.

  `weight_fn` takes an item and gives a number of 0 or more: bytes, pixels, tokens.

      iex> alias Slither.{Dispatch.Strategies.WeightedBatch, Item}
      iex> items = Item.wrap_many([3, 3, 9, 1])
      iex> batches = WeightedBatch.batch(items, max_weight: 6, weight_fn: & &1.payload)
      iex> Enum.map(batches, fn batch -> Enum.map(batch, & &1.payload) end)
      [[3, 3], [9], [1]]
  """

  @behaviour Slither.Dispatch.Strategy

  alias Slither.Dispatch.Strategy
  alias Slither.Guarded

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
      size: nil,
      count: 0,
      held: []
    }
  end

  @doc false
  # A batch is complete with so many items, too.
  @spec resize(map, pos_integer, pos_integer) :: map
  def resize(state, size, _workers), do: %{state | size: max(size, state.count + 1)}

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
    case weight(state.weigh, item) do
      {:ok, weight} when state.held == [] or state.weight + weight <= state.max ->
        {state, groups} = state |> hold(entry, state.weight + weight) |> full(groups)
        add(rest, state, groups)

      {:ok, weight} ->
        {state, groups} = state |> empty() |> hold(entry, weight) |> full(flush(state) ++ groups)
        add(rest, state, groups)

      # It fails in its place: what is held goes ahead of it.
      {:error, error} ->
        groups = [[{:failed, [entry], error}] | flush(state) ++ groups]
        add(rest, empty(state), groups)
    end
  end

  defp empty(state), do: %{state | weight: 0, count: 0, held: []}

  defp hold(state, entry, weight),
    do: %{state | weight: weight, count: state.count + 1, held: [entry | state.held]}

  defp full(%{count: size, size: size} = state, groups),
    do: {empty(state), flush(state) ++ groups}

  defp full(state, groups), do: {state, groups}

  defp weight(weigh, item),
    do:
      Guarded.call("weight_fn", fn -> weigh.(item) end, reason: :invalid_strategy, check: &check/1)

  defp check(weight) when is_number(weight) and weight >= 0, do: :ok
  defp check(other), do: {:error, "must give a number of 0 or more, got #{inspect(other)}"}
end
