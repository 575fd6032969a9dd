defmodule Slither.Protocol.Types.TimeType do
  @moduledoc false
  # Times of day, in microseconds since midnight. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  @day 86_400_000_000
  @none "a Time that no clock shows"

  @impl true
  def code, do: 5

  @impl true
  def structs, do: [Time]

  @impl true
  def name, do: :time

  @impl true
  def encode(time) do
    case microseconds(time) do
      {:ok, microseconds} -> {:ok, code(), <<microseconds::64>>}
      error -> error
    end
  end

  # The calendar raises for fields that a struct was given by hand.
  defp microseconds(%Time{} = time) do
    %{hour: hour, minute: minute, second: second, microsecond: microsecond} =
      Time.convert!(time, Calendar.ISO)

    if Calendar.ISO.valid_time?(hour, minute, second, microsecond) do
      {:ok, ((hour * 60 + minute) * 60 + second) * 1_000_000 + elem(microsecond, 0)}
    else
      {:error, @none}
    end
  rescue
    _ -> {:error, @none}
  end

  @impl true
  def decode(<<microseconds::64>>) when microseconds < @day do
    time = Time.from_seconds_after_midnight(div(microseconds, 1_000_000))
    {:ok, %{time | microsecond: {rem(microseconds, 1_000_000), 6}}}
  end

  def decode(_data), do: {:error, "a malformed time"}

  @impl true
  def key(time), do: with({:ok, count} <- microseconds(time), do: {:ok, {:time, count}})

  @impl true
  def order(a, b), do: Time.compare(a, b)
end
