defmodule Slither.Expression.Strings do
  @moduledoc false
  # Operations on text, by code points. Pure; called by `Slither.Expression.Operations` and
  # `Slither.Expression.Text`, wherever an expression is evaluated.
  #
  # The law of expressions lists the characters that are white space, so that both languages agree
  # whatever their Unicode libraries say.

  @spaces [?\s, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000] ++
            Enum.to_list(0x09..0x0D) ++ Enum.to_list(0x2000..0x200A)

  defguardp is_space(c) when c in @spaces

  @doc "How many code points a text has."
  @spec length(String.t()) :: non_neg_integer
  def length(text), do: count(text, 0)

  defp count(<<_::utf8, rest::binary>>, count), do: count(rest, count + 1)
  defp count(<<>>, count), do: count

  @doc "The first `count` code points."
  @spec first(String.t(), non_neg_integer) :: String.t()
  def first(text, count), do: binary_part(text, 0, reach(text, count, 0))

  defp reach(<<c::utf8, rest::binary>>, count, at) when count > 0,
    do: reach(rest, count - 1, at + byte_size(<<c::utf8>>))

  defp reach(_rest, _count, at), do: at

  @doc "The text without white space at its ends."
  @spec strip(String.t()) :: String.t()
  def strip(<<c::utf8, rest::binary>>) when is_space(c), do: strip(rest)
  def strip(text), do: binary_part(text, 0, last(text, 0, 0))

  # The end of the last character that is no space.
  defp last(<<c::utf8, rest::binary>>, at, last) do
    next = at + byte_size(<<c::utf8>>)
    last(rest, next, if(is_space(c), do: last, else: next))
  end

  defp last(<<>>, _at, last), do: last

  @doc "The parts between white space, none of them empty."
  @spec words(String.t()) :: [String.t()]
  def words(text), do: words(text, [], [])

  defp words(<<c::utf8, rest::binary>>, [], words) when is_space(c), do: words(rest, [], words)

  defp words(<<c::utf8, rest::binary>>, word, words) when is_space(c),
    do: words(rest, [], [IO.iodata_to_binary(word) | words])

  defp words(<<c::utf8, rest::binary>>, word, words), do: words(rest, [word, <<c::utf8>>], words)
  defp words(<<>>, [], words), do: Enum.reverse(words)
  defp words(<<>>, word, words), do: Enum.reverse([IO.iodata_to_binary(word) | words])
end
