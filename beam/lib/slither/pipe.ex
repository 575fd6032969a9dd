defmodule Slither.Pipe do
  @moduledoc """
  A language for flows of BEAM stages, Python stages and routing.

      defmodule MyApp.ScorePipe do
        use Slither.Pipe

        pipe :score do
          store :features, MyApp.FeatureStore

          stage :prepare, :beam, handler: fn item, _context -> %{"text" => item.payload} end

          stage :predict, :python,
            module: "my_model",
            function: "predict_batch",
            batch_size: 32,
            max_in_flight: 4

          stage :route, :router,
            routes: [{fn item -> item.payload["score"] >= 0.8 end, :accept}]

          output :accept

          on_error :predict, :skip
          on_error :*, :halt
        end
      end

      {:ok, outputs} = Slither.run_pipe(MyApp.ScorePipe, ["first", "second"])

  Items go through the stages in order. A routed item leaves the pipe at that point; what no
  route takes flows on and ends in `:default`. Mistakes (an unknown stage, option or output,
  something twice) are compile errors that name the line.

  Stage types: `:beam` (`Slither.Stage.Beam`), `:python` (`Slither.Stage.Python`), `:router`
  (`Slither.Stage.Router`), or a module that implements `Slither.Stage`.

  Error policies, by stage or for all with `:*`: `:halt` (the default), `:skip` (dropped, and
  counted), `{:route, output}` (sent there, with the error in `meta`) and `{:retry, options}`
  (see `Slither.Dispatch`).
  """

  alias Slither.Pipe.Definition

  @statements [:stage, :store, :output, :on_error]

  # Their only use outside a pipe block is to say so.
  @dialyzer :no_return

  @doc false
  defmacro __using__(_options) do
    quote do
      import Slither.Pipe, only: [pipe: 2]
      @after_compile Slither.Pipe
    end
  end

  @doc """
  Declares the module's pipe: `stage`, `store`, `output` and `on_error` statements.
  """
  defmacro pipe(name, do: block) do
    if Module.get_attribute(__CALLER__.module, :slither_pipe) do
      compile_error(__CALLER__, __CALLER__.line, "a module has one pipe")
    end

    Module.put_attribute(__CALLER__.module, :slither_pipe, true)

    statements = for node <- statements(block), do: statement(node, __CALLER__)

    quote do
      @doc false
      def __pipe_statements__, do: {unquote(name), unquote(statements)}

      @doc "The pipe as data, a `Slither.Pipe.Definition`."
      @spec __pipe_definition__() :: Slither.Pipe.Definition.t()
      def __pipe_definition__ do
        {name, statements} = __pipe_statements__()
        Slither.Pipe.build!(name, statements)
      end
    end
  end

  @doc """
  A step of the pipe: its name, its type and its options.
  """
  defmacro stage(_name, _type, _options \\ []), do: outside(__CALLER__, :stage)

  @doc "Names a store that the pipe's handlers find in `context.stores`."
  defmacro store(_name, _module), do: outside(__CALLER__, :store)

  @doc "Declares an output. `:default` is always there."
  defmacro output(_name), do: outside(__CALLER__, :output)

  @doc "What becomes of items that fail in a stage, or with `:*` in any other."
  defmacro on_error(_stage, _policy), do: outside(__CALLER__, :on_error)

  @doc false
  @spec __after_compile__(Macro.Env.t(), binary) :: :ok
  def __after_compile__(env, _bytecode) do
    unless function_exported?(env.module, :__pipe_statements__, 0) do
      compile_error(env, env.line, "use Slither.Pipe needs a pipe NAME do … end block")
    end

    {name, statements} = env.module.__pipe_statements__()

    case Definition.build(name, statements) do
      {:ok, _definition} -> :ok
      {:error, line, error} -> compile_error(env, line || env.line, Exception.message(error))
    end
  end

  @doc false
  @spec build!(atom, [Definition.statement()]) :: Definition.t()
  def build!(name, statements) do
    case Definition.build(name, statements) do
      {:ok, definition} -> definition
      {:error, _line, error} -> raise error
    end
  end

  defp statements({:__block__, _meta, nodes}), do: nodes
  defp statements(nil), do: []
  defp statements(node), do: [node]

  defp statement({:stage, meta, [name, type]}, env),
    do: statement({:stage, meta, [name, type, []]}, env)

  defp statement({:stage, meta, [name, type, options]}, _env),
    do: {:{}, [], [:stage, meta[:line], name, type, options]}

  defp statement({:store, meta, [name, module]}, _env),
    do: {:{}, [], [:store, meta[:line], name, module]}

  defp statement({:output, meta, [name]}, _env), do: {:{}, [], [:output, meta[:line], name]}

  defp statement({:on_error, meta, [stage, policy]}, _env),
    do: {:{}, [], [:on_error, meta[:line], stage, policy]}

  defp statement({name, meta, arguments}, env) when is_atom(name) do
    arity = if is_list(arguments), do: length(arguments), else: 0

    message =
      if name in @statements,
        do: "#{name} does not take #{arity} arguments",
        else:
          "#{name}/#{arity} can't stand in a pipe." <>
            "#{Slither.Options.nearest(name, @statements)} A pipe is made of stage, store, " <>
            "output and on_error"

    compile_error(env, meta[:line] || env.line, message)
  end

  defp statement(other, env) do
    compile_error(env, env.line, "#{Macro.to_string(other)} can't stand in a pipe")
  end

  @spec outside(Macro.Env.t(), atom) :: no_return
  defp outside(env, name),
    do: compile_error(env, env.line, "#{name} stands within pipe NAME do … end")

  @spec compile_error(Macro.Env.t(), integer, String.t()) :: no_return
  defp compile_error(env, line, message) do
    raise CompileError, file: env.file, line: line, description: message
  end
end
