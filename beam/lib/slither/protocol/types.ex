defmodule Slither.Protocol.Types do
  @moduledoc false
  # The extension types that the codec knows. It asks when it is compiled, and has a clause for each.

  alias Slither.Protocol.Types.{BigInteger, Datetime, TensorType}

  @spec all() :: [module]
  def all, do: [BigInteger, Datetime, TensorType]
end
