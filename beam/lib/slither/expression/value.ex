defmodule Slither.Expression.Value do
  @moduledoc false
  # The law of values in expressions: types, equality and order, the same in both languages. Values
  # are as Python would see them: atoms are their names, tuples are lists, and a struct of the user's
  # own is what it is sent as. Called by the functions of an expression, where they run.

  alias Slither.{Bytes, FrozenSet, Number, Tagged, Tensor}
  alias Slither.Protocol.{Keys, StandIn, Types}

  @numbers [:nan, :infinity, :neg_infinity]

  # The types of structs, by the modules of the protocol.
  @types for type <- Types.all(), struct <- type.structs(), into: %{}, do: {struct, type}
  @names Map.merge(
           Map.new(@types, fn {struct, type} -> {struct, type.name()} end),
           %{Bytes => :bytes, MapSet => :set, FrozenSet => :frozenset, Tagged => :tagged}
         )

  @typedoc "`:none`, `:bool`, `:int`, …, as the protocol names them; `:other` for what can't be sent."
  @type type :: atom

  @doc "The value as Python sees it, as far as its outermost part goes."
  @spec seen(term) :: term
  def seen(value)
      when is_atom(value) and value not in [nil, true, false] and value not in @numbers,
      do: Atom.to_string(value)

  def seen(value) when is_tuple(value), do: Tuple.to_list(value)

  def seen(%{__struct__: name} = value) when not is_map_key(@names, name) do
    case StandIn.for(value) do
      {:ok, term} -> seen(term)
      {:error, _why} -> value
    end
  end

  def seen(value), do: value

  @doc "The type of a value that was seen."
  @spec type(term) :: type
  def type(nil), do: :none
  def type(value) when is_boolean(value), do: :bool
  def type(value) when is_integer(value), do: :int
  def type(value) when is_float(value) or value in @numbers, do: :float
  def type(value) when is_binary(value), do: :str
  def type(value) when is_list(value), do: :list
  def type(%{__struct__: name}), do: Map.get(@names, name, :other)
  def type(value) when is_map(value), do: :dict
  def type(_value), do: :other

  @doc "A type's name in errors."
  @spec name(type) :: String.t()
  def name(:none), do: "None"
  def name(:other), do: "a value that can't be sent"
  def name(type), do: Atom.to_string(type)

  @doc "Whether a set that was seen has an element that is the same as a value."
  @spec element?(term, term) :: boolean
  def element?(set, value), do: Enum.any?(elements(set), &equal?(frozen(&1), value))

  @doc "The elements of a set that was seen."
  @spec elements(term) :: MapSet.t()
  def elements(%FrozenSet{set: set}), do: set
  def elements(%MapSet{} = set), do: set

  @doc "Whether two values are the same; numbers by value, everything else within its type."
  @spec equal?(term, term) :: boolean
  def equal?(a, b) when is_binary(a) and is_binary(b), do: a == b
  def equal?(a, b) when is_number(a) and is_number(b), do: a == b

  def equal?(a, b) do
    {a, b} = {seen(a), seen(b)}
    same?(type(a), a, type(b), b)
  end

  defp same?(type, a, other, b)
       when type in [:int, :float, :decimal] and other in [:int, :float, :decimal],
       do: Number.compare(a, b) == :eq

  defp same?(:list, a, :list, b), do: lists?(a, b)
  defp same?(:dict, a, :dict, b), do: map_size(a) == map_size(b) and dicts?(:maps.to_list(a), b)

  defp same?(type, a, type, b) when type in [:set, :frozenset],
    do: sets?(elements(a), elements(b))

  defp same?(:tagged, a, :tagged, b), do: a.name == b.name and equal?(a.value, b.value)
  defp same?(:complex, %{re: re, im: im}, :complex, b), do: equal?(re, b.re) and equal?(im, b.im)
  defp same?(type, %Tensor{} = a, type, b), do: a == b

  defp same?(type, %{__struct__: name} = a, type, b) when is_map_key(@types, name),
    do: alike?(a, b)

  defp same?(type, a, type, b), do: a == b
  defp same?(_type, _a, _other, _b), do: false

  # What Python would take for one key, where it may be any.
  defp alike?(%{__struct__: name} = a, %{__struct__: other} = b) do
    case {@types[name].key(a), @types[other].key(b)} do
      {{:ok, key}, {:ok, key}} -> true
      {{:ok, _key}, {:ok, _other}} -> false
      _no_keys -> a == b
    end
  end

  defp sets?(a, b) do
    MapSet.size(a) == MapSet.size(b) and
      every_one?(a, Map.new(b, &{Keys.form(&1), &1}))
  catch
    # An element that can't be any in Python.
    {:bad, _why} -> false
  end

  # In a set Python has no sets and lists, only frozen sets and tuples, which are lists here.
  defp frozen(%MapSet{} = set), do: %FrozenSet{set: set}
  defp frozen([head | tail]), do: [frozen(head) | frozen(tail)]
  defp frozen(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> frozen()
  defp frozen(element), do: element

  defp every_one?(set, others) do
    Enum.all?(set, fn element ->
      case Map.fetch(others, Keys.form(element)) do
        {:ok, other} -> equal?(frozen(element), frozen(other))
        :error -> false
      end
    end)
  end

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

  defp order(type, a, other, b)
       when type in [:int, :float, :decimal] and other in [:int, :float, :decimal],
       do: Number.compare(a, b)

  defp order(:str, a, :str, b), do: plain(a, b)
  defp order(:bytes, a, :bytes, b), do: plain(a.data, b.data)

  for {name, type} <- @types, type.name() != :decimal, function_exported?(type, :order, 2) do
    defp order(unquote(type.name()), %unquote(name){} = a, unquote(type.name()), b),
      do: unquote(type).order(a, b)
  end

  defp order(_type, _a, _other, _b), do: :error

  defp plain(a, b) when a < b, do: :lt
  defp plain(a, b) when a > b, do: :gt
  defp plain(_a, _b), do: :eq
end
