defmodule Slither.Protocol.Decoder do
  @moduledoc false
  # Msgpack to terms, in whatever process receives them: lanes, for one. Pure.
  #
  # Lengths are checked against the bytes that are there before anything is built, nothing becomes
  # an atom, and a fault throws a sentence.

  import Bitwise

  alias Slither.{Bytes, FrozenSet, Tagged}
  alias Slither.Protocol.{Encoder, Keys, Shapes, Types}

  @max_depth 1_000
  # No term of BEAM's has more.
  @most_in_tuple 0xFFFFFF

  @doc "Decodes exactly one value from all of `bytes`, of at most `depth` nested containers."
  @spec decode(binary, pos_integer) :: {:ok, term} | {:error, String.t()}
  def decode(bytes, depth \\ @max_depth) do
    # A binary that is part of a frame keeps the frame: small parts of a large one are copied.
    copy = bytes |> byte_size() |> div(8) |> max(64) |> min(65_536)

    case value(bytes, depth, copy) do
      {term, <<>>} -> {:ok, term}
      {_term, rest} -> {:error, "#{byte_size(rest)} bytes after the value"}
    end
  catch
    {:bad, why} -> {:error, why}
  end

  # As each first byte has a clause of its own, the compiler makes one jump of them.
  for n <- 0x00..0x7F do
    defp value(<<unquote(n), rest::binary>>, _depth, _copy), do: {unquote(n), rest}
  end

  for n <- 0..31 do
    defp value(<<unquote(0xA0 + n), text::binary-size(unquote(n)), rest::binary>>, _depth, copy),
      do: {string(text, unquote(n), copy), rest}

    defp value(<<unquote(0xA0 + n), rest::binary>>, _depth, _copy), do: short(unquote(n), rest)
    defp value(<<unquote(0xE0 + n), rest::binary>>, _depth, _copy), do: {unquote(n - 32), rest}
  end

  for n <- 0..15 do
    defp value(<<unquote(0x80 + n), rest::binary>>, depth, copy),
      do: map(unquote(n), rest, depth, copy)

    defp value(<<unquote(0x90 + n), rest::binary>>, depth, copy),
      do: array(unquote(n), rest, depth, copy)
  end

  defp value(<<0xC0, rest::binary>>, _depth, _copy), do: {nil, rest}
  defp value(<<0xC2, rest::binary>>, _depth, _copy), do: {false, rest}
  defp value(<<0xC3, rest::binary>>, _depth, _copy), do: {true, rest}
  defp value(<<0xCB, f::float, rest::binary>>, _depth, _copy), do: {f, rest}
  defp value(<<0xCC, n, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xCD, n::16, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xCE, n::32, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xCF, n::64, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xD0, n::signed, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xD1, n::signed-16, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xD2, n::signed-32, rest::binary>>, _depth, _copy), do: {n, rest}
  defp value(<<0xD3, n::signed-64, rest::binary>>, _depth, _copy), do: {n, rest}

  for {tag, bits} <- [{0xD9, 8}, {0xDA, 16}, {0xDB, 32}] do
    defp value(<<unquote(tag), n::unquote(bits), text::binary-size(n), rest::binary>>, _, copy),
      do: {string(text, n, copy), rest}

    defp value(<<unquote(tag), n::unquote(bits), rest::binary>>, _depth, _copy),
      do: short(n, rest)
  end

  for {tag, bits} <- [{0xDC, 16}, {0xDD, 32}] do
    defp value(<<unquote(tag), n::unquote(bits), rest::binary>>, depth, copy),
      do: array(n, rest, depth, copy)
  end

  for {tag, bits} <- [{0xDE, 16}, {0xDF, 32}] do
    defp value(<<unquote(tag), n::unquote(bits), rest::binary>>, depth, copy),
      do: map(n, rest, depth, copy)
  end

  for {tag, bits} <- [{0xC4, 8}, {0xC5, 16}, {0xC6, 32}] do
    defp value(<<unquote(tag), n::unquote(bits), rest::binary>>, _depth, copy),
      do: bytes(n, rest, copy)
  end

  for {tag, size} <- [{0xD4, 1}, {0xD5, 2}, {0xD6, 4}, {0xD7, 8}, {0xD8, 16}] do
    defp value(<<unquote(tag), rest::binary>>, _depth, copy),
      do: extension(unquote(size), rest, copy)
  end

  for {tag, bits} <- [{0xC7, 8}, {0xC8, 16}, {0xC9, 32}] do
    defp value(<<unquote(tag), n::unquote(bits), rest::binary>>, _depth, copy),
      do: extension(n, rest, copy)
  end

  defp value(<<0xCA, f::float-32, rest::binary>>, _depth, _copy), do: {f, rest}

  # Floats that BEAM has no term for: infinities, and what is not a number.
  defp value(<<0xCA, sign::1, 0xFF::8, fraction::23, rest::binary>>, _depth, _copy),
    do: {special(sign, fraction), rest}

  defp value(<<0xCB, sign::1, 0x7FF::11, fraction::52, rest::binary>>, _depth, _copy),
    do: {special(sign, fraction), rest}

  defp value(<<0xC1, _rest::binary>>, _depth, _copy), do: bad("the reserved byte 0xC1")
  defp value(_rest, _depth, _copy), do: bad("the bytes end within a value")

  defp special(_sign, fraction) when fraction != 0, do: :nan
  defp special(0, _fraction), do: :infinity
  defp special(1, _fraction), do: :neg_infinity

  defp string(text, size, copy) do
    if Encoder.utf8?(text), do: own(text, size, copy), else: bad("a string that is not UTF-8")
  end

  defp bytes(size, rest, copy) do
    {data, rest} = take(size, rest, copy)
    {%Bytes{data: data}, rest}
  end

  defp take(size, rest, copy) do
    case rest do
      <<part::binary-size(size), rest::binary>> -> {own(part, size, copy), rest}
      _ -> short(size, rest)
    end
  end

  defp own(part, size, copy) when size < copy, do: :binary.copy(part)
  defp own(part, _size, _copy), do: part

  @spec short(non_neg_integer, binary) :: no_return
  defp short(size, rest), do: bad("a length of #{size} where #{byte_size(rest)} bytes are left")

  # Most lists of maps are rows of one table. The bytes of each row are compared with those of the
  # first one's keys: to decode and check the keys again would cost twice as much.
  defp array(count, <<0b1000::4, size::4, rest::binary>> = all, depth, copy) when count > 1 do
    room(count, all, depth)
    room(2 * size, rest, depth - 1)
    {pairs, rest} = pairs(size, rest, depth - 2, copy, [])
    first = from_pairs(pairs, size)

    case shape(pairs, []) do
      nil ->
        elements(count - 1, rest, depth - 1, copy, [first])

      shape ->
        {keys, values} = :lists.unzip(pairs)
        {keys, template} = Shapes.template(keys)
        table = {size, shape, keys, template}
        rows(rest, count - 1, depth - 1, copy, [build(table, values)], table)
    end
  end

  # What begins with a mark is no list.
  defp array(count, <<0xD4, 16, mark, rest::binary>> = all, depth, copy) when count > 0 do
    room(count, all, depth)
    {elements, rest} = elements(count - 1, rest, depth - 1, copy, [])
    {marked(mark, elements, count - 1), rest}
  end

  defp array(count, rest, depth, copy) do
    room(count, rest, depth)
    elements(count, rest, depth - 1, copy, [])
  end

  defp marked(0, elements, count) when count <= @most_in_tuple, do: List.to_tuple(elements)
  defp marked(0, _elements, count), do: bad("a tuple of #{count} elements")
  defp marked(1, elements, count), do: set(elements, count)
  defp marked(2, elements, count), do: %FrozenSet{set: set(elements, count)}
  defp marked(3, [name, value], 2) when is_binary(name), do: %Tagged{name: name, value: value}
  defp marked(3, _elements, _count), do: bad("a tagged value that is no name and a value")
  defp marked(mark, _elements, _count), do: bad("an unknown mark #{mark} of an array")

  defp set(elements, count) do
    set = MapSet.new(elements)
    if MapSet.size(set) != count, do: bad("a set with a repeated element")
    Keys.check_elements(elements)
    set
  end

  # The bytes of a short key and its header are compared as integers, since to compare them as a
  # binary, a term would be made for that part of the bytes.
  defp shape([{key, _} | pairs], acc) when is_binary(key) and byte_size(key) < 32 do
    size = byte_size(key) + 1
    raw = <<0x9F + size, key::binary>>
    shape(pairs, [if(size in 2..8, do: {size, words(raw)}, else: {:long, raw, size}) | acc])
  end

  defp shape([], acc), do: acc
  defp shape(_pairs, _acc), do: nil

  defp words(<<a::32, rest::binary>>), do: [a | words(rest)]
  defp words(<<a::16, rest::binary>>), do: [a | words(rest)]
  defp words(<<a>>), do: [a]
  defp words(<<>>), do: []

  # From here to the end of the rows, each function hands the bytes that are left straight to the
  # next, so that the compiler makes a term of them at the beginning of a row alone. `at` holds that
  # beginning, and what it takes to go on from there if the row proves to be of another table.
  defp rows(rest, 0, _depth, _copy, acc, _table), do: {:lists.reverse(acc), rest}

  defp rows(rest, count, depth, copy, acc, {size, shape, _keys, _template} = table) do
    case rest do
      <<0b1000::4, ^size::4, row::binary>> ->
        row(row, shape, [], {rest, count, depth, copy, acc, table})

      _ ->
        elements(count, rest, depth, copy, acc)
    end
  end

  defp row(rest, [], values, {_start, count, depth, copy, acc, table}),
    do: rows(rest, count - 1, depth, copy, [build(table, values) | acc], table)

  for size <- 2..8 do
    bits = List.duplicate(32, div(size, 4)) ++ Enum.at([[], [8], [16], [16, 8]], rem(size, 4))
    words = Macro.generate_arguments(length(bits), :words)

    head =
      for {word, bits} <- Enum.zip(words, bits), do: quote(do: unquote(word) :: unquote(bits))

    same = Macro.generate_arguments(length(bits), :same)
    [equal | more] = for {a, b} <- Enum.zip(words, same), do: quote(do: unquote(a) == unquote(b))
    equal = Enum.reduce(more, equal, &quote(do: unquote(&2) and unquote(&1)))

    defp row(
           <<unquote_splicing(head), rest::binary>>,
           [{unquote(size), unquote(same)} | shape],
           values,
           at
         )
         when unquote(equal),
         do: cell(rest, shape, values, at)
  end

  defp row(rest, [{:long, raw, size} | shape], values, at) do
    case rest do
      <<^raw::binary-size(size), rest::binary>> -> cell(rest, shape, values, at)
      _ -> other(at)
    end
  end

  defp row(_rest, _shape, _values, at), do: other(at)

  # A row of another table.
  defp other({start, count, depth, copy, acc, _table}),
    do: elements(count, start, depth, copy, acc)

  for n <- 0x00..0x7F do
    defp cell(<<unquote(n), rest::binary>>, shape, values, at),
      do: row(rest, shape, [unquote(n) | values], at)
  end

  for n <- 0..31 do
    defp cell(
           <<unquote(0xA0 + n), text::binary-size(unquote(n)), rest::binary>>,
           shape,
           values,
           at
         ),
         do: row(rest, shape, [string(text, unquote(n), elem(at, 3)) | values], at)
  end

  defp cell(<<0xD9, n, text::binary-size(n), rest::binary>>, shape, values, at),
    do: row(rest, shape, [string(text, n, elem(at, 3)) | values], at)

  for {tag, bits} <- [{0xCC, 8}, {0xCD, 16}, {0xCE, 32}, {0xCF, 64}] do
    defp cell(<<unquote(tag), n::unquote(bits), rest::binary>>, shape, values, at),
      do: row(rest, shape, [n | values], at)
  end

  defp cell(<<0xCB, f::float, rest::binary>>, shape, values, at),
    do: row(rest, shape, [f | values], at)

  for {tag, value} <- [{0xC0, nil}, {0xC2, false}, {0xC3, true}] do
    defp cell(<<unquote(tag), rest::binary>>, shape, values, at),
      do: row(rest, shape, [unquote(value) | values], at)
  end

  defp cell(<<rest::binary>>, shape, values, {_start, _count, depth, copy, _acc, _table} = at) do
    {value, rest} = value(rest, depth - 1, copy)
    row(rest, shape, [value | values], at)
  end

  # An update of the first row's map shares its keys.
  for size <- 1..15 do
    keys = Macro.generate_arguments(size, :keys)
    values = Macro.generate_arguments(size, :values)

    defp build({_size, _shape, unquote(keys), template}, unquote(values)),
      do: %{template | unquote_splicing(Enum.zip(keys, values))}
  end

  defp build({0, [], [], template}, []), do: template

  defp elements(0, rest, _depth, _copy, acc), do: {:lists.reverse(acc), rest}

  defp elements(count, rest, depth, copy, acc) do
    {element, rest} = value(rest, depth, copy)
    elements(count - 1, rest, depth, copy, [element | acc])
  end

  defp map(count, rest, depth, copy) do
    room(2 * count, rest, depth)
    {pairs, rest} = pairs(count, rest, depth - 1, copy, [])
    {from_pairs(pairs, count), rest}
  end

  defp from_pairs(pairs, count) do
    map = :maps.from_list(pairs)
    if map_size(map) != count, do: bad("a map with a repeated key")
    # Keys that differ on BEAM can be one key in Python, and some can't be keys there.
    Keys.check(pairs)
    map
  end

  defp pairs(0, rest, _depth, _copy, acc), do: {acc, rest}

  defp pairs(count, rest, depth, copy, acc) do
    {key, rest} = value(rest, depth, copy)
    {value, rest} = value(rest, depth, copy)
    pairs(count - 1, rest, depth, copy, [{key, value} | acc])
  end

  defp room(_count, _rest, 0), do: bad("the value nests too many containers")

  defp room(count, rest, _depth) do
    if count > byte_size(rest),
      do: bad("a count of #{count} where #{byte_size(rest)} bytes are left")
  end

  defp extension(size, <<type, rest::binary>>, copy) do
    {data, rest} = take(size, rest, copy)
    {extended(type, data), rest}
  end

  defp extension(_size, <<>>, _copy), do: bad("the bytes end within a value")

  for type <- Types.all() do
    defp extended(unquote(type.code()), data) do
      case unquote(type).decode(data) do
        {:ok, value} -> value
        {:error, why} -> bad(why)
      end
    end
  end

  defp extended(16, _data), do: bad("a mark that is not the first of an array")
  defp extended(type, _data), do: bad("an unknown extension type #{type}")

  @spec bad(String.t()) :: no_return
  defp bad(why), do: throw({:bad, why})

  @doc false
  @spec uint(binary) :: {non_neg_integer, binary} | :error
  def uint(<<n, rest::binary>>) when (n &&& 0x80) == 0, do: {n, rest}
  def uint(<<0xCC, n, rest::binary>>), do: {n, rest}
  def uint(<<0xCD, n::16, rest::binary>>), do: {n, rest}
  def uint(<<0xCE, n::32, rest::binary>>), do: {n, rest}
  def uint(<<0xCF, n::64, rest::binary>>), do: {n, rest}
  def uint(_other), do: :error

  @doc false
  @spec array_header(binary) :: {non_neg_integer, binary} | :error
  def array_header(<<0x9::4, n::4, rest::binary>>), do: {n, rest}
  def array_header(<<0xDC, n::16, rest::binary>>), do: {n, rest}
  def array_header(<<0xDD, n::32, rest::binary>>), do: {n, rest}
  def array_header(_other), do: :error
end
