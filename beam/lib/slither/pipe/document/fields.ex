defmodule Slither.Pipe.Document.Fields do
  @moduledoc false
  # Reads the parts of a document, in the process that parses it. What is wrong is thrown, with the
  # path to it, and caught by `read/1`.

  alias Slither.{Error, Options}

  # Names become parts of paths and of other names: a dot joins them, and a slash would lead away.
  @name ~r/\A[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\z/
  @longest 255

  @doc "What a function reads, or the error that ended the reading; `details.path` leads to it."
  @spec read((() -> read)) :: {:ok, read} | {:error, Error.t()} when read: term
  def read(fun) do
    {:ok, fun.()}
  catch
    {__MODULE__, error} -> {:error, error}
  end

  @doc "Ends the reading."
  @spec refuse(String.t(), String.t()) :: no_return
  @spec refuse(String.t(), String.t(), atom) :: no_return
  def refuse(path, message, reason \\ :invalid_document) do
    message = if path == "", do: message, else: "#{path}: #{message}"
    throw({__MODULE__, %Error{reason: reason, message: message, details: %{path: path}}})
  end

  @doc "The path of a field."
  @spec under(String.t(), String.t()) :: String.t()
  def under("", field), do: field
  def under(path, field), do: "#{path}.#{field}"

  @doc "Reads each element of a list that stands in a field."
  @spec each(list, String.t(), String.t(), (term, String.t() -> read)) :: [read] when read: term
  def each(values, path, field, fun) do
    for {value, index} <- Enum.with_index(values),
        do: fun.(value, "#{under(path, field)}[#{index}]")
  end

  @spec map(term, String.t()) :: map
  def map(value, _path) when is_map(value) and not is_struct(value), do: value
  def map(value, path), do: refuse(path, "takes a map, got #{short(value)}")

  @doc "Refuses fields that have no meaning."
  @spec known(map, String.t(), [String.t()]) :: :ok
  def known(fields, path, names) do
    with unknown when unknown != nil <- unknown(fields, names),
         do: refuse(path, "unknown field #{unknown} Fields: #{Enum.join(names, ", ")}")

    :ok
  end

  @doc "The options of a stage, which are among `names`."
  @spec options(map, String.t(), [String.t()]) :: map
  def options(fields, path, names) do
    path = under(path, "options")
    options = map(Map.get(fields, "options", %{}), path)

    with unknown when unknown != nil <- unknown(options, names) do
      list = names |> Enum.sort() |> Enum.join(", ")
      refuse(path, "unknown option #{unknown} Accepted: #{list}")
    end

    options
  end

  defp unknown(fields, names) do
    with name when name != nil <- Enum.find(Map.keys(fields), &(&1 not in names)) do
      hint = if is_binary(name), do: Options.nearest(name, names), else: ""
      "#{short(name)}.#{hint}"
    end
  end

  @doc "A name: of a pipe, a stage, an output or a store."
  @spec name(map, String.t(), String.t()) :: String.t()
  def name(fields, path, field), do: name(required(fields, path, field), under(path, field))

  @spec name(term, String.t()) :: String.t()
  def name(name, path) do
    if is_binary(name) and name =~ @name,
      do: name,
      else:
        refuse(
          path,
          "a name is 1 to 64 of the characters A-Z, a-z, 0-9, _ and -, and does not begin " <>
            "with -; got #{short(name)}"
        )
  end

  @spec string(map, String.t(), String.t()) :: String.t()
  def string(fields, path, field) do
    value = required(fields, path, field)

    if is_binary(value) and value != "" and byte_size(value) <= @longest and String.valid?(value),
      do: value,
      else:
        refuse(under(path, field), "takes a str of 1 to #{@longest} bytes, got #{short(value)}")
  end

  @spec one_of(map, String.t(), String.t(), [String.t()]) :: String.t()
  def one_of(fields, path, field, values) do
    value = required(fields, path, field)
    {last, first} = values |> Enum.map(&inspect/1) |> List.pop_at(-1)

    if value in values,
      do: value,
      else:
        refuse(
          under(path, field),
          "takes #{Enum.join(first, ", ")} or #{last}, got #{short(value)}"
        )
  end

  @doc "A list of at most `most:`; `default:` where the field may be left out."
  @spec list(map, String.t(), String.t(), keyword) :: list
  def list(fields, path, field, options \\ []) do
    most = options[:most] || 1_000

    value =
      if Keyword.has_key?(options, :default),
        do: Map.get(fields, field, options[:default]),
        else: required(fields, path, field)

    cond do
      not is_list(value) or List.improper?(value) ->
        refuse(under(path, field), "takes a list, got #{short(value)}")

      length(value) > most ->
        refuse(under(path, field), "has #{length(value)} parts; at most #{most} can be read")

      true ->
        value
    end
  end

  @doc "A field that must be there."
  @spec required(map, String.t(), String.t()) :: term
  def required(fields, path, field) do
    case fields do
      %{^field => value} -> value
      _ -> refuse(under(path, field), "is missing")
    end
  end

  @doc "The expression of a field that must be there."
  @spec expression(map, String.t(), String.t(), [atom]) :: Slither.Expression.t()
  def expression(fields, path, field, allowed),
    do: expression(required(fields, path, field), under(path, field), allowed)

  @spec expression(term, String.t(), [atom]) :: Slither.Expression.t()
  def expression(data, path, allowed) do
    case Slither.Expression.new(data, allow: allowed) do
      {:ok, expression} ->
        expression

      {:error, %{details: %{path: at}, message: message}} ->
        refuse(path <> at, String.replace_prefix(message, "#{at}: ", ""))
    end
  end

  @doc "A value in an error, cut short."
  @spec short(term) :: String.t()
  def short(value), do: inspect(value, limit: 5, printable_limit: 60)
end
