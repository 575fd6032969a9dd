defmodule Slither.Protocol.Types.BigInteger do
  @moduledoc false
  # Integers that 64 bits can't hold: a sign and a magnitude. The codec calls it.

  @behaviour Slither.Protocol.Type

  @most_bytes 65_536

  @impl true
  def code, do: 1

  # Which integers are so big, the encoder sees.
  @impl true
  def structs, do: []

  @impl true
  def name, do: :int

  @impl true
  def encode(n) do
    magnitude = :binary.encode_unsigned(abs(n))

    if byte_size(magnitude) <= @most_bytes,
      do: {:ok, code(), [if(n < 0, do: 1, else: 0) | magnitude]},
      else: {:error, "an integer of more than #{@most_bytes} bytes"}
  end

  @impl true
  def decode(<<sign, first, _::binary>> = data)
      when sign < 2 and first > 0 and byte_size(data) <= @most_bytes + 1 do
    <<_sign, magnitude::binary>> = data
    n = :binary.decode_unsigned(magnitude)
    n = if sign == 1, do: -n, else: n

    if n < -0x8000000000000000 or n > 0xFFFFFFFFFFFFFFFF,
      do: {:ok, n},
      else: {:error, "a big integer that fits 64 bits"}
  end

  def decode(_data), do: {:error, "a malformed big integer"}

  @impl true
  def key(n), do: {:ok, n}
end
