defmodule Slither.Number do
  @moduledoc false
  # Integers, floats and decimals, compared by value and exactly, as Python compares them, and the one
  # key that numbers of the same value share. Decimals are those of `Slither.Decimal` and of the
  # Decimal library. Called by the codec and by expressions, in whatever process they run. Pure.

  import Bitwise

  @specials [:nan, :infinity, :neg_infinity]
  # The powers of two in a power of ten.
  @log 3.321928094887362
  # An integer beyond it shares its key with a decimal by its digits.
  @huge Integer.pow(10, 400)
  @most_digits 4_300

  @typedoc "A sign, digits or what is no finite number, and an exponent of ten."
  @type parts :: {1 | -1, non_neg_integer | :nan | :infinity, integer}

  @doc "The parts of a decimal's struct; `:error` for one that was given other fields by hand."
  @spec parts(map) :: {:ok, parts} | :error
  def parts(%{sign: sign, coef: coef, exp: exp})
      when sign in [1, -1] and is_integer(coef) and coef >= 0 and is_integer(exp),
      do: {:ok, {sign, coef, exp}}

  def parts(%{coef: coef}) when coef in [:nan, :NaN, :qNaN], do: {:ok, {1, :nan, 0}}

  def parts(%{sign: sign, coef: coef}) when sign in [1, -1] and coef in [:infinity, :inf],
    do: {:ok, {sign, :infinity, 0}}

  def parts(_other), do: :error

  @doc "Which of two numbers is greater; `:none` beside a NaN, and beside what is no number."
  @spec compare(term, term) :: :lt | :eq | :gt | :none
  def compare(a, b) when is_number(a) and is_number(b), do: order(a, b)

  def compare(a, b) do
    case {known(a), known(b)} do
      {:nan, _b} -> :none
      {_a, :nan} -> :none
      {{:finite, a}, {:finite, b}} -> finite(a, b)
      {a, b} -> order(rank(a), rank(b))
    end
  end

  defp order(a, b) when a < b, do: :lt
  defp order(a, b) when a > b, do: :gt
  defp order(_a, _b), do: :eq

  defp rank(:neg_infinity), do: -1
  defp rank({:finite, _number}), do: 0
  defp rank(:infinity), do: 1

  # A finite number is a numerator, a power of two and a power of ten that it is multiplied with.
  defp known(special) when special in @specials, do: special
  defp known(n) when is_integer(n), do: {:finite, {n, 0, 0}}

  defp known(f) when is_float(f) and f == 0, do: {:finite, {0, 0, 0}}

  defp known(f) when is_float(f) do
    {numerator, denominator} = Float.ratio(f)
    {:finite, {numerator, 1 - bits(denominator), 0}}
  end

  defp known(%{} = decimal) do
    case parts(decimal) do
      {:ok, {_sign, :nan, _exp}} -> :nan
      {:ok, {1, :infinity, _exp}} -> :infinity
      {:ok, {-1, :infinity, _exp}} -> :neg_infinity
      {:ok, {sign, coef, exp}} -> {:finite, {sign * coef, 0, exp}}
      :error -> :nan
    end
  end

  defp known(_other), do: :nan

  # Numbers of another size are told apart by it: to bring them to one exponent would take numbers
  # of as many digits as the exponents say.
  defp finite({a, _, _} = one, {b, _, _} = other) do
    cond do
      sign(a) != sign(b) -> order(sign(a), sign(b))
      a == 0 -> :eq
      abs(size(one) - size(other)) > 8 -> order(sign(a) * size(one), sign(a) * size(other))
      true -> exact(one, other)
    end
  end

  defp exact({a, twos_a, tens_a}, {b, twos_b, tens_b}) do
    {twos, tens} = {min(twos_a, twos_b), min(tens_a, tens_b)}
    order(scaled(a, twos_a - twos, tens_a - tens), scaled(b, twos_b - twos, tens_b - tens))
  end

  defp scaled(n, twos, tens), do: (n <<< twos) * Integer.pow(10, tens)

  defp size({n, twos, tens}), do: bits(abs(n)) + twos + tens * @log

  defp sign(0), do: 0
  defp sign(n) when n > 0, do: 1
  defp sign(_n), do: -1

  defp bits(n) do
    <<first, rest::binary>> = :binary.encode_unsigned(n)
    byte_size(rest) * 8 + length(Integer.digits(first, 2))
  end

  @doc """
  What stands for a number as a key of a map: the same for numbers that Python takes for one key.

      iex> half = Slither.Decimal.new("0.50")
      iex> {Slither.Number.key(half), Slither.Number.key(Slither.Decimal.new("2.0"))}
      {0.5, 2}
  """
  @spec key(term) :: term
  def key(n) when is_integer(n) and n < @huge and n > -@huge, do: n
  def key(n) when is_integer(n), do: huge(n)
  def key(f) when is_float(f), do: if(trunc(f) == f, do: trunc(f), else: f)
  def key(special) when special in @specials, do: {:special, special}

  def key(%{} = decimal) do
    case parts(decimal) do
      {:ok, {_sign, :nan, _exp}} -> {:decimal, :nan}
      {:ok, {sign, :infinity, _exp}} -> key(if(sign == 1, do: :infinity, else: :neg_infinity))
      {:ok, {_sign, 0, _exp}} -> 0
      {:ok, {sign, coef, exp}} -> {coef, exp} |> stripped() |> decimal_key(sign)
      :error -> {:decimal, decimal}
    end
  end

  defp decimal_key({coef, exp}, sign) when exp >= 0 do
    if exp <= 400 and coef * Integer.pow(10, exp) < @huge,
      do: sign * coef * Integer.pow(10, exp),
      else: {:decimal, sign * coef, exp}
  end

  # Whether a float is of the same value: its denominator is a power of two.
  defp decimal_key({coef, exp}, sign) do
    fives = if exp >= -1_074, do: Integer.pow(5, -exp)

    if fives && rem(coef, fives) == 0 && div(coef, fives) < 1 <<< 53,
      do: sign * halved(div(coef, fives), -exp),
      else: {:decimal, sign * coef, exp}
  end

  # No divisor is beyond the floats.
  defp halved(n, times) when times > 1_000, do: n / (1 <<< 1_000) / (1 <<< (times - 1_000))
  defp halved(n, times), do: n / (1 <<< times)

  # An integer of so many digits that decimals of the same value are mostly zeros at the end, as its
  # factors of two show at once.
  defp huge(n) do
    zeros = div(bits(abs(n)), 4) - @most_digits

    if zeros <= 0 or band(n, (1 <<< zeros) - 1) == 0 do
      {coef, exp} = stripped({abs(n), 0})
      {:decimal, sign(n) * coef, exp}
    else
      n
    end
  end

  # Without zeros at the end: by many at a time first.
  defp stripped({coef, exp}), do: stripped(coef, exp, 4_096)

  defp stripped(coef, exp, 0), do: {coef, exp}

  defp stripped(coef, exp, by) do
    if bits(coef) > 3 * by and rem(coef, Integer.pow(10, by)) == 0,
      do: stripped(div(coef, Integer.pow(10, by)), exp + by, by),
      else: stripped(coef, exp, div(by, 2))
  end
end
