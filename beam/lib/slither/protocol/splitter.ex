defmodule Slither.Protocol.Splitter do
  @moduledoc false
  # Finds where a msgpack value ends, without building it. Only lengths are looked at: whoever
  # decodes the value checks what is in it. Lanes use it for results that nobody on BEAM reads. Pure.

  import Bitwise

  @doc "What follows the first `count` values of `bytes`."
  @spec skip(binary, non_neg_integer) :: {:ok, binary} | {:error, String.t()}
  def skip(bytes, count) do
    {:ok, pass_by(bytes, count)}
  catch
    {:bad, why} -> {:error, why}
  end

  # `left` values are still to be passed by; a container adds those that it holds. As each first byte
  # has a clause of its own, the compiler makes one jump of them.
  defp pass_by(<<rest::binary>>, 0), do: rest

  # Small integers, nil and booleans.
  for tag <- Enum.concat([0x00..0x7F, 0xE0..0xFF, [0xC0, 0xC2, 0xC3]]) do
    defp pass_by(<<unquote(tag), rest::binary>>, left), do: pass_by(rest, left - 1)
  end

  # Short strings, numbers, and extensions, which have a type before their bytes.
  sized =
    for(n <- 0..31, do: {0xA0 + n, n}) ++
      for(n <- 0..3, do: {0xCC + n, 1 <<< n}) ++
      for(n <- 0..3, do: {0xD0 + n, 1 <<< n}) ++
      for(n <- 0..4, do: {0xD4 + n, 1 + (1 <<< n)}) ++ [{0xCA, 4}, {0xCB, 8}]

  for {tag, size} <- sized do
    defp pass_by(<<unquote(tag), _::binary-size(unquote(size)), rest::binary>>, left),
      do: pass_by(rest, left - 1)
  end

  for n <- 0..15 do
    defp pass_by(<<unquote(0x80 + n), rest::binary>>, left),
      do: pass_by(rest, left + unquote(2 * n - 1))

    defp pass_by(<<unquote(0x90 + n), rest::binary>>, left),
      do: pass_by(rest, left + unquote(n - 1))
  end

  # Bytes, strings, extensions, arrays and maps, with lengths of 1, 2 or 4 bytes.
  for {tag, bits} <- [{0xC4, 8}, {0xC5, 16}, {0xC6, 32}, {0xD9, 8}, {0xDA, 16}, {0xDB, 32}] do
    defp pass_by(<<unquote(tag), n::unquote(bits), _::binary-size(n), rest::binary>>, left),
      do: pass_by(rest, left - 1)

    defp pass_by(<<unquote(tag), n::unquote(bits), rest::binary>>, _left), do: short(n, rest)
  end

  for {tag, bits} <- [{0xC7, 8}, {0xC8, 16}, {0xC9, 32}] do
    defp pass_by(<<unquote(tag), n::unquote(bits), _, _::binary-size(n), rest::binary>>, left),
      do: pass_by(rest, left - 1)

    defp pass_by(<<unquote(tag), n::unquote(bits), rest::binary>>, _left), do: short(n + 1, rest)
  end

  for {tag, bits} <- [{0xDC, 16}, {0xDD, 32}] do
    defp pass_by(<<unquote(tag), n::unquote(bits), rest::binary>>, left),
      do: pass_by(rest, left - 1 + n)
  end

  for {tag, bits} <- [{0xDE, 16}, {0xDF, 32}] do
    defp pass_by(<<unquote(tag), n::unquote(bits), rest::binary>>, left),
      do: pass_by(rest, left - 1 + 2 * n)
  end

  defp pass_by(<<0xC1, _rest::binary>>, _left), do: bad("the reserved byte 0xC1")
  defp pass_by(<<_rest::binary>>, _left), do: bad("the bytes end within a value")

  @spec short(non_neg_integer, binary) :: no_return
  defp short(size, rest), do: bad("a length of #{size} where #{byte_size(rest)} bytes are left")

  @spec bad(String.t()) :: no_return
  defp bad(why), do: throw({:bad, why})
end
