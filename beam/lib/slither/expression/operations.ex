defmodule Slither.Expression.Operations do
  @moduledoc false
  # The operations whose operands are all evaluated first, called by the functions that `Compiler`
  # makes. Each takes its operands, as `Value.seen/1` gives them, and `at`, the data of its own
  # expression, which an error names.

  alias Slither.Expression.{Strings, Value}

  @least -0x8000000000000000
  @most 0x7FFFFFFFFFFFFFFF
  @sets [:set, :frozenset]

  @doc "The operation of a name for a count of operands, or the counts it takes."
  @spec find(String.t(), non_neg_integer) :: {:ok, fun} | {:counts, [pos_integer]}
  def find(name, count) do
    case operations() do
      %{{^name, ^count} => operation} -> {:ok, operation}
      others -> {:counts, for({^name, count} <- Enum.sort(Map.keys(others)), do: count)}
    end
  end

  @doc "The names of the operations."
  @spec names() :: [String.t()]
  def names,
    do: operations() |> Map.keys() |> Enum.sort() |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

  defp operations do
    %{
      {"neg", 1} => fn a, at -> arithmetic(0, a, at, "-", &-/2) end,
      {"not", 1} => fn a, at -> not bool!(a, at, "~") end,
      {"is_none", 1} => fn a, _at -> a == nil end,
      {"len", 1} => &len/2,
      {"lower", 1} => fn text, at -> String.downcase(text!(text, at)) end,
      {"upper", 1} => fn text, at -> String.upcase(text!(text, at)) end,
      {"strip", 1} => fn text, at -> Strings.strip(text!(text, at)) end,
      {"split", 1} => fn text, at -> Strings.words(text!(text, at)) end,
      {"get", 2} => &get/3,
      {"in", 2} => &within/3,
      {"==", 2} => fn a, b, _at -> Value.equal?(a, b) end,
      {"!=", 2} => fn a, b, _at -> not Value.equal?(a, b) end,
      {"<", 2} => fn a, b, at -> order(a, b, at) == :lt end,
      {"<=", 2} => fn a, b, at -> order(a, b, at) in [:lt, :eq] end,
      {">", 2} => fn a, b, at -> order(a, b, at) == :gt end,
      {">=", 2} => fn a, b, at -> order(a, b, at) in [:gt, :eq] end,
      {"+", 2} => &add/3,
      {"-", 2} => fn a, b, at -> arithmetic(a, b, at, "-", &-/2) end,
      {"*", 2} => fn a, b, at -> arithmetic(a, b, at, "*", &*/2) end,
      {"/", 2} => &divide/3,
      {"//", 2} => fn a, b, at -> whole(a, b, at, "//", &Integer.floor_div/2) end,
      {"%", 2} => fn a, b, at -> whole(a, b, at, "%", &Integer.mod/2) end,
      {"split", 2} => &split/3,
      {"startswith", 2} => fn a, b, at -> String.starts_with?(text!(a, at), text!(b, at)) end,
      {"endswith", 2} => fn a, b, at -> String.ends_with?(text!(a, at), text!(b, at)) end
    }
  end

  # Ends the evaluation with an error of the item.
  @spec failed(atom, term, String.t()) :: no_return
  defp failed(kind, at, message), do: throw({__MODULE__, kind, at, message})

  @doc "Ends the evaluation as `skip` and `fail` say."
  @spec finished(:skip | :fail, term) :: no_return
  def finished(kind, reason), do: throw({__MODULE__, kind, reason})

  @doc "A truth value, or an error."
  @spec bool!(term, term, String.t()) :: boolean
  def bool!(value, _at, _what) when is_boolean(value), do: value

  def bool!(value, at, what),
    do: failed(:type, at, "#{what} takes True or False, got #{type(value)}")

  ## Parts of a container

  defp get(of, key, at) do
    case find_part(of, key, at) do
      {:ok, value} -> value
      :error -> failed(:missing, at, missing(of, key))
    end
  end

  @doc "A part of a container, or `:error` where it has none."
  @spec find_part(term, term, term) :: {:ok, term} | :error
  def find_part(of, key, at) do
    case {Value.type(of), Value.type(key)} do
      {:dict, type} when type in [:str, :int] -> Value.fetch(of, key)
      {:dict, _type} -> failed(:type, at, "a key is a str or an int, got #{type(key)}")
      {:list, :int} -> Enum.fetch(of, key)
      {:list, _type} -> failed(:type, at, "an index is an int, got #{type(key)}")
      _other -> failed(:type, at, "only a dict or a list has parts, got #{type(of)}")
    end
  end

  defp missing(of, key) when is_list(of),
    do: "there is no index #{key} in a list of #{length(of)}"

  defp missing(_of, key), do: "there is no key #{Slither.Expression.Text.show(key)}"

  defp within(part, of, at) do
    case {Value.type(of), Value.type(part)} do
      {:list, _type} ->
        Enum.any?(of, &Value.equal?(&1, part))

      {:dict, type} when type in [:str, :int] ->
        Value.fetch(of, part) != :error

      {:dict, _type} ->
        failed(:type, at, "a key is a str or an int, got #{type(part)}")

      {:str, :str} ->
        String.contains?(of, part)

      {:str, _type} ->
        failed(:type, at, "a str holds a str, got #{type(part)}")

      {set, _type} when set in @sets ->
        Value.element?(of, part)

      _other ->
        failed(:type, at, "only a list, a dict, a set or a str holds parts, got #{type(of)}")
    end
  end

  defp len(value, at) do
    case Value.type(value) do
      :str -> Strings.length(text!(value, at))
      :list -> length(value)
      :dict -> map_size(value)
      :bytes -> byte_size(value.data)
      set when set in @sets -> MapSet.size(Value.elements(value))
      _other -> failed(:type, at, "len takes a str, list, dict, set or bytes, got #{type(value)}")
    end
  end

  ## Comparison

  defp order(a, b, at) do
    with :error <- Value.order(a, b) do
      failed(:type, at, "#{type(a)} and #{type(b)} have no order")
    end
  end

  ## Arithmetic

  defp add(a, b, at) when is_binary(a) and is_binary(b), do: joined(a <> b, at)
  defp add(a, b, _at) when is_list(a) and is_list(b), do: a ++ b
  defp add(a, b, at), do: arithmetic(a, b, at, "+", &+/2)

  defp divide(a, b, at) do
    {a, b} = {number!(a, at, "/") * 1.0, number!(b, at, "/") * 1.0}
    if b == 0.0, do: failed(:zero, at, "division by zero"), else: finite(fn -> a / b end, at)
  end

  defp whole(a, b, at, sign, fun) do
    if Value.type(a) == :int and Value.type(b) == :int do
      {a, b} = {small!(a, at), small!(b, at)}
      if b == 0, do: failed(:zero, at, "division by zero"), else: small!(fun.(a, b), at)
    else
      failed(:type, at, "#{sign} takes two ints, got #{type(a)} and #{type(b)}")
    end
  end

  defp arithmetic(a, b, at, sign, fun) do
    numbers!(a, b, at, sign)
    {a, b} = {number!(a, at, sign), number!(b, at, sign)}

    if is_integer(a) and is_integer(b),
      do: small!(fun.(a, b), at),
      else: finite(fn -> fun.(a * 1.0, b * 1.0) end, at)
  end

  defp numbers!(a, b, at, sign) do
    unless Value.type(a) in [:int, :float] and Value.type(b) in [:int, :float] do
      also = if sign == "+", do: ", two strs or two lists", else: ""
      failed(:type, at, "#{sign} takes numbers#{also}, got #{type(a)} and #{type(b)}")
    end
  end

  defp number!(value, at, sign) do
    case Value.type(value) do
      :int -> small!(value, at)
      :float when is_float(value) -> value
      :float -> failed(:range, at, "#{sign} takes finite numbers")
      _other -> failed(:type, at, "#{sign} takes numbers, got #{type(value)}")
    end
  end

  defp small!(value, _at) when value in @least..@most, do: value
  defp small!(_value, at), do: failed(:range, at, "an int is beyond 64 bits")

  defp finite(fun, at) do
    fun.()
  rescue
    ArithmeticError -> failed(:range, at, "the result is no finite number")
  end

  ## Text

  defp split(value, separator, at) do
    {value, separator} = {text!(value, at), text!(separator, at)}

    if separator == "",
      do: failed(:value, at, "the separator is empty"),
      else: String.split(value, separator)
  end

  defp text!(value, at) do
    cond do
      not is_binary(value) -> failed(:type, at, "it takes a str, got #{type(value)}")
      not String.valid?(value) -> failed(:type, at, "the str is not UTF-8")
      true -> value
    end
  end

  # One expression is of bounded size and can make only so much of a payload. This bounds what many
  # expressions in a row can make.
  defp joined(text, at) do
    if byte_size(text) > 0x4000000,
      do: failed(:range, at, "the str is longer than 64 MiB"),
      else: text
  end

  defp type(value), do: value |> Value.type() |> Value.name()
end
