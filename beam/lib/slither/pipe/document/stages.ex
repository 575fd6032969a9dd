defmodule Slither.Pipe.Document.Stages do
  @moduledoc false
  # Stages of a document as statements of the DSL.

  alias Slither.Dispatch.Strategies.{KeyPartition, WeightedBatch}
  alias Slither.{Expression, Options}
  alias Slither.Pipe.{Definition, Functions, Statement}
  alias Slither.Pipe.Document.Fields

  @types ~w(beam python router batch pipe)

  # What a document's options are in the DSL; `nil` has a meaning for those in `@endless`.
  @python %{
    "batch_size" => :batch_size,
    "target_ms" => :target_ms,
    "min_batch_size" => :min_batch_size,
    "max_batch_size" => :max_batch_size,
    "max_in_flight" => :max_in_flight,
    "max_in_flight_bytes" => :max_in_flight_bytes,
    "ordering" => :ordering,
    "isolate" => :isolate,
    "timeout" => :timeout,
    "queue_timeout" => :queue_timeout,
    "max_weight" => :max_weight,
    "window" => :window
  }
  @special ~w(pool weight key)
  @endless [:timeout, :queue_timeout]
  @words %{
    batch_size: %{"auto" => :auto},
    ordering: %{"preserve" => :preserve, "as_completed" => :as_completed},
    cardinality: %{"one" => :one, "many" => :many}
  }

  @typep within :: %{
           pool: atom,
           read: (term, String.t() -> {:ok, Definition.t()})
         }

  @doc "The statement of a stage; `within` has the pipe's pool, and what reads a pipe in it."
  @spec statement(term, String.t(), within) :: Statement.t()
  def statement(stage, path, within) do
    fields = Fields.map(stage, path)
    name = Fields.name(fields, path, "name")
    {type, options} = stage(Fields.one_of(fields, path, "type", @types), fields, path, within)
    {type, screen} = if is_tuple(type), do: type, else: {type, nil}
    %Statement{Statement.new({:stage, path, name, type, options}) | screen: screen}
  end

  defp stage("beam", %{"function" => _} = fields, path, _within) do
    Fields.known(fields, path, ~w(name type function options))
    name = Fields.string(fields, path, "function")
    options = options(fields, path, ~w(cardinality concurrency batch))
    batch = options["batch"] || false
    at = Fields.under(path, "options")

    unless is_boolean(batch),
      do: Fields.refuse("#{at}.batch", "takes true or false, got #{Fields.short(batch)}")

    case Functions.fetch(name) do
      {:ok, fun} ->
        handler = if batch, do: :batch_handler, else: :handler
        {:beam, [{handler, fun} | mapped(options, at, [:cardinality, :concurrency])]}

      {:error, message} ->
        Fields.refuse(Fields.under(path, "function"), message)
    end
  end

  defp stage("beam", fields, path, _within) do
    Fields.known(fields, path, ~w(name type expression options))
    data = Fields.required(fields, path, "expression")
    expression = Fields.expression(data, Fields.under(path, "expression"), [:skip, :fail])
    options = options(fields, path, ~w(cardinality))
    [cardinality: cardinality] = cardinality(options, Fields.under(path, "options"))
    {Slither.Stage.Expression, [expression: expression, many: cardinality == :many]}
  end

  defp stage("python", fields, path, within) do
    target = target(fields, path)
    options = options(fields, path, Map.keys(@python) ++ @special)
    at = Fields.under(path, "options")
    plain = for {name, value} <- options, key = @python[name], do: {key, word(key, value)}
    {strategy, screen} = strategy(options, at)
    pool = [pool: pool(options["pool"], at, within.pool)]
    {{:python, screen}, target ++ pool ++ strategy ++ Enum.sort(plain)}
  end

  defp stage("router", fields, path, _within) do
    Fields.known(fields, path, ~w(name type routes))

    routes =
      for {route, index} <- Enum.with_index(Fields.list(fields, path, "routes")) do
        route(route, "#{path}.routes[#{index}]")
      end

    {:router, [routes: routes]}
  end

  defp stage("batch", fields, path, _within) do
    Fields.known(fields, path, ~w(name type options))
    options = options(fields, path, ~w(size timeout))
    {:batch, mapped(options, Fields.under(path, "options"), [:size, :timeout])}
  end

  defp stage("pipe", fields, path, within) do
    Fields.known(fields, path, ~w(name type pipe outputs))
    document = Fields.required(fields, path, "pipe")
    {:ok, inner} = within.read.(document, Fields.under(path, "pipe"))
    {:pipe, [pipe: inner, outputs: outputs(fields, path)]}
  end

  defp outputs(fields, path) do
    path = Fields.under(path, "outputs")

    for {inner, outer} <- Fields.map(Map.get(fields, "outputs", %{}), path), into: %{} do
      {Fields.name(inner, path), Fields.name(outer, path)}
    end
  end

  defp target(fields, path) do
    if is_map_key(fields, "command") do
      Fields.known(fields, path, ~w(name type command options))
      command = Fields.string(fields, path, "command")
      [executor: Slither.Dispatch.Executors.Snakepit, command: command]
    else
      Fields.known(fields, path, ~w(name type module function options))
      module = Fields.string(fields, path, "module")
      [module: module, function: Fields.string(fields, path, "function")]
    end
  end

  defp route(route, path) do
    fields = Fields.map(route, path)
    Fields.known(fields, path, ~w(when to))
    to = Fields.name(fields, path, "to")
    data = Fields.required(fields, path, "when")
    test = Fields.expression(data, Fields.under(path, "when"), [])
    {fn item -> true?(Expression.eval!(test, item.payload), test) end, to}
  end

  defp true?(value, _test) when is_boolean(value), do: value

  defp true?(value, test) do
    raise Slither.Error,
      reason: :expression,
      message: "#{test.text}: a route takes True or False, got #{Fields.short(value)}",
      details: %{expression: test.text, kind: :type}
  end

  ## Options

  defp options(fields, path, names) do
    path = Fields.under(path, "options")
    options = Fields.map(Map.get(fields, "options", %{}), path)

    case Enum.find(Map.keys(options), &(&1 not in names)) do
      nil ->
        options

      unknown ->
        hint = if is_binary(unknown), do: Options.nearest(unknown, names), else: ""
        list = names |> Enum.sort() |> Enum.join(", ")
        Fields.refuse(path, "unknown option #{Fields.short(unknown)}.#{hint} Accepted: #{list}")
    end
  end

  defp mapped(options, _path, keys) do
    for key <- keys, Map.has_key?(options, Atom.to_string(key)) do
      {key, word(key, options[Atom.to_string(key)])}
    end
  end

  defp word(key, nil) when key in @endless, do: :infinity
  defp word(key, value), do: get_in(@words, [key, value]) || value

  defp cardinality(options, path) do
    case options["cardinality"] || "one" do
      word when word in ["one", "many"] ->
        [cardinality: @words.cardinality[word]]

      other ->
        Fields.refuse("#{path}.cardinality", "takes one or many, got #{Fields.short(other)}")
    end
  end

  # A weight or a key is evaluated twice: by itself, where an item that has none can fail alone,
  # and again where batches are made.
  defp strategy(%{"weight" => _, "key" => _}, path),
    do: Fields.refuse(path, "takes weight or key, not both")

  defp strategy(%{"weight" => data}, path) do
    weight = Fields.expression(data, Fields.under(path, "weight"), [])
    weigh = fn item -> Expression.eval!(weight, item.payload) end
    screen = [name: "weight", expression: weight, check: &weight/1]
    {[strategy: WeightedBatch, weight_fn: weigh], screen}
  end

  defp strategy(%{"key" => data}, path) do
    key = Fields.expression(data, Fields.under(path, "key"), [])
    key_fn = fn item -> Expression.eval!(key, item.payload) end
    screen = [name: "key", expression: key, check: fn _key -> :ok end]
    {[strategy: KeyPartition, key_fn: key_fn], screen}
  end

  defp strategy(_options, _path), do: {[], nil}

  defp weight(weight) when is_number(weight) and weight >= 0, do: :ok

  defp weight(other),
    do: {:error, "a weight is a number of 0 or more, got #{Fields.short(other)}"}

  # A pool that is there, or will be, has an atom for its name.
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
