defmodule Slither.Protocol.Encoder do
  @moduledoc false
  # Terms to msgpack, as iodata, in whatever process sends them: lanes, for one. Pure.
  #
  # Single bytes stand in the iodata as integers, and texts as they are, which takes half the time of
  # small binaries. The fast path throws without knowing where in the term it is; only then does
  # `locate/2` walk the term again, to say which value is at fault.

  import Bitwise

  alias Slither.{Bytes, FrozenSet, Tagged}
  alias Slither.Protocol.{Encoded, Keys, StandIn, Types}
  alias Slither.Protocol.Types.BigInteger

  @max_depth 1_000
  @too_deep "nests more than #{@max_depth} containers"
  @ascii 0x80808080
  # What an array begins with that is no list.
  @tuple <<0xD4, 16, 0>>
  @set <<0xD4, 16, 1>>
  @frozen_set <<0xD4, 16, 2>>
  @tagged <<0xD4, 16, 3>>

  # The keys of a map in the order in which it lists them, and their bytes, the first with the
  # map's header before it.
  @typep shape :: {[term, ...], [binary, ...]} | nil

  @doc "Encodes a term; on failure says where and why."
  @spec encode(term, String.t()) :: {:ok, iodata} | {:error, String.t()}
  def encode(term, root \\ "payload") do
    {:ok, encode!(term)}
  catch
    {:bad, _why} -> {:error, locate(term, root)}
  end

  @doc "Encodes a term that the caller knows to be encodable."
  @spec encode!(term) :: iodata
  def encode!(term), do: term |> value(@max_depth) |> whole()

  # By itself a byte is no iodata.
  defp whole(byte) when is_integer(byte), do: <<byte>>
  defp whole(iodata), do: iodata

  @doc """
  Encodes a term that may be a row of the table that `shape` describes, as the last one was; nil
  is no shape yet. Gives the shape for the next one.
  """
  @spec encode_row(term, shape) :: {:ok, iodata, shape} | {:error, String.t()}
  def encode_row(row, shape) do
    {encoded, shape} = row(row, shape, @max_depth)
    {:ok, whole(encoded), shape}
  catch
    {:bad, _why} -> {:error, locate(row, "payload")}
  end

  @doc "The header of an array of `count` values."
  @spec array(non_neg_integer) :: byte | binary
  def array(count) when count < 16, do: 0x90 ||| count
  def array(count) when count < 0x10000, do: <<0xDC, count::16>>
  def array(count), do: <<0xDD, count::32>>

  defp value(text, _depth) when is_binary(text), do: string(text)
  defp value(n, _depth) when is_integer(n), do: integer(n)
  defp value(f, _depth) when is_float(f), do: <<0xCB, f::float>>
  defp value(nil, _depth), do: 0xC0
  defp value(true, _depth), do: 0xC3
  defp value(false, _depth), do: 0xC2
  defp value(:nan, _depth), do: <<0xCB, 0x7FF8000000000000::64>>
  defp value(:infinity, _depth), do: <<0xCB, 0x7FF0000000000000::64>>
  defp value(:neg_infinity, _depth), do: <<0xCB, 0xFFF0000000000000::64>>
  defp value(atom, _depth) when is_atom(atom), do: text(Atom.to_string(atom))
  defp value(%{__struct__: _} = struct, depth), do: wrapped(struct, depth)
  defp value(_container, 0), do: bad(@too_deep)
  defp value(list, depth) when is_list(list), do: list(list, depth)
  defp value(map, depth) when is_map(map), do: map(map, depth - 1)

  defp value(tuple, depth) when is_tuple(tuple),
    do: [array(tuple_size(tuple) + 1), @tuple | elements(Tuple.to_list(tuple), depth - 1)]

  defp value(other, _depth), do: bad("#{kind(other)} can't be sent")

  defp list(list, depth) do
    [array(proper_length(list)) | elements(list, depth - 1)]
  end

  # In a key, and in a set, Python has no lists or sets, only tuples and frozen ones.
  defp key(text, _depth) when is_binary(text), do: string(text)
  defp key(%MapSet{} = set, depth), do: set(@frozen_set, set, depth)
  defp key(%FrozenSet{set: %MapSet{} = set}, depth), do: set(@frozen_set, set, depth)
  defp key(container, 0) when is_list(container) or is_tuple(container), do: value(container, 0)

  defp key(list, depth) when is_list(list),
    do: [array(proper_length(list)) | for(element <- list, do: key(element, depth - 1))]

  defp key(tuple, depth) when is_tuple(tuple) do
    elements = for element <- Tuple.to_list(tuple), do: key(element, depth - 1)
    [array(tuple_size(tuple) + 1), @tuple | elements]
  end

  defp key(key, depth), do: value(key, depth)

  defp set(_mark, _set, 0), do: bad(@too_deep)

  defp set(mark, set, depth) do
    elements = MapSet.to_list(set)
    Keys.check_elements(elements)
    [array(length(elements) + 1), mark | for(element <- elements, do: key(element, depth - 1))]
  end

  defp elements([head | tail], depth) when is_map(head), do: rows([head | tail], nil, depth)
  defp elements([head | tail], depth), do: [value(head, depth) | elements(tail, depth)]
  defp elements([], _depth), do: []

  defp map(map, depth) do
    pairs = :maps.to_list(map)
    Keys.check(pairs)
    [map_header(map_size(map)) | pairs(pairs, depth)]
  end

  defp pairs([{key, value} | pairs], depth),
    do: [key(key, depth), value(value, depth) | pairs(pairs, depth)]

  defp pairs([], _depth), do: []

  # Most lists of maps are rows of one table, whose keys are checked and encoded once.
  defp rows([head | tail], shape, depth) do
    {encoded, shape} = row(head, shape, depth)
    [encoded | rows(tail, shape, depth)]
  end

  defp rows([], _shape, _depth), do: []

  defp row(map, shape, depth)
       when is_map(map) and not is_map_key(map, :__struct__) and depth > 0 do
    case shape do
      {keys, raws} ->
        if :maps.keys(map) === keys,
          do: {pairs(raws, :maps.values(map), depth - 1), shape},
          else: shaped(map, depth)

      nil ->
        shaped(map, depth)
    end
  end

  defp row(other, shape, depth), do: {value(other, depth), shape}

  defp shaped(map, _depth) when map == %{}, do: {map_header(0), nil}

  defp shaped(map, depth) do
    map |> :maps.to_list() |> Keys.check()
    [first | others] = keys = :maps.keys(map)
    first = IO.iodata_to_binary([map_header(map_size(map)), key(first, depth - 1)])
    raws = [first | for(key <- others, do: IO.iodata_to_binary([key(key, depth - 1)]))]
    {pairs(raws, :maps.values(map), depth - 1), {keys, raws}}
  end

  defp pairs([raw | raws], [value | values], depth),
    do: [raw, value(value, depth) | pairs(raws, values, depth)]

  defp pairs([], [], _depth), do: []

  defp map_header(count) when count < 16, do: 0x80 ||| count
  defp map_header(count) when count < 0x10000, do: <<0xDE, count::16>>
  defp map_header(count), do: <<0xDF, count::32>>

  defp string(text) do
    if utf8?(text),
      do: text(text),
      else: bad("a binary that is not UTF-8; wrap it with Slither.Bytes.new/1 to send bytes")
  end

  defp text(text) do
    size = byte_size(text)

    cond do
      size < 32 -> [0xA0 ||| size | text]
      size < 0x100 -> [0xD9, size | text]
      size < 0x10000 -> [<<0xDA, size::16>> | text]
      true -> [<<0xDB, size::32>> | text]
    end
  end

  defp integer(n) when n >= 0 do
    cond do
      n < 0x80 -> n
      n < 0x100 -> [0xCC, n]
      n < 0x10000 -> <<0xCD, n::16>>
      n < 0x100000000 -> <<0xCE, n::32>>
      n < 0x10000000000000000 -> <<0xCF, n::64>>
      true -> extended(BigInteger.encode(n))
    end
  end

  defp integer(n) do
    cond do
      n >= -32 -> 0x100 + n
      n >= -0x80 -> <<0xD0, n>>
      n >= -0x8000 -> <<0xD1, n::16>>
      n >= -0x80000000 -> <<0xD2, n::32>>
      n >= -0x8000000000000000 -> <<0xD3, n::64>>
      true -> extended(BigInteger.encode(n))
    end
  end

  defp wrapped(%Bytes{data: data}, _depth) when is_binary(data) do
    size = byte_size(data)

    cond do
      size < 0x100 -> [0xC4, size | data]
      size < 0x10000 -> [<<0xC5, size::16>> | data]
      true -> [<<0xC6, size::32>> | data]
    end
  end

  defp wrapped(%Encoded{data: data}, _depth) when is_binary(data), do: data

  for type <- Types.all(), struct <- type.structs() do
    defp wrapped(%{__struct__: unquote(struct)} = value, _depth),
      do: extended(unquote(type).encode(value))
  end

  defp wrapped(%MapSet{} = set, depth), do: set(@set, set, depth)
  defp wrapped(%FrozenSet{set: %MapSet{} = set}, depth), do: set(@frozen_set, set, depth)

  defp wrapped(%Tagged{name: name, value: value}, depth) when is_binary(name) and depth > 0,
    do: [array(3), @tagged, string(name), value(value, depth - 1)]

  defp wrapped(%Tagged{name: name}, depth) when is_binary(name), do: value([], depth)

  defp wrapped(other, depth) do
    case StandIn.for(other) do
      {:ok, term} -> value(term, depth)
      {:error, why} -> bad(why)
    end
  end

  defp extended({:ok, code, data}), do: [extension_header(code, size(data)) | data]
  defp extended({:error, why}), do: bad(why)

  defp size(data) when is_binary(data), do: byte_size(data)
  defp size(data), do: IO.iodata_length(data)

  defp extension_header(type, 1), do: <<0xD4, type>>
  defp extension_header(type, 2), do: <<0xD5, type>>
  defp extension_header(type, 4), do: <<0xD6, type>>
  defp extension_header(type, 8), do: <<0xD7, type>>
  defp extension_header(type, 16), do: <<0xD8, type>>
  defp extension_header(type, size) when size < 0x100, do: <<0xC7, size, type>>
  defp extension_header(type, size) when size < 0x10000, do: <<0xC8, size::16, type>>
  defp extension_header(type, size), do: <<0xC9, size::32, type>>

  defp proper_length(list) do
    length(list)
  rescue
    ArgumentError -> bad("an improper list can't be sent")
  end

  @doc false
  @spec utf8?(binary) :: boolean
  # Most texts are short and ASCII. Four bytes are read in place; other sizes take a call.
  def utf8?(<<a::32, b::32, rest::binary>>) when ((a ||| b) &&& @ascii) == 0, do: utf8?(rest)
  def utf8?(<<a::32, rest::binary>>) when (a &&& @ascii) == 0, do: utf8?(rest)
  def utf8?(<<>>), do: true
  def utf8?(<<a>>) when a < 0x80, do: true
  def utf8?(<<a::16>>) when (a &&& @ascii) == 0, do: true
  def utf8?(<<a::16, b>>) when ((a ||| b) &&& @ascii) == 0, do: true
  def utf8?(rest), do: mixed_utf8?(rest)

  defp mixed_utf8?(<<a::32, rest::binary>>) when (a &&& @ascii) == 0, do: mixed_utf8?(rest)
  defp mixed_utf8?(<<char, rest::binary>>) when char < 0x80, do: mixed_utf8?(rest)
  defp mixed_utf8?(<<_::utf8, rest::binary>>), do: mixed_utf8?(rest)
  defp mixed_utf8?(rest), do: rest == <<>>

  @spec bad(String.t()) :: no_return
  defp bad(why), do: throw({:bad, why})

  ## Where a value is at fault

  defp locate(term, path) do
    case Enum.find(children(term), fn {_step, child} -> fault(child) end) do
      {step, child} -> locate(child, path <> step)
      nil -> "#{path}: #{fault(term)}"
    end
  end

  # What a struct is sent as may have that struct in it, and again, without end.
  defp endless?(struct), do: fault(struct) == @too_deep

  defp fault(term) do
    _ = value(term, @max_depth)
    nil
  catch
    {:bad, why} -> why
  end

  defp children(%MapSet{} = set), do: for(element <- set, do: {"{#{short(element)}}", element})
  defp children(%FrozenSet{set: %MapSet{} = set}), do: children(set)
  defp children(%Tagged{value: value}), do: [{".value", value}]

  defp children(%{__struct__: _} = struct) do
    case StandIn.for(struct) do
      {:ok, ^struct} -> []
      {:ok, term} -> if endless?(struct), do: [], else: children(term)
      {:error, _why} -> []
    end
  end

  defp children(map) when is_map(map) do
    keys = for {key, _} <- map, do: {".key(#{short(key)})", key}
    keys ++ for({key, value} <- map, do: {"[#{short(key)}]", value})
  end

  defp children(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> children()

  defp children(list) when is_list(list) do
    if List.improper?(list),
      do: [],
      else: Enum.with_index(list, fn child, index -> {"[#{index}]", child} end)
  end

  defp children(_leaf), do: []

  defp short(key), do: inspect(key, limit: 5, printable_limit: 40)

  defp kind(term) when is_pid(term), do: "a pid"
  defp kind(term) when is_function(term), do: "a function"
  defp kind(term) when is_reference(term), do: "a reference"
  defp kind(term) when is_port(term), do: "a port"
  defp kind(term) when is_bitstring(term), do: "a bitstring of #{bit_size(term)} bits"
end
