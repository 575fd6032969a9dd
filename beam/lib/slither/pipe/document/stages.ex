defmodule Slither.Pipe.Document.Stages do
  @moduledoc false
  # Reads the stages of a document as statements, in the process that parses it.

  alias Slither.Dispatch.Executors.Snakepit
  alias Slither.Dispatch.Strategies.{KeyPartition, WeightedBatch}
  alias Slither.{Error, Expression, Options, Stage}
  alias Slither.Pipe.{Definition, Functions, Statement}
  alias Slither.Pipe.Document.Fields

  @types ~w(beam python router batch pipe)

  # The options that a document may give; what else stages have is for code of the BEAM side.
  @beam ~w(cardinality concurrency)a
  @batch ~w(size timeout)a
  @python ~w(batch_size target_ms min_batch_size max_batch_size max_in_flight max_in_flight_bytes
             ordering isolate timeout queue_timeout max_weight window)a

  @typep within :: %{pool: atom, read: (term, String.t() -> Definition.t())}

  @doc "The statement of a stage; `within` has the pipe's pool, and what reads a pipe in it."
  @spec statement(term, String.t(), within) :: Statement.t()
  def statement(stage, path, within) do
    fields = Fields.map(stage, path)
    name = Fields.name(fields, path, "name")
    type = Fields.one_of(fields, path, "type", @types)
    stage(type, fields, path, within, %Statement{kind: :stage, line: path, name: name})
  end

  defp stage("beam", %{"function" => _} = fields, path, _within, statement) do
    Fields.known(fields, path, ~w(name type function options))
    name = Fields.string(fields, path, "function")

    {options, others} =
      options(fields, path, Keyword.take(Stage.Beam.options(), @beam), ["batch"])

    batch = others["batch"] || false

    unless is_boolean(batch),
      do:
        Fields.refuse("#{path}.options.batch", "takes true or false, got #{Fields.short(batch)}")

    case Functions.fetch(name) do
      {:ok, fun} ->
        handler = if batch, do: :batch_handler, else: :handler
        %{statement | type: :beam, value: [{handler, fun} | options]}

      {:error, message} ->
        Fields.refuse(Fields.under(path, "function"), message)
    end
  end

  defp stage("beam", fields, path, _within, statement) do
    Fields.known(fields, path, ~w(name type expression options))
    expression = Fields.expression(fields, path, "expression", [:skip, :fail])
    {_options, others} = options(fields, path, [], ["cardinality"])
    cardinality = others["cardinality"] || "one"

    unless cardinality in ["one", "many"] do
      message = "takes one or many, got #{Fields.short(cardinality)}"
      Fields.refuse("#{path}.options.cardinality", message)
    end

    options = [expression: expression, many: cardinality == "many"]
    %{statement | type: Stage.Expression, value: options}
  end

  defp stage("python", fields, path, within, statement) do
    target = target(fields, path)
    table = Keyword.take(Stage.Python.options(), @python)
    {options, others} = options(fields, path, table, ~w(pool weight key))
    at = Fields.under(path, "options")
    {strategy, screen} = strategy(others, at)
    pool = [pool: pool(others["pool"], at, within.pool)]
    %{statement | type: :python, value: target ++ pool ++ strategy ++ options, screen: screen}
  end

  defp stage("router", fields, path, _within, statement) do
    Fields.known(fields, path, ~w(name type routes))
    routes = Fields.each(Fields.list(fields, path, "routes"), path, "routes", &route/2)
    %{statement | type: :router, value: [routes: routes]}
  end

  defp stage("batch", fields, path, _within, statement) do
    Fields.known(fields, path, ~w(name type options))
    {options, _none} = options(fields, path, Keyword.take(Stage.Batch.options(), @batch), [])
    %{statement | type: :batch, value: options}
  end

  defp stage("pipe", fields, path, within, statement) do
    Fields.known(fields, path, ~w(name type pipe outputs))
    document = Fields.required(fields, path, "pipe")
    inner = within.read.(document, Fields.under(path, "pipe"))
    %{statement | type: :pipe, value: [pipe: inner, outputs: outputs(fields, path)]}
  end

  defp outputs(fields, path) do
    path = Fields.under(path, "outputs")

    for {inner, outer} <- Fields.map(Map.get(fields, "outputs", %{}), path), into: %{} do
      {Fields.name(inner, path), Fields.name(outer, path)}
    end
  end

  defp target(%{"command" => _} = fields, path) do
    Fields.known(fields, path, ~w(name type command options))
    [executor: Snakepit, command: Fields.string(fields, path, "command")]
  end

  defp target(fields, path) do
    Fields.known(fields, path, ~w(name type module function options))
    module = Fields.string(fields, path, "module")
    [module: module, function: Fields.string(fields, path, "function")]
  end

  defp route(route, path) do
    fields = Fields.map(route, path)
    Fields.known(fields, path, ~w(when to))
    to = Fields.name(fields, path, "to")
    test = Fields.expression(fields, path, "when", [])
    {fn item -> true?(Expression.eval!(test, item.payload), test) end, to}
  end

  defp true?(value, _test) when is_boolean(value), do: value

  defp true?(value, test) do
    raise Error,
      reason: :expression,
      message: "#{test.text}: a route takes True or False, got #{Fields.short(value)}",
      details: %{expression: test.text, kind: :type}
  end

  ## Options

  # Those that the table has, as options, and the others as the document gives them.
  defp options(fields, path, table, others) do
    names = Enum.map(Keyword.keys(table), &Atom.to_string/1) ++ others
    {others, plain} = fields |> Fields.options(path, names) |> Map.split(others)
    {:ok, options} = Options.from_wire(plain, table)
    {Enum.sort(options), others}
  end

  # A weight or a key is evaluated twice: by itself, where an item that has none can fail alone,
  # and again where batches are made.
  defp strategy(%{"weight" => _, "key" => _}, path),
    do: Fields.refuse(path, "takes weight or key, not both")

  defp strategy(%{"weight" => _} = options, path),
    do: strategy(options, path, "weight", WeightedBatch, :weight_fn, &weight/1)

  defp strategy(%{"key" => _} = options, path),
    do: strategy(options, path, "key", KeyPartition, :key_fn, fn _key -> :ok end)

  defp strategy(_options, _path), do: {[], nil}

  defp strategy(options, path, name, module, option, check) do
    expression = Fields.expression(options, path, name, [])
    value = fn item -> Expression.eval!(expression, item.payload) end
    screen = [name: name, expression: expression, check: check]
    {[{:strategy, module}, {option, value}], screen}
  end

  defp weight(weight) when is_number(weight) and weight >= 0, do: :ok

  defp weight(other),
    do: {:error, "a weight is a number of 0 or more, got #{Fields.short(other)}"}

  # Whoever starts a pool has its name as an atom, so a name that is no atom yet names none.
  defp pool(nil, _path, pool), do: pool

  defp pool(name, path, _pool) when is_binary(name) do
    String.to_existing_atom(name)
  rescue
    _error in [ArgumentError, SystemLimitError] ->
      Fields.refuse("#{path}.pool", "no pool is named #{Fields.short(name)}")
  end

  defp pool(name, path, _pool),
    do: Fields.refuse("#{path}.pool", "takes a pool's name, got #{Fields.short(name)}")
end
