defmodule Slither.Run.Batcher do
  @moduledoc false
  # Feeds a strategy with entries and gives the groups of batches that it makes of them. A value of
  # the process that drives a run.
  #
  # A strategy is a module with the behaviour `Slither.Dispatch.Strategy`.
  # Users may write their own: if one raises, or loses or repeats an item,
  # the entries that it holds become a failed batch.
  #
  # Where the flow looks for the size of a batch, entries of a strategy that is ours wait in
  # `ahead` until a batch of them can go: `cut/3` then makes it, as large as is right by then.

  alias Slither.{Error, Guarded, Item}
  alias Slither.Run.{Ahead, AutoSize}

  @type entry :: {seq :: term, Item.t()}
  @type batch :: [entry, ...] | {:failed, [entry, ...], Error.t()}
  @typedoc "Batches whose items come out together, in the order of the input."
  @type group :: [batch, ...]

  @enforce_keys [:strategy, :kind, :options, :state]
  # `inside` holds the entries that a user's own strategy was given and has not given back.
  # `found` is the search for the batch size with the number of workers, and `held` how many entries
  # a strategy of ours has in a batch that is not complete.
  defstruct [
    :strategy,
    :kind,
    :options,
    :state,
    :found,
    :size,
    inside: [],
    ahead: %Ahead{},
    held: 0
  ]

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
          found: {AutoSize.t(), workers :: pos_integer} | nil,
          size: pos_integer | nil,
          inside: [entry],
          ahead: Ahead.t(),
          held: non_neg_integer
        }
  @typedoc """
  Why a batch is to be made: a worker has room for another, one has nothing to do while more may
  come, or nothing more comes.
  """
  @type why :: :room | :spare | :end

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
  def theirs(strategy, options) do
    auto? = options[:batch_size] == :auto

    options =
      if auto?, do: Keyword.put(options, :batch_size, options[:min_batch_size]), else: options

    start(%__MODULE__{strategy: strategy, options: options, kind: :window, state: nil})
  end

  defp start(%__MODULE__{strategy: strategy, options: options} = batcher) do
    if Code.ensure_loaded?(strategy) and function_exported?(strategy, :add, 2) do
      case guarded(strategy, "init/1", fn -> strategy.init(options) end) do
        {:ok, state} -> %{batcher | kind: :push, state: state}
        {:error, error} -> %{batcher | kind: :broken, state: error}
      end
    else
      windowed(%{batcher | kind: :window})
    end
  end

  @doc "How many entries to feed it next; 0 where it has enough at hand."
  @spec want(t) :: non_neg_integer
  def want(%__MODULE__{kind: :ours, found: {auto, workers}} = batcher),
    do: max(0, AutoSize.reach(auto, workers) - inside(batcher))

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

  @doc "How many entries it holds."
  @spec inside(t) :: non_neg_integer
  def inside(%__MODULE__{kind: :ours} = batcher), do: batcher.ahead.count + batcher.held
  def inside(batcher), do: length(batcher.inside)

  @doc "The batcher with the size that a flow has found so far, if it looks for one."
  @spec sized(t, {AutoSize.t(), workers :: pos_integer} | nil) :: t
  def sized(batcher, nil), do: batcher
  def sized(%__MODULE__{kind: :ours} = batcher, found), do: %{batcher | found: found}

  def sized(%__MODULE__{options: options} = batcher, {auto, _workers} = found) do
    options = Keyword.put(options, :batch_size, auto.size)
    batcher = %{batcher | options: options, found: found}
    if batcher.kind == :window, do: windowed(batcher), else: batcher
  end

  defp windowed(%__MODULE__{options: options} = batcher),
    do: %{batcher | state: options[:batch_size] * options[:max_in_flight]}

  @doc "Feeds entries; gives complete groups of batches."
  @spec add(t, [entry]) :: {[group], t}
  def add(%__MODULE__{kind: :ours, found: {_auto, _workers}} = batcher, entries),
    do: {[], %{batcher | ahead: Ahead.put(batcher.ahead, entries)}}

  def add(%__MODULE__{kind: :ours} = batcher, entries), do: give(batcher, entries)

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
        {groups, state} = strategy.add(entries, resized(batcher, state))
        {groups, left!(strategy, groups, batcher.inside), state}
      end)

    case answer do
      {:ok, {groups, inside, state}} ->
        {groups, %{batcher | inside: inside, state: state, size: batcher.options[:batch_size]}}

      {:error, error} ->
        {failed(batcher.inside, error), start(%{batcher | inside: []})}
    end
  end

  defp give(%__MODULE__{strategy: strategy} = batcher, entries) do
    {groups, state} = strategy.add(entries, batcher.state)
    held = batcher.held + length(entries) - count(groups)
    {groups, %{batcher | state: state, held: held}}
  end

  # A strategy of the user's hears of another size with the entries that come next.
  defp resized(%__MODULE__{found: {auto, _workers}, strategy: strategy, size: size}, state)
       when auto.size != size,
       do: strategy.resize(state, auto.size)

  defp resized(_batcher, state), do: state

  @doc """
  The next groups that are due, none where it is better to wait for more.

  Without a search for the size, what is not complete goes as it is, unless there is only room.
  """
  @spec cut(t, why) :: {[group], t}
  def cut(%__MODULE__{kind: :ours, found: {auto, workers}} = batcher, why) do
    count = inside(batcher)

    cond do
      count == 0 -> {[], batcher}
      count >= AutoSize.enough(auto, workers) -> cut(batcher, auto.size, workers, why)
      why == :room -> {[], batcher}
      true -> cut(batcher, AutoSize.share(auto, count, workers), workers, why)
    end
  end

  def cut(batcher, :room), do: {[], batcher}
  def cut(batcher, _why), do: flush(batcher)

  defp cut(%__MODULE__{strategy: strategy} = batcher, size, workers, why) do
    state = strategy.resize(batcher.state, size, workers)
    {entries, ahead} = Ahead.take(batcher.ahead, strategy.want(state))

    case give(%{batcher | state: state, ahead: ahead}, entries) do
      # One that is given no more entries can't wait for them.
      {[], %{ahead: %{count: 0}} = batcher} ->
        if why == :room and want(batcher) > 0, do: {[], batcher}, else: flush(batcher)

      {[], batcher} ->
        cut(batcher, size, workers, why)

      done ->
        done
    end
  end

  @doc "All that it holds, as it is; and the batcher without it."
  @spec flush(t) :: {[group], t}
  def flush(%__MODULE__{kind: :ours, found: {_, _}, ahead: %{count: count}} = batcher)
      when count > 0 do
    {groups, batcher} = cut(batcher, :end)
    {more, batcher} = flush(batcher)
    {groups ++ more, batcher}
  end

  def flush(%__MODULE__{kind: :ours, strategy: strategy} = batcher),
    do:
      {strategy.flush(batcher.state), %{batcher | state: strategy.init(batcher.options), held: 0}}

  def flush(%__MODULE__{inside: []} = batcher), do: {[], batcher}
  def flush(%__MODULE__{kind: :window} = batcher), do: window(batcher)

  def flush(%__MODULE__{kind: :push, strategy: strategy, state: state, inside: inside} = batcher) do
    answer =
      guarded(strategy, "flush/1", fn ->
        groups = strategy.flush(state)
        all!(strategy, groups, inside)
        groups
      end)

    batcher = start(%{batcher | inside: [], size: nil})

    case answer do
      {:ok, groups} -> {groups, batcher}
      {:error, error} -> {failed(inside, error), batcher}
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
