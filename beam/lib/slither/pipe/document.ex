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
  alias Slither.Pipe.Document.{Fields, Policies, Stages}
  alias Slither.Store.Views

  @version 1
  @max_stages 1_000
  @max_nesting 8

  @options [
    pool: [type: :atom, default: :default, doc: "The pool of Python stages that name none."]
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
    with {:ok, options} <- Options.validate(options, @options, "Slither.Pipe.Document.parse/2"),
         {:error, error} <- Fields.read(fn -> read(document, "", options[:pool], 1) end),
         do: {:error, %{error | where: error.where || where(document)}}
  end

  # A document within another is read by way of the stage that holds it.
  defp read(document, path, pool, nesting) do
    if nesting > @max_nesting, do: Fields.refuse(path, "pipes nest deeper than #{@max_nesting}")
    fields = Fields.map(document, path)
    version(fields["version"], Fields.under(path, "version"))
    Fields.known(fields, path, ~w(version name stages outputs stores on_error))

    name = Fields.name(fields, path, "name")
    stages = Fields.list(fields, path, "stages", most: @max_stages)

    within = %{pool: pool, read: &read(&1, &2, pool, nesting + 1)}

    statements =
      Fields.each(stages, path, "stages", &Stages.statement(&1, &2, within)) ++
        each(fields, path, "outputs", &output/2) ++
        each(fields, path, "stores", &store/2) ++
        each(fields, path, "on_error", &policy/2)

    built(Builder.build(name, statements), path)
  end

  defp each(fields, path, field, fun),
    do: fields |> Fields.list(path, field, default: []) |> Fields.each(path, field, fun)

  defp version(@version, _path), do: :ok

  defp version(version, path) when is_integer(version) do
    message = "documents of version #{version} can't be read; this Slither reads #{@version}"
    Fields.refuse(path, message, :unsupported_version)
  end

  defp version(version, path),
    do: Fields.refuse(path, "takes the document's version, got #{Fields.short(version)}")

  defp output(name, path), do: statement(:output, path, Fields.name(name, path), nil)

  defp statement(kind, path, name, value),
    do: %Statement{kind: kind, line: path, name: name, value: value}

  defp store(store, path) do
    fields = Fields.map(store, path)
    Fields.known(fields, path, ~w(name table))
    name = Fields.name(fields, path, "name")
    table = Fields.string(fields, path, "table")

    case Views.fetch_table(table) do
      {:ok, %{store: module}} ->
        statement(:store, path, name, module)

      :error ->
        known = Enum.sort(Views.table_names())
        list = if known == [], do: "none", else: Enum.map_join(known, ", ", &inspect/1)

        Fields.refuse(
          Fields.under(path, "table"),
          "no running store has a table #{inspect(table)} for Python." <>
            "#{Options.nearest(table, known)} Declared: #{list}"
        )
    end
  end

  defp policy(entry, path) do
    fields = Fields.map(entry, path)
    Fields.known(fields, path, ~w(stage policy))
    stage = if fields["stage"] == "*", do: :*, else: Fields.name(fields, path, "stage")
    policy = Policies.policy(fields["policy"], Fields.under(path, "policy"))
    statement(:on_error, path, stage, policy)
  end

  defp built({:ok, definition}, _path), do: definition

  defp built({:error, line, error}, path) do
    route = error.details[:route]
    path = if route, do: "#{line}.routes[#{route}].to", else: line || Fields.under(path, "stages")
    Fields.refuse(path, error.message)
  end

  defp where(%{"name" => name}) when is_binary(name), do: "pipe #{Fields.short(name)}"
  defp where(_document), do: "pipe document"
end
