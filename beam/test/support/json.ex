defmodule Slither.Test.JSON do
  @moduledoc false
  # A small strict JSON reader for the golden vectors, and the tagged JSON of PROTOCOL.md.

  alias Slither.{
    Arrow,
    Bytes,
    Complex,
    Decimal,
    FrozenSet,
    Pickled,
    Tagged,
    Tensor,
    TimeDelta,
    UUID
  }

  @vectors Path.expand("../../../protocol/vectors", __DIR__)

  @doc "The rows of one file of vectors, with their bytes as binaries."
  @spec vectors(String.t()) :: [map]
  def vectors(name) do
    Enum.map(rows(name), &Map.update!(&1, "hex", fn hex -> Base.decode16!(hex, case: :lower) end))
  end

  @doc "The rows of one file of vectors, as they are."
  @spec rows(String.t()) :: [map]
  def rows(name), do: @vectors |> Path.join(name <> ".json") |> File.read!() |> read!()

  @doc "The value of a JSON text; raises for anything else than one whole value."
  @spec read!(String.t()) :: term
  def read!(text) do
    {value, rest} = text |> space() |> value()
    if space(rest) == "", do: value, else: raise(ArgumentError, "text after the value: #{rest}")
  end

  @doc "The value of tagged JSON."
  @spec untag(term) :: term
  def untag(plain) when plain in [nil, true, false] or is_binary(plain), do: plain
  def untag(%{"int" => digits}), do: String.to_integer(digits)
  def untag(%{"float" => "nan"}), do: :nan
  def untag(%{"float" => "inf"}), do: :infinity
  def untag(%{"float" => "-inf"}), do: :neg_infinity
  def untag(%{"float" => digits}), do: float(digits)
  def untag(%{"bytes" => hex}), do: Bytes.new(Base.decode16!(hex, case: :lower))
  def untag(%{"list" => list}), do: Enum.map(list, &untag/1)
  def untag(%{"map" => pairs}), do: Map.new(pairs, fn [k, v] -> {untag(k), untag(v)} end)

  def untag(%{"datetime" => parts}) do
    [seconds, microseconds, offset] = Enum.map(parts, &String.to_integer/1)
    Slither.Test.Generators.datetime(seconds, microseconds, offset)
  end

  def untag(%{"tensor" => %{"dtype" => dtype, "shape" => shape, "data" => hex}}) do
    # It knows the dtypes' names.
    Code.ensure_loaded!(Tensor)

    %Tensor{
      dtype: String.to_existing_atom(dtype),
      shape: List.to_tuple(shape),
      data: Base.decode16!(hex, case: :lower)
    }
  end

  def untag(%{"date" => text}), do: Date.from_iso8601!(text)
  def untag(%{"time" => text}), do: Time.from_iso8601!(text)
  def untag(%{"naive" => text}), do: NaiveDateTime.from_iso8601!(text)

  def untag(%{"timedelta" => digits}), do: %TimeDelta{microseconds: String.to_integer(digits)}
  def untag(%{"uuid" => text}), do: UUID.new(text)
  def untag(%{"complex" => [re, im]}), do: %Complex{re: untag(re), im: untag(im)}
  def untag(%{"tuple" => list}), do: list |> Enum.map(&untag/1) |> List.to_tuple()
  def untag(%{"set" => list}), do: list |> Enum.map(&untag/1) |> MapSet.new()
  def untag(%{"frozenset" => list}), do: list |> Enum.map(&untag/1) |> FrozenSet.new()
  def untag(%{"tagged" => [name, value]}), do: %Tagged{name: name, value: untag(value)}
  def untag(%{"pickled" => hex}), do: %Pickled{data: unhex(hex)}

  def untag(%{"blob" => [kind, use, size, name]}) do
    kind = %{0 => :bytes, 3 => :tensor, 12 => :array, 13 => :arrow}[kind]
    use = Enum.at([:shared, :own], use)
    %Slither.Blob{kind: kind, use: use, size: String.to_integer(size), name: name}
  end

  def untag(%{"decimal" => text}) when text in ["NaN", "Infinity", "-Infinity"],
    do: Decimal.new(text)

  def untag(%{"decimal" => text}) do
    {sign, digits} = if String.starts_with?(text, "-"), do: {-1, tl_of(text)}, else: {1, text}
    [coef, exp] = String.split(digits, "E")
    %Decimal{sign: sign, coef: String.to_integer(coef), exp: String.to_integer(exp)}
  end

  def untag(%{"zoned" => zoned}) do
    {:ok, utc, 0} = DateTime.from_iso8601(zoned["utc"])
    local = DateTime.add(utc, zoned["offset"], :second)

    Map.merge(local, %{
      microsecond: utc.microsecond,
      utc_offset: zoned["offset"] - zoned["dst"],
      std_offset: zoned["dst"],
      time_zone: zoned["zone"],
      zone_abbr: zoned["abbr"]
    })
  end

  def untag(%{"array" => array}) do
    %Tensor{
      dtype: {:numpy, array["dtype"], array["size"]},
      shape: List.to_tuple(array["shape"]),
      data: unhex(array["hex"])
    }
  end

  def untag(%{"path" => [flavour, hex]}) do
    flavours = %{"path" => :path, "pure_posix" => :pure_posix, "pure_windows" => :pure_windows}
    Slither.Path.new(unhex(hex), Map.fetch!(flavours, flavour))
  end

  def untag(%{"arrow" => arrow}) do
    kind = Enum.find(Arrow.kinds(), &(Atom.to_string(&1) == arrow["kind"]))
    Arrow.new(unhex(arrow["hex"]), arrow["columns"], arrow["rows"], kind)
  end

  defp unhex(hex), do: Base.decode16!(hex, case: :lower)
  defp tl_of(<<_first, rest::binary>>), do: rest

  # "1e+300" is a float to Python, and not to Elixir.
  defp float(digits) do
    {number, ""} = Float.parse(digits)
    number
  end

  defp value("{" <> rest), do: members(space(rest), %{}, :first)
  defp value("[" <> rest), do: elements(space(rest), [], :first)
  defp value("\"" <> rest), do: string(rest, [])
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("null" <> rest), do: {nil, rest}

  defp value(text) do
    case Regex.run(~r/\A-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/, text) do
      [digits] -> {String.to_integer(digits), after_prefix(text, digits)}
      [digits | _] -> {float(digits), after_prefix(text, digits)}
      nil -> raise ArgumentError, "no value begins with #{inspect(String.slice(text, 0, 20))}"
    end
  end

  defp after_prefix(text, prefix), do: binary_part(text, byte_size(prefix), rest(text, prefix))
  defp rest(text, prefix), do: byte_size(text) - byte_size(prefix)

  defp members("}" <> rest, map, :first), do: {map, rest}

  defp members("\"" <> rest, map, _) do
    {key, rest} = string(rest, [])
    ":" <> rest = space(rest)
    {value, rest} = rest |> space() |> value()
    false = is_map_key(map, key)
    map = Map.put(map, key, value)

    case space(rest) do
      "," <> rest -> members(space(rest), map, :next)
      "}" <> rest -> {map, rest}
    end
  end

  defp elements("]" <> rest, [], :first), do: {[], rest}

  defp elements(text, list, _) do
    {value, rest} = value(text)

    case space(rest) do
      "," <> rest -> elements(space(rest), [value | list], :next)
      "]" <> rest -> {Enum.reverse([value | list]), rest}
    end
  end

  defp string("\"" <> rest, acc), do: {acc |> Enum.reverse() |> IO.iodata_to_binary(), rest}

  defp string("\\u" <> <<high::binary-4, "\\u", low::binary-4, rest::binary>> = text, acc) do
    case {hex(high), hex(low)} do
      {h, l} when h in 0xD800..0xDBFF and l in 0xDC00..0xDFFF ->
        string(rest, [<<0x10000 + (h - 0xD800) * 0x400 + l - 0xDC00::utf8>> | acc])

      _ ->
        escape(text, acc)
    end
  end

  defp string("\\" <> _ = text, acc), do: escape(text, acc)

  defp string(<<c::utf8, rest::binary>>, acc) when c >= 0x20,
    do: string(rest, [<<c::utf8>> | acc])

  defp escape("\\u" <> <<code::binary-4, rest::binary>>, acc),
    do: string(rest, [<<hex(code)::utf8>> | acc])

  for {letter, char} <-
        [{"\"", "\""}, {"\\", "\\"}, {"/", "/"}, {"b", "\b"}] ++
          [{"f", "\f"}, {"n", "\n"}, {"r", "\r"}, {"t", "\t"}] do
    defp escape("\\" <> unquote(letter) <> rest, acc), do: string(rest, [unquote(char) | acc])
  end

  defp hex(digits), do: String.to_integer(digits, 16)

  defp space(<<c, rest::binary>>) when c in ~c" \t\n\r", do: space(rest)
  defp space(text), do: text
end
