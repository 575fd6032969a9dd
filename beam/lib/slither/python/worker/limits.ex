defmodule Slither.Python.Worker.Limits do
  @moduledoc false
  # When a worker has done enough: `max_requests`, `max_age` and `max_rss`, as they are for one
  # worker. Pure; its owner holds them. Each is lowered by up to a tenth, so that workers which
  # started together do not leave together.

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

  defp sooner(nil), do: nil
  defp sooner(limit), do: limit - jitter(limit)

  defp headroom(nil, _rss), do: nil
  defp headroom(_limit, nil), do: nil
  defp headroom(limit, rss) when rss >= limit, do: nil
  defp headroom(limit, rss), do: limit - jitter(limit - rss)

  defp jitter(amount), do: :rand.uniform(div(amount, 10) + 1) - 1
end
