defmodule Slither.Pipe.Document.Fields do
  @moduledoc false
  # Reads the parts of a document; what is wrong is thrown with the path to it.

  alias Slither.Options

  # Names become parts of paths and of other names: a dot joins them, a slash would lead away.
  @name ~r/\A[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\z/
  @longest 255

  @doc "Ends the reading."
  @spec refuse(String.t(), String.t()) :: no_return
  @spec refuse(String.t(), String.t(), atom) :: no_return
  def refuse(path, message, reason \\ :invalid_document),
    do: throw({__MODULE__, reason, path, message})

  @doc "The path of a field."
  @spec under(String.t(), String.t()) :: String.t()
  def under("", field), do: field
  def under(path, field), do: "#{path}.#{field}"

  @spec map(term, String.t()) :: map
  def map(value, _path) when is_map(value) and not is_struct(value), do: value
  def map(value, path), do: refuse(path, "takes a map, got #{short(value)}")

  @doc "A field, `nil` where it is not there."
  @spec get(map, String.t()) :: term
  def get(fields, field), do: Map.get(fields, field)

  @doc "Refuses fields that have no meaning."
  @spec known(map, String.t(), [String.t()]) :: :ok
  def known(fields, path, names) do
    case Enum.find(Map.keys(fields), &(&1 not in names)) do
      nil ->
        :ok

      unknown ->
        hint = if is_binary(unknown), do: Options.nearest(unknown, names), else: ""
        list = Enum.join(names, ", ")
        refuse(path, "unknown field #{short(unknown)}.#{hint} Fields: #{list}")
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
        refuse(
          under(path, field),
          "takes a str of 1 to #{@longest} bytes, got #{short(value)}"
        )
  end

  @spec one_of(map, String.t(), String.t(), [String.t()]) :: String.t()
  def one_of(fields, path, field, values) do
    value = required(fields, path, field)

    if value in values,
      do: value,
      else: refuse(under(path, field), "takes #{words(values)}, got #{short(value)}")
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

  @spec expression(term, String.t(), [atom]) :: Slither.Expression.t()
  def expression(data, path, allowed) do
    case Slither.Expression.new(data, allow: allowed) do
      {:ok, expression} ->
        expression

      {:error, %{details: %{path: at}, message: message}} ->
        message = if at == "", do: message, else: String.replace_prefix(message, "#{at}: ", "")
        refuse(path <> at, message)
    end
  end

  @doc "A value in an error, cut short."
  @spec short(term) :: String.t()
  def short(value), do: inspect(value, limit: 5, printable_limit: 60)

  @spec words([String.t()]) :: String.t()
  defp words(values) do
    {last, first} = values |> Enum.map(&inspect/1) |> List.pop_at(-1)
    if first == [], do: last, else: "#{Enum.join(first, ", ")} or #{last}"
  end
end
