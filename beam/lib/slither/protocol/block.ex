defmodule Slither.Protocol.Block do
  @moduledoc false
  # Encoded values, one after the other, that a flow takes for one item: the items of a call that a
  # program has encoded together, and their results, whose errors are by index. Lanes and the runs
  # of a program's maps hand them on; nobody on BEAM looks into them.

  @enforce_keys [:count, :data]
  defstruct [:count, :data, errors: nil]

  @type t :: %__MODULE__{
          count: pos_integer,
          data: binary,
          errors: nil | %{optional(non_neg_integer) => map}
        }
end
