defmodule Slither.Pipe.Document.Part do
  @moduledoc false
  # A part of a document and the path to it, so that whatever is wrong in it is told with its place.
  # The process that parses a document reads it part by part; a fault is thrown, and caught by
  # `read/1`.

  alias Slither.{Error, Options}

  # Names become parts of paths and of other names: a dot joins them, and a slash would lead away.
  @name ~r/\A[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\z/
  @longest 255

  @enforce_keys [:path, :value]
  defstruct [:path, :value]

  @type t :: %__MODULE__{path: String.t(), value: term}

  @doc "What a function reads, or the error that ended the reading; `details.path` leads to it."
  @spec read((() -> read)) :: {:ok, read} | {:error, Error.t()} when read: term
  def read(fun) do
    {:ok, fun.()}
  catch
    {__MODULE__, error} -> {:error, error}
  end

  @doc "Ends the reading, at a part or a path."
  @spec refuse(t | String.t(), String.t()) :: no_return
  @spec refuse(t | String.t(), String.t(), atom) :: no_return
  def refuse(at, message, reason \\ :invalid_document) do
    path = path(at)
    message = if path == "", do: message, else: "#{path}: #{message}"
    throw({__MODULE__, %Error{reason: reason, message: message, details: %{path: path}}})
  end

  defp path(%__MODULE__{path: path}), do: path
  defp path(path), do: path

  @doc "The part of a field, which has `default` where it may be left out."
  @spec get(t, String.t(), term) :: t
  def get(%__MODULE__{path: path, value: value}, field, default \\ nil),
    do: %__MODULE__{path: under(path, field), value: Map.get(value, field, default)}

  @doc "The part of a field that must be there."
  @spec fetch(t, String.t()) :: t
  def fetch(%__MODULE__{value: value} = part, field) do
    if is_map_key(value, field),
      do: get(part, field),
      else: refuse(get(part, field), "is missing")
  end

  defp under("", field), do: field
  defp under(path, field), do: "#{path}.#{field}"

  @doc "The part, which is a map."
  @spec map(t) :: t
  def map(%__MODULE__{value: value} = part) when is_map(value) and not is_struct(value), do: part
  def map(part), do: refuse(part, "takes a map, got #{short(part)}")

  @doc "The part, a map whose fields are among `names`."
  @spec map(t, [String.t()]) :: t
  def map(part, names), do: part |> map() |> known(names, "field", "Fields")

  @doc "The part of a stage's options, which are among `names`."
  @spec options(t, [String.t()]) :: t
  def options(stage, names) do
    stage |> get("options", %{}) |> map() |> known(Enum.sort(names), "option", "Accepted")
  end

  defp known(part, names, what, list) do
    with unknown when unknown != nil <- Enum.find(Map.keys(part.value), &(&1 not in names)) do
      hint = if is_binary(unknown), do: Options.nearest(unknown, names), else: ""
      refuse(part, "unknown #{what} #{short(unknown)}.#{hint} #{list}: #{Enum.join(names, ", ")}")
    end

    part
  end

  @doc "The name in a field: of a pipe, a stage, an output or a store."
  @spec name(t, String.t()) :: String.t()
  def name(part, field), do: part |> fetch(field) |> name()

  @spec name(t) :: String.t()
  def name(%__MODULE__{value: name} = part) do
    if is_binary(name) and name =~ @name,
      do: name,
      else:
        refuse(
          part,
          "a name is 1 to 64 of the characters A-Z, a-z, 0-9, _ and -, and does not begin " <>
            "with -; got #{short(name)}"
        )
  end

  @spec string(t, String.t()) :: String.t()
  def string(part, field) do
    %{value: value} = part = fetch(part, field)

    if is_binary(value) and value != "" and byte_size(value) <= @longest and String.valid?(value),
      do: value,
      else: refuse(part, "takes a str of 1 to #{@longest} bytes, got #{short(value)}")
  end

  @spec one_of(t, String.t(), [String.t()]) :: String.t()
  def one_of(part, field, words) do
    part = fetch(part, field)
    {last, first} = words |> Enum.map(&inspect/1) |> List.pop_at(-1)

    if part.value in words,
      do: part.value,
      else: refuse(part, "takes #{Enum.join(first, ", ")} or #{last}, got #{short(part)}")
  end

  @doc "The parts of a list of at most `most`."
  @spec list(t, pos_integer) :: [t]
  def list(%__MODULE__{path: path, value: value} = part, most \\ 1_000) do
    cond do
      not is_list(value) or List.improper?(value) ->
        refuse(part, "takes a list, got #{short(value)}")

      length(value) > most ->
        refuse(part, "has #{length(value)} parts; at most #{most} can be read")

      true ->
        for {value, index} <- Enum.with_index(value),
            do: %__MODULE__{path: "#{path}[#{index}]", value: value}
    end
  end

  @spec expression(t, [atom]) :: Slither.Expression.t()
  def expression(part, allowed) do
    case Slither.Expression.new(part.value, allow: allowed) do
      {:ok, expression} ->
        expression

      {:error, %{details: %{path: at}, message: message}} ->
        refuse(part.path <> at, String.replace_prefix(message, "#{at}: ", ""))
    end
  end

  @doc "A value in an error, cut short."
  @spec short(term) :: String.t()
  def short(%__MODULE__{value: value}), do: short(value)
  def short(value), do: inspect(value, limit: 5, printable_limit: 60)
end
