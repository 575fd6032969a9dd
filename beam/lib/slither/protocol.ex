defmodule Slither.Protocol do
  @moduledoc """
  Values as they cross to Python and back.

  `protocol/PROTOCOL.md` is the contract. These two functions are what a pool uses for each
  payload; they are here for tests, files and tools.
  """

  alias Slither.Protocol.{Decoder, Encoder}

  @doc """
  A value's bytes, or a `Slither.Error` (`:not_encodable`) that names the path to the fault.

      iex> Slither.Protocol.pack(%{"a" => [1, nil]})
      {:ok, <<0x81, 0xA1, ?a, 0x92, 1, 0xC0>>}
      iex> {:error, error} = Slither.Protocol.pack(%{"a" => [1, self()]})
      iex> Exception.message(error)
      "payload[\\"a\\"][1]: a pid can't be sent"
  """
  @spec pack(term) :: {:ok, binary} | {:error, Slither.Error.t()}
  def pack(term) do
    case Encoder.encode(term) do
      {:ok, iodata} -> {:ok, IO.iodata_to_binary(iodata)}
      {:error, why} -> {:error, %Slither.Error{reason: :not_encodable, message: why}}
    end
  end

  @doc """
  The value of bytes, or a `Slither.Error` (`:not_decodable`).

      iex> Slither.Protocol.unpack(<<0x81, 0xA1, ?a, 0x92, 1, 0xC0>>)
      {:ok, %{"a" => [1, nil]}}
      iex> {:error, error} = Slither.Protocol.unpack(<<0x92, 1>>)
      iex> Exception.message(error)
      "a count of 2 where 1 bytes are left"
  """
  @spec unpack(binary) :: {:ok, term} | {:error, Slither.Error.t()}
  def unpack(bytes) when is_binary(bytes) do
    case Decoder.decode(bytes) do
      {:ok, term} -> {:ok, term}
      {:error, why} -> {:error, %Slither.Error{reason: :not_decodable, message: why}}
    end
  end
end
