defmodule Slither.Pipe.DSL do
  @moduledoc false
  # Reads the block of a pipe while its module compiles: `Slither.Pipe`'s macros call it in the
  # compiler's process. A mistake is a compile error with its line.

  alias Slither.Options
  alias Slither.Pipe.Builder

  # The statements of a pipe, and how many arguments each takes.
  @statements [stage: 2..3, store: [2], output: [1], on_error: [2]]

  @doc "The statements of a block as code that gives them, see `Slither.Pipe.Statement`."
  @spec statements(Macro.t(), Macro.Env.t()) :: [Macro.t()]
  def statements(block, env), do: for(node <- nodes(block), do: statement(node, env))

  @doc "Checks the pipe of a module that has compiled."
  @spec check(Macro.Env.t()) :: :ok
  def check(env) do
    unless function_exported?(env.module, :__pipe_statements__, 0) do
      compile_error(env, env.line, "use Slither.Pipe needs a pipe NAME do … end block")
    end

    {name, statements} = env.module.__pipe_statements__()

    case Builder.build(name, statements) do
      {:ok, _definition} -> :ok
      {:error, line, error} -> compile_error(env, line || env.line, Exception.message(error))
    end
  end

  defp nodes({:__block__, _meta, nodes}), do: nodes
  defp nodes(nil), do: []
  defp nodes(node), do: [node]

  defp statement({name, meta, arguments}, env) when is_atom(name) do
    arguments = if is_list(arguments), do: arguments, else: []

    cond do
      length(arguments) in Keyword.get(@statements, name, []) ->
        options = if name == :stage and length(arguments) == 2, do: [[]], else: []
        {:{}, [], [name, meta[:line] | arguments] ++ options}

      Keyword.has_key?(@statements, name) ->
        message = "#{name} does not take #{length(arguments)} arguments"
        compile_error(env, meta[:line] || env.line, message)

      true ->
        names = Keyword.keys(@statements)

        message =
          "#{name}/#{length(arguments)} can't stand in a pipe.#{Options.nearest(name, names)} " <>
            "A pipe is made of stage, store, output and on_error"

        compile_error(env, meta[:line] || env.line, message)
    end
  end

  defp statement(other, env),
    do: compile_error(env, env.line, "#{Macro.to_string(other)} can't stand in a pipe")

  @doc "Refuses a statement that stands outside a pipe block."
  @spec outside(Macro.Env.t(), atom) :: no_return
  def outside(env, name),
    do: compile_error(env, env.line, "#{name} stands within pipe NAME do … end")

  @spec compile_error(Macro.Env.t(), integer, String.t()) :: no_return
  def compile_error(env, line, message) do
    raise CompileError, file: env.file, line: line, description: message
  end
end
