defmodule Slither.Run.Parts do
  @moduledoc false
  # Results and the items they are of: whole batches, and what comes before its batch is done, of
  # which it says which items it decides and how far they may go on before the rest. Pure.

  alias Slither.Item

  @type entry :: {seq :: term, Item.t()}
  @type chunk :: {:ok, [entry]} | {:mixed, [{seq :: term, term, Item.t()}]}
  @typedoc "A whole batch that went well, whose values are not in its items yet."
  @type full :: {:full, [entry], values :: [term], attempt :: pos_integer}

  @doc "Puts values in the items of entries."
  @spec fill([entry], [term], pos_integer) :: [entry]
  def fill([{seq, item} | entries], [value | values], 1),
    do: [{seq, %{item | payload: value}} | fill(entries, values, 1)]

  def fill([], [], _attempt), do: []

  def fill([{seq, item} | entries], [value | values], attempt),
    do: [{seq, tried(%{item | payload: value}, attempt)} | fill(entries, values, attempt)]

  @doc "A chunk whose values are in its items."
  @spec filled(chunk | full) :: chunk
  def filled({:full, entries, values, attempt}), do: {:ok, fill(entries, values, attempt)}
  def filled(chunk), do: chunk

  @doc "Puts values in the items of entries, each onto a list, the last one first."
  @spec fill_onto([Item.t()], [entry], [term], pos_integer) :: [Item.t()]
  def fill_onto(acc, [{_seq, item} | entries], [value | values], 1),
    do: fill_onto([%{item | payload: value} | acc], entries, values, 1)

  def fill_onto(acc, [], [], _attempt), do: acc

  def fill_onto(acc, [{_seq, item} | entries], [value | values], attempt) do
    item = tried(%{item | payload: value}, attempt)
    fill_onto([item | acc], entries, values, attempt)
  end

  @doc "The items of entries, with values."
  @spec items([entry], [term], pos_integer) :: [Item.t()]
  def items([{_seq, item} | entries], [value | values], attempt),
    do: [tried(%{item | payload: value}, attempt) | items(entries, values, attempt)]

  def items([], [], _attempt), do: []

  @doc "The item, with how often it was tried where that was more than once."
  @spec tried(Item.t(), pos_integer) :: Item.t()
  def tried(item, 1), do: item
  def tried(item, attempts), do: Item.put_meta(item, attempts: attempts)

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
  @spec outcomes([chunk]) :: [{seq :: term, term, Item.t()}]
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
