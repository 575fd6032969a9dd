defmodule Slither.Pool.Recycle do
  @moduledoc false
  # Whether a pool goes on with `max_rss`: not where one worker after the other goes beyond it at
  # once. Pure; the scheduler holds the count.

  alias Slither.Python.Worker.Limits

  # Workers in a row that go beyond max_rss by their second call at the latest: what follows
  # them would do the same.
  @vain 3
  @soon 2

  @doc """
  Counts the workers in a row that went beyond `max_rss` at once, at the end of one more that
  had answered `served` calls.
  """
  @spec vain(non_neg_integer, Limits.reason(), non_neg_integer) :: non_neg_integer
  def vain(count, :max_rss, served) when served <= @soon, do: count + 1
  def vain(_count, :max_rss, _served), do: 0
  def vain(count, _reason, _served), do: count

  @doc "Whether to go on with `max_rss` is in vain."
  @spec vain?(non_neg_integer) :: boolean
  def vain?(count), do: count >= @vain
end
