defmodule Slither.Pipe.Rate do
  @moduledoc false
  # Events per second, over about the last ten seconds. Each event counts less the older it is, so
  # that the rate is kept as one number and needs no timer. Pure; held by the server of a
  # long-running pipe.

  @over_ms 10_000

  defstruct value: 0.0, at: nil

  @type t :: %__MODULE__{}

  @doc "Counts events at a moment, in ms."
  @spec mark(t, non_neg_integer, integer) :: t
  def mark(rate, count, now),
    do: %__MODULE__{value: faded(rate, now) + count * 1_000 / @over_ms, at: now}

  @doc "Events per second at a moment."
  @spec per_second(t, integer) :: float
  def per_second(rate, now), do: Float.round(faded(rate, now), 2)

  defp faded(%__MODULE__{at: nil}, _now), do: 0.0
  # After so long the rate has faded to nothing, and exp/1 would raise on so small a result.
  defp faded(%__MODULE__{at: at}, now) when now - at > 50 * @over_ms, do: 0.0
  defp faded(%__MODULE__{value: value, at: at}, now), do: value * :math.exp((at - now) / @over_ms)
end
