defmodule Slither.Dispatch.Strategies.KeyPartition do
  @moduledoc """
  One batch for each key: items with the same key stay together and in order.

  `key_fn` takes an item and gives its key. The input is taken in windows of `window` items
  (1,000 unless set), so that it may be infinite; a key that occurs in two windows has a batch
  in each. With `batch_size: :auto` a key has a batch for each so many of its items, and windows are
  smaller where few items are enough for all workers.

      iex> alias Slither.{Dispatch.Strategies.KeyPartition, Item}
      iex> items = Item.wrap_many([1, 2, 3, 4, 5])
      iex> batches = KeyPartition.batch(items, key_fn: &rem(&1.payload, 2))
      iex> Enum.map(batches, fn batch -> Enum.map(batch, & &1.payload) end)
      [[1, 3, 5], [2, 4]]
  """

  @behaviour Slither.Dispatch.Strategy

  alias Slither.Dispatch.Strategy
  alias Slither.Guarded

  @window 1_000

  @impl true
  @spec batch(Enumerable.t(), keyword) :: Enumerable.t()
  def batch(items, options), do: Strategy.stream(__MODULE__, items, options)

  @impl true
  @spec init(keyword) :: map
  def init(options) do
    %{
      key: Keyword.fetch!(options, :key_fn),
      window: options[:window] || @window,
      most: options[:window] || @window,
      size: nil,
      count: 0,
      held: []
    }
  end

  @doc false
  # A key's items are in batches of so many, and a window is no larger than the workers need. So the
  # first windows are small, as long as nobody knows how quick the items are.
  @spec resize(map, pos_integer, pos_integer) :: map
  def resize(state, size, workers) do
    window = max(min(size * workers, state.most), state.count + 1)
    %{state | size: size, window: window}
  end

  @impl true
  @spec want(map) :: pos_integer
  def want(%{window: window, count: count}), do: window - count

  @impl true
  @spec add([Strategy.entry()], map) :: {[Strategy.group()], map}
  def add(entries, state) do
    case Enum.split(entries, state.window - state.count) do
      {taken, []} when length(taken) < state.window - state.count ->
        count = state.count + length(taken)
        {[], %{state | count: count, held: :lists.reverse(taken, state.held)}}

      {taken, rest} ->
        full = flush(%{state | held: :lists.reverse(taken, state.held)})
        {groups, state} = add(rest, %{state | count: 0, held: []})
        {full ++ groups, state}
    end
  end

  @impl true
  @spec flush(map) :: [Strategy.group()]
  def flush(%{held: []}), do: []

  # Batches in the order in which their keys first occur.
  def flush(%{held: held, key: key, size: size}) do
    keyed = for {_seq, item} = entry <- Enum.reverse(held), do: {key(key, item), entry}
    {good, bad} = Enum.split_with(keyed, &match?({{:ok, _key}, _entry}, &1))
    by_key = good |> Enum.group_by(&elem(&1, 0), &elem(&1, 1)) |> Map.values() |> parts(size)
    failed = for {{:error, error}, entry} <- bad, do: {:failed, [entry], error}
    [Enum.sort_by(by_key, fn [{seq, _item} | _] -> seq end) ++ failed]
  end

  defp parts(batches, nil), do: batches
  defp parts(batches, size), do: Enum.flat_map(batches, &Enum.chunk_every(&1, size))

  defp key(key, item), do: Guarded.call("key_fn", fn -> key.(item) end, reason: :invalid_strategy)
end
