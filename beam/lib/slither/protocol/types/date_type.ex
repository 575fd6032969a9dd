defmodule Slither.Protocol.Types.DateType do
  @moduledoc false
  # Days of the years 1 to 9999, counted from 1970-01-01. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  @epoch 719_528
  @first -719_162
  @last 2_932_896
  @none "a Date outside the years 1 to 9999"

  @impl true
  def code, do: 4

  @impl true
  def structs, do: [Date]

  @impl true
  def name, do: :date

  # The calendar raises for fields that a struct was given by hand.
  @impl true
  def encode(date) do
    case days(date) do
      {:ok, days} -> {:ok, code(), <<days::32>>}
      error -> error
    end
  end

  defp days(%Date{} = date) do
    %{year: year, month: month, day: day} = iso = Date.convert!(date, Calendar.ISO)
    days = Date.to_gregorian_days(iso) - @epoch

    if days >= @first and days <= @last and Calendar.ISO.valid_date?(year, month, day),
      do: {:ok, days},
      else: {:error, @none}
  rescue
    _ -> {:error, @none}
  end

  @impl true
  def decode(<<days::signed-32>>) when days >= @first and days <= @last,
    do: {:ok, Date.from_gregorian_days(days + @epoch)}

  def decode(_data), do: {:error, "a malformed date"}

  @impl true
  def key(date), do: with({:ok, days} <- days(date), do: {:ok, {:date, days}})

  @impl true
  def order(a, b), do: Date.compare(a, b)
end
