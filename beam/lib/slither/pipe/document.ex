defmodule Slither.Pipe.Document do
  @moduledoc """
  Pipes as documents: plain data that Python emits and BEAM runs.

  A document holds maps, lists, strings, numbers, booleans and `nil`; `protocol/PROTOCOL.md`
  describes it. Python's `slither.Pipe` makes one, and `Slither.Pipe.from_python/3` fetches those
  of a module. This module reads them:

      iex> document = %{
      ...>   "version" => 1,
      ...>   "name" => "lengths",
      ...>   "stages" => [
      ...>     %{"name" => "count", "type" => "beam", "expression" => ["len", ["item"]]},
      ...>     %{"name" => "split", "type" => "router",
      ...>       "routes" => [%{"when" => [">", ["item"], 3], "to" => "long"}]}
      ...>   ],
      ...>   "outputs" => ["long"]
      ...> }
      iex> {:ok, definition} = Slither.Pipe.Document.parse(document)
      iex> {:ok, outputs} = Slither.run_pipe(definition, ["a", "many"])
      iex> Map.new(outputs, fn {name, items} -> {name, Enum.map(items, & &1.payload)} end)
      %{"default" => [1], "long" => [4]}

  Names stay strings, so that the outputs of such a pipe have strings as keys. Nothing in a
  document becomes an atom.
  """

  alias Slither.{Error, Options}
  alias Slither.Pipe.{Builder, Definition, Statement}
  alias Slither.Pipe.Document.{Part, Policies, Stages}
  alias Slither.Store.Views

  @version 1
  @max_stages 1_000
  @max_nesting 8

  @options [
    pool: [type: :atom, default: :default, doc: "The pool of Python stages that name none."],
    python: [
      type: :keyword,
      default: [],
      doc: "Options of `Slither.Stage.Python` for the stages that do not give them."
    ]
  ]

  @doc """
  A document's pipe, ready to run.

  ## Options

  #{Options.docs(@options)}

  An error (`:invalid_document`, or `:unsupported_version`) begins with the path to what is
  wrong; the path is in `details.path` as well:

      iex> document = %{"version" => 1, "name" => "p", "stages" => [%{"name" => "s", "type" => "beem"}]}
      iex> {:error, error} = Slither.Pipe.Document.parse(document)
      iex> Exception.message(error)
      ~S(pipe "p": stages[0].type: takes "beam", "python", "router", "batch" or "pipe", got "beem")
  """
  @spec parse(term, keyword) :: {:ok, Definition.t()} | {:error, Error.t()}
  def parse(document, options \\ []) do
    part = %Part{path: "", value: document}

    with {:ok, options} <- Options.validate(options, @options, "Slither.Pipe.Document.parse/2"),
         {:error, error} <- Part.read(fn -> read(part, Map.new(options), 1) end),
         do: {:error, %{error | where: error.where || where(document)}}
  end

  # A document within another is read by way of the stage that holds it.
  defp read(part, options, nesting) do
    if nesting > @max_nesting, do: Part.refuse(part, "pipes nest deeper than #{@max_nesting}")
    part |> Part.map() |> Part.get("version") |> version()
    name = part |> Part.map(~w(version name stages outputs stores on_error)) |> Part.name("name")
    stages = part |> Part.fetch("stages") |> Part.list(@max_stages)
    within = Map.put(options, :read, &read(&1, options, nesting + 1))

    statements =
      Enum.map(stages, &Stages.statement(&1, within)) ++
        each(part, "outputs", &statement(:output, &1, Part.name(&1), nil)) ++
        each(part, "stores", &store/1) ++
        each(part, "on_error", &policy/1)

    built(Builder.build(name, statements), part)
  end

  defp each(part, field, fun), do: part |> Part.get(field, []) |> Part.list() |> Enum.map(fun)

  defp version(%{value: @version}), do: :ok

  defp version(%{value: version} = part) when is_integer(version) do
    message = "documents of version #{version} can't be read; this Slither reads #{@version}"
    Part.refuse(part, message, :unsupported_version)
  end

  defp version(part),
    do: Part.refuse(part, "takes the document's version, got #{Part.short(part)}")

  defp statement(kind, part, name, value),
    do: %Statement{kind: kind, line: part.path, name: name, value: value}

  defp store(part) do
    name = part |> Part.map(~w(name table)) |> Part.name("name")
    table = Part.string(part, "table")

    case Views.fetch_table(table) do
      {:ok, %{store: module}} ->
        statement(:store, part, name, module)

      :error ->
        known = Enum.sort(Views.table_names())
        list = if known == [], do: "none", else: Enum.map_join(known, ", ", &inspect/1)

        Part.refuse(
          Part.get(part, "table"),
          "no running store has a table #{inspect(table)} for Python." <>
            "#{Options.nearest(table, known)} Declared: #{list}"
        )
    end
  end

  defp policy(part) do
    Part.map(part, ~w(stage policy))
    stage = if part.value["stage"] == "*", do: :*, else: Part.name(part, "stage")
    statement(:on_error, part, stage, Policies.policy(Part.get(part, "policy")))
  end

  defp built({:ok, definition}, _part), do: definition

  defp built({:error, line, error}, part) do
    route = error.details[:route]
    path = if route, do: "#{line}.routes[#{route}].to", else: line || Part.get(part, "stages")
    Part.refuse(path, error.message)
  end

  defp where(%{"name" => name}) when is_binary(name), do: "pipe #{Part.short(name)}"
  defp where(_document), do: "pipe document"
end
