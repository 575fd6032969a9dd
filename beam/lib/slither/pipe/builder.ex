defmodule Slither.Pipe.Builder do
  @moduledoc false
  # Makes a definition of statements: of the DSL while a module compiles and when its pipe is asked
  # for, of a document in the process that reads it. Pure.

  alias Slither.{Error, Options}
  alias Slither.Pipe.{Check, Definition, Flatten, Statement}
  alias Slither.Stage.{Batch, Beam, Pipe, Python, Router}

  @types [beam: Beam, python: Python, router: Router, batch: Batch, window: Batch, pipe: Pipe]

  @doc "Builds and checks a definition; a fault carries the line of its statement."
  @spec build(Definition.name(), [Statement.t() | Statement.written()]) ::
          {:ok, Definition.t()} | Statement.fault()
  def build(name, statements) do
    statements = Enum.map(statements, &Statement.new/1)
    definition = definition(name, statements)

    with :ok <- Check.names(statements, definition),
         {:ok, stages} <- stages(statements, definition, []),
         :ok <- some_stage(stages, name),
         :ok <- Check.routes(stages, definition),
         :ok <- Check.policies(statements, definition) do
      {:ok, Flatten.flatten(%{definition | stages: stages})}
    end
  end

  defp definition(name, statements) do
    default = if is_binary(name), do: "default", else: :default
    outputs = for %{kind: :output, name: output} <- statements, do: output

    %Definition{
      name: name,
      default: default,
      outputs: Enum.uniq(outputs ++ [default]),
      stores: named(statements, :store),
      on_error: named(statements, :on_error)
    }
  end

  defp named(statements, kind),
    do: for(%{kind: ^kind, name: name, value: value} <- statements, into: %{}, do: {name, value})

  defp stages([%{kind: :stage} = statement | rest], definition, stages) do
    with {:ok, stage} <- stage(statement),
         :ok <- Check.inner_outputs(statement, stage, definition),
         do: stages(rest, definition, [stage | stages])
  end

  defp stages([statement | rest], definition, stages),
    do: with(:ok <- Check.store(statement), do: stages(rest, definition, stages))

  defp stages([], _definition, stages), do: {:ok, Enum.reverse(stages)}

  defp stage(%{name: name, line: line, screen: screen} = statement) do
    with {:ok, type, module} <- type(statement),
         {:ok, options} <- options(statement, type, module) do
      stage = %Definition.Stage{name: name, type: type, module: module, options: options}
      {:ok, %{stage | line: line, screen: screen}}
    end
  end

  defp type(%{type: :window}), do: {:ok, :batch, Batch}

  defp type(%{type: type} = statement) do
    cond do
      module = is_atom(type) && @types[type] ->
        {:ok, type, module}

      Statement.module?(type) ->
        {:ok, :module, type}

      true ->
        types = Keyword.keys(@types)

        message =
          "unknown stage type #{inspect(type)}.#{Options.nearest(type, types)} " <>
            "Known: #{Statement.list(types)}, or a module that implements Slither.Stage"

        Statement.fault(statement, :unknown_stage_type, message)
    end
  end

  # A user's own stage checks its options in init/1.
  defp options(%{value: options}, :module, _module) when is_list(options), do: {:ok, options}

  defp options(%{value: options} = statement, type, module) do
    where = Statement.where(statement)

    checked =
      if type == :module,
        do: Options.validate(options, [], where),
        else: module.check(options, where)

    with {:error, error} <- checked, do: Statement.fault(statement, error)
  end

  defp some_stage([], name) do
    message = "a pipe needs at least one stage"
    {:error, nil, %Error{reason: :empty_pipe, message: message, where: "pipe #{inspect(name)}"}}
  end

  defp some_stage(_stages, _name), do: :ok
end
