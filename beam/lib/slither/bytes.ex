defmodule Slither.Bytes do
  @moduledoc """
  Binary data that is Python `bytes`, not text.

  A bare Elixir binary is sent as `str` and must be valid UTF-8; wrap anything else.

      iex> Slither.Bytes.new(<<255, 0>>)
      %Slither.Bytes{data: <<255, 0>>}
  """

  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: binary}

  @doc "Wraps a binary."
  @spec new(binary) :: t
  def new(data) when is_binary(data), do: %__MODULE__{data: data}
end
