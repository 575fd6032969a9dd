defmodule Slither.Protocol.Types do
  @moduledoc false
  # The extension types that the codec and expressions know. They ask when they are compiled, and have
  # a clause or a row for each.

  alias Slither.Protocol.Types

  @spec all() :: [module]
  def all do
    [
      Types.BigInteger,
      Types.Datetime,
      Types.TensorType,
      Types.DateType,
      Types.TimeType,
      Types.NaiveDatetime,
      Types.Timedelta,
      Types.DecimalType,
      Types.UUIDType,
      Types.ComplexType,
      Types.ZonedDatetime,
      Types.ArrayType,
      Types.ArrowType,
      Types.PickledType,
      Types.PathType,
      Types.BlobType
    ]
  end
end
