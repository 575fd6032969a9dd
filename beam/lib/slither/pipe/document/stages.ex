defmodule Slither.Pipe.Document.Stages do
  @moduledoc false
  # Reads the stages of a document as statements, in the process that parses it.

  alias Slither.Dispatch.Executors.Snakepit
  alias Slither.Dispatch.Strategies.{KeyPartition, WeightedBatch}
  alias Slither.{Error, Expression, Options, Stage}
  alias Slither.Pipe.{Definition, Functions, Statement}
  alias Slither.Pipe.Document.Part

  @types ~w(beam python router batch pipe)

  # The options that a document may give. The other
  # options of these stages take functions or modules.
  @beam ~w(cardinality concurrency)a
  @batch ~w(size timeout)a
  @python ~w(batch_size batch_time min_batch_size max_batch_size max_in_flight max_in_flight_bytes
             cardinality ordering isolate timeout item_timeout queue_timeout max_weight window as)a

  @typep within :: %{pool: atom, python: keyword, read: (Part.t() -> Definition.t())}

  @doc """
  The statement of a stage; `within` has the pipe's pool, what Python stages have that give nothing
  else, and what reads a pipe in it.
  """
  @spec statement(Part.t(), within) :: Statement.t()
  def statement(part, within) do
    name = part |> Part.map() |> Part.name("name")
    statement = %Statement{kind: :stage, line: part.path, name: name}
    stage(Part.one_of(part, "type", @types), part, within, statement)
  end

  defp stage("beam", %{value: %{"function" => _}} = part, _within, statement) do
    Part.map(part, ~w(name type function options))
    name = Part.string(part, "function")
    {options, others} = options(part, Keyword.take(Stage.Beam.options(), @beam), ["batch"])
    batch = Part.get(others, "batch", false)

    unless batch.value in [true, false, nil],
      do: Part.refuse(batch, "takes true or false, got #{Part.short(batch)}")

    case Functions.fetch(name) do
      {:ok, fun} ->
        handler = if batch.value, do: :batch_handler, else: :handler
        %{statement | type: :beam, value: [{handler, fun} | options]}

      {:error, message} ->
        Part.refuse(Part.get(part, "function"), message)
    end
  end

  defp stage("beam", part, _within, statement) do
    Part.map(part, ~w(name type expression options))
    expression = part |> Part.fetch("expression") |> Part.expression([:skip, :fail])
    {_options, others} = options(part, [], ["cardinality"])
    cardinality = Part.get(others, "cardinality")

    unless cardinality.value in ["one", "many", nil, false],
      do: Part.refuse(cardinality, "takes one or many, got #{Part.short(cardinality)}")

    options = [expression: expression, many: cardinality.value == "many"]
    %{statement | type: Stage.Expression, value: options}
  end

  defp stage("python", part, within, statement) do
    target = target(part)
    table = Keyword.take(Stage.Python.options(), @python)
    {options, others} = options(part, table, ~w(pool weight key))
    {strategy, screen} = strategy(others)
    options = Keyword.merge(defaults(within, strategy), options)
    pool = [pool: pool(Part.get(others, "pool"), within.pool)]
    %{statement | type: :python, value: target ++ pool ++ strategy ++ options, screen: screen}
  end

  defp stage("router", part, _within, statement) do
    routes = part |> Part.map(~w(name type routes)) |> Part.fetch("routes") |> Part.list()
    %{statement | type: :router, value: [routes: Enum.map(routes, &route/1)]}
  end

  defp stage("batch", part, _within, statement) do
    Part.map(part, ~w(name type options))
    {options, _none} = options(part, Keyword.take(Stage.Batch.options(), @batch), [])
    %{statement | type: :batch, value: options}
  end

  defp stage("pipe", part, within, statement) do
    inner = part |> Part.map(~w(name type pipe outputs)) |> Part.fetch("pipe") |> within.read.()
    outputs = part |> Part.get("outputs", %{}) |> Part.map()
    name = &Part.name(%{outputs | value: &1})
    outputs = for {inner, outer} <- outputs.value, into: %{}, do: {name.(inner), name.(outer)}
    %{statement | type: :pipe, value: [pipe: inner, outputs: outputs]}
  end

  defp target(%{value: %{"command" => _}} = part) do
    Part.map(part, ~w(name type command options))
    [executor: Snakepit, command: Part.string(part, "command")]
  end

  defp target(part) do
    Part.map(part, ~w(name type module function takes options))
    target = [module: Part.string(part, "module"), function: Part.string(part, "function")]
    target ++ takes(part)
  end

  defp takes(%{value: %{"takes" => _}} = part) do
    case Part.one_of(part, "takes", ~w(list item each)) do
      "list" -> []
      "item" -> [each: true]
      "each" -> [each: :auto]
    end
  end

  defp takes(_part), do: []

  defp route(part) do
    to = part |> Part.map(~w(when to)) |> Part.name("to")
    test = part |> Part.fetch("when") |> Part.expression([])
    {fn item -> true?(Expression.eval!(test, item.payload), test) end, to}
  end

  defp true?(value, _test) when is_boolean(value), do: value

  defp true?(value, test) do
    raise Error,
      reason: :expression,
      message: "#{test.text}: a route takes True or False, got #{Part.short(value)}",
      details: %{expression: test.text, kind: :type}
  end

  ## Options

  # Who batches by weight or by key has said how large batches are.
  defp defaults(within, []), do: within.python
  defp defaults(within, _strategy), do: Keyword.delete(within.python, :batch_size)

  # Gives the checked options of the table, and the part with all options of the document.
  defp options(part, table, others) do
    part = Part.options(part, Enum.map(Keyword.keys(table), &Atom.to_string/1) ++ others)
    {:ok, options} = Options.from_wire(Map.drop(part.value, others), table)
    {Enum.sort(options), part}
  end

  # A weight or a key is evaluated twice: first by a screen ahead of the stage, where an item
  # without one fails alone, and again where batches are made.
  defp strategy(%{value: %{"weight" => _, "key" => _}} = part),
    do: Part.refuse(part, "takes weight or key, not both")

  defp strategy(%{value: %{"weight" => _}} = part),
    do: strategy(part, "weight", WeightedBatch, :weight_fn, &weight/1)

  defp strategy(%{value: %{"key" => _}} = part),
    do: strategy(part, "key", KeyPartition, :key_fn, fn _key -> :ok end)

  defp strategy(_part), do: {[], nil}

  defp strategy(part, name, module, option, check) do
    expression = part |> Part.fetch(name) |> Part.expression([])
    value = fn item -> Expression.eval!(expression, item.payload) end
    screen = [name: name, expression: expression, check: check]
    {[{:strategy, module}, {option, value}], screen}
  end

  defp weight(weight) when is_number(weight) and weight >= 0, do: :ok
  defp weight(other), do: {:error, "a weight is a number of 0 or more, got #{Part.short(other)}"}

  # Whoever starts a pool has its name as an atom, so a name that is no atom yet names none.
  defp pool(%{value: nil}, pool), do: pool

  defp pool(%{value: name} = part, _pool) when is_binary(name) do
    String.to_existing_atom(name)
  rescue
    _error in [ArgumentError, SystemLimitError] ->
      Part.refuse(part, "no pool is named #{Part.short(part)}")
  end

  defp pool(part, _pool), do: Part.refuse(part, "takes a pool's name, got #{Part.short(part)}")
end
