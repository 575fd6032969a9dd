defmodule Slither.Pipe.Definition do
  @moduledoc """
  A pipe as data: what `MyPipe.__pipe_definition__/0` gives and `Slither.Pipe.Runner` runs.

    * `name`: the pipe's name;
    * `stages`: in order, each with `name`, `type`, `module`, `options` and `line`;
    * `outputs`: the declared ones and `:default`;
    * `stores`: store modules by the names the pipe gives them;
    * `on_error`: policies by stage name, `:*` for all others.
  """

  alias Slither.Dispatch.Executors.{SnakeBridge, Snakepit}
  alias Slither.Dispatch.{Policy, Settings}
  alias Slither.{Error, Options}
  alias Slither.Stage.{Beam, Python, Router}

  defmodule Stage do
    @moduledoc false
    @enforce_keys [:name, :type, :module, :options]
    defstruct [:name, :type, :module, :options, :line]
  end

  @enforce_keys [:name]
  defstruct [:name, stages: [], outputs: [:default], stores: %{}, on_error: %{}]

  @type t :: %__MODULE__{
          name: atom | String.t(),
          stages: [%Stage{}],
          outputs: [atom],
          stores: %{optional(atom) => module},
          on_error: %{optional(atom) => term}
        }

  @typedoc "What the DSL says, in order."
  @type statement ::
          {:stage, line :: integer, name :: atom, type :: atom, options :: keyword}
          | {:store, line :: integer, name :: atom, module}
          | {:output, line :: integer, name :: atom}
          | {:on_error, line :: integer, stage :: atom, policy :: term}

  @doc false
  # Builds and checks a definition; an error carries the line of the statement at fault.
  @spec build(atom, [statement]) :: {:ok, t} | {:error, integer | nil, Error.t()}
  def build(name, statements) do
    definition = %__MODULE__{name: name, outputs: outputs(statements)}

    with :ok <- names(statements),
         :ok <- unique(statements, :stage),
         :ok <- unique(statements, :output),
         :ok <- unique(statements, :store),
         :ok <- unique(statements, :on_error),
         {:ok, definition} <- each(statements, definition, &add/2),
         :ok <- some_stage(definition),
         :ok <- policies(statements, definition) do
      {:ok, %{definition | stages: Enum.reverse(definition.stages)}}
    end
  end

  @doc false
  @spec policy(t, atom) :: Policy.t()
  def policy(definition, stage) do
    default = Map.get(definition.on_error, :*, :halt)
    Policy.new!(Map.get(definition.on_error, stage, default))
  end

  defp outputs(statements) do
    declared = for {:output, _line, name} <- statements, do: name
    Enum.uniq(declared ++ [:default])
  end

  defp names(statements) do
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

  defp add({:store, _line, name, module} = statement, definition) do
    if is_atom(module) and match?("Elixir." <> _, Atom.to_string(module)),
      do: {:ok, put_in(definition.stores[name], module)},
      else: error(statement, :invalid_store, "a store is a module, got #{inspect(module)}")
  end

  defp add({:stage, line, name, type, options} = statement, definition) do
    with {:ok, type, module} <- type(statement, type),
         {:ok, options} <- options(statement, type, options),
         :ok <- routes(statement, type, options, definition) do
      stage = %Stage{name: name, type: type, module: module, options: options, line: line}
      {:ok, %{definition | stages: [stage | definition.stages]}}
    end
  end

  defp type(_statement, :beam), do: {:ok, :beam, Beam}
  defp type(_statement, :python), do: {:ok, :python, Python}
  defp type(_statement, :router), do: {:ok, :router, Router}

  defp type(statement, other) do
    if is_atom(other) and match?("Elixir." <> _, Atom.to_string(other)) do
      {:ok, :module, other}
    else
      types = [:beam, :python, :router]

      message =
        "unknown stage type #{inspect(other)}.#{Options.nearest(other, types)} " <>
          "Known: :beam, :python, :router, or a module that implements Slither.Stage"

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

  defp options(_statement, :module, options), do: {:ok, options}

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

  defp routes(statement, :router, options, definition) do
    case Router.outputs(options) -- definition.outputs do
      [] -> :ok
      [unknown | _] -> undeclared(statement, unknown, definition)
    end
  end

  defp routes(_statement, _type, _options, _definition), do: :ok

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
    names = Enum.map(definition.stages, & &1.name)

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

  defp target(statement, %{action: {:route, output}}, definition) when is_atom(output) do
    if output in definition.outputs, do: :ok, else: undeclared(statement, output, definition)
  end

  defp target(_statement, _policy, _definition), do: :ok

  defp undeclared(statement, output, definition) do
    known = Enum.map_join(definition.outputs, ", ", &inspect/1)

    error(
      statement,
      :unknown_output,
      "output #{inspect(output)} is not declared." <>
        "#{Options.nearest(output, definition.outputs)} Declared: #{known}; " <>
        "add: output #{inspect(output)}"
    )
  end

  defp at_line(_statement, {:ok, value}), do: {:ok, value}
  defp at_line(_statement, :ok), do: :ok

  defp at_line(statement, {:error, error}),
    do: {:error, elem(statement, 1), located(error, statement)}

  defp located(%{where: nil} = error, statement), do: %{error | where: where(statement)}
  defp located(error, _statement), do: error

  defp error(statement, reason, message) do
    {:error, elem(statement, 1),
     %Error{reason: reason, message: message, where: where(statement)}}
  end

  defp where({kind, _line, name}), do: "#{kind} #{inspect(name)}"
  defp where({kind, _line, name, _}), do: "#{kind} #{inspect(name)}"
  defp where({kind, _line, name, _, _}), do: "#{kind} #{inspect(name)}"
end
