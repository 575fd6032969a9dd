defmodule Slither.Proof.JSON do
  @moduledoc false
  # As much of JSON as a report takes.

  @doc "The text of maps, lists, numbers, booleans and words."
  @spec encode(term) :: iodata
  def encode(map) when is_map(map) do
    pairs = for {key, value} <- Enum.sort(map), do: [string(to_string(key)), ": ", encode(value)]
    ["{", Enum.intersperse(pairs, ", "), "}"]
  end

  def encode(list) when is_list(list),
    do: ["[", list |> Enum.map(&encode/1) |> Enum.intersperse(", "), "]"]

  def encode(nil), do: "null"
  def encode(atom) when is_boolean(atom), do: to_string(atom)
  def encode(number) when is_number(number), do: to_string(number)
  def encode(word), do: word |> to_string() |> string()

  defp string(text), do: [?", for(<<char::utf8 <- text>>, do: escape(char)), ?"]

  defp escape(?"), do: "\\\""
  defp escape(?\\), do: "\\\\"
  defp escape(char) when char < 0x20, do: :io_lib.format("\\u~4.16.0b", [char])
  defp escape(char), do: <<char::utf8>>
end
