defmodule Slither.Pipe.Runner do
  @options [
    session_id: [
      type: :string,
      doc: "Pins the run's Python calls to one worker, in order; its state lives there."
    ],
    metadata: [type: :map, default: %{}, doc: "Facts for handlers and views, in the context."],
    receipt: [
      type: :boolean,
      default: false,
      doc: "Whether `run/3` adds a `Slither.Receipt` to its answer."
    ]
  ]

  @moduledoc """
  Runs pipes.

  `run/3` collects; `stream/3` is lazy: it pulls the input only as far as `max_in_flight`
  allows, and stops everything when its reader stops.

  ## Options

  #{Slither.Options.docs(@options)}
  """

  alias Slither.{Error, Item, Options, PipeError, Receipt}
  alias Slither.Dispatch.Source
  alias Slither.Pipe.{Definition, Engine}

  @type pipe :: module | Definition.t()
  @type outputs :: %{required(atom) => [Item.t()]}
  @type result ::
          {:ok, outputs}
          | {:error, Exception.t(), outputs}
          | {:ok, outputs, Receipt.t()}
          | {:error, Exception.t(), outputs, Receipt.t()}

  # As in a dispatch: the process that keeps the results starts with room for them.
  @heap_words 1_000_000

  @doc """
  Runs the input through the pipe.

  Takes the pipe's module, any enumerable of payloads or `Slither.Item`s, and options. Returns
  `{:ok, outputs}`, a map of every declared output and `:default` to its items in order, or
  `{:error, error, partial}` with what had reached the outputs before the failed item. With
  `receipt: true` either has a `Slither.Receipt` as its last element.
  """
  @spec run(pipe, Enumerable.t(), keyword) :: result
  def run(pipe, input, options \\ []) do
    previous = Process.flag(:min_heap_size, @heap_words)

    try do
      with {:ok, definition} <- definition(pipe),
           {:ok, engine} <- open(definition, input, options, false) do
        collect(engine, Map.new(definition.outputs, &{&1, []}))
      else
        {:error, error} -> {{:error, error, empty(pipe)}, %Receipt{}}
      end
    after
      Process.flag(:min_heap_size, previous)
    end
    |> answer(options)
  end

  defp answer({result, receipt}, options) do
    if Keyword.keyword?(options) and options[:receipt],
      do: Tuple.append(result, receipt),
      else: result
  end

  @doc """
  The same, lazily, as `{output, item}` in order.

  Raises the error that `run/3` would return, after what came before it.
  """
  @spec stream(pipe, Enumerable.t(), keyword) :: Enumerable.t()
  def stream(pipe, input, options \\ []) do
    Stream.resource(fn -> start!(pipe, input, options) end, &step/1, &stop/1)
  end

  defp start!(pipe, input, options) do
    with {:ok, definition} <- definition(pipe),
         {:ok, engine} <- open(definition, input, options, true) do
      {:running, engine}
    else
      {:error, error} -> raise error
    end
  end

  defp step({:failed, error, _engine}), do: raise(error)

  defp step({:running, engine}) do
    case Engine.next(engine) do
      {:outputs, outputs, engine} -> {outputs, {:running, engine}}
      {:done, engine} -> {:halt, {:running, engine}}
      {:halted, outputs, error, engine} -> {outputs, {:failed, error, engine}}
    end
  end

  defp stop({:running, engine}), do: Engine.close(engine, nil)
  defp stop({:failed, error, engine}), do: Engine.close(engine, error)

  defp collect(engine, outputs) do
    case next(engine) do
      {:outputs, emitted, engine} ->
        collect(engine, gather(emitted, outputs))

      {:done, engine} ->
        {{:ok, in_order(outputs)}, Engine.close(engine, nil)}

      {:halted, emitted, error, engine} ->
        {{:error, error, in_order(gather(emitted, outputs))}, Engine.close(engine, error)}
    end
  end

  # What the input itself raises or throws passes through, once the workers are free.
  defp next(engine) do
    Engine.next(engine)
  catch
    kind, reason ->
      Engine.close(engine, raised(kind, reason))
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp raised(:error, reason), do: Exception.normalize(:error, reason)
  defp raised(kind, reason), do: %ErlangError{original: {kind, reason}}

  defp gather(emitted, outputs) do
    Enum.reduce(emitted, outputs, fn {output, item}, outputs ->
      %{^output => items} = outputs
      %{outputs | output => [item | items]}
    end)
  end

  defp in_order(outputs),
    do: Map.new(outputs, fn {name, items} -> {name, Enum.reverse(items)} end)

  defp open(definition, input, options, bounded) do
    with {:ok, options} <- Options.validate(options, @options, "Slither.run_pipe/3"),
         :ok <- enumerable(definition, input) do
      Engine.new(definition, input, options, bounded)
    end
  end

  defp enumerable(definition, input) do
    if Source.enumerable?(input) do
      :ok
    else
      {:error,
       %PipeError{
         pipe: definition.name,
         reason: :invalid_input,
         message: "takes an enumerable, got #{inspect(input, limit: 5)}"
       }}
    end
  end

  defp definition(%Definition{} = definition), do: {:ok, definition}

  defp definition(pipe) do
    if is_atom(pipe) and Code.ensure_loaded?(pipe) and
         function_exported?(pipe, :__pipe_definition__, 0) do
      {:ok, pipe.__pipe_definition__()}
    else
      {:error,
       %Error{
         reason: :unknown_pipe,
         message: "#{inspect(pipe)} is not a pipe",
         where: "Slither.run_pipe/3",
         hint: "give a module with use Slither.Pipe and a pipe block"
       }}
    end
  end

  defp empty(pipe) do
    case definition(pipe) do
      {:ok, definition} -> Map.new(definition.outputs, &{&1, []})
      {:error, _error} -> %{}
    end
  end
end
