defmodule Slither.Protocol.Types.Moment do
  @moduledoc false
  # What the two types of moments share: those with an offset, and those in a zone with a name. Moments
  # are of the years 1 to 9999, there and in UTC. Pure.

  @first -62_135_596_800
  @last 253_402_300_799
  @none "a DateTime outside the years 1 to 9999"

  @doc "The seconds since 1970 in UTC, microseconds and the offset of a DateTime."
  @spec parts(DateTime.t()) :: {:ok, {integer, 0..999_999, integer}} | {:error, String.t()}
  # The calendar raises for years before 0, and for fields that a struct was given by hand.
  def parts(datetime) do
    seconds = DateTime.to_unix(datetime)
    {microsecond, _precision} = datetime.microsecond
    offset = datetime.utc_offset + datetime.std_offset

    cond do
      not clock?(datetime) -> {:error, "a DateTime whose time no clock shows"}
      in_years?(seconds, offset) -> {:ok, {seconds, microsecond, offset}}
      true -> {:error, @none}
    end
  rescue
    _ -> {:error, @none}
  end

  @doc """
  Whether the calendar of a DateTime or a NaiveDateTime has its time of day: of an hour 25, given to
  the struct by hand, it would make one of the next day.
  """
  @spec clock?(DateTime.t() | NaiveDateTime.t()) :: boolean
  def clock?(%{calendar: calendar, hour: hour, minute: minute, second: second} = moment),
    do: calendar.valid_time?(hour, minute, second, moment.microsecond)

  @doc "The DateTime of an instant at an offset, by which its zone is named; `:error` for none."
  @spec new(integer, integer, integer) :: {:ok, DateTime.t()} | :error
  def new(seconds, microsecond, offset) when microsecond in 0..999_999 do
    if in_years?(seconds, offset) do
      local = %{DateTime.from_unix!(seconds + offset) | microsecond: {microsecond, 6}}
      {:ok, in_zone(local, offset)}
    else
      :error
    end
  end

  def new(_seconds, _microsecond, _offset), do: :error

  defp in_years?(seconds, offset) do
    abs(offset) < 86_400 and seconds >= @first and seconds <= @last and
      seconds + offset >= @first and seconds + offset <= @last
  end

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

  @doc "Whether the zone says more than the offset: it is neither UTC nor named by the offset."
  @spec named?(DateTime.t()) :: boolean
  def named?(%{time_zone: zone, utc_offset: utc_offset, std_offset: std_offset}) do
    offset = utc_offset + std_offset
    not (zone == "Etc/UTC" and offset == 0) and zone != zone(offset)
  end

  @doc "What moments of one instant share as keys of a map."
  @spec key(DateTime.t()) :: {:ok, term} | {:error, String.t()}
  def key(datetime) do
    with {:ok, {seconds, microsecond, _offset}} <- parts(datetime),
         do: {:ok, {:datetime, seconds * 1_000_000 + microsecond}}
  end
end
