defmodule Slither.Dispatch.Batcher do
  @moduledoc false
  # A strategy being fed. Strategies with only `batch/2` are given whole windows.

  alias Slither.{Error, Item}

  @enforce_keys [:strategy, :state]
  defstruct [:strategy, :state]

  @type t :: %__MODULE__{}

  @doc "A batcher of checked dispatch options."
  @spec new(keyword) :: t
  def new(options) do
    strategy = options[:strategy]

    state =
      if push?(strategy),
        do: strategy.init(options),
        else: %{
          window: options[:batch_size] * options[:max_in_flight],
          count: 0,
          held: [],
          options: options
        }

    %__MODULE__{strategy: strategy, state: state}
  end

  @doc "How many entries to feed it next."
  @spec want(t) :: pos_integer
  def want(%__MODULE__{strategy: strategy, state: state}) do
    if push?(strategy), do: strategy.want(state), else: state.window - state.count
  end

  @doc "The batcher with the batch size that a flow has found, if it looks for one."
  @spec resize(t, pos_integer | nil) :: t
  def resize(batcher, nil), do: batcher
  def resize(batcher, size), do: %{batcher | state: batcher.strategy.resize(batcher.state, size)}

  @doc "Feeds entries; gives complete groups of batches."
  @spec add(t, list) :: {list, t}
  def add(%__MODULE__{strategy: strategy, state: state} = batcher, entries) do
    cond do
      push?(strategy) ->
        {groups, state} = strategy.add(entries, state)
        {groups, %{batcher | state: state}}

      state.count + length(entries) >= state.window ->
        state = %{state | held: state.held ++ entries}
        {window(strategy, state), %{batcher | state: %{state | count: 0, held: []}}}

      true ->
        held = state.held ++ entries
        {[], %{batcher | state: %{state | held: held, count: length(held)}}}
    end
  end

  @doc "The rest, at the end of the input."
  @spec flush(t) :: list
  def flush(%__MODULE__{strategy: strategy, state: state}) do
    if push?(strategy), do: strategy.flush(state), else: window(strategy, state)
  end

  defp push?(strategy),
    do: Code.ensure_loaded?(strategy) and function_exported?(strategy, :add, 2)

  defp window(_strategy, %{held: []}), do: []

  # Items carry their place in meta through the strategy, which may move them.
  defp window(strategy, %{held: held, options: options}) do
    marked = for {seq, item} <- held, do: Item.put_meta(item, slither_seq: seq)
    batches = for batch <- strategy.batch(marked, options), do: Enum.map(batch, &unmark/1)
    seqs = batches |> Enum.concat() |> Enum.map(&elem(&1, 0)) |> Enum.sort()

    if seqs == Enum.sort(Enum.map(held, &elem(&1, 0))) do
      [batches]
    else
      raise Error,
        reason: :invalid_strategy,
        message:
          "#{inspect(strategy)} was given #{length(held)} items and gave #{length(seqs)} back; " <>
            "each must come out once",
        where: "strategy"
    end
  end

  defp unmark(%Item{meta: meta} = item) do
    {seq, meta} = Map.pop!(meta, :slither_seq)
    {seq, %{item | meta: meta}}
  end
end
