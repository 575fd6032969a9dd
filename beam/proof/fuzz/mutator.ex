defmodule Slither.Proof.Fuzz.Mutator do
  @moduledoc false
  # Frames that are nearly right, and some that are nothing at all. What is random comes from the
  # process's own generator, so that a seed gives the same frames again.

  import Bitwise

  # Tags, lengths and integers at the edges of their kinds.
  @edges [0x00, 0x01, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x91, 0x9F, 0xA0, 0xBF] ++
           Enum.to_list(0xC0..0xE0) ++ [0xFF]
  @headers [0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF]
  @longest 16_384

  @doc "The golden frames and values, and those that must be refused; `rename` replaces words."
  @spec corpus([{String.t(), String.t()}]) :: tuple
  def corpus(rename \\ []) do
    import Slither.Test.JSON, only: [vectors: 1]
    frames = for row <- vectors("frames"), do: row["hex"]
    # A value stands where a frame takes any.
    values = for row <- vectors("values"), do: <<0x94, 8, 1, 0>> <> row["hex"]
    invalid = for row <- vectors("invalid"), do: row["hex"]
    # Frames count more than all the others, which are many.
    all = List.duplicate(frames, 6) ++ [values, invalid]
    all |> Enum.concat() |> Enum.map(&renamed(&1, rename)) |> List.to_tuple()
  end

  @doc "A frame: of the corpus with some changes, or made of random parts."
  @spec frame(tuple) :: binary
  def frame(corpus) do
    body =
      case :rand.uniform(20) do
        1 -> :rand.bytes(:rand.uniform(64))
        2 -> :rand.bytes(:rand.uniform(512))
        n when n < 6 -> made()
        _ -> corpus |> pick() |> change(corpus)
      end

    if byte_size(body) > @longest, do: binary_part(body, 0, @longest), else: body
  end

  @doc "A body with some changes, or none."
  @spec change(binary, tuple) :: binary
  def change(body, corpus), do: change(body, Enum.random([0, 1, 1, 1, 2, 2, 3, 4]), corpus)

  defp renamed(body, words) do
    Enum.reduce(words, body, fn {from, to}, body when byte_size(from) == byte_size(to) ->
      String.replace(body, from, to)
    end)
  end

  defp pick(corpus), do: elem(corpus, :rand.uniform(tuple_size(corpus)) - 1)
  defp at(body), do: :rand.uniform(byte_size(body) + 1) - 1

  defp change(body, 0, _corpus), do: body

  defp change(body, times, corpus),
    do: body |> mutate(:rand.uniform(12), corpus) |> change(times - 1, corpus)

  defp mutate(<<>>, _kind, corpus), do: pick(corpus)

  defp mutate(body, kind, _corpus) when kind <= 3 do
    at = :rand.uniform(byte_size(body)) - 1
    <<head::binary-size(at), byte, rest::binary>> = body
    <<head::binary, bxor(byte, 1 <<< (:rand.uniform(8) - 1)), rest::binary>>
  end

  defp mutate(body, kind, _corpus) when kind <= 5 do
    at = :rand.uniform(byte_size(body)) - 1
    <<head::binary-size(at), _byte, rest::binary>> = body
    <<head::binary, Enum.random(@edges), rest::binary>>
  end

  # Cut short, and gone on.
  defp mutate(body, 6, _corpus), do: binary_part(body, 0, at(body))
  defp mutate(body, 7, _corpus), do: body <> :rand.bytes(:rand.uniform(8))

  # The head of one and the tail of another.
  defp mutate(body, 8, corpus) do
    other = pick(corpus)
    from = at(other)
    binary_part(body, 0, at(body)) <> binary_part(other, from, byte_size(other) - from)
  end

  # A part twice, or not at all.
  defp mutate(body, 9, _corpus) do
    [from, to] = Enum.sort([at(body), at(body)])
    part = binary_part(body, from, to - from)
    again = if :rand.uniform(2) == 1, do: part <> part, else: <<>>
    binary_part(body, 0, from) <> again <> binary_part(body, to, byte_size(body) - to)
  end

  # A length of anything, where a value may begin.
  defp mutate(body, 10, _corpus) do
    at = at(body)
    <<head::binary-size(at), rest::binary>> = body
    <<head::binary, header()::binary, rest::binary>>
  end

  defp mutate(body, 11, _corpus) do
    at = at(body)
    <<head::binary-size(at), rest::binary>> = body
    <<head::binary, bomb()::binary, rest::binary>>
  end

  # The kind of another frame, and another count of fields.
  defp mutate(<<_array, _kind, rest::binary>>, 12, _corpus),
    do: <<0x90 + :rand.uniform(8), :rand.uniform(24) - 1, rest::binary>>

  defp mutate(body, 12, _corpus), do: <<0x92, :rand.uniform(24) - 1, body::binary>>

  defp header do
    tag = Enum.random(@headers)

    length =
      case :rand.uniform(3) do
        1 -> 0xFFFFFFFF
        2 -> :rand.uniform(0x1_0000_0000) - 1
        3 -> :rand.uniform(64)
      end

    case tag do
      tag when tag in [0xC4, 0xC7, 0xD9] -> <<tag, length>>
      tag when tag in [0xC5, 0xC8, 0xDA, 0xDC, 0xDE] -> <<tag, length::16>>
      tag -> <<tag, length::32>>
    end
  end

  # Containers within containers, as deep as the limits and deeper.
  defp bomb do
    open =
      Enum.random([<<0x91>>, <<0x81, 1>>, <<0x81>>, <<0xDC, 0, 1>>, <<0x92>>, <<0x81, 0x91>>])

    Enum.random([<<>>, <<0x81>>]) <> String.duplicate(open, :rand.uniform(1_100))
  end

  defp made do
    fields = :rand.uniform(8) - 1
    body = for _ <- 1..fields//1, into: <<>>, do: value(3)
    <<0x91 + fields, :rand.uniform(22) - 1, body::binary>>
  end

  defp value(0), do: <<Enum.random(@edges)>>

  defp value(depth) do
    case :rand.uniform(14) do
      n when n <= 4 -> <<:rand.uniform(128) - 1>>
      5 -> <<0xCF, :rand.bytes(8)::binary>>
      6 -> <<0xD3, :rand.bytes(8)::binary>>
      7 -> <<0xCB, :rand.bytes(8)::binary>>
      n when n <= 9 -> text()
      10 -> <<Enum.random([0xC0, 0xC2, 0xC3])>>
      11 -> <<0xC7, 16, Enum.random([1, 2, 3]), :rand.bytes(16)::binary>>
      12 -> <<0xC4, 4, :rand.bytes(4)::binary>>
      13 -> <<0x92, value(depth - 1)::binary, value(depth - 1)::binary>>
      14 -> <<0x81, text()::binary, value(depth - 1)::binary>>
    end
  end

  defp text do
    text = Enum.random(["kind", "message", "info", "get", "put", "function", "command", "", "é"])
    <<0xA0 + byte_size(text), text::binary>>
  end
end
