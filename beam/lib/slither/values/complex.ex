defmodule Slither.Complex do
  @moduledoc """
  A complex number: a `complex` in Python. Its parts are floats, `:nan`, `:infinity` or
  `:neg_infinity`.

      iex> Slither.Complex.new(1, -2.5)
      %Slither.Complex{re: 1.0, im: -2.5}
  """

  @enforce_keys [:re, :im]
  defstruct [:re, :im]

  @type part :: float | :nan | :infinity | :neg_infinity
  @type t :: %__MODULE__{re: part, im: part}

  @doc """
  The number of a real and an imaginary part; integers become floats.

  Raises `FunctionClauseError` for what is no part.
  """
  @spec new(number | part, number | part) :: t
  def new(re, im \\ 0.0), do: %__MODULE__{re: part(re), im: part(im)}

  defp part(n) when is_integer(n), do: n * 1.0
  defp part(part) when is_float(part) or part in [:nan, :infinity, :neg_infinity], do: part
end
