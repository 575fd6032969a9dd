defmodule Slither.Protocol.Block do
  @moduledoc false
  # Encoded values, one after the other, that a flow takes for one item: a call's items that
  # somebody has encoded together, and its results, whose errors are by index. Nobody on BEAM
  # looks into them, or takes them apart.

  @enforce_keys [:count, :data]
  defstruct [:count, :data, errors: nil]

  @type t :: %__MODULE__{
          count: pos_integer,
          data: binary,
          errors: nil | %{optional(non_neg_integer) => map}
        }
end
