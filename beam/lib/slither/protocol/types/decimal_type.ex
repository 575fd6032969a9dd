defmodule Slither.Protocol.Types.DecimalType do
  @moduledoc false
  # Decimal numbers, as a text of their digits and their exponent. The codec and expressions call it.
  #
  # The Decimal library is no dependency: its struct is known by name, and made where the library's
  # module is loaded, which the application sees to when it starts.

  @behaviour Slither.Protocol.Type

  alias Slither.{Decimal, Number}

  @library :"Elixir.Decimal"
  @most_digits 4_300
  @most_exp 1_000_000

  @impl true
  def code, do: 8

  @impl true
  def structs, do: [Decimal, @library]

  @impl true
  def name, do: :decimal

  @impl true
  def encode(decimal) do
    case Number.parts(decimal) do
      {:ok, {_sign, :nan, _exp}} -> {:ok, code(), "NaN"}
      {:ok, {1, :infinity, _exp}} -> {:ok, code(), "Infinity"}
      {:ok, {-1, :infinity, _exp}} -> {:ok, code(), "-Infinity"}
      {:ok, {sign, coef, exp}} -> finite(sign, Integer.to_string(coef), exp)
      :error -> {:error, "a decimal whose parts are none: #{inspect(Map.from_struct(decimal))}"}
    end
  end

  defp finite(sign, digits, exp) do
    cond do
      byte_size(digits) > @most_digits ->
        {:error, "a decimal of more than 4,300 digits"}

      abs(exp) > @most_exp ->
        {:error, "a decimal whose exponent is beyond 1,000,000"}

      true ->
        sign = if sign == -1, do: "-", else: ""
        {:ok, code(), [sign, digits, ?E | Integer.to_string(exp)]}
    end
  end

  @impl true
  def decode("NaN"), do: {:ok, made(1, :nan, 0)}
  def decode("Infinity"), do: {:ok, made(1, :infinity, 0)}
  def decode("-Infinity"), do: {:ok, made(-1, :infinity, 0)}

  def decode(text) when byte_size(text) <= @most_digits + 10 do
    {sign, unsigned} = signed(text)

    with [digits, exp] <- :binary.split(unsigned, "E"),
         true <- byte_size(digits) <= @most_digits and canonical?(digits),
         {exp_sign, exp_digits} = signed(exp),
         true <- canonical?(exp_digits) and exp != "-0",
         exp = exp_sign * String.to_integer(exp_digits),
         true <- abs(exp) <= @most_exp do
      {:ok, made(sign, String.to_integer(digits), exp)}
    else
      _ -> {:error, "a malformed decimal"}
    end
  end

  def decode(_text), do: {:error, "a malformed decimal"}

  defp signed("-" <> rest), do: {-1, rest}
  defp signed(text), do: {1, text}

  # Digits, without zeros before them.
  defp canonical?("0"), do: true
  defp canonical?(<<first, rest::binary>>) when first in ?1..?9, do: digits?(rest)
  defp canonical?(_other), do: false

  defp digits?(<<digit, rest::binary>>) when digit in ?0..?9, do: digits?(rest)
  defp digits?(rest), do: rest == ""

  defp made(sign, coef, exp) do
    if function_exported?(@library, :__struct__, 0),
      do: %{__struct__: @library, sign: sign, coef: theirs(coef), exp: exp},
      else: %Decimal{sign: sign, coef: coef, exp: exp}
  end

  defp theirs(:nan), do: :NaN
  defp theirs(:infinity), do: :inf
  defp theirs(coef), do: coef

  @impl true
  def key(decimal), do: {:ok, Number.key(decimal)}

  @impl true
  def order(a, b), do: Number.compare(a, b)
end
