defmodule Slither.Json do
  @moduledoc false
  # JSON for those outside who look in: the page, `diagnose`, traces, lines of the log. OTP has had an
  # encoder since 27 alone. It takes what JSON knows, atoms and structs of times as strings, and never
  # raises for a value: what it can't tell it shows as `inspect/1` does.

  @doc """
  Encodes a term.

      iex> IO.iodata_to_binary(Slither.Json.encode(%{"b" => "é\\n", a: [1, 2.5, nil, true]}))
      ~S({"a":[1,2.5,null,true],"b":"é\\n"})

      iex> IO.iodata_to_binary(Slither.Json.encode({:odd, <<255>>}))
      ~S("{:odd, <<255>>}")
  """
  @spec encode(term) :: iodata
  def encode(nil), do: "null"
  def encode(value) when is_boolean(value), do: Atom.to_string(value)
  def encode(value) when is_integer(value), do: Integer.to_string(value)
  def encode(value) when is_float(value), do: :io_lib_format.fwrite_g(value)
  def encode(value) when is_atom(value), do: value |> Atom.to_string() |> string()

  def encode(value) when is_binary(value),
    do: string(if String.valid?(value), do: value, else: inspect(value))

  def encode([]), do: "[]"

  def encode([_ | _] = list) do
    if List.improper?(list),
      do: string(inspect(list)),
      else: [?[, list |> Enum.map(&encode/1) |> Enum.intersperse(?,), ?]]
  end

  def encode(%module{} = time) when module in [DateTime, NaiveDateTime, Date, Time],
    do: string(module.to_iso8601(time))

  def encode(%_module{} = struct), do: string(inspect(struct))

  def encode(%{} = map) do
    pairs = for {key, value} <- map, do: [key(key), ?:, encode(value)]
    [?{, Enum.intersperse(pairs, ?,), ?}]
  end

  def encode(other), do: string(inspect(other))

  defp key(key) when is_binary(key), do: encode(key)
  defp key(key) when is_atom(key), do: key |> Atom.to_string() |> string()
  defp key(key) when is_integer(key), do: [?", Integer.to_string(key), ?"]
  defp key(key), do: string(inspect(key))

  defp string(text), do: [?", escape(text, text, 0, 0, []), ?"]

  # Copies nothing but what has to be written in another way.
  defp escape(<<byte, rest::binary>>, text, from, length, acc)
       when byte < 0x20 or byte in [?", ?\\, 0x7F] do
    acc = [acc, binary_part(text, from, length) | escaped(byte)]
    escape(rest, text, from + length + 1, 0, acc)
  end

  # U+2028 and U+2029 end a line of JavaScript.
  defp escape(<<0xE2, 0x80, last, rest::binary>>, text, from, length, acc)
       when last in [0xA8, 0xA9] do
    acc = [
      acc,
      binary_part(text, from, length) | if(last == 0xA8, do: "\\u2028", else: "\\u2029")
    ]

    escape(rest, text, from + length + 3, 0, acc)
  end

  defp escape(<<_byte, rest::binary>>, text, from, length, acc),
    do: escape(rest, text, from, length + 1, acc)

  defp escape(<<>>, text, from, length, acc), do: [acc | binary_part(text, from, length)]

  defp escaped(?"), do: "\\\""
  defp escaped(?\\), do: "\\\\"
  defp escaped(?\n), do: "\\n"
  defp escaped(?\r), do: "\\r"
  defp escaped(?\t), do: "\\t"
  defp escaped(byte), do: ["\\u00", byte |> Integer.to_string(16) |> String.pad_leading(2, "0")]
end
