defmodule Slither.Pickled do
  @moduledoc """
  An object that a Python program has sent by value, which BEAM carries and never opens.

  Only that program, and the workers that it has started itself, make an object of `data` again: a
  signature of 32 bytes, and the object, pickled. Everyone else refuses it.
  """

  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: binary}

  defimpl Inspect do
    def inspect(%{data: data}, _options) when is_binary(data),
      do: "#Slither.Pickled<#{byte_size(data)} bytes>"

    def inspect(pickled, options), do: Inspect.Any.inspect(pickled, options)
  end
end
