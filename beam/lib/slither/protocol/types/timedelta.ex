defmodule Slither.Protocol.Types.Timedelta do
  @moduledoc false
  # Lengths of time: days, seconds and microseconds, of which only the days are ever negative, as
  # Python keeps them. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.TimeDelta

  @day 86_400_000_000
  @most_days 999_999_999

  @impl true
  def code, do: 7

  @impl true
  def structs, do: [TimeDelta]

  @impl true
  def name, do: :timedelta

  @impl true
  def encode(%{microseconds: all}) when is_integer(all) do
    {days, rest} = {Integer.floor_div(all, @day), Integer.mod(all, @day)}

    if abs(days) <= @most_days,
      do: {:ok, code(), <<days::32, div(rest, 1_000_000)::32, rem(rest, 1_000_000)::32>>},
      else: {:error, "a TimeDelta of more than 999,999,999 days"}
  end

  def encode(_delta), do: {:error, "a TimeDelta whose microseconds are no integer"}

  @impl true
  def decode(<<days::signed-32, seconds::32, microseconds::32>>)
      when abs(days) <= @most_days and seconds < 86_400 and microseconds < 1_000_000,
      do: {:ok, %TimeDelta{microseconds: days * @day + seconds * 1_000_000 + microseconds}}

  def decode(_data), do: {:error, "a malformed timedelta"}

  @impl true
  def key(delta), do: {:ok, {:timedelta, delta.microseconds}}

  @impl true
  def order(a, b), do: TimeDelta.compare(a, b)
end
