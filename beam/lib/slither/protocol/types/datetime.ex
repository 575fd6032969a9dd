defmodule Slither.Protocol.Types.Datetime do
  @moduledoc false
  # Moments with an offset, as Python's `datetime` has them: those of the years 1 to 9999, there and
  # in UTC. The codec calls it.

  @behaviour Slither.Protocol.Type

  @first -62_135_596_800
  @last 253_402_300_799
  @none "a DateTime outside the years 1 to 9999"

  @impl true
  def code, do: 2

  @impl true
  def struct, do: DateTime

  # The calendar raises for years before 0, and for fields that a struct was given by hand.
  @impl true
  def encode(datetime) do
    seconds = DateTime.to_unix(datetime)
    {microsecond, _precision} = datetime.microsecond
    offset = datetime.utc_offset + datetime.std_offset

    if in_years?(seconds) and in_years?(seconds + offset) and abs(offset) < 86_400,
      do: {:ok, <<seconds::64, microsecond::32, offset::32>>},
      else: {:error, @none}
  rescue
    _ -> {:error, @none}
  end

  defp in_years?(seconds), do: seconds >= @first and seconds <= @last

  @impl true
  def decode(<<seconds::signed-64, microsecond::32, offset::signed-32>>)
      when microsecond < 1_000_000 and abs(offset) < 86_400 and seconds >= @first and
             seconds <= @last and seconds + offset >= @first and seconds + offset <= @last do
    local = %{DateTime.from_unix!(seconds + offset) | microsecond: {microsecond, 6}}
    {:ok, in_zone(local, offset)}
  end

  def decode(_data), do: {:error, "a malformed datetime"}

  defp in_zone(utc, 0), do: utc

  defp in_zone(local, offset) do
    zone = zone(offset)
    %{local | utc_offset: offset, time_zone: zone, zone_abbr: zone}
  end

  defp zone(offset) do
    sign = if offset < 0, do: "-", else: "+"
    offset = abs(offset)
    parts = [div(offset, 3600), offset |> div(60) |> rem(60), rem(offset, 60)]
    parts = if List.last(parts) == 0, do: Enum.take(parts, 2), else: parts
    sign <> Enum.map_join(parts, ":", &String.pad_leading(Integer.to_string(&1), 2, "0"))
  end

  @impl true
  def key(datetime) do
    {:ok, {:datetime, DateTime.to_unix(datetime, :microsecond)}}
  rescue
    _ -> {:error, @none}
  end
end
