defmodule Slither.Pool.Recycle do
  @moduledoc false
  # When a worker has done enough: the limits of one worker. Pure. Each is lowered by up to a
  # tenth, so that workers which started together don't leave together.

  # Workers in a row that go beyond max_rss by their second call at the latest: what follows
  # them would do the same.
  @vain 3
  @soon 2

  defstruct [:requests, :rss, :age]

  @type reason :: :max_requests | :max_rss | :max_age
  @type t :: %__MODULE__{
          requests: pos_integer | nil,
          rss: pos_integer | nil,
          age: pos_integer | nil
        }

  @doc """
  The limits of a new worker, which takes `rss` bytes (nil where that is not known or not asked).

  `max_rss` does not apply to one that is beyond it from the start.
  """
  @spec new(map, non_neg_integer | nil) :: t
  def new(settings, rss) do
    %__MODULE__{
      requests: sooner(settings.max_requests),
      age: sooner(settings.max_age),
      rss: headroom(settings.max_rss, rss)
    }
  end

  @doc "Whether a worker that takes `rss` bytes when it starts is beyond the limit already."
  @spec too_low?(pos_integer | nil, non_neg_integer | nil) :: boolean
  def too_low?(limit, rss), do: limit != nil and rss != nil and rss >= limit

  @doc "Whether a limit is met, by the count of the call that was answered, or of bytes."
  @spec met?(t, :requests | :rss, non_neg_integer) :: boolean
  def met?(limits, :requests, count), do: limits.requests != nil and count == limits.requests
  def met?(limits, :rss, bytes), do: limits.rss != nil and bytes >= limits.rss

  @doc """
  Counts the workers in a row that went beyond `max_rss` at once, at the end of one more that
  had answered `served` calls.
  """
  @spec vain(non_neg_integer, reason, non_neg_integer) :: non_neg_integer
  def vain(count, :max_rss, served) when served <= @soon, do: count + 1
  def vain(_count, :max_rss, _served), do: 0
  def vain(count, _reason, _served), do: count

  @doc "Whether to go on with `max_rss` is in vain."
  @spec vain?(non_neg_integer) :: boolean
  def vain?(count), do: count >= @vain

  defp sooner(nil), do: nil
  defp sooner(limit), do: limit - jitter(limit)

  defp headroom(nil, _rss), do: nil
  defp headroom(_limit, nil), do: nil
  defp headroom(limit, rss) when rss >= limit, do: nil
  defp headroom(limit, rss), do: limit - jitter(limit - rss)

  defp jitter(amount), do: :rand.uniform(div(amount, 10) + 1) - 1
end
