defmodule Slither.Expression.Value do
  @moduledoc false
  # The law of values in expressions: types, equality and order, the same in both languages. Values
  # are as Python would see them: atoms are their names, tuples are lists. Called by the functions
  # of an expression, where they run.

  alias Slither.{Bytes, Tensor}

  @numbers [:nan, :infinity, :neg_infinity]

  @type type ::
          :none
          | :bool
          | :int
          | :float
          | :str
          | :bytes
          | :list
          | :dict
          | :datetime
          | :tensor
          | :other

  @doc "The value as Python sees it, as far as its outermost part goes."
  @spec seen(term) :: term
  def seen(value)
      when is_atom(value) and value not in [nil, true, false] and value not in @numbers,
      do: Atom.to_string(value)

  def seen(value) when is_tuple(value), do: Tuple.to_list(value)
  def seen(value), do: value

  @doc "The type of a value that was seen."
  @spec type(term) :: type
  def type(nil), do: :none
  def type(value) when is_boolean(value), do: :bool
  def type(value) when is_integer(value), do: :int
  def type(value) when is_float(value) or value in @numbers, do: :float
  def type(value) when is_binary(value), do: :str
  def type(value) when is_list(value), do: :list
  def type(%Bytes{}), do: :bytes
  def type(%DateTime{}), do: :datetime
  def type(%Tensor{}), do: :tensor
  def type(value) when is_map(value) and not is_struct(value), do: :dict
  def type(_value), do: :other

  @doc "A type's name in errors."
  @spec name(type) :: String.t()
  def name(:none), do: "None"
  def name(:other), do: "a value that can't be sent"
  def name(type), do: Atom.to_string(type)

  @doc "Whether two values are the same; numbers by value, everything else within its type."
  @spec equal?(term, term) :: boolean
  def equal?(a, b) when is_binary(a) and is_binary(b), do: a == b
  def equal?(a, b) when is_number(a) and is_number(b), do: a == b

  def equal?(a, b) do
    {a, b} = {seen(a), seen(b)}
    same?(type(a), a, type(b), b)
  end

  defp same?(:float, :nan, _type, _b), do: false
  defp same?(_type, _a, :float, :nan), do: false

  defp same?(type, a, other, b) when type in [:int, :float] and other in [:int, :float],
    do: a == b

  defp same?(:list, a, :list, b), do: lists?(a, b)
  defp same?(:dict, a, :dict, b), do: map_size(a) == map_size(b) and dicts?(:maps.to_list(a), b)
  defp same?(:datetime, a, :datetime, b), do: DateTime.compare(a, b) == :eq
  defp same?(type, a, type, b), do: a == b
  defp same?(_type, _a, _other, _b), do: false

  defp lists?([a | as], [b | bs]), do: equal?(a, b) and lists?(as, bs)
  defp lists?([], []), do: true
  defp lists?(_as, _bs), do: false

  defp dicts?(pairs, b) do
    Enum.all?(pairs, fn {key, value} ->
      case fetch(b, key) do
        {:ok, other} -> equal?(value, other)
        :error -> false
      end
    end)
  end

  @doc "The value of a key; an atom and its name are the same key."
  @spec fetch(map, term) :: {:ok, term} | :error
  def fetch(map, key) do
    case map do
      %{^key => value} -> {:ok, value}
      _ when is_binary(key) -> fetch_atom(map, key)
      _ when is_atom(key) -> fetch_name(map, key, seen(key))
      _ -> :error
    end
  end

  # A name for which there is no atom yet can't be a key of the map.
  defp fetch_atom(map, key) do
    atom = String.to_existing_atom(key)
    if seen(atom) == key, do: Map.fetch(map, atom), else: :error
  rescue
    _error in [ArgumentError, SystemLimitError] -> :error
  end

  defp fetch_name(_map, key, key), do: :error
  defp fetch_name(map, _key, name), do: Map.fetch(map, name)

  @doc "The order of two values of one ordered type, or `:none` beside a NaN; `:error` for others."
  @spec order(term, term) :: :lt | :eq | :gt | :none | :error
  def order(a, b) when is_number(a) and is_number(b), do: plain(a, b)
  def order(a, b), do: order(type(a), a, type(b), b)

  defp order(type, a, other, b) when type in [:int, :float] and other in [:int, :float] do
    cond do
      a == :nan or b == :nan -> :none
      a == b -> :eq
      a == :infinity or b == :neg_infinity -> :gt
      a == :neg_infinity or b == :infinity -> :lt
      true -> plain(a, b)
    end
  end

  defp order(:str, a, :str, b), do: plain(a, b)
  defp order(:bytes, a, :bytes, b), do: plain(a.data, b.data)
  defp order(:datetime, a, :datetime, b), do: DateTime.compare(a, b)
  defp order(_type, _a, _other, _b), do: :error

  defp plain(a, b) when a < b, do: :lt
  defp plain(a, b) when a > b, do: :gt
  defp plain(_a, _b), do: :eq
end
