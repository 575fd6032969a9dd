defmodule Slither.Protocol.Types.NaiveDatetime do
  @moduledoc false
  # Wall clocks without a zone, of the years 1 to 9999, in microseconds since the beginning of 1970.
  # The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.Protocol.Types.Moment

  @first -62_135_596_800_000_000
  @last 253_402_300_799_999_999
  @none "a NaiveDateTime outside the years 1 to 9999"

  @impl true
  def code, do: 6

  @impl true
  def structs, do: [NaiveDateTime]

  @impl true
  def name, do: :naive_datetime

  @impl true
  def encode(naive) do
    case microseconds(naive) do
      {:ok, microseconds} -> {:ok, code(), <<microseconds::64>>}
      error -> error
    end
  end

  # The calendar raises for fields that a struct was given by hand.
  defp microseconds(naive) do
    microseconds = naive |> DateTime.from_naive!("Etc/UTC") |> DateTime.to_unix(:microsecond)

    cond do
      not Moment.clock?(naive) -> {:error, "a NaiveDateTime whose time no clock shows"}
      microseconds in @first..@last -> {:ok, microseconds}
      true -> {:error, @none}
    end
  rescue
    _ -> {:error, @none}
  end

  @impl true
  def decode(<<microseconds::signed-64>>) when microseconds >= @first and microseconds <= @last do
    seconds = Integer.floor_div(microseconds, 1_000_000)
    naive = seconds |> DateTime.from_unix!() |> DateTime.to_naive()
    {:ok, %{naive | microsecond: {Integer.mod(microseconds, 1_000_000), 6}}}
  end

  def decode(_data), do: {:error, "a malformed naive datetime"}

  @impl true
  def key(naive), do: with({:ok, count} <- microseconds(naive), do: {:ok, {:naive, count}})

  @impl true
  def order(a, b), do: NaiveDateTime.compare(a, b)
end
