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
    ],
    checkpoint: [
      type: :string,
      doc: "A file in which the run records what is finished, and from which it goes on."
    ],
    resume: [
      type: {:in, [:same, :anyway]},
      default: :same,
      doc: "`:anyway` goes on from a checkpoint of another definition, or of another input."
    ]
  ]

  @moduledoc """
  Runs pipes.

  `run/3` collects; `stream/3` is lazy: it pulls the input only as far as `max_in_flight`
  allows, and stops everything when its reader stops.

  ## Options

  #{Slither.Options.docs(@options)}

  ## Resumable runs

  With `checkpoint: path`, each input item that is finished is recorded in the file, with all
  that reached an output from it, before the run hands it on. The same call after a crash reads
  those results from the file, runs what is left, and returns the whole, each result once:

      {:ok, outputs} = Slither.run_pipe(MyApp.ScorePipe, rows, checkpoint: "scores.checkpoint")

  Whatever was not recorded runs again. A checkpoint knows what it belongs to: the pipe's
  definition, the code of its handlers on BEAM, and each input that is finished, by its position.
  Another definition is refused (`:other_checkpoint`) with the parts that differ, another input
  (`:other_input`) with the first position at which it does; an input may have grown at its end.
  Then `resume: :anyway` goes on all the same: finished items keep the results they have, and the
  others run in the new way. What only tunes a run (`batch_size`, `max_in_flight`, `pool`, the
  timeouts) may change between runs.

  Other errors: `:checkpoint_in_use` (by another run, of this VM or of another),
  `:old_checkpoint`, `:checkpoint_damaged`, `:not_a_checkpoint` and `:checkpoint_failed` (the file
  system said no: the run stops), as `Slither.Error`. The file stays when the run has ended, and
  is yours to remove.
  """

  alias Slither.{Error, Item, Options, PipeError, Receipt}
  alias Slither.Run.{Heap, Reader, Source}
  alias Slither.Pipe.{Definition, Library, Run}

  @where "Slither.run_pipe/3"

  @type pipe :: module | Definition.t() | String.t()
  @type outputs :: %{required(Definition.name()) => [Item.t()]}
  @type result ::
          {:ok, outputs}
          | {:error, Exception.t(), outputs}
          | {:ok, outputs, Receipt.t()}
          | {:error, Exception.t(), outputs, Receipt.t()}

  @doc """
  Runs the input through the pipe.

  Takes the pipe's module, or the name of one from Python (see `Slither.Pipe.from_python/3`), any
  enumerable of payloads or `Slither.Item`s, and options. Returns
  `{:ok, outputs}`, a map of every declared output and `:default` to its items in order, or
  `{:error, error, partial}` with what had reached the outputs before the failed item. With
  `receipt: true` either has a `Slither.Receipt` as its last element.
  """
  @spec run(pipe, Enumerable.t(), keyword) :: result
  def run(pipe, input, options \\ []) do
    Heap.for_results(input, fn ->
      with {:ok, definition} <- definition(pipe, @where),
           {:ok, run} <- open(definition, input, options, false) do
        collect(Run.grouped(run), Map.new(definition.outputs, &{&1, []}), options)
      else
        {:error, error} -> Reader.answer({:error, error, empty(pipe)}, %Receipt{}, options)
      end
    end)
  end

  @doc """
  The same, lazily, as `{output, item}` in order.

  Raises the error that `run/3` would return, after what came before it. One process reads it:
  another that goes on with a stream that was suspended gets a `Slither.Error` of the reason
  `:other_process`.
  """
  @spec stream(pipe, Enumerable.t(), keyword) :: Enumerable.t()
  def stream(pipe, input, options \\ []) do
    open = fn ->
      with {:ok, definition} <- definition(pipe, @where),
           do: open(definition, input, options, true)
    end

    Reader.stream("Slither.stream_pipe/3", open, &read/1, &Run.close/2)
  end

  defp read(run) do
    with {:outputs, outputs, run} <- Run.next(run), do: {:more, outputs, run}
  end

  # Carries how many results there are, so that the heap can grow in time.
  defp collect(run, outputs, options) do
    case Reader.collect(run, {outputs, 0}, &next/2, &Run.close/2) do
      {:ok, {outputs, _count}, receipt} ->
        Reader.answer({:ok, in_order(outputs)}, receipt, options)

      {:error, error, {outputs, _count}, receipt} ->
        Reader.answer({:error, error, in_order(outputs)}, receipt, options)
    end
  end

  defp next(run, {outputs, count} = results) do
    Heap.grow(count)

    case Run.next(run) do
      {:outputs, emitted, run} -> {:more, gathered(emitted, results), run}
      {:done, run} -> {:done, run}
      {:halted, emitted, error, run} -> {:halted, {gather(emitted, outputs), count}, error, run}
    end
  end

  defp gathered(emitted, {outputs, count}), do: {gather(emitted, outputs), count + size(emitted)}

  defp size(emitted) do
    Enum.reduce(emitted, 0, fn
      {:items, _output, items}, count -> count + length(items)
      {_output, _item}, count -> count + 1
    end)
  end

  defp gather([{:items, output, items} | rest], outputs) do
    %{^output => before} = outputs
    gather(rest, %{outputs | output => :lists.reverse(items, before)})
  end

  # Most items go to the same output as the one before.
  defp gather([{output, _item} | _] = emitted, outputs) do
    %{^output => items} = outputs
    {items, rest} = gather_alike(emitted, output, items)
    gather(rest, %{outputs | output => items})
  end

  defp gather([], outputs), do: outputs

  defp gather_alike([{output, item} | rest], output, items),
    do: gather_alike(rest, output, [item | items])

  defp gather_alike(rest, _output, items), do: {items, rest}

  defp in_order(outputs),
    do: Map.new(outputs, fn {name, items} -> {name, Enum.reverse(items)} end)

  defp open(definition, input, options, bounded?) do
    with {:ok, options} <- Options.validate(options, @options, @where),
         :ok <- enumerable(definition, input),
         do: Run.open(definition, input, options, bounded?)
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

  @doc false
  @spec definition(term, String.t()) :: {:ok, Definition.t()} | {:error, Error.t()}
  def definition(%Definition{} = definition, _where), do: {:ok, definition}

  def definition(pipe, _where) when is_binary(pipe), do: Library.fetch(pipe)

  def definition(pipe, where) do
    if is_atom(pipe) and Code.ensure_loaded?(pipe) and
         function_exported?(pipe, :__pipe_definition__, 0) do
      {:ok, pipe.__pipe_definition__()}
    else
      {:error,
       %Error{
         reason: :unknown_pipe,
         message: "#{inspect(pipe)} is not a pipe",
         where: where,
         hint: "give a module with use Slither.Pipe and a pipe block, or a name from Python"
       }}
    end
  end

  defp empty(pipe) do
    case definition(pipe, @where) do
      {:ok, definition} -> Map.new(definition.outputs, &{&1, []})
      {:error, _error} -> %{}
    end
  end
end
