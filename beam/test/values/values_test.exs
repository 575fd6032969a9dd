defmodule Slither.ValuesTest do
  # The structs of values that Elixir has no type for.
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, integer: 0, pick: 1, any_float: 0]

  alias Slither.{Complex, Decimal, Error, Number, Pickled, Tensor, TimeDelta, UUID}

  doctest Slither.Arrow
  doctest Slither.Complex
  doctest Slither.Decimal
  doctest Slither.FrozenSet
  doctest Slither.Number
  doctest Slither.Path
  doctest Slither.Tagged
  doctest Slither.TimeDelta
  doctest Slither.UUID

  describe "Slither.TimeDelta" do
    test "adds up its units" do
      delta = TimeDelta.new(weeks: 1, days: -7, hours: 1, minutes: 1, milliseconds: 2)
      assert delta.microseconds == 3_660_002_000
      assert TimeDelta.new([]).microseconds == 0
    end

    test "refuses units that it has not, and parts of them" do
      assert_raise Error, ~r/no unit :month; known: weeks, days/, fn ->
        TimeDelta.new(month: 1)
      end

      assert_raise Error, ~r/whole numbers of units, got/, fn -> TimeDelta.new(days: 1.5) end
    end

    test "sorts" do
      sorted = for days <- [-1, 0, 3], do: TimeDelta.new(days: days)
      assert Enum.sort(Enum.reverse(sorted), TimeDelta) == sorted
    end
  end

  describe "Slither.Decimal" do
    test "reads and writes what Python writes" do
      for text <-
            ~w(0 -0 0.00 1 -12.50 0.000001 1E-7 1.5E-10 1E+3 1.23E+5 NaN Infinity -Infinity),
          do: assert(to_string(Decimal.new(text)) == text)
    end

    test "reads what people write" do
      for {text, same} <- [
            {"+1.", "1"},
            {".5", "0.5"},
            {"1e3", "1E+3"},
            {"inf", "Infinity"},
            {"-INFINITY", "-Infinity"},
            {"nan", "NaN"}
          ],
          do: assert(to_string(Decimal.new(text)) == same)
    end

    test "refuses what is no number" do
      for text <- ["", ".", "1,5", "1 ", "0x1", "e5", "1e", "--1", "sNaN", "--inf", "-+NaN"],
          do: assert_raise(Error, ~r/no decimal number/, fn -> Decimal.new(text) end)
    end

    test "is shown as it is made, by its beginning where it is long" do
      assert inspect(Decimal.new("1.50")) == ~S|Slither.Decimal.new("1.50")|

      assert inspect(Decimal.new(String.duplicate("7", 300))) =~
               ~r/#Slither.Decimal<7{200}…, 300 c/

      assert inspect(%Decimal{coef: 1, exp: 2_000_000_000}) =~ "exp: 2000000000"
      assert inspect(%Decimal{coef: nil}) =~ "coef: nil"
    end
  end

  describe "Slither.Number" do
    test "compares decimals with integers and floats as their exact fractions do" do
      check_all(2_000, fn -> {number(), number()} end, fn {a, b} ->
        expected = fractions(fraction(a), fraction(b))
        assert Number.compare(a, b) == expected
        assert Number.key(a) == Number.key(b) == (expected == :eq)
      end)
    end

    test "gives numbers of one value one key, and others others" do
      for {a, b} <- [
            {Decimal.new("1E+500"), Integer.pow(10, 500)},
            {Decimal.new("120E+498"), 12 * Integer.pow(10, 499)},
            {Decimal.new("0.5"), 0.5},
            {Decimal.new("-0"), 0},
            {0.0, -0.0},
            {exact(5.0e-324), 5.0e-324},
            {exact(1.7976931348623157e308), 1.7976931348623157e308},
            {exact(0.1), 0.1}
          ] do
        assert Number.key(a) == Number.key(b)
        assert Number.compare(a, b) == :eq
      end

      odd = Integer.pow(10, 500) + 1
      assert Number.key(odd) not in [Number.key(odd - 1), Number.key(Decimal.new("1E+500"))]
      assert Number.compare(odd, Decimal.new("1E+500")) == :gt
      assert Number.key(Decimal.new("0.1")) != Number.key(0.1)
      assert Number.key(Decimal.new("1E-400")) != Number.key(0)
    end

    test "tells numbers of far sizes apart at once" do
      huge = Decimal.new("9E+1000000")
      tiny = Decimal.new("9E-1000000")

      {time, orders} =
        :timer.tc(fn ->
          for _ <- 1..1_000,
              do: {Number.compare(huge, tiny), Number.compare(tiny, 0.1), Number.compare(huge, 1)}
        end)

      assert Enum.uniq(orders) == [{:gt, :lt, :gt}]
      # Each would take a second, by numbers of a million digits.
      assert time < 10_000_000
    end

    test "has no order beside NaN, and infinities at the ends" do
      nan = Decimal.new("NaN")
      for other <- [1, 1.0, :nan, nan, :infinity], do: assert(Number.compare(nan, other) == :none)
      assert Number.compare(Decimal.new("Infinity"), :infinity) == :eq
      assert Number.compare(Decimal.new("-Infinity"), -1.0e308) == :lt
      assert Number.compare(Decimal.new("1E+1000000"), :infinity) == :lt
    end
  end

  describe "Slither.UUID" do
    test "is shown as its text" do
      uuid = UUID.new("550e8400-e29b-41d4-a716-446655440000")
      assert inspect(uuid) == ~S|Slither.UUID.new("550e8400-e29b-41d4-a716-446655440000")|
      assert UUID.new(uuid.data) == uuid
    end

    test "refuses other texts" do
      for text <- ["", "550e8400", String.duplicate("z", 32), String.duplicate("-", 36)],
          do: assert_raise(Error, ~r/no UUID/, fn -> UUID.new(text) end)
    end
  end

  describe "Slither.Path" do
    test "is the same as another where pathlib says so" do
      for {one, other} <- [
            {"a//b/./c/", "a/b/c"},
            {"./a", "a"},
            {"", "."},
            {"./", "."},
            {"///a", "/a"},
            {"/./a", "/a"},
            {"//a//b", "//a/b"}
          ],
          do:
            assert(
              Slither.Path.plain(Slither.Path.new(one)) ==
                Slither.Path.plain(Slither.Path.new(other, :pure_posix))
            )

      for {one, other} <- [{"C:/A/b", "c:\\a\\B"}, {"a\\.\\b", "A/b"}],
          do:
            assert(
              Slither.Path.plain(Slither.Path.new(one, :pure_windows)) ==
                Slither.Path.plain(Slither.Path.new(other, :pure_windows))
            )

      for {one, other} <- [{"/a", "a"}, {"//a", "/a"}, {"a/../b", "b"}, {"A", "a"}],
          do:
            assert(
              Slither.Path.plain(Slither.Path.new(one)) !=
                Slither.Path.plain(Slither.Path.new(other))
            )
    end

    test "of bytes that are no text is one all the same" do
      path = Slither.Path.new(<<"a/", 255>>)
      assert Slither.Path.plain(path) == {:posix, <<"a/", 255>>}
      assert inspect(path) == "Slither.Path.new(<<97, 47, 255>>)"

      assert Slither.Path.plain(Slither.Path.new(<<"a/", 255>>, :pure_windows)) ==
               {:windows, <<"a\\", 255>>}
    end
  end

  test "a pickled value shows its size alone" do
    assert inspect(%Pickled{data: "secret"}) == "#Slither.Pickled<6 bytes>"
    assert inspect(%Pickled{data: nil}) =~ "data: nil"
  end

  test "a complex number is made of floats" do
    assert Complex.new(1) == %Complex{re: 1.0, im: 0.0}
    assert Complex.new(:nan, 2) == %Complex{re: :nan, im: 2.0}

    for part <- ["1", nil, :inf, {1}],
        do: assert_raise(FunctionClauseError, fn -> Complex.new(1, part) end)
  end

  test "a tensor of NumPy's dtypes alone says that its elements are not for BEAM" do
    tensor = %Tensor{dtype: {:numpy, "<M8[ns]", 8}, shape: {1}, data: <<0::64>>}
    assert_raise Error, ~r/dtype <M8\[ns\] are NumPy's to read/, fn -> Tensor.to_list(tensor) end
    assert Tensor.element_size(tensor.dtype) == 8
    assert Tensor.element_size({:numpy, "", 8}) == nil
  end

  ## Numbers as fractions

  defp number do
    case :rand.uniform(5) do
      1 ->
        integer()

      2 ->
        with(:nan <- any_float(), do: 0.25)

      3 ->
        pick([0.5, 1.0, 2, 0, -0.0, 0.1, 1.0e22, 123_456_789.25])

      _ ->
        %Decimal{
          sign: pick([1, -1]),
          coef: pick([0, 1, 5, 10, 25, 1_000, abs(integer())]),
          exp: :rand.uniform(41) - 21
        }
    end
  end

  defp fraction(n) when is_integer(n), do: {n, 1}
  defp fraction(f) when f == 0, do: {0, 1}
  defp fraction(f) when is_float(f), do: Float.ratio(f)
  defp fraction(%Decimal{sign: s, coef: c, exp: e}) when e < 0, do: {s * c, Integer.pow(10, -e)}
  defp fraction(%Decimal{sign: s, coef: c, exp: e}), do: {s * c * Integer.pow(10, e), 1}

  defp fractions({a, b}, {c, d}) do
    cond do
      a * d < c * b -> :lt
      a * d > c * b -> :gt
      true -> :eq
    end
  end

  # The decimal of all digits that a float has.
  defp exact(float) do
    {numerator, denominator} = Float.ratio(float)
    twos = length(Integer.digits(denominator, 2)) - 1
    %Decimal{coef: numerator * Integer.pow(5, twos), exp: -twos}
  end
end
