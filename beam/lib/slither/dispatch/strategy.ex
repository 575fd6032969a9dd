defmodule Slither.Dispatch.Strategy do
  @moduledoc """
  How items become batches.

  A strategy is a module with `c:batch/2`: it takes any enumerable of items and its options,
  and yields lists of items, lazily but for a list of items. The built-in ones are
  `Slither.Dispatch.Strategies.FixedBatch`, `WeightedBatch` and `KeyPartition`.

      defmodule Pairs do
        @behaviour Slither.Dispatch.Strategy
        @impl true
        def batch(items, _options), do: Stream.chunk_every(items, 2)
      end

  A dispatch feeds a strategy of yours one window of `batch_size * max_in_flight` items at a
  time, and puts results back into the order of the input. The items of a window must all
  come out again, each once. With `batch_size: :auto` its options have the size found so far as
  `batch_size`; one that takes entries as they come (`c:add/2`) is told of it by `c:resize/2`.
  """

  alias Slither.Item

  @doc "Yields lists of items."
  @callback batch(items :: Enumerable.t(), options :: keyword) :: Enumerable.t()

  @typedoc "An item with its place in the order of the input."
  @type entry :: {term, Item.t()}
  @typedoc "Batches whose items come out together, in the order of the input."
  @type group :: [[entry], ...]

  @doc "The empty state of a batcher (the built-in strategies' push form)."
  @callback init(options :: keyword) :: term
  @doc "Takes entries in, gives the groups that are complete."
  @callback add(entries :: [entry], state :: term) :: {[group], term}
  @doc "The rest, at the end of the input."
  @callback flush(state :: term) :: [group]
  @doc "How many entries to pull before `add` is next called."
  @callback want(state :: term) :: pos_integer

  @doc "Another number of items for a batch from now on, which `batch_size: :auto` has found."
  @callback resize(state :: term, size :: pos_integer) :: term

  @optional_callbacks init: 1, add: 2, flush: 1, want: 1, resize: 2

  @doc false
  # `batch/2` of a strategy that has the push form.
  @spec stream(module, Enumerable.t(), keyword) :: Enumerable.t()
  def stream(strategy, items, options) when is_list(items),
    do: strategy |> lazy(items, options) |> Enum.to_list()

  def stream(strategy, items, options), do: lazy(strategy, items, options)

  defp lazy(strategy, items, options) do
    Stream.transform(
      items,
      fn -> {0, strategy.init(options)} end,
      fn item, {next, state} ->
        {groups, state} = strategy.add([{next, Item.wrap(item)}], state)
        {batches(groups), {next + 1, state}}
      end,
      fn {_next, state} = acc -> {batches(strategy.flush(state)), acc} end,
      fn _acc -> :ok end
    )
  end

  # There is no error policy here: a function of the user's that fails raises.
  defp batches(groups), do: for(group <- groups, batch <- group, do: items(batch))

  defp items({:failed, _entries, error}), do: raise(error)
  defp items(batch), do: Enum.map(batch, &elem(&1, 1))
end
