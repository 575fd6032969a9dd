defmodule Slither.Examples.JSON do
  @moduledoc """
  Reads as much of JSON as the baselines and the figures have.
  """

  @doc "The value of a JSON text, or `:error` for anything else."
  @spec decode(String.t()) :: {:ok, term} | :error
  def decode(text) do
    with {value, rest} <- text |> String.trim() |> value(), "" <- String.trim(rest) do
      {:ok, value}
    else
      _other -> :error
    end
  catch
    :not_json -> :error
  end

  defp value("{" <> rest), do: members(space(rest), %{})
  defp value("[" <> rest), do: elements(space(rest), [])
  defp value("\"" <> rest), do: string(rest, [])
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("null" <> rest), do: {nil, rest}

  defp value(text) do
    case Regex.run(~r/\A-?\d+(\.\d+)?([eE][+-]?\d+)?/, text) do
      [digits] -> {String.to_integer(digits), rest(text, digits)}
      [digits | _parts] -> {digits |> Float.parse() |> elem(0), rest(text, digits)}
      nil -> throw(:not_json)
    end
  end

  defp rest(text, prefix), do: String.replace_prefix(text, prefix, "")

  defp members("}" <> rest, map), do: {map, rest}
  defp members("," <> rest, map), do: members(space(rest), map)

  defp members("\"" <> rest, map) do
    with {key, rest} <- string(rest, []), ":" <> rest <- space(rest) do
      {value, rest} = rest |> space() |> value()
      members(space(rest), Map.put(map, key, value))
    else
      _other -> throw(:not_json)
    end
  end

  defp members(_text, _map), do: throw(:not_json)

  defp elements("]" <> rest, list), do: {Enum.reverse(list), rest}
  defp elements("," <> rest, list), do: elements(space(rest), list)

  defp elements(text, list) do
    {value, rest} = value(text)
    elements(space(rest), [value | list])
  end

  # Python writes ASCII, with characters beyond the basic plane in two halves.
  defp string("\"" <> rest, acc), do: {acc |> Enum.reverse() |> IO.iodata_to_binary(), rest}

  defp string("\\u" <> <<high::binary-4, "\\u", low::binary-4, rest::binary>>, acc)
       when high >= "d800" and high <= "dbff" do
    code = 0x10000 + (hex(high) - 0xD800) * 0x400 + hex(low) - 0xDC00
    string(rest, [<<code::utf8>> | acc])
  end

  defp string("\\u" <> <<code::binary-4, rest::binary>>, acc),
    do: string(rest, [<<hex(code)::utf8>> | acc])

  for {letter, char} <-
        [{"n", "\n"}, {"t", "\t"}, {"r", "\r"}, {"b", "\b"}, {"f", "\f"}] ++
          [{"\"", "\""}, {"\\", "\\"}, {"/", "/"}] do
    defp string("\\" <> unquote(letter) <> rest, acc), do: string(rest, [unquote(char) | acc])
  end

  defp string(<<char::utf8, rest::binary>>, acc) when char >= 0x20,
    do: string(rest, [<<char::utf8>> | acc])

  defp string(_text, _acc), do: throw(:not_json)

  defp hex(digits), do: String.to_integer(digits, 16)

  defp space(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n, ?\r], do: space(rest)
  defp space(text), do: text
end
