defmodule Slither.Pipe.Definition do
  @moduledoc """
  A pipe as data: what `MyPipe.__pipe_definition__/0` gives and `Slither.Pipe.Runner` runs.

    * `name`: the pipe's name;
    * `stages`: in order, each with `name`, `type`, `module`, `options` and `line`; those of
      an inner pipe in its place;
    * `outputs`: the declared ones and `default`;
    * `default`: the output of what no route took: `:default`, or `"default"`;
    * `stores`: store modules by the names the pipe gives them;
    * `on_error`: policies by stage name, `:*` for all others.

  Names are atoms in a pipe of the DSL, and strings in one that came as a document.
  """

  alias Slither.Dispatch.Executors.{SnakeBridge, Snakepit}
  alias Slither.Dispatch.Settings
  alias Slither.Run.Policy
  alias Slither.{Error, Options}
  alias Slither.Stage.{Batch, Beam, Expression, Pipe, Python, Router}

  defmodule Stage do
    @moduledoc false
    # `targets` and `policy_targets` say where a handler's and a policy's route leads: to
    # `{:output, name}`, or on to `{:stage, index}`.
    @enforce_keys [:name, :type, :module, :options]
    defstruct [:name, :type, :module, :options, :line, :policy, :screen] ++
                [targets: %{}, policy_targets: %{}, stores: %{}]
  end

  @enforce_keys [:name]
  defstruct [:name, stages: [], outputs: [:default], default: :default] ++
              [stores: %{}, on_error: %{}]

  @type name :: atom | String.t()

  @type t :: %__MODULE__{
          name: name,
          stages: [%Stage{}],
          outputs: [name],
          default: name,
          stores: %{optional(name) => term},
          on_error: %{optional(name) => term}
        }

  @typedoc "Where a statement stands: a line of the DSL, or a path in a document."
  @type line :: integer | String.t()

  @typedoc "What the DSL or a document says, in order."
  @type statement ::
          {:stage, line, name, type :: atom | {:python, keyword}, options :: keyword}
          | {:store, line, name, module}
          | {:output, line, name}
          | {:on_error, line, stage :: name, policy :: term}

  @doc false
  # Builds and checks a definition; an error carries the line of the statement at fault.
  @spec build(name, [statement]) :: {:ok, t} | {:error, line | nil, Error.t()}
  def build(name, statements) do
    default = if is_binary(name), do: "default", else: :default
    outputs = Enum.uniq(declared(statements) ++ [default])
    definition = %__MODULE__{name: name, outputs: outputs, default: default}

    with :ok <- names(statements, definition),
         :ok <- unique(statements, :stage),
         :ok <- unique(statements, :output),
         :ok <- unique(statements, :store),
         :ok <- unique(statements, :on_error),
         :ok <- no_clash(statements, default),
         {:ok, definition} <- each(statements, definition, &add/2),
         :ok <- some_stage(definition),
         :ok <- routes(definition),
         :ok <- policies(statements, definition) do
      {:ok, flatten(definition)}
    end
  end

  defp declared(statements), do: for({:output, _line, name} <- statements, do: name)

  # What reads a document has looked at its names.
  defp names(_statements, %{default: default}) when is_binary(default), do: :ok

  defp names(statements, _definition) do
    case Enum.find(statements, &(not is_atom(elem(&1, 2)) or elem(&1, 2) == nil)) do
      nil ->
        :ok

      statement ->
        kind = elem(statement, 0)
        name = inspect(elem(statement, 2))
        error(statement, :invalid_name, "#{kind} takes an atom as its name, got #{name}")
    end
  end

  defp unique(statements, kind) do
    of_kind = Enum.filter(statements, &(elem(&1, 0) == kind))
    twice = of_kind -- Enum.uniq_by(of_kind, &elem(&1, 2))

    case twice do
      [] -> :ok
      [again | _] -> error(again, :duplicate, "#{kind} #{inspect(elem(again, 2))} is there twice")
    end
  end

  defp each(statements, definition, fun) do
    Enum.reduce_while(statements, {:ok, definition}, fn statement, {:ok, definition} ->
      case fun.(statement, definition) do
        {:ok, definition} -> {:cont, {:ok, definition}}
        {:error, _line, _error} = error -> {:halt, error}
      end
    end)
  end

  defp add({:output, _line, _name}, definition), do: {:ok, definition}
  defp add({:on_error, _, stage, policy}, d), do: {:ok, put_in(d.on_error[stage], policy)}

  # A document names a table, and its store is whatever that has been started as.
  defp add({:store, path, name, store}, definition) when is_binary(path),
    do: {:ok, put_in(definition.stores[name], store)}

  defp add({:store, _line, name, module} = statement, definition) do
    if is_atom(module) and match?("Elixir." <> _, Atom.to_string(module)),
      do: {:ok, put_in(definition.stores[name], module)},
      else: error(statement, :invalid_store, "a store is a module, got #{inspect(module)}")
  end

  defp add({:stage, line, name, type, options} = statement, definition) do
    with {:ok, type, module, screen} <- screened(statement, type),
         {:ok, options} <- options(statement, type, options),
         :ok <- inner_outputs(statement, type, options, definition) do
      stage = %Stage{name: name, type: type, module: module, options: options, line: line}
      stage = %{stage | screen: screen}
      {:ok, %{definition | stages: [stage | definition.stages]}}
    end
  end

  # A document's weights and keys are looked at in a stage of their own ahead of the batches, so
  # that an item that has none fails alone.
  defp screened(_statement, {:python, screen}), do: {:ok, :python, Python, screen}

  defp screened(statement, type) do
    with {:ok, type, module} <- type(statement, type), do: {:ok, type, module, nil}
  end

  defp type(_statement, :beam), do: {:ok, :beam, Beam}
  defp type(_statement, :python), do: {:ok, :python, Python}
  defp type(_statement, :router), do: {:ok, :router, Router}

  defp type(_statement, type) when type in [:batch, :window], do: {:ok, :batch, Batch}
  defp type(_statement, :pipe), do: {:ok, :pipe, Pipe}

  defp type(statement, other) do
    if is_atom(other) and match?("Elixir." <> _, Atom.to_string(other)) do
      {:ok, :module, other}
    else
      types = [:beam, :python, :router, :batch, :window, :pipe]

      message =
        "unknown stage type #{inspect(other)}.#{Options.nearest(other, types)} " <>
          "Known: #{Enum.map_join(types, ", ", &inspect/1)}, or a module that implements Slither.Stage"

      error(statement, :unknown_stage_type, message)
    end
  end

  defp options(statement, :beam, options) do
    where = where(statement)

    with {:ok, checked} <- Options.validate(options, Beam.options(), where),
         :ok <- Beam.check(checked, where) do
      {:ok, checked}
    else
      {:error, error} -> {:error, elem(statement, 1), error}
    end
  end

  defp options(statement, :router, options) do
    at_line(statement, Options.validate(options, Router.options(), where(statement)))
  end

  defp options(statement, _type, options) when not is_list(options),
    do: at_line(statement, Options.validate(options, [], where(statement)))

  defp options(statement, :python, options) do
    misplaced = Enum.find(Python.not_here(), &Keyword.has_key?(options, &1))

    if misplaced do
      message = "option #{inspect(misplaced)} belongs to the pipe: #{place(misplaced)}"
      error(statement, :unknown_option, message)
    else
      with {:ok, checked} <- at_line(statement, Settings.check(options, where(statement))),
           :ok <- at_line(statement, target(checked)) do
        {:ok, checked}
      end
    end
  end

  defp options(statement, :batch, options),
    do: at_line(statement, Options.validate(options, Batch.options(), where(statement)))

  defp options(statement, :pipe, options) do
    with {:ok, checked} <- Options.validate(options, Pipe.options(), where(statement)),
         {:ok, inner} <- inner(checked[:pipe], where(statement)) do
      {:ok, Keyword.put(checked, :definition, inner)}
    else
      {:error, error} -> {:error, elem(statement, 1), error}
    end
  end

  defp options(_statement, :module, options), do: {:ok, options}

  defp inner(%__MODULE__{} = definition, _where), do: {:ok, definition}
  defp inner(module, where), do: Pipe.definition(module, where)

  # What our own executors need is known before there is a pool.
  defp target(options) do
    executor = options[:executor]

    with true <- executor in [SnakeBridge, Snakepit],
         {:error, error} <- executor.target(options) do
      {:error, error}
    else
      _ -> :ok
    end
  end

  defp place(:on_error), do: "write on_error STAGE, POLICY below the stages"
  defp place(_option), do: "give it to Slither.run_pipe/3"

  defp no_clash(statements, default) do
    named = fn kind -> for s <- statements, elem(s, 0) == kind, do: elem(s, 2) end
    both = MapSet.intersection(MapSet.new(named.(:stage)), MapSet.new(named.(:output)))

    statements
    |> Enum.filter(&(elem(&1, 0) in [:stage, :output] and elem(&1, 2) in both))
    |> List.last()
    |> case do
      nil -> default_clash(statements, default)
      later -> error(later, :duplicate, "#{inspect(elem(later, 2))} is a stage and an output")
    end
  end

  defp default_clash(statements, default) do
    case Enum.find(statements, &match?({:stage, _, ^default, _, _}, &1)) do
      nil ->
        :ok

      stage ->
        message = "#{inspect(default)} is an output; a stage needs another name"
        error(stage, :duplicate, message)
    end
  end

  # A router's targets: outputs, and stages that are still ahead.
  defp routes(%{stages: [_ | _] = stages} = definition) do
    stages
    |> Enum.reduce_while([], fn stage, later ->
      known = definition.outputs ++ later
      targets = if stage.type == :router, do: Router.outputs(stage.options), else: []
      unknown = Enum.reject(targets, &(&1 in known))

      if unknown == [],
        do: {:cont, [stage.name | later]},
        else: {:halt, unknown_route(stage, hd(unknown), later, definition)}
    end)
    |> case do
      {:error, _line, _error} = error -> error
      _names -> :ok
    end
  end

  defp unknown_route(stage, target, later, definition) do
    statement = {:stage, stage.line, stage.name}
    details = %{route: Enum.find_index(Router.outputs(stage.options), &(&1 == target))}

    if Enum.any?(definition.stages, &(&1.name == target)) do
      ahead = if later == [], do: "none", else: Enum.map_join(later, ", ", &inspect/1)

      error(
        statement,
        :unknown_output,
        "#{inspect(target)} is not a later stage; an item can't go back. Later: #{ahead}",
        details
      )
    else
      undeclared(statement, target, definition, details)
    end
  end

  # What leaves an inner pipe must have somewhere to go.
  defp inner_outputs(statement, :pipe, options, definition) do
    inner = options[:definition].outputs -- [options[:definition].default]
    given = Map.new(options[:outputs])
    astray = Enum.find(Map.keys(given), &(&1 not in inner))
    missing = Enum.find(inner, &(Map.get(given, &1, &1) not in definition.outputs))

    cond do
      astray ->
        error(
          statement,
          :unknown_output,
          "#{Pipe.name(options)} has no output #{inspect(astray)}." <>
            Options.nearest(astray, inner)
        )

      missing ->
        undeclared(statement, Map.get(given, missing, missing), definition)

      true ->
        :ok
    end
  end

  defp inner_outputs(_statement, _type, _options, _definition), do: :ok

  ## The stages of inner pipes take their stage's place

  defp flatten(definition) do
    stages = Enum.reverse(definition.stages)
    {starts, total} = Enum.map_reduce(stages, 0, &{&2, &2 + width(&1)})
    outputs = Map.new(definition.outputs, &{&1, {:output, &1}})

    flat =
      stages
      |> Enum.zip(starts)
      |> Enum.flat_map(fn {stage, start} ->
        later = for {s, at} <- Enum.zip(stages, starts), at > start, do: {s.name, {:stage, at}}
        policy = definition.on_error[stage.name] || definition.on_error[:*]
        targets = Map.merge(outputs, Map.new(later))

        place(
          %{
            stage
            | targets: targets,
              policy_targets: outputs,
              policy: policy,
              stores: definition.stores
          },
          start,
          total
        )
      end)

    %{definition | stages: flat}
  end

  defp width(%{type: :pipe, options: options}), do: length(options[:definition].stages)
  defp width(%{screen: nil}), do: 1
  defp width(_screened), do: 2

  defp place(%{type: :pipe} = outer, start, total) do
    inner = outer.options[:definition]
    past = start + length(inner.stages)
    on = if past == total, do: {:output, default(outer)}, else: {:stage, past}
    names = Map.new(outer.options[:outputs])

    move = fn
      {:stage, index} -> {:stage, start + index}
      {:output, name} when name == inner.default -> on
      {:output, name} -> {:output, Map.get(names, name, name)}
    end

    for stage <- inner.stages do
      moved = fn targets -> Map.new(targets, fn {name, target} -> {name, move.(target)} end) end

      {policy, policy_targets} =
        if stage.policy,
          do: {stage.policy, moved.(stage.policy_targets)},
          else: {outer.policy, outer.policy_targets}

      %{
        stage
        | name: within(outer.name, stage.name),
          line: outer.line,
          targets: moved.(stage.targets),
          policy: policy,
          policy_targets: policy_targets,
          stores: Map.merge(outer.stores, stage.stores)
      }
    end
  end

  defp place(%{screen: nil} = stage, _start, _total), do: [stage]

  defp place(%{screen: options} = stage, _start, _total) do
    name = within(stage.name, options[:name])
    screen = %{stage | name: name, type: :module, module: Expression, options: options}
    [screen, stage]
  end

  # A pipe's names are of one kind, and so are those of the pipes in it.
  defp within(outer, inner) when is_binary(outer), do: "#{outer}.#{inner}"
  defp within(outer, inner), do: :"#{outer}.#{inner}"

  defp default(%{name: name}) when is_binary(name), do: "default"
  defp default(_stage), do: :default

  defp some_stage(%{stages: []} = definition) do
    {:error, nil,
     %Error{
       reason: :empty_pipe,
       message: "a pipe needs at least one stage",
       where: "pipe #{inspect(definition.name)}"
     }}
  end

  defp some_stage(_definition), do: :ok

  defp policies(statements, definition) do
    names = definition.stages |> Enum.map(& &1.name) |> Enum.reverse()

    Enum.find_value(statements, :ok, fn
      {:on_error, _line, stage, policy} = statement ->
        with :ok <- known_stage(statement, stage, names),
             {:ok, policy} <- at_line(statement, Policy.new(policy)),
             :ok <- target(statement, policy, definition) do
          nil
        end

      _other ->
        nil
    end)
  end

  defp known_stage(_statement, :*, _names), do: :ok

  defp known_stage(statement, stage, names) do
    if stage in names do
      :ok
    else
      known = Enum.map_join(names, ", ", &inspect/1)

      error(
        statement,
        :unknown_stage,
        "no stage #{inspect(stage)}.#{Options.nearest(stage, names)} Stages: #{known}, and :*"
      )
    end
  end

  defp target(statement, %{action: {:route, output}}, definition)
       when not is_function(output) do
    if output in definition.outputs, do: :ok, else: undeclared(statement, output, definition)
  end

  defp target(_statement, _policy, _definition), do: :ok

  defp undeclared(statement, output, definition, details \\ %{}) do
    known = Enum.map_join(definition.outputs, ", ", &inspect/1)

    error(
      statement,
      :unknown_output,
      "output #{inspect(output)} is not declared." <>
        "#{Options.nearest(output, definition.outputs)} Declared: #{known}; " <>
        "add: output #{inspect(output)}",
      details
    )
  end

  defp at_line(_statement, {:ok, value}), do: {:ok, value}
  defp at_line(_statement, :ok), do: :ok

  defp at_line(statement, {:error, error}),
    do: {:error, elem(statement, 1), located(error, statement)}

  defp located(%{where: nil} = error, statement), do: %{error | where: where(statement)}
  defp located(error, _statement), do: error

  defp error(statement, reason, message, details \\ %{}) do
    {:error, elem(statement, 1),
     %Error{reason: reason, message: message, where: where(statement), details: details}}
  end

  defp where({kind, _line, name}), do: "#{kind} #{inspect(name)}"
  defp where({kind, _line, name, _}), do: "#{kind} #{inspect(name)}"
  defp where({kind, _line, name, _, _}), do: "#{kind} #{inspect(name)}"
end
