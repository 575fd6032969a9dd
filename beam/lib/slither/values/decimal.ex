defmodule Slither.Decimal do
  @moduledoc """
  A decimal number: a `decimal.Decimal` in Python, there and back digit by digit.

  Where the `Decimal` library is loaded, what comes from Python is one of its structs instead, and
  this module is not needed. Both are sent in the same way.

    * `sign`: `1` or `-1`;
    * `coef`: the digits, as an integer, or `:nan` or `:infinity`;
    * `exp`: the power of ten that they are multiplied with.

  `1.10` is `%Slither.Decimal{sign: 1, coef: 110, exp: -2}`, and is not `1.1`, though equal to it.
  At most 4,300 digits and exponents of -1,000,000 to 1,000,000 can be sent.

      iex> price = Slither.Decimal.new("19.90")
      iex> {price.coef, price.exp, to_string(price)}
      {1990, -2, "19.90"}
      iex> Slither.Decimal.compare(price, 20)
      :lt
  """

  alias Slither.Number

  @enforce_keys [:coef]
  defstruct [:coef, sign: 1, exp: 0]

  @type t :: %__MODULE__{
          sign: 1 | -1,
          coef: non_neg_integer | :nan | :infinity,
          exp: integer
        }

  @form ~r/\A([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?\z/

  @doc """
  The decimal of a text, as people and Python write them, or of an integer.

  Raises `Slither.Error` (`:invalid_option`) for other texts.

      iex> Slither.Decimal.new("-3.14e1")
      %Slither.Decimal{sign: -1, coef: 314, exp: -1}
      iex> Slither.Decimal.new(42)
      %Slither.Decimal{sign: 1, coef: 42, exp: 0}
      iex> Slither.Decimal.new("NaN").coef
      :nan
  """
  @spec new(String.t() | integer) :: t
  def new(n) when is_integer(n), do: %__MODULE__{sign: if(n < 0, do: -1, else: 1), coef: abs(n)}

  def new(text) when is_binary(text) do
    case {Regex.run(@form, text), text |> String.replace_prefix("-", "") |> String.downcase()} do
      {nil, special} when special in ["inf", "infinity"] ->
        %__MODULE__{sign: sign(text), coef: :infinity}

      {nil, "nan"} ->
        %__MODULE__{coef: :nan}

      {nil, _other} ->
        raise Slither.Error,
          reason: :invalid_option,
          message: "no decimal number: #{inspect(text, printable_limit: 60)}"

      {[_all, sign | parts], _text} ->
        [whole, fraction, bare, exp] = Enum.take(parts ++ ["", "", ""], 4)
        fraction = fraction <> bare
        exp = if exp == "", do: 0, else: String.to_integer(exp)
        coef = String.to_integer("0" <> whole <> fraction)
        %__MODULE__{sign: sign(sign), coef: coef, exp: exp - byte_size(fraction)}
    end
  end

  defp sign("-" <> _), do: -1
  defp sign(_other), do: 1

  @doc """
  Which of two numbers is greater: `:lt`, `:eq` or `:gt`, or `:none` beside a NaN.

  Each may be a decimal, of this module or the library's, an integer or a float; they are compared
  by value, exactly.

      iex> Slither.Decimal.compare(Slither.Decimal.new("0.10"), 0.1)
      :lt
      iex> Slither.Decimal.compare(Slither.Decimal.new("0.10"), Slither.Decimal.new("0.1"))
      :eq
  """
  @spec compare(t | struct | number, t | struct | number) :: :lt | :eq | :gt | :none
  def compare(a, b), do: Number.compare(a, b)

  defimpl String.Chars do
    def to_string(%{coef: :nan}), do: "NaN"
    def to_string(%{coef: :infinity, sign: sign}), do: minus(sign) <> "Infinity"

    # As Python's `str` has it: digits with a point while there are few zeros, else an exponent.
    def to_string(%{sign: sign, coef: coef, exp: exp}) do
      digits = Integer.to_string(coef)
      size = byte_size(digits)
      first = size + exp - 1
      minus(sign) <> written(digits, size, exp, first)
    end

    defp written(digits, _size, 0, _first), do: digits

    defp written(digits, size, exp, first) when exp < 0 and first >= 0 do
      {whole, fraction} = String.split_at(digits, size + exp)
      whole <> "." <> fraction
    end

    defp written(digits, _size, exp, first) when exp < 0 and first >= -6,
      do: "0." <> String.duplicate("0", -first - 1) <> digits

    defp written(<<digit, rest::binary>>, _size, _exp, first) do
      rest = if rest == "", do: "", else: "." <> rest
      <<digit>> <> rest <> "E" <> if(first < 0, do: "", else: "+") <> Integer.to_string(first)
    end

    defp minus(-1), do: "-"
    defp minus(1), do: ""
  end

  defimpl Inspect do
    @most 1_000_000
    @longest 200

    # Fields that were given by hand are shown as they are, and long numbers by their beginning.
    def inspect(%{sign: sign, coef: coef, exp: exp} = decimal, options) do
      if sign in [1, -1] and is_integer(exp) and abs(exp) <= @most and
           (coef in [:nan, :infinity] or (is_integer(coef) and coef >= 0)),
         do: shown(to_string(decimal)),
         else: Inspect.Any.inspect(decimal, options)
    end

    defp shown(text) when byte_size(text) <= @longest, do: "Slither.Decimal.new(\"#{text}\")"

    defp shown(text),
      do: "#Slither.Decimal<#{binary_part(text, 0, @longest)}…, #{byte_size(text)} characters>"
  end
end
