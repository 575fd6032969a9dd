defmodule Slither.Options do
  @moduledoc false
  # Checks options by tables, in the process that got them, before anything is started with them.
  #
  # One table per module checks its options, writes their documentation and reads them from data,
  # so that the three can't drift apart. A table is a keyword list: `name: [type: t, default: d,
  # doc: text]`, with `required: true` where there is no default.

  @type type ::
          :pos_integer
          | :non_neg_integer
          | :boolean
          | :atom
          | :string
          | :name
          | :keyword
          | :map
          | :milliseconds
          | :timeout
          | :any
          | {:in, [term]}
          | {:fun, arity | [arity]}
          | {:list, type}
          | {:or, [type]}
          | {:custom, String.t(), (term -> boolean)}

  @type table :: [{atom, keyword}]
  @typedoc "A table that was read ahead: for what is checked with every call."
  @type read :: %{table: table, required: [atom], defaults: keyword}

  # The longest time that an Erlang timer takes, some 49 days.
  @longest 0xFFFFFFFF

  @doc "Reads a table ahead of time."
  @spec read(table) :: read
  def read(table) do
    %{
      table: table,
      required: for({name, spec} <- table, spec[:required], do: name),
      defaults:
        for({name, spec} <- table, Keyword.has_key?(spec, :default), do: {name, spec[:default]})
    }
  end

  @doc "Checks `options` against `table` and fills in defaults; raises `Slither.Error`."
  @spec validate!(keyword, table | read, String.t()) :: keyword
  def validate!(options, table, where) do
    case validate(options, table, where) do
      {:ok, checked} -> checked
      {:error, error} -> raise error
    end
  end

  @doc "As `validate!/3`, with the error as a value."
  @spec validate(term, table | read, String.t()) ::
          {:ok, keyword} | {:error, Slither.Error.t()}
  def validate(options, table, where) when is_list(table),
    do: validate(options, read(table), where)

  def validate(options, %{table: table, required: required, defaults: defaults}, where) do
    with :ok <- keyword?(options, where),
         :ok <- known(options, table, where),
         :ok <- required(options, required, table, where),
         :ok <- types(options, table, where) do
      others = for {name, _} = pair <- defaults, not has?(options, name), do: pair
      {:ok, others ++ options}
    end
  end

  @doc """
  Options that came as data, a map with strings for names; `{:unknown, name}` for a name that the
  table has not.

  Data has no atoms: a word is the atom that its type knows by that name, and `nil` is `:infinity`
  where a type takes that. Values of a wrong type stay as they are, for `validate/3` to refuse.
  """
  @spec from_wire(map, table) :: {:ok, keyword} | {:unknown, term}
  def from_wire(values, table) do
    types = Map.new(table, fn {name, spec} -> {Atom.to_string(name), {name, spec[:type]}} end)

    case Enum.find(Map.keys(values), &(not is_map_key(types, &1))) do
      nil -> {:ok, for({word, value} <- values, do: option(types[word], value))}
      unknown -> {:unknown, unknown}
    end
  end

  defp option({name, type}, value), do: {name, native(type, value)}

  defp native(:timeout, nil), do: :infinity
  defp native({:or, types}, value), do: Enum.reduce(types, value, &native/2)

  defp native({:in, atoms}, word) when is_binary(word),
    do: Enum.find(atoms, word, &(is_atom(&1) and &1 != nil and Atom.to_string(&1) == word))

  defp native(_type, value), do: value

  defp has?(options, name), do: List.keymember?(options, name, 0)

  @doc "The table as Markdown, for a moduledoc."
  @spec docs(table) :: String.t()
  def docs(table) do
    Enum.map_join(table, "\n", fn {name, spec} ->
      "  * `#{inspect(name)}` (#{describe(spec[:type] || :any)}#{default_text(spec)}) " <>
        "#{spec[:doc]}"
    end)
  end

  # Says in words which values a type accepts.
  defp describe(:pos_integer), do: "an integer of 1 or more"
  defp describe(:non_neg_integer), do: "an integer of 0 or more"
  defp describe(:boolean), do: "true or false"
  defp describe(:atom), do: "an atom"
  defp describe(:string), do: "a string (UTF-8)"
  defp describe(:name), do: "a string (UTF-8) or an atom"
  defp describe(:keyword), do: "a keyword list"
  defp describe(:map), do: "a map"
  defp describe(:milliseconds), do: "milliseconds (1 to #{@longest})"
  defp describe(:timeout), do: "milliseconds (1 to #{@longest}) or :infinity"
  defp describe(:any), do: "anything"
  defp describe({:in, values}), do: "one of #{Enum.map_join(values, ", ", &inspect/1)}"
  defp describe({:fun, arity}) when is_integer(arity), do: "a function of arity #{arity}"
  defp describe({:fun, arities}), do: "a function of arity #{Enum.join(arities, " or ")}"
  defp describe({:list, type}), do: "a list, each element #{describe(type)}"
  defp describe({:or, types}), do: Enum.map_join(types, ", or ", &describe/1)
  defp describe({:custom, words, _check}), do: words

  @doc "The candidate nearest to `name`, as `\" Did you mean …?\"`, or an empty string."
  @spec nearest(term, [term]) :: String.t()
  def nearest(name, candidates) do
    candidates
    |> Enum.map(&{String.jaro_distance(text(name), text(&1)), &1})
    |> Enum.max_by(&elem(&1, 0), fn -> {0.0, nil} end)
    |> case do
      {score, candidate} when score > 0.7 -> " Did you mean #{inspect(candidate)}?"
      _ -> ""
    end
  end

  defp text(name) when is_binary(name), do: name
  defp text(name), do: inspect(name)

  defp default_text(spec) do
    cond do
      spec[:required] -> ", required"
      Keyword.has_key?(spec, :default) -> ", default `#{inspect(spec[:default])}`"
      true -> ""
    end
  end

  defp keyword?(options, where) do
    if Keyword.keyword?(options),
      do: :ok,
      else: error(:invalid_options, where, "takes a keyword list, got #{short(options)}", %{})
  end

  defp known(options, table, where) do
    case Enum.find(options, fn {name, _value} -> not has?(table, name) end) do
      nil ->
        :ok

      {name, _value} ->
        names = Keyword.keys(table)
        accepted = Enum.map_join(names, ", ", &inspect/1)

        error(
          :unknown_option,
          where,
          "unknown option #{inspect(name)}.#{nearest(name, names)} Accepted: #{accepted}",
          %{option: name}
        )
    end
  end

  defp required(options, required, table, where) do
    case Enum.find(required, &(not has?(options, &1))) do
      nil -> :ok
      name -> missing_error(name, table, where)
    end
  end

  defp missing_error(name, table, where) do
    error(
      :missing_option,
      where,
      "option #{inspect(name)} is required: #{describe(table[name][:type] || :any)}",
      %{option: name}
    )
  end

  defp types(options, table, where) do
    Enum.find_value(options, :ok, fn {name, value} ->
      type = table[name][:type] || :any

      unless valid?(type, value) do
        error(
          :invalid_option,
          where,
          "option #{inspect(name)} takes #{describe(type)}, got #{short(value)}",
          %{option: name, value: value}
        )
      end
    end)
  end

  defp error(reason, where, message, details) do
    {:error, %Slither.Error{reason: reason, message: message, where: where, details: details}}
  end

  defp short(value), do: inspect(value, limit: 5, printable_limit: 80)

  defp valid?(:pos_integer, value), do: is_integer(value) and value > 0
  defp valid?(:non_neg_integer, value), do: is_integer(value) and value >= 0
  defp valid?(:boolean, value), do: is_boolean(value)
  defp valid?(:atom, value), do: is_atom(value)
  defp valid?(:string, value), do: is_binary(value) and String.valid?(value)

  defp valid?(:name, value),
    do: valid?(:string, value) or (is_atom(value) and not is_nil(value))

  defp valid?(:keyword, value), do: Keyword.keyword?(value)
  defp valid?(:map, value), do: is_map(value)

  defp valid?(:milliseconds, value), do: is_integer(value) and value in 1..@longest
  defp valid?(:timeout, value), do: value == :infinity or valid?(:milliseconds, value)

  defp valid?(:any, _value), do: true
  defp valid?({:in, values}, value), do: value in values
  defp valid?({:fun, arity}, value) when is_integer(arity), do: is_function(value, arity)
  defp valid?({:fun, arities}, value), do: Enum.any?(arities, &is_function(value, &1))
  defp valid?({:list, type}, value), do: is_list(value) and Enum.all?(value, &valid?(type, &1))
  defp valid?({:or, types}, value), do: Enum.any?(types, &valid?(&1, value))
  defp valid?({:custom, _words, check}, value), do: check.(value)
end
