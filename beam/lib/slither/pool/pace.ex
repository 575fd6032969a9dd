defmodule Slither.Pool.Pace do
  @moduledoc false
  # How long the latest calls of each worker took, in memory that its lanes write and the
  # scheduler reads. Another call goes to a busy worker only while those that it has take a
  # short time together: behind them it waits, while another worker may be free before.

  # µs of handler time that may be before a call.
  @short 5_000

  @opaque t :: :atomics.atomics_ref()

  @doc "The pace of as many workers, none of which has run a call."
  @spec new(pos_integer) :: t
  def new(size), do: :atomics.new(size, signed: true)

  @doc "A new worker in a slot: nothing is known of it."
  @spec reset(t, non_neg_integer) :: :ok
  def reset(pace, slot), do: :atomics.put(pace, slot + 1, 0)

  @doc "A call has taken its handler as many µs; the measure forgets by halves."
  @spec took(t, non_neg_integer, non_neg_integer) :: :ok
  def took(pace, slot, time) do
    known = :atomics.get(pace, slot + 1)
    recent = if known == 0, do: time, else: div(known + time, 2)
    :atomics.put(pace, slot + 1, max(recent, 1))
  end

  @doc "Whether so many calls of a worker are known to take a short time, by its recent ones."
  @spec short?(t, non_neg_integer, pos_integer) :: boolean
  def short?(pace, slot, calls) do
    known = :atomics.get(pace, slot + 1)
    known > 0 and calls * known < @short
  end

  @doc "Whether so many calls of a worker would take longer than that."
  @spec long?(t, non_neg_integer, pos_integer) :: boolean
  def long?(pace, slot, calls), do: calls * :atomics.get(pace, slot + 1) >= @short
end
