defmodule Slither.Dispatch.Strategies.FixedBatch do
  @moduledoc """
  Batches of `batch_size` items; the last may be smaller. The default.

      iex> alias Slither.{Dispatch.Strategies.FixedBatch, Item}
      iex> batches = FixedBatch.batch(Item.wrap_many(1..5), batch_size: 2)
      iex> Enum.map(batches, fn batch -> Enum.map(batch, & &1.payload) end)
      [[1, 2], [3, 4], [5]]
  """

  @behaviour Slither.Dispatch.Strategy

  alias Slither.Dispatch.Strategy

  @impl true
  @spec batch(Enumerable.t(), keyword) :: Enumerable.t()
  def batch(items, options), do: Strategy.stream(__MODULE__, items, options)

  @impl true
  @spec init(keyword) :: map
  def init(options), do: %{size: size(options[:batch_size], options), count: 0, held: []}

  @doc false
  # The batch that is next is to have so many.
  @spec resize(map, pos_integer, pos_integer) :: map
  def resize(state, size, _workers), do: %{state | size: max(size, state.count + 1)}

  defp size(nil, _options), do: 64
  defp size(:auto, options), do: options[:min_batch_size] || 1
  defp size(size, _options), do: size

  @impl true
  @spec want(map) :: pos_integer
  def want(%{size: size, count: count}), do: size - count

  @impl true
  @spec add([Strategy.entry()], map) :: {[Strategy.group()], map}
  def add(entries, %{size: size, count: 0} = state) when length(entries) == size,
    do: {[[entries]], state}

  def add(entries, %{size: size, count: count, held: held} = state) do
    case Enum.split(entries, size - count) do
      {taken, []} when length(taken) < size - count ->
        {[], %{state | count: count + length(taken), held: :lists.reverse(taken, held)}}

      {taken, rest} ->
        {groups, state} = add(rest, %{state | count: 0, held: []})
        {[[:lists.reverse(held, taken)] | groups], state}
    end
  end

  @impl true
  @spec flush(map) :: [Strategy.group()]
  def flush(%{held: []}), do: []
  def flush(%{held: held}), do: [[Enum.reverse(held)]]
end
