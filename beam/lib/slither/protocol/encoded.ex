defmodule Slither.Protocol.Encoded do
  @moduledoc """
  A payload that is encoded already.

  A dispatch with `raw: true` leaves results as they came: whoever only hands them on, to
  another worker or into a file, need not decode and encode them again. As a payload it is sent
  as the value it holds.

      iex> {:ok, data} = Slither.Protocol.pack(%{"a" => 1})
      iex> encoded = %Slither.Protocol.Encoded{data: data}
      iex> Slither.Protocol.pack([encoded, nil]) == Slither.Protocol.pack([%{"a" => 1}, nil])
      true
      iex> Slither.Protocol.unpack(encoded.data)
      {:ok, %{"a" => 1}}

  `data` is exactly one value of the protocol; nobody checks it again before it is sent.
  """

  alias Slither.Protocol.Splitter

  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: binary}

  @doc """
  The first `count` values of `bytes`, each by itself, and what follows them.

      iex> Slither.Protocol.Encoded.split(<<1, 0xA1, ?b, 0xC0>>, 2)
      {:ok, [%Slither.Protocol.Encoded{data: <<1>>}, %Slither.Protocol.Encoded{data: "\\xA1b"}], <<0xC0>>}
      iex> Slither.Protocol.Encoded.split(<<1>>, 2)
      {:error, "the bytes end within a value"}
  """
  @spec split(binary, non_neg_integer) :: {:ok, [t], binary} | {:error, String.t()}
  def split(bytes, count), do: split(bytes, count, [])

  defp split(bytes, 0, acc), do: {:ok, Enum.reverse(acc), bytes}

  defp split(bytes, count, acc) do
    case Splitter.skip(bytes, 1) do
      {:ok, rest} ->
        data = binary_part(bytes, 0, byte_size(bytes) - byte_size(rest))
        split(rest, count - 1, [%__MODULE__{data: data} | acc])

      {:error, why} ->
        {:error, why}
    end
  end
end
