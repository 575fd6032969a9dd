defmodule Slither.Expression.TwoLanguagesTest do
  # BEAM and Python make the same of any expression and any item.
  use ExUnit.Case, async: true

  import Slither.Test.{Generators, Pools}

  alias Slither.{Complex, Decimal, Expression, FrozenSet, Protocol, Tagged, TimeDelta}

  @fields ~w(int small float num text word bool bytes time list dict any)

  setup do
    %{pool: ready_pool(size: 2)}
  end

  test "random expressions have one value in both languages", %{pool: pool} do
    pairs = many(600, fn -> [expression(pick([:any, :num, :bool, :text, :list]), 5), item()] end)

    agree(pool, pairs)
  end

  test "random values compare alike in both languages", %{pool: pool} do
    operations = ["==", "!=", "<", "<=", ">", ">=", "in"]

    pairs =
      many(600, fn ->
        [one, other] = pick([[any_value(2), any_value(2)], alike(), alike(), timed()])
        [[pick(operations), ["get", ["item"], 0], ["get", ["item"], 1]], [one, other]]
      end)

    agree(pool, pairs)
  end

  test "arithmetic at the limits is the same in both languages", %{pool: pool} do
    pairs =
      many(600, fn ->
        operation = pick(["+", "-", "*", "/", "//", "%", "<", "<=", "=="])
        [[operation, ["get", ["item"], 0], ["get", ["item"], 1]], [number(), number()]]
      end)

    agree(pool, pairs)
  end

  defp agree(pool, pairs) do
    options = options(pool, "evaluate_all", module: "expression_handlers", batch_size: 500)
    {:ok, items} = Slither.dispatch(pairs, options)

    for {[data, item], %{payload: [text, kind, value]}} <- Enum.zip(pairs, items) do
      {:ok, expression} = Expression.new(data)
      got = beam(Expression.eval(expression, item))

      unless same?({expression_text(expression, text), got}, {text, {kind, value}}) do
        flunk("""
        with --seed #{ExUnit.configuration()[:seed]}
        #{inspect(data, limit: :infinity)} of
        #{inspect(item, limit: :infinity)}
        on BEAM #{inspect(got)}, #{expression.text}
        in Python #{inspect({kind, value})}, #{text}
        """)
      end
    end

    kinds = for %{payload: [_text, kind, _value]} <- items, do: kind
    # Neither side got away with errors alone.
    assert Enum.count(kinds, &(&1 == "value")) > length(pairs) / 10
  end

  defp beam({:ok, value}), do: {"value", value}
  defp beam({:skip, value}), do: {"skip", value}
  defp beam({:error, %{details: %{kind: :fail}}}), do: {"fail", nil}
  defp beam({:error, %{details: details}}), do: {Atom.to_string(details.kind), details.at}

  # The languages write floats in ways of their own.
  defp expression_text(expression, text),
    do: if(expression.text =~ ~r/\de[+-]?\d/, do: text, else: expression.text)

  defp same?({text, {kind, value}}, {text, {kind, other}}) do
    if kind in ["value", "skip"],
      do: Protocol.pack(value) == Protocol.pack(other),
      else: value == other or value =~ ~r/\de[+-]?\d/
  end

  defp same?(_one, _other), do: false

  ## Generators

  defp item do
    %{
      "int" => integer(),
      "small" => :rand.uniform(7) - 4,
      "float" => float(),
      "num" => number(),
      "text" => pick([text(), " a, b ", "x"]),
      "word" => pick(["", "a", "ab", "ÀB", "x,y", " "]),
      "bool" => one_in(2),
      "bytes" => bytes(),
      "time" => datetime(),
      "list" =>
        many(:rand.uniform(4) - 1, fn -> pick([1, 1.0, "a", nil, true, any_value(1)]) end),
      "dict" => Map.new(many(:rand.uniform(3), fn -> {pick(["a", "b", 1]), any_value(1)} end)),
      "any" => any_value(2)
    }
    |> Map.drop(if one_in(4), do: [pick(@fields)], else: [])
  end

  defp number do
    pick([:rand.uniform(10) - 5, integer(), float(), 2.5, 0, 0.0, 9_223_372_036_854_775_807]) ||
      0
  end

  # Values that are often the same, or nearly.
  defp alike do
    n = pick([0, 1, 2, 9_007_199_254_740_993, 1_000_000_000_000_000_000_000])

    {x, y} = {like(n), like(n)}
    key = pick(["a", 1])
    both = pick([[x, y], [[x], {y}], [%{key => x}, %{key => y}], [x, [y, x]], [key, %{"a" => y}]])
    sets = [[set([x]), set([y])], [FrozenSet.new([{x}]), FrozenSet.new([{y}])], [x, set([y])]]
    pick([both, both, pick(sets), [Tagged.new("t", x), Tagged.new("t", y)]])
  end

  defp set(elements), do: MapSet.new(elements)

  defp like(n) do
    text = Integer.to_string(n)

    pick(
      [n, n * 1.0, n == 1, text, nil, %Slither.Bytes{data: "1"}, "1", :nan, Complex.new(n)] ++
        [Decimal.new(n), Decimal.new(text <> ".0"), Decimal.new("NaN"), {n}, set([n])]
    )
  end

  # Two moments, or lengths of time, of the same type or not.
  defp timed do
    days = [~D[2024-01-01], ~D[2024-01-02]]
    clocks = [~T[00:00:00], ~T[00:00:01]]
    naive = for day <- days, clock <- clocks, do: NaiveDateTime.new!(day, clock)
    moments = [datetime(0, 0, 0), datetime(0, 0, 3_600), datetime(1, 0, 0), zoned()]
    lengths = [TimeDelta.new(days: 1), TimeDelta.new(seconds: -1), Decimal.new("0.5"), 0.5]
    all = days ++ clocks ++ naive ++ moments ++ lengths
    kind = pick([all, days, clocks, naive, moments, lengths])
    [pick(kind), pick(kind)]
  end

  defp expression(type, 0), do: simple(type)
  defp expression(type, depth), do: if(one_in(4), do: simple(type), else: made(type, depth - 1))

  defp simple(type) do
    field = fn names -> ["get", ["item"], pick(names)] end

    case type do
      :num -> pick([field.(~w(int small float num small small)), pick([0, 1, -2, 3, 0.5, 2.0])])
      :bool -> pick([field.(["bool"]), true, false])
      :text -> pick([field.(~w(text word word)), pick(["a", "", ",", "B", " x y "])])
      :list -> pick([field.(["list"]), ["list", [1, "a", nil, 2.0]]])
      :any -> pick([field.(@fields), ["item"], nil, field.(["any"])])
    end
  end

  defp made(:num, d) do
    n = fn -> expression(:num, d) end

    case :rand.uniform(4) do
      1 -> ["len", expression(pick([:text, :list, :any]), d)]
      2 -> ["neg", n.()]
      3 -> ["get", ["item"], expression(:text, 0), n.()]
      _ -> [pick(["+", "-", "*", "/", "//", "%"]), n.(), n.()]
    end
  end

  defp made(:bool, d) do
    e = fn type -> expression(type, d) end

    case :rand.uniform(8) do
      1 -> [pick(["and", "or"]) | many(1 + :rand.uniform(3), fn -> e.(:bool) end)]
      2 -> ["not", e.(:bool)]
      3 -> ["in", e.(pick([:text, :any])), e.(pick([:text, :list, :any]))]
      4 -> ["is_none", e.(:any)]
      5 -> [pick(["startswith", "endswith"]), e.(:text), e.(:text)]
      6 -> [pick(["<", "<=", ">", ">="]), e.(:text), e.(:text)]
      7 -> [pick(["==", "!="]), e.(:any), e.(:any)]
      _ -> [pick(["<", "<=", ">", ">=", "==", "!="]), e.(:num), e.(:num)]
    end
  end

  defp made(:text, d) do
    e = fn type -> expression(type, d) end

    case :rand.uniform(4) do
      1 -> ["+", e.(:text), e.(:text)]
      2 -> ["get", ["split", e.(:text)], pick([0, -1, 1])]
      3 -> ["get", e.(:list), 1, e.(:text)]
      _ -> [pick(["lower", "upper", "strip"]), e.(:text)]
    end
  end

  defp made(:list, d) do
    e = fn type -> expression(type, d) end

    case :rand.uniform(4) do
      1 -> ["+", e.(:list), e.(:list)]
      2 -> ["split", e.(:text)]
      3 -> ["split", e.(:text), e.(:text)]
      _ -> ["list", many(:rand.uniform(3), fn -> e.(:any) end)]
    end
  end

  defp made(:any, d) do
    e = fn type -> expression(type, d) end
    any = fn -> e.(pick([:num, :bool, :text, :list, :any])) end

    case :rand.uniform(6) do
      1 -> ["when", many(:rand.uniform(2), fn -> [e.(:bool), any.()] end), any.()]
      2 -> ["dict", [["a", any.()], ["b", any.()], [1, any.()]]]
      3 -> ["get", e.(pick([:list, :any])), e.(pick([:num, :text])), any.()]
      4 -> if one_in(20), do: [pick(["skip", "fail"]), any.()], else: any.()
      _ -> any.()
    end
  end
end
