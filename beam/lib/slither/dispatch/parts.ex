defmodule Slither.Dispatch.Parts do
  @moduledoc false
  # Results that come before their batch is done: which items they decide, how far they may go
  # on before the rest, and whose workers get credit when they are taken. Pure.

  @type entry :: {seq :: term, Slither.Item.t()}
  @type chunk :: {:ok, [entry]} | {:mixed, [{seq :: term, term, Slither.Item.t()}]}
  @type owed :: %{optional(reference) => pos_integer}

  @doc "Pairs entries with what became of them: values, and errors by index."
  @spec sort([entry], [term], map) :: {[{entry, term}], [{entry, Exception.t()}]}
  def sort(entries, values, errors) do
    {good, bad} =
      entries
      |> Enum.zip(values)
      |> Enum.with_index()
      |> Enum.split_with(fn {_pair, index} -> not is_map_key(errors, index) end)

    {Enum.map(good, &elem(&1, 0)), for({{entry, _value}, at} <- bad, do: {entry, errors[at]})}
  end

  @doc "The lowest seq among batches, which may be in any order; `nil` for none."
  @spec first([%{entries: [entry]}]) :: term
  def first(batches) do
    batches
    |> Enum.flat_map(fn batch -> for {seq, _item} <- batch.entries, do: seq end)
    |> Enum.min(fn -> nil end)
  end

  @doc """
  What of a group's chunks may go on while batches of it are out, and what stays: an outcome may
  once none ahead of it can come any more. `open` is the lowest seq that is not decided, `halt`
  the failure that ends the run.

  `:over` says that all that counts is there: what is open comes after the failure.
  """
  @spec ready([chunk], {seq :: term, Exception.t()} | nil, open :: term) ::
          {[chunk], [chunk]} | :over
  def ready(_chunks, {halt, _error}, open) when open == nil or open > halt, do: :over
  def ready([], _halt, _open), do: {[], []}
  def ready(chunks, nil, nil), do: {mixed(outcomes(chunks)), []}

  def ready([{:ok, entries}] = chunks, _halt, open) do
    if Enum.all?(entries, fn {seq, _item} -> seq < open end), do: {chunks, []}, else: {[], chunks}
  end

  def ready(chunks, _halt, open) do
    {go, stay} = chunks |> outcomes() |> Enum.split_while(fn {seq, _, _} -> seq < open end)
    {mixed(go), mixed(stay)}
  end

  @doc "The outcomes of chunks, in order."
  @spec outcomes([chunk]) :: [{seq :: term, term, Slither.Item.t()}]
  def outcomes(chunks) do
    chunks
    |> Enum.flat_map(fn
      {:ok, entries} -> for {seq, item} <- entries, do: {seq, :ok, item}
      {:mixed, outcomes} -> outcomes
    end)
    |> Enum.sort_by(&elem(&1, 0))
  end

  defp mixed([]), do: []
  defp mixed(outcomes), do: [{:mixed, outcomes}]
end
