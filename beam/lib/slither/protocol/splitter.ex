defmodule Slither.Protocol.Splitter do
  @moduledoc false
  # Finds where a msgpack value ends, without building it. What is in it is for whoever decodes
  # it to check: here only lengths count.

  import Bitwise

  @doc "What follows the first `count` values of `bytes`."
  @spec skip(binary, non_neg_integer) :: {:ok, binary} | {:error, String.t()}
  def skip(bytes, count) do
    {:ok, pass_by(bytes, count)}
  catch
    {:bad, why} -> {:error, why}
  end

  # `left` values are still to be passed; a container adds what it holds.
  defp pass_by(rest, 0), do: rest
  defp pass_by(<<0::1, _::7, rest::binary>>, left), do: pass_by(rest, left - 1)

  defp pass_by(<<0b101::3, n::5, _::binary-size(n), rest::binary>>, left),
    do: pass_by(rest, left - 1)

  defp pass_by(<<0xCB, _::64, rest::binary>>, left), do: pass_by(rest, left - 1)
  defp pass_by(<<0xD9, n, _::binary-size(n), rest::binary>>, left), do: pass_by(rest, left - 1)
  defp pass_by(<<0b1000::4, n::4, rest::binary>>, left), do: pass_by(rest, left - 1 + 2 * n)
  defp pass_by(<<0b1001::4, n::4, rest::binary>>, left), do: pass_by(rest, left - 1 + n)
  defp pass_by(<<tag, rest::binary>>, left) when tag >= 0xE0, do: pass_by(rest, left - 1)

  defp pass_by(<<tag, rest::binary>>, left) when tag in [0xC0, 0xC2, 0xC3],
    do: pass_by(rest, left - 1)

  # Integers of 1, 2, 4, 8 bytes, and single floats.
  defp pass_by(<<tag, rest::binary>>, left) when tag in 0xCC..0xCF,
    do: pass(rest, 1 <<< (tag - 0xCC), left)

  defp pass_by(<<tag, rest::binary>>, left) when tag in 0xD0..0xD3,
    do: pass(rest, 1 <<< (tag - 0xD0), left)

  defp pass_by(<<0xCA, rest::binary>>, left), do: pass(rest, 4, left)

  # Extensions have a type before their bytes.
  defp pass_by(<<tag, rest::binary>>, left) when tag in 0xD4..0xD8,
    do: pass(rest, 1 + (1 <<< (tag - 0xD4)), left)

  defp pass_by(<<0xC7, n, rest::binary>>, left), do: pass(rest, n + 1, left)
  defp pass_by(<<0xC8, n::16, rest::binary>>, left), do: pass(rest, n + 1, left)
  defp pass_by(<<0xC9, n::32, rest::binary>>, left), do: pass(rest, n + 1, left)
  defp pass_by(<<0xDA, n::16, rest::binary>>, left), do: pass(rest, n, left)
  defp pass_by(<<0xDB, n::32, rest::binary>>, left), do: pass(rest, n, left)
  defp pass_by(<<0xC4, n, rest::binary>>, left), do: pass(rest, n, left)
  defp pass_by(<<0xC5, n::16, rest::binary>>, left), do: pass(rest, n, left)
  defp pass_by(<<0xC6, n::32, rest::binary>>, left), do: pass(rest, n, left)
  defp pass_by(<<0xDC, n::16, rest::binary>>, left), do: pass_by(rest, left - 1 + n)
  defp pass_by(<<0xDD, n::32, rest::binary>>, left), do: pass_by(rest, left - 1 + n)
  defp pass_by(<<0xDE, n::16, rest::binary>>, left), do: pass_by(rest, left - 1 + 2 * n)
  defp pass_by(<<0xDF, n::32, rest::binary>>, left), do: pass_by(rest, left - 1 + 2 * n)
  defp pass_by(<<0xC1, _rest::binary>>, _left), do: bad("the reserved byte 0xC1")
  defp pass_by(_rest, _left), do: bad("the bytes end within a value")

  defp pass(rest, size, left) do
    case rest do
      <<_::binary-size(size), rest::binary>> -> pass_by(rest, left - 1)
      _ -> bad("a length of #{size} where #{byte_size(rest)} bytes are left")
    end
  end

  @spec bad(String.t()) :: no_return
  defp bad(why), do: throw({:bad, why})
end
