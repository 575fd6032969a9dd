defmodule Slither.Test.Generators do
  @moduledoc false
  # Random values of the protocol's types. They draw from `:rand`, which ExUnit seeds for each
  # test from its own seed: `mix test --seed N` makes the same values again.

  alias Slither.{
    Arrow,
    Bytes,
    Complex,
    Decimal,
    FrozenSet,
    Number,
    Tagged,
    Tensor,
    TimeDelta,
    UUID
  }

  @doc "Checks `property` for `count` values; a failure shows the value and how to repeat it."
  @spec check_all(pos_integer, (() -> term), (term -> any)) :: :ok
  def check_all(count, generator, property) do
    Enum.each(1..count, fn round ->
      value = generator.()

      try do
        property.(value)
      rescue
        error ->
          shown = inspect(value, limit: 200, printable_limit: 2_000)
          text = Exception.format(:error, error, __STACKTRACE__)
          seed = ExUnit.configuration()[:seed]

          reraise ExUnit.AssertionError,
                  [message: "value #{round}, with --seed #{seed}:\n#{shown}\n\n#{text}"],
                  __STACKTRACE__
      end
    end)
  end

  @doc "Any value that comes back as it was; containers nest at most `depth` deep."
  @spec value(non_neg_integer) :: term
  def value(depth \\ 4)

  def value(0), do: leaf()

  def value(depth) do
    case :rand.uniform(5) do
      1 -> list(depth)
      2 -> map(depth)
      _ -> leaf()
    end
  end

  @doc "Any value of the protocol's, as `value/1`, of all its types but tables of Arrow."
  @spec any_value(non_neg_integer) :: term
  def any_value(depth \\ 4)

  def any_value(0), do: any_leaf()

  def any_value(depth) do
    case :rand.uniform(10) do
      1 -> many(count(), fn -> any_value(depth - 1) end)
      2 -> many(count(), &any_key/0) |> distinct() |> Map.new(&{&1, any_value(depth - 1)})
      3 -> many(count(), fn -> any_value(depth - 1) end) |> List.to_tuple()
      4 -> many(count(), &any_key/0) |> distinct() |> MapSet.new()
      5 -> many(count(), &any_key/0) |> distinct() |> FrozenSet.new()
      6 -> %Tagged{name: text(), value: any_value(depth - 1)}
      _ -> any_leaf()
    end
  end

  defp any_leaf do
    case :rand.uniform(4) do
      1 -> leaf()
      2 -> array()
      _ -> hashable()
    end
  end

  @doc "A key of a map, or an element of a set, of any type that comes back as it was."
  @spec any_key(non_neg_integer) :: term
  def any_key(depth \\ 2) do
    case :rand.uniform(6) do
      1 when depth > 0 ->
        many(:rand.uniform(3), fn -> any_key(depth - 1) end) |> List.to_tuple()

      2 when depth > 0 ->
        many(count(), fn -> any_key(depth - 1) end) |> distinct() |> FrozenSet.new()

      3 ->
        hashable()

      _ ->
        key(0)
    end
  end

  defp distinct(keys), do: Enum.uniq_by(keys, &python_key/1)

  defp hashable do
    pick(
      [&date/0, &time/0, &naive/0, &time_delta/0, &decimal/0, &uuid/0, &complex/0, &zoned/0] ++
        [&path/0]
    ).()
  end

  @doc "A day of the years 1 to 9999."
  @spec date() :: Date.t()
  def date,
    do: pick([~D[0001-01-01], ~D[9999-12-31], Date.add(~D[0001-01-01], :rand.uniform(3_652_000))])

  @doc "A time of day, to the microsecond."
  @spec time() :: Time.t()
  def time do
    microseconds = pick([0, 86_399_999_999, :rand.uniform(86_400_000_000) - 1])
    time = Time.from_seconds_after_midnight(div(microseconds, 1_000_000))
    %{time | microsecond: {rem(microseconds, 1_000_000), 6}}
  end

  @doc "A wall clock of the years 1 to 9999, to the microsecond."
  @spec naive() :: NaiveDateTime.t()
  def naive, do: NaiveDateTime.new!(date(), time())

  @doc "A length of time, up to the longest."
  @spec time_delta() :: TimeDelta.t()
  def time_delta do
    day = 86_400_000_000
    most = 999_999_999 * day

    TimeDelta.new(
      microseconds: pick([0, -1, most + day - 1, -most, :rand.uniform(2 * most) - most])
    )
  end

  @doc "A decimal, infinite and not-a-number included."
  @spec decimal() :: Decimal.t()
  def decimal do
    case :rand.uniform(5) do
      1 -> Decimal.new(pick(["NaN", "Infinity", "-Infinity", "0", "-0.00", "1E+1000000"]))
      2 -> %Decimal{sign: 1, coef: Integer.pow(10, 4_300) - :rand.uniform(9), exp: -1_000_000}
      _ -> %Decimal{sign: pick([1, -1]), coef: abs(integer()), exp: :rand.uniform(41) - 21}
    end
  end

  @doc "A UUID of any bytes."
  @spec uuid() :: UUID.t()
  def uuid, do: UUID.new(:rand.bytes(16))

  @doc "A complex number."
  @spec complex() :: Complex.t()
  def complex, do: Complex.new(float(), float())

  @doc "A moment in a zone with a name, as far as one without a table of zones can make them."
  @spec zoned() :: DateTime.t()
  def zoned do
    {zone, abbr, utc, std, from} =
      pick([
        {"Europe/Berlin", "CEST", 3_600, 3_600, 1_712_000_000},
        {"Europe/Berlin", "CET", 3_600, 0, 1_699_000_000},
        {"America/New_York", "EDT", -18_000, 3_600, 1_712_000_000},
        {"Asia/Kathmandu", "+0545", 20_700, 0, 1_712_000_000},
        # What Python has no zone for at this offset, or none of this name.
        {"Europe/Berlin", "CEST", 3_600, 3_600, 1_700_000_000},
        {"Nowhere/Ödland", "Ö", -1, -3_600, -1_712_000_000}
      ])

    # Half a year of it.
    seconds = from + :rand.uniform(10_000_000)
    moment = datetime(seconds, :rand.uniform(1_000_000) - 1, utc + std)
    %{moment | time_zone: zone, zone_abbr: abbr, utc_offset: utc, std_offset: std}
  end

  @doc "A path that Python leaves as it is."
  @spec path() :: Slither.Path.t()
  def path do
    pick([
      Slither.Path.new("/data/é.csv"),
      Slither.Path.new(<<"a", 255>>),
      Slither.Path.new("."),
      Slither.Path.new("../a/b", :pure_posix),
      Slither.Path.new("C:\\data\\é", :pure_windows)
    ])
  end

  @doc "An array of a dtype that only NumPy has."
  @spec array() :: Tensor.t()
  def array do
    {text, size} = pick([{"<M8[ns]", 8}, {"<m8[D]", 8}, {"|S3", 3}, {"|V5", 5}])
    shape = many(:rand.uniform(4) - 1, fn -> :rand.uniform(4) - 1 end)
    data = :rand.bytes(size * Enum.product(shape))
    %Tensor{dtype: {:numpy, text, size}, shape: List.to_tuple(shape), data: data}
  end

  @doc "A table of Arrow, whose bytes are none."
  @spec arrow() :: Arrow.t()
  def arrow do
    columns = many(:rand.uniform(4) - 1, fn -> pick(["a", "é", "", "a column"]) end)
    Arrow.new(:rand.bytes(size()), columns, :rand.uniform(1_000), pick(Arrow.kinds()))
  end

  @doc "A list of values."
  @spec list(pos_integer) :: list
  def list(depth), do: many(count(), fn -> value(depth - 1) end)

  @doc "A map; no two of its keys are one key in Python."
  @spec map(pos_integer) :: map
  def map(depth) do
    count = if one_in(20), do: 33 + :rand.uniform(40), else: count()

    many(count, fn -> key(2) end)
    |> Enum.uniq_by(&python_key/1)
    |> Map.new(&{&1, value(depth - 1)})
  end

  @doc "A key of a map."
  @spec key(non_neg_integer) :: term
  def key(depth) do
    case :rand.uniform(8) do
      1 when depth > 0 -> many(:rand.uniform(3), fn -> key(depth - 1) end)
      2 -> integer()
      3 -> float()
      4 -> pick([nil, true, false])
      5 -> bytes()
      6 -> datetime()
      _ -> text()
    end
  end

  @doc "A value that holds no other."
  @spec leaf() :: term
  def leaf do
    case :rand.uniform(9) do
      1 -> pick([nil, true, false])
      2 -> float()
      3 -> bytes()
      4 -> datetime()
      5 -> tensor()
      6 -> integer()
      7 -> pick([[], %{}])
      _ -> if one_in(3), do: integer(), else: text()
    end
  end

  @doc "An integer of any size, often at a limit of one of the encodings."
  @spec integer() :: integer
  def integer do
    bits = pick([3, 5, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 200, 1_000])
    edge = Bitwise.bsl(1, bits)

    case :rand.uniform(3) do
      1 -> edge - 2 + :rand.uniform(3)
      2 -> -edge - 2 + :rand.uniform(3)
      3 -> :rand.uniform(2 * edge) - edge
    end
  end

  @doc "A float, not-a-number and the infinities included."
  @spec float() :: float | :nan | :infinity | :neg_infinity
  def float do
    case :rand.uniform(6) do
      1 -> pick([:nan, :infinity, :neg_infinity])
      2 -> pick([0.0, 5.0e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1.0, -1.5])
      3 -> :rand.uniform(1_000) * 1.0
      _ -> any_float()
    end
  end

  @doc "A float of any bits."
  @spec any_float() :: float | :nan
  def any_float do
    case :rand.bytes(8) do
      <<f::float>> -> f
      _nan_or_infinity -> :nan
    end
  end

  @doc "Text of any characters, sometimes long enough for the longer headers."
  @spec text() :: String.t()
  def text do
    char = if one_in(2), do: &ascii/0, else: &char/0
    size() |> many(char) |> IO.iodata_to_binary()
  end

  defp ascii, do: :rand.uniform(128) - 1

  defp char do
    range = pick([0..0x7F, 0x80..0x7FF, 0x800..0xD7FF, 0xE000..0xFFFF, 0x10000..0x10FFFF])
    <<Enum.random(range)::utf8>>
  end

  @doc "Bytes that are often no text."
  @spec bytes() :: Bytes.t()
  def bytes, do: Bytes.new(:rand.bytes(size()))

  @doc "A datetime of the years 1 to 9999, at any offset."
  @spec datetime() :: DateTime.t()
  def datetime do
    offset = pick([0, 0, 3_600, -3_600, 7_200, 19_800, -86_399, 86_399, 1, -12_345])
    lowest = max(-62_135_596_800, -62_135_596_800 - offset)
    highest = min(253_402_300_799, 253_402_300_799 - offset)

    seconds =
      case :rand.uniform(5) do
        1 -> pick([lowest, highest, 0, -1])
        _ -> lowest + :rand.uniform(highest - lowest + 1) - 1
      end

    datetime(seconds, pick([0, 1, 500_000, 999_999, :rand.uniform(1_000_000) - 1]), offset)
  end

  @doc "The datetime of an instant at an offset, as it comes from Python."
  @spec datetime(integer, 0..999_999, integer) :: DateTime.t()
  def datetime(seconds, microseconds, offset) do
    local = DateTime.from_unix!(seconds + offset)
    local = %{local | microsecond: {microseconds, 6}}
    if offset == 0, do: local, else: Map.merge(local, zone(offset))
  end

  defp zone(offset) do
    time = offset |> abs() |> Time.from_seconds_after_midnight() |> Time.to_string()
    name = if(offset < 0, do: "-", else: "+") <> String.replace_suffix(time, ":00", "")
    %{utc_offset: offset, time_zone: name, zone_abbr: name}
  end

  @doc "A tensor of any dtype, of up to four dimensions."
  @spec tensor() :: Tensor.t()
  def tensor do
    dtype = pick(Tensor.dtypes())
    shape = many(:rand.uniform(5) - 1, fn -> :rand.uniform(5) - 1 end)
    count = Enum.product(shape)

    # Python keeps a boolean in a byte of 0 or 1, and has no other.
    data =
      if dtype == :bool,
        do: :binary.copy(<<1, 0>>, count) |> binary_part(0, count),
        else: :rand.bytes(count * Tensor.element_size(dtype))

    %Tensor{dtype: dtype, shape: List.to_tuple(shape), data: data}
  end

  @doc "What two keys share that are one key in Python."
  @spec python_key(term) :: term
  def python_key(true), do: 1
  def python_key(false), do: 0
  def python_key(key) when is_float(key) and trunc(key) == key, do: trunc(key)
  def python_key(key) when is_list(key), do: Enum.map(key, &python_key/1)
  def python_key(%DateTime{} = key), do: {:instant, DateTime.to_unix(key, :microsecond)}
  def python_key(%Decimal{} = key), do: Number.key(key)
  def python_key(key) when key in [:nan, :infinity, :neg_infinity], do: {:special, key}
  def python_key(%Complex{re: re, im: im}) when im == 0, do: python_key(re)
  def python_key(%FrozenSet{set: set}), do: {:set, MapSet.new(set, &python_key/1)}
  def python_key(key) when is_tuple(key), do: key |> Tuple.to_list() |> python_key()
  def python_key(key), do: key

  @doc "`count` things."
  @spec many(non_neg_integer, (() -> term)) :: list
  def many(count, fun), do: Enum.map(Enum.drop(0..count, 1), fn _ -> fun.() end)

  @doc "One element of a list."
  @spec pick([term, ...]) :: term
  def pick(list), do: Enum.random(list)

  @doc "True once in `n` times."
  @spec one_in(pos_integer) :: boolean
  def one_in(n), do: :rand.uniform(n) == 1

  defp count, do: if(one_in(15), do: 14 + :rand.uniform(4), else: :rand.uniform(5) - 1)

  defp size do
    case :rand.uniform(20) do
      1 -> pick([31, 32, 33, 255, 256, 257])
      2 -> if one_in(10), do: 65_530 + :rand.uniform(10), else: 300
      _ -> :rand.uniform(12) - 1
    end
  end
end
