defmodule Slither.Run.Batch do
  @moduledoc false
  # One batch of a flow, from when it is taken in until all its items are decided. Plain data in
  # the process that drives the run; `Slither.Run.Flow` makes batches, and `InFlight` and the
  # carriers pass them on.

  alias Slither.Item
  alias Slither.Protocol.Block
  alias Slither.Python.Outcome

  @enforce_keys [:group, :number, :entries]
  defstruct [:group, :number, :entries, :queued, :sent, bytes: 0, attempt: 1, given_back: 0] ++
              [early: 0, early_failed: 0, at: 0, drawn: 0, cursor: nil, killed?: false] ++
              [mark: 0, rated: 0, refused: 0]

  @type entry :: {seq :: term, Item.t()}

  @typedoc """
  `entries` are those that are not decided yet; of a handler that yields, `early` others were decided
  already, `early_failed` of which failed. `group` is its place in the flow's order, `bytes` what it
  counts for in the flow's limit, and `given_back` how often workers ended before they began it. One
  that is out and was `killed?` is not begun by another.

  Where items have many values, the first entry is number `at` of those that were sent. Once it has
  `drawn` values, its seq is that of the value to come next. The `cursor` is where the rest is: in
  a worker, under the number of the batch's first call.

  Of the time from when it was `queued` until it was `sent` it has waited for tokens for `rated`; `mark`
  is what its flow had waited for them before. It was `refused` so often with a time to come again.
  """
  @type t :: %__MODULE__{
          group: non_neg_integer,
          number: non_neg_integer,
          entries: [entry],
          queued: integer | nil,
          sent: integer | nil,
          bytes: non_neg_integer,
          attempt: pos_integer,
          given_back: non_neg_integer,
          early: non_neg_integer,
          early_failed: non_neg_integer,
          at: non_neg_integer,
          drawn: non_neg_integer,
          cursor: {worker :: pid, call :: pos_integer} | nil,
          killed?: boolean,
          mark: integer,
          rated: integer,
          refused: non_neg_integer
        }

  @doc """
  The bytes of entries, for a limit of bytes; 0 where there is none, so that nobody else pays for the
  measuring.

  They are measured by one call for all payloads, of the size that the external term format would
  take: it walks terms in C, and is at least what msgpack takes for all but tuples and keys that are
  atoms of one letter.
  """
  @spec bytes([entry], pos_integer | nil) :: non_neg_integer
  def bytes(_entries, nil), do: 0
  def bytes(entries, _limit), do: :erlang.external_size(for {_seq, i} <- entries, do: i.payload)

  @doc "How long it waited for a worker, in native time; waits for tokens are none."
  @spec waited(t) :: integer
  def waited(batch), do: max(0, batch.sent - batch.queued - batch.rated)

  @doc "The items it was sent with."
  @spec size(t) :: non_neg_integer
  def size(batch), do: batch.early + length(batch.entries)

  @doc "How many items are not decided yet; a block of a driver's is one entry and has many."
  @spec items(t) :: non_neg_integer
  def items(%__MODULE__{entries: [{_seq, %Item{payload: %Block{count: count}}}]}), do: count
  def items(%__MODULE__{entries: entries}), do: length(entries)

  @doc "A batch of some of its entries, which goes out as if it never had."
  @spec anew(t, [entry]) :: t
  def anew(batch, entries) do
    batch = %{batch | entries: entries, given_back: 0, early: 0, early_failed: 0}
    %{batch | at: 0, drawn: 0, cursor: nil}
  end

  @doc "The batch with its first `count` entries decided, `failed` of which failed; and those."
  @spec decided(t, non_neg_integer, non_neg_integer) :: {t, [entry]}
  def decided(batch, count, failed) do
    {now, left} = Enum.split(batch.entries, count)
    early = batch.early + count
    {%{batch | entries: left, early: early, early_failed: batch.early_failed + failed}, now}
  end

  @doc "The batch and its values where values may be items: each such is the item of its entry."
  @spec returned(t, [term]) :: {t, [term]}
  def returned(batch, values) do
    if Enum.any?(values, &is_struct(&1, Item)) and length(values) == length(batch.entries) do
      {entries, values} = batch.entries |> Enum.zip(values) |> Enum.map(&one/1) |> Enum.unzip()
      {%{batch | entries: entries}, values}
    else
      {batch, values}
    end
  end

  defp one({{seq, _sent}, %Item{} = item}), do: {{seq, item}, item.payload}
  defp one({entry, value}), do: {entry, value}

  @doc "How many items of batches are not decided yet."
  @spec count([t]) :: non_neg_integer
  def count(batches), do: batches |> Enum.map(&items/1) |> Enum.sum()

  @doc "Whether a worker keeps the rest of its items' values, after an answer."
  @spec open?(t, Outcome.t()) :: boolean
  def open?(batch, %Outcome{kind: :ok, call: {_worker, _id}, values: values, errors: unsent}) do
    ended = Enum.count(values, fn {_index, ended?, _values, _error} -> ended? end)
    ended + map_size(unsent) < length(batch.entries)
  end

  def open?(_batch, _outcome), do: false

  @doc "Whether one of its entries has the seq."
  @spec has?(t, seq :: term) :: boolean
  def has?(batch, seq), do: List.keymember?(batch.entries, seq, 0)

  @doc "Whether its first entry has the seq."
  @spec begins?(t, seq :: term) :: boolean
  def begins?(%__MODULE__{entries: [{seq, _item} | _]}, seq), do: true
  def begins?(_batch, _seq), do: false

  @doc "The lowest seq among batches, which may be in any order; `nil` for none."
  @spec first([t]) :: term
  def first(batches) do
    batches
    |> Enum.flat_map(fn batch -> for {seq, _item} <- batch.entries, do: seq end)
    |> Enum.min(fn -> nil end)
  end
end
