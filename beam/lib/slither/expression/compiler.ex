defmodule Slither.Expression.Compiler do
  @moduledoc false
  # Makes functions of `%{item: payload, error: map | nil}` of expressions, once, in the process that
  # reads a document; what is wrong in one is thrown and caught here. The functions run in the
  # process of a run, and throw by way of `Operations`.

  alias Slither.Expression.{Operations, Value}
  alias Slither.Options

  @forms ~w(item error get and or when dict list skip fail)
  # The caller says which of these may stand in its expression.
  @guarded %{"error" => :error, "skip" => :skip, "fail" => :fail}

  # The functions of `skip` and `fail` throw.
  @dialyzer {:no_return, form: 4}

  @least -0x8000000000000000
  @most 0x7FFFFFFFFFFFFFFF

  defstruct [:allowed, :limits, path: "", depth: 1]

  @typedoc "A place in an expression, and what may stand there."
  @type t :: %__MODULE__{
          allowed: [atom],
          limits: {depth :: pos_integer, size :: pos_integer},
          path: String.t(),
          depth: pos_integer
        }

  @doc "The function of an expression, or the path to what is wrong in it, and why."
  @spec compile(term, [atom], {pos_integer, pos_integer}) ::
          {:ok, (map -> term)} | {:error, String.t(), String.t()}
  def compile(data, allowed, limits) do
    {fun, _size} = node(data, %__MODULE__{allowed: allowed, limits: limits})
    {:ok, fun}
  catch
    {__MODULE__, path, message} -> {:error, path, message}
  end

  defp node(value, _at) when value in [nil, true, false], do: {fn _env -> value end, 1}
  defp node(value, _at) when is_float(value), do: {fn _env -> value end, 1}
  defp node(value, _at) when value in @least..@most, do: {fn _env -> value end, 1}

  defp node(value, at) when is_binary(value) do
    if String.valid?(value),
      do: {fn _env -> value end, 1},
      else: refuse(at, "the str is not UTF-8")
  end

  defp node(value, at) when is_integer(value), do: refuse(at, "an int is beyond 64 bits")

  defp node([op | operands] = data, at) when is_binary(op) and is_list(operands) do
    {most, _size} = at.limits
    if at.depth > most, do: refuse(at, "the expression is deeper than #{most}")
    unless proper?(operands), do: refuse(at, "the list has no end")

    with %{^op => needed} <- @guarded, true <- needed not in at.allowed do
      refuse(at, "#{op} can't stand here")
    end

    form(op, operands, data, at)
  end

  defp node([], at), do: refuse(at, "a list begins with an operation; got an empty one")
  defp node(other, at), do: refuse(at, "no expression: #{short(other)}")

  ## Forms, which evaluate their operands as they need them

  defp form("item", [], _data, _at), do: {fn env -> env.item end, 1}
  defp form("error", [], _data, _at), do: {fn env -> env.error end, 1}

  defp form("get", [of, key, default], data, at) do
    {[of, key, default], size} = operands([of, key, default], at)

    fun = fn env ->
      case Operations.find_part(Value.seen(of.(env)), Value.seen(key.(env)), data) do
        {:ok, value} -> value
        :error -> default.(env)
      end
    end

    {fun, size}
  end

  defp form(op, [_, _ | _] = operands, data, at) when op in ["and", "or"] do
    {funs, size} = operands(operands, at)
    {all(funs, data, if(op == "and", do: {"&", false}, else: {"|", true})), size}
  end

  defp form("when", [[_ | _] = cases, otherwise], data, at) do
    {cases, sizes} =
      cases
      |> pairs(at, "a condition and a value")
      |> Enum.map(fn {[condition, value], at} ->
        {[condition, value], size} = operands([condition, value], at, 0)
        {{condition, value}, size - 1}
      end)
      |> Enum.unzip()

    {otherwise, size} = node(otherwise, into(at, 2))
    {choose(cases, otherwise, data), sized(at, Enum.sum(sizes) + size + 1)}
  end

  defp form("dict", [pairs], _data, at) when is_list(pairs) do
    pairs = pairs(pairs, at, "a key and a value")
    keys = for {[key, _value], at} <- pairs, do: key(key, at)
    with [key | _] <- keys -- Enum.uniq(keys), do: refuse(at, "key #{short(key)} is there twice")

    {funs, sizes} =
      pairs |> Enum.map(fn {[_key, value], at} -> node(value, into(at, 1)) end) |> Enum.unzip()

    fields = Enum.zip(keys, funs)
    fun = fn env -> for {key, fun} <- fields, into: %{}, do: {key, fun.(env)} end
    {fun, sized(at, Enum.sum(sizes) + 1)}
  end

  defp form("list", [values], _data, at) when is_list(values) do
    unless proper?(values), do: refuse(into(at, 1), "the list has no end")
    {funs, size} = operands(values, %{at | path: at.path <> "[1]"}, 0)
    {fn env -> Enum.map(funs, & &1.(env)) end, size}
  end

  defp form(op, [reason], _data, at) when op in ["skip", "fail"] do
    {[reason], size} = operands([reason], at)
    kind = if op == "skip", do: :skip, else: :fail
    {fn env -> Operations.finished(kind, reason.(env)) end, size}
  end

  defp form(op, operands, data, at) do
    case Operations.find(op, length(operands)) do
      {:ok, operation} ->
        {funs, size} = operands(operands, at)
        {strict(operation, funs, data), size}

      {:counts, counts} ->
        refuse(at, wrong_count(op, counts, length(operands)))
    end
  end

  defp strict(operation, [a], data),
    do: fn env -> operation.(Value.seen(a.(env)), data) end

  defp strict(operation, [a, b], data) do
    fn env ->
      a = Value.seen(a.(env))
      operation.(a, Value.seen(b.(env)), data)
    end
  end

  defp all([last], data, {sign, _ends}), do: fn env -> bool(last, env, data, sign) end

  defp all([fun | funs], data, {sign, ends} = how) do
    rest = all(funs, data, how)
    fn env -> if bool(fun, env, data, sign) == ends, do: ends, else: rest.(env) end
  end

  defp choose([], otherwise, _data), do: otherwise

  defp choose([{condition, value} | cases], otherwise, data) do
    rest = choose(cases, otherwise, data)
    fn env -> if bool(condition, env, data, "when"), do: value.(env), else: rest.(env) end
  end

  defp bool(fun, env, data, what), do: Operations.bool!(Value.seen(fun.(env)), data, what)

  ## Operands

  # The operands begin after the operation, at 1, or at `first` in a list of their own.
  defp operands(values, at, first \\ 1) do
    {funs, sizes} =
      values
      |> Enum.with_index(first)
      |> Enum.map(fn {value, index} -> node(value, into(at, index)) end)
      |> Enum.unzip()

    {funs, sized(at, Enum.sum(sizes) + 1)}
  end

  defp pairs(pairs, at, what) do
    at = %{at | path: at.path <> "[1]"}
    unless proper?(pairs), do: refuse(at, "the list has no end")

    for {pair, index} <- Enum.with_index(pairs) do
      at = %{at | path: "#{at.path}[#{index}]"}
      if match?([_, _], pair), do: {pair, at}, else: refuse(at, "takes #{what}")
    end
  end

  defp key(key, _at) when key in @least..@most, do: key

  defp key(key, at) do
    if is_binary(key) and String.valid?(key),
      do: key,
      else: refuse(%{at | path: at.path <> "[0]"}, "a key is a str or an int, got #{short(key)}")
  end

  defp into(at, index), do: %{at | path: "#{at.path}[#{index}]", depth: at.depth + 1}

  defp sized(%{limits: {_depth, most}} = at, size) do
    if size > most, do: refuse(at, "the expression has more than #{most} parts"), else: size
  end

  defp proper?(list), do: not List.improper?(list)

  defp wrong_count(op, [], got) when op in @forms,
    do: "#{op} does not take these #{got} operands"

  defp wrong_count(op, [], _got) do
    known = @forms ++ Operations.names()
    "unknown operation #{short(op)}.#{Options.nearest(op, known)}"
  end

  defp wrong_count(op, counts, got),
    do: "#{op} takes #{Enum.join(counts, " or ")} operands, got #{got}"

  @spec refuse(t, String.t()) :: no_return
  defp refuse(at, message), do: throw({__MODULE__, at.path, message})

  defp short(value), do: inspect(value, limit: 5, printable_limit: 40)
end
