defmodule Slither.Run.BytesHeld do
  @moduledoc false
  # The bytes that a flow holds: batches from when they are taken in until they are settled, and
  # results until they are taken out. There is one only where `max_in_flight_bytes` is set, so
  # that nobody else pays for the measuring; elsewhere it is nil. Pure.
  #
  # A batch is measured by one call for all its payloads, of the size that the external term
  # format would take: it walks terms in C, and is at least what msgpack takes for all but
  # tuples and keys that are atoms of one letter. Results count as they came over the wire.

  @enforce_keys [:limit]
  defstruct [:limit, inside: 0]

  @type t :: %__MODULE__{limit: pos_integer, inside: non_neg_integer} | nil

  @doc "Nothing held, under the limit of a plan."
  @spec new(Slither.Run.Plan.t()) :: t
  def new(%{max_bytes: nil}), do: nil
  def new(%{max_bytes: limit}), do: %__MODULE__{limit: limit}

  @doc "Takes entries in; gives their bytes."
  @spec admit(t, list) :: {non_neg_integer, t}
  def admit(nil, _entries), do: {0, nil}

  def admit(load, entries) do
    bytes = :erlang.external_size(for {_seq, item} <- entries, do: item.payload)
    {bytes, %{load | inside: load.inside + bytes}}
  end

  @doc "Whether nothing more should be taken in."
  @spec full?(t) :: boolean
  def full?(nil), do: false
  def full?(load), do: load.inside >= load.limit

  @doc "Results are held until they are taken."
  @spec held(t, non_neg_integer) :: t
  def held(nil, _bytes), do: nil
  def held(load, bytes), do: %{load | inside: load.inside + bytes}

  @doc "Bytes are nobody's: those of a batch that is settled, or of results that were taken."
  @spec gone(t, non_neg_integer) :: t
  def gone(nil, _bytes), do: nil
  def gone(load, bytes), do: %{load | inside: load.inside - bytes}

  @doc "What it holds, 0 where nobody measures."
  @spec inside(t) :: non_neg_integer
  def inside(nil), do: 0
  def inside(load), do: load.inside
end
