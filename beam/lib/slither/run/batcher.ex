defmodule Slither.Run.Batcher do
  @moduledoc false
  # Feeds a strategy with entries and gives the groups of batches that it makes of them. A value of
  # the process that drives a run.
  #
  # A strategy is a module with the behaviour `Slither.Dispatch.Strategy`.
  # Users may write their own: if one raises, or loses or repeats an item,
  # the entries that it holds become a failed batch.

  alias Slither.{Error, Guarded, Item}

  @type entry :: {seq :: term, Item.t()}
  @type batch :: [entry, ...] | {:failed, [entry, ...], Error.t()}
  @typedoc "Batches whose items come out together, in the order of the input."
  @type group :: [batch, ...]

  @enforce_keys [:strategy, :kind, :options, :state]
  # `inside` holds the entries that a user's own strategy was given and has not given back.
  defstruct [:strategy, :kind, :options, :state, inside: []]

  @typedoc """
  A strategy of ours; one of the user's that takes entries as they come; one with `batch/2` alone,
  which is given whole windows; or one that could not begin, with the error as its state.
  """
  @type kind :: :ours | :push | :window | :broken
  @type t :: %__MODULE__{
          strategy: module,
          kind: kind,
          options: keyword,
          state: term,
          inside: [entry]
        }

  @doc "A batcher of a strategy that is ours, with its options."
  @spec ours(module, keyword) :: t
  def ours(strategy, options),
    do: %__MODULE__{
      strategy: strategy,
      options: options,
      kind: :ours,
      state: strategy.init(options)
    }

  @doc "A batcher of a strategy of the user's, with the checked options of a dispatch."
  @spec theirs(module, keyword) :: t
  def theirs(strategy, options),
    do: start(%__MODULE__{strategy: strategy, options: options, kind: :window, state: nil})

  defp start(%__MODULE__{strategy: strategy, options: options} = batcher) do
    if Code.ensure_loaded?(strategy) and function_exported?(strategy, :add, 2) do
      case guarded(strategy, "init/1", fn -> strategy.init(options) end) do
        {:ok, state} -> %{batcher | kind: :push, state: state}
        {:error, error} -> %{batcher | kind: :broken, state: error}
      end
    else
      %{batcher | kind: :window, state: options[:batch_size] * options[:max_in_flight]}
    end
  end

  @doc "How many entries to feed it next."
  @spec want(t) :: pos_integer
  def want(%__MODULE__{kind: :ours, strategy: strategy, state: state}), do: strategy.want(state)

  def want(%__MODULE__{kind: :window} = batcher),
    do: max(1, batcher.state - length(batcher.inside))

  def want(%__MODULE__{kind: :broken}), do: 1

  def want(%__MODULE__{kind: :push, strategy: strategy, state: state}) do
    case guarded(strategy, "want/1", fn -> strategy.want(state) end) do
      {:ok, count} when is_integer(count) and count > 0 -> count
      _failed_or_none -> 1
    end
  end

  @doc "The batcher with the batch size that a flow has found, if it looks for one."
  @spec resize(t, pos_integer | nil) :: t
  def resize(batcher, nil), do: batcher
  def resize(batcher, size), do: %{batcher | state: batcher.strategy.resize(batcher.state, size)}

  @doc "Feeds entries; gives complete groups of batches."
  @spec add(t, [entry]) :: {[group], t}
  def add(%__MODULE__{kind: :ours, strategy: strategy, state: state} = batcher, entries) do
    {groups, state} = strategy.add(entries, state)
    {groups, %{batcher | state: state}}
  end

  def add(%__MODULE__{kind: :broken, state: error} = batcher, entries),
    do: {failed(entries, error), batcher}

  def add(%__MODULE__{kind: :window, inside: inside, state: size} = batcher, entries) do
    batcher = %{batcher | inside: inside ++ entries}
    if length(batcher.inside) >= size, do: window(batcher), else: {[], batcher}
  end

  def add(%__MODULE__{kind: :push, strategy: strategy, state: state} = batcher, entries) do
    batcher = %{batcher | inside: batcher.inside ++ entries}

    answer =
      guarded(strategy, "add/2", fn ->
        {groups, state} = strategy.add(entries, state)
        {groups, left!(strategy, groups, batcher.inside), state}
      end)

    case answer do
      {:ok, {groups, inside, state}} -> {groups, %{batcher | inside: inside, state: state}}
      {:error, error} -> {failed(batcher.inside, error), start(%{batcher | inside: []})}
    end
  end

  @doc "The rest, at the end of the input."
  @spec flush(t) :: [group]
  def flush(%__MODULE__{kind: :ours, strategy: strategy, state: state}), do: strategy.flush(state)
  def flush(%__MODULE__{inside: []}), do: []
  def flush(%__MODULE__{kind: :window} = batcher), do: batcher |> window() |> elem(0)

  def flush(%__MODULE__{kind: :push, strategy: strategy, state: state, inside: inside}) do
    answer =
      guarded(strategy, "flush/1", fn ->
        groups = strategy.flush(state)
        all!(strategy, groups, inside)
        groups
      end)

    case answer do
      {:ok, groups} -> groups
      {:error, error} -> failed(inside, error)
    end
  end

  @doc "How many items are in groups."
  @spec count([group]) :: non_neg_integer
  def count(groups),
    do: for(group <- groups, batch <- group, reduce: 0, do: (n -> n + size(batch)))

  defp size({:failed, entries, _error}), do: length(entries)
  defp size(entries), do: length(entries)

  defp failed([], _error), do: []
  defp failed(entries, error), do: [[{:failed, entries, error}]]

  defp guarded(strategy, function, fun),
    do: Guarded.call("#{inspect(strategy)}.#{function}", fun, reason: :invalid_strategy)

  # The strategy may reorder items, so each carries its seq in its meta.
  defp window(%__MODULE__{strategy: strategy, inside: inside} = batcher) do
    marked = for {seq, item} <- inside, do: Item.put_meta(item, slither_seq: seq)

    answer =
      guarded(strategy, "batch/2", fn ->
        batches = Enum.map(strategy.batch(marked, batcher.options), &unmarked/1)
        batches = Enum.reject(batches, &(&1 == []))
        all!(strategy, [batches], inside)
        batches
      end)

    batcher = %{batcher | inside: []}

    case answer do
      {:ok, batches} -> {[batches], batcher}
      {:error, error} -> {failed(inside, error), batcher}
    end
  end

  defp unmarked(batch), do: Enum.map(batch, &unmark/1)

  defp unmark(%Item{meta: meta} = item) do
    {seq, meta} = Map.pop!(meta, :slither_seq)
    {seq, %{item | meta: meta}}
  end

  defp all!(strategy, groups, inside) do
    case left!(strategy, groups, inside) do
      [] -> :ok
      left -> raise(Error, lost(strategy, inside, left))
    end
  end

  # The entries that the strategy has not given back yet; raises if it gave one twice, or another.
  defp left!(strategy, groups, inside) do
    given = for group <- groups, [_ | _] = batch <- group, {seq, %Item{}} <- batch, do: seq
    left = Enum.reject(inside, fn {seq, _item} -> seq in given end)

    if length(given) == count(groups) and length(inside) - length(left) == length(given) and
         Enum.all?(groups, &(&1 != [])),
       do: left,
       else: raise(Error, lost(strategy, inside, left))
  end

  defp lost(strategy, inside, left) do
    given = length(inside) - length(left)

    [
      reason: :invalid_strategy,
      message:
        "#{inspect(strategy)} was given #{length(inside)} items and gave #{given} back; " <>
          "each must come out once",
      where: "strategy"
    ]
  end
end
