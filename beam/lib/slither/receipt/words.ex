defmodule Slither.Receipt.Words do
  @moduledoc false
  # Numbers as a person reads them, in tables and sentences. Pure.

  @doc """
  A count, by thousands.

      iex> Slither.Receipt.Words.count(1_234_567)
      "1,234,567"
  """
  @spec count(integer) :: String.t()
  def count(number) when number < 0, do: "-" <> count(-number)

  def count(number) do
    number
    |> Integer.digits()
    |> Enum.reverse()
    |> Enum.chunk_every(3)
    |> Enum.map_join(",", &Enum.join/1)
    |> String.reverse()
  end

  @doc """
  A share, as a percentage.

      iex> Enum.map([0, 0.004, 0.42, 0.999, 1], &Slither.Receipt.Words.share/1)
      ["0 %", "< 1 %", "42 %", "99 %", "100 %"]
  """
  @spec share(number) :: String.t()
  def share(share) when share <= 0, do: "0 %"
  def share(share) when share < 0.01, do: "< 1 %"
  def share(share) when share < 1, do: "#{min(round(share * 100), 99)} %"
  def share(_all), do: "100 %"

  @doc """
  How many times something.

      iex> Enum.map([1.04, 2.57, 31.2], &Slither.Receipt.Words.times/1)
      ["1.0 times", "2.6 times", "31 times"]
  """
  @spec times(float) :: String.t()
  def times(times), do: "#{rounded(times)} times"

  @doc """
  A time in native units.

      iex> for ns <- [0, 1_240, 45_600_000, 61_000_000_000, 7_260_000_000_000] do
      ...>   Slither.Receipt.Words.time(System.convert_time_unit(ns, :nanosecond, :native))
      ...> end
      ["0 µs", "1.2 µs", "46 ms", "1 min 1 s", "2 h 1 min"]
  """
  @spec time(number | nil) :: String.t()
  def time(nil), do: "-"

  def time(native) do
    micros = System.convert_time_unit(round(native), :native, :nanosecond) / 1_000

    cond do
      micros == 0 -> "0 µs"
      micros < 1_000 -> "#{rounded(micros)} µs"
      micros < 1_000_000 -> "#{rounded(micros / 1_000)} ms"
      micros < 60_000_000 -> "#{rounded(micros / 1_000_000)} s"
      micros < 3_600_000_000 -> parts(micros / 1_000_000, 60, "min", "s")
      true -> parts(micros / 60_000_000, 60, "h", "min")
    end
  end

  defp parts(number, each, large, small) do
    whole = trunc(number)
    "#{div(whole, each)} #{large} #{rem(whole, each)} #{small}"
  end

  # Two digits say enough.
  defp rounded(number) when number < 9.95, do: :erlang.float_to_binary(number / 1, decimals: 1)
  defp rounded(number), do: Integer.to_string(round(number))
end
