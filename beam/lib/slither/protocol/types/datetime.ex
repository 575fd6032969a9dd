defmodule Slither.Protocol.Types.Datetime do
  @moduledoc false
  # Moments with an offset, as Python's `datetime` has them. Those of a zone with a name are
  # `Slither.Protocol.Types.ZonedDatetime`'s to encode. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.Protocol.Types.{Moment, ZonedDatetime}

  @impl true
  def code, do: 2

  @impl true
  def structs, do: [DateTime]

  @impl true
  def name, do: :datetime

  @impl true
  def encode(datetime) do
    with {:ok, {seconds, microsecond, offset}} <- Moment.parts(datetime) do
      if Moment.named?(datetime),
        do: ZonedDatetime.encode(datetime),
        else: {:ok, code(), <<seconds::64, microsecond::32, offset::32>>}
    end
  end

  @impl true
  def decode(<<seconds::signed-64, microsecond::32, offset::signed-32>>) do
    with :error <- Moment.new(seconds, microsecond, offset), do: {:error, "a malformed datetime"}
  end

  def decode(_data), do: {:error, "a malformed datetime"}

  @impl true
  def key(datetime), do: Moment.key(datetime)

  @impl true
  def order(a, b), do: DateTime.compare(a, b)
end
