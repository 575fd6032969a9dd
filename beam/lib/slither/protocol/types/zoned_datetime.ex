defmodule Slither.Protocol.Types.ZonedDatetime do
  @moduledoc false
  # Moments in a zone with a name: the instant, the offset there and then, how much of it is for
  # summer, the zone's abbreviation and its name. The codec calls it, and
  # `Slither.Protocol.Types.Datetime` for those moments.

  @behaviour Slither.Protocol.Type

  alias Slither.Protocol.Types.Moment

  @longest 255
  @malformed {:error, "a malformed datetime with a zone"}

  @impl true
  def code, do: 11

  # A DateTime goes to `Datetime`, which sends it here.
  @impl true
  def structs, do: []

  @impl true
  def name, do: :datetime

  @impl true
  def encode(%DateTime{time_zone: zone, zone_abbr: abbr, std_offset: dst} = datetime) do
    cond do
      not text?(zone) or zone == "" ->
        {:error, "a DateTime whose zone has no name of 1 to 255 bytes: #{inspect(zone)}"}

      not text?(abbr) ->
        {:error,
         "a DateTime whose zone has no abbreviation of at most 255 bytes: #{inspect(abbr)}"}

      abs(dst) >= 86_400 ->
        {:error, "a DateTime whose std_offset is a day or more"}

      true ->
        with {:ok, {seconds, microsecond, offset}} <- Moment.parts(datetime) do
          numbers = <<seconds::64, microsecond::32, offset::32, dst::32, byte_size(abbr)>>
          {:ok, code(), [numbers, abbr | zone]}
        end
    end
  end

  defp text?(text), do: is_binary(text) and byte_size(text) <= @longest and String.valid?(text)

  @impl true
  def decode(
        <<seconds::signed-64, microsecond::32, offset::signed-32, dst::signed-32, size,
          abbr::binary-size(size), zone::binary>>
      )
      when zone != "" and byte_size(zone) <= @longest and abs(dst) < 86_400 do
    with {:ok, moment} <- Moment.new(seconds, microsecond, offset),
         true <- String.valid?(zone) and String.valid?(abbr) do
      named(%{
        moment
        | utc_offset: offset - dst,
          std_offset: dst,
          time_zone: :binary.copy(zone),
          zone_abbr: :binary.copy(abbr)
      })
    else
      _ -> @malformed
    end
  end

  def decode(_data), do: @malformed

  defp named(datetime) do
    if Moment.named?(datetime),
      do: {:ok, datetime},
      else: {:error, "a datetime with a zone that its offset tells"}
  end

  @impl true
  def key(datetime), do: Moment.key(datetime)

  @impl true
  def order(a, b), do: DateTime.compare(a, b)
end
