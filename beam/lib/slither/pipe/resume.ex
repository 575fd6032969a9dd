defmodule Slither.Pipe.Resume do
  @moduledoc false
  # A run with a checkpoint, in the process that drives it; called through `Slither.Pipe.Run`. It
  # first gives the outputs that earlier runs have recorded in the file, and then those of the
  # other inputs. An output is recorded before it is handed on. All outputs of an input are
  # recorded together, once no item made of that input is inside any more.
  #
  # Before it hands on any output, the run pulls the finished inputs again and compares them.

  alias Slither.Pipe.{Checkpoint, Definition, Fingerprint}
  alias Slither.Run.{Chain, Engine, Finished, Unfinished}
  alias Slither.PipeError

  # The stages whose items each come of one input. A
  # `:batch` stage makes one item of several inputs.
  @types [:beam, :python, :router, :module]
  # Finished inputs after which a run that never has to wait records them.
  @often 100

  @enforce_keys [:checkpoint, :engine, :at]
  defstruct [:checkpoint, :engine, :at, unfinished: [], finished: []]

  @typedoc """
  `at` is how far the file has been handed on, or `:end`. `finished` are inputs, and `unfinished`
  outputs, that are not recorded yet, the last one first.
  """
  @type t :: %__MODULE__{
          checkpoint: Checkpoint.t(),
          engine: Engine.t(),
          at: non_neg_integer | :end,
          unfinished: [Chain.tracked()],
          finished: [{non_neg_integer, Finished.digest()}]
        }

  @type step ::
          {:outputs, [Chain.output()], t}
          | {:done, t}
          | {:halted, [Chain.output()], Exception.t(), t}

  @doc "A run that goes on where the checkpoint at `path` ends."
  @spec new(Definition.t(), Engine.t(), String.t(), keyword) ::
          {:ok, t} | {:error, Exception.t()}
  def new(definition, engine, path, options) do
    how = Keyword.get(options, :resume, :same)
    parts = Fingerprint.parts(definition, options)

    with :ok <- resumable(definition),
         {:ok, checkpoint} <- Checkpoint.open(path, parts, definition.outputs, how) do
      engine = Engine.track(engine, checkpoint.done, how == :same)
      at = Checkpoint.first(checkpoint)
      {:ok, %__MODULE__{checkpoint: checkpoint, engine: engine, at: at}}
    end
  end

  @doc "As `Engine.next/1`."
  @spec next(t) :: step
  def next(resume) do
    case step(resume) do
      {:wait, resume} -> next(%{resume | engine: Engine.await(resume.engine)})
      answer -> answer
    end
  end

  @doc "As `Engine.step/1`: with `:wait` where nothing can be done before a message comes."
  @spec step(t) :: step | {:wait, t}
  def step(%__MODULE__{at: :end} = resume), do: go_on(resume)

  def step(resume), do: if(known?(resume), do: again(resume), else: look(resume))

  defp known?(resume), do: resume.engine |> Engine.unfinished() |> Unfinished.known?()

  # The engine gives no outputs before it has compared all finished inputs.
  defp look(resume) do
    case Engine.step(resume.engine) do
      {:halted, outputs, _error, engine} ->
        resume = %{resume | engine: engine}

        case Unfinished.other(Engine.unfinished(engine)) do
          # A new input has failed. The recorded outputs still come before its failure.
          nil -> resume |> note(engine, outputs) |> again()
          position -> {:halted, [], other(resume, position, "item #{position} differs"), resume}
        end

      {:done, engine} ->
        resume = %{resume | engine: engine}
        if known?(resume), do: again(resume), else: {:halted, [], shorter(resume), resume}

      {:outputs, outputs, engine} ->
        resume |> note(engine, outputs) |> step()

      {:wait, engine} ->
        resume = %{resume | engine: engine}
        if known?(resume), do: again(resume), else: {:wait, resume}
    end
  end

  defp shorter(%__MODULE__{engine: engine} = resume) do
    last = Unfinished.last(Engine.unfinished(engine))
    other(resume, engine.next, "it ends after #{engine.next} items, and item #{last} is finished")
  end

  defp other(resume, position, what),
    do: Checkpoint.other_input(resume.checkpoint, position, what)

  defp again(%__MODULE__{at: :end} = resume), do: go_on(resume)

  defp again(%__MODULE__{checkpoint: checkpoint, at: at} = resume) do
    case Checkpoint.outputs(checkpoint, at) do
      {:ok, [], next} -> again(%{resume | at: next})
      {:ok, outputs, next} -> {:outputs, plain(outputs), %{resume | at: next}}
      :done -> go_on(%{resume | at: :end})
    end
  end

  @doc "Ends the run; returns its account, which is of this run alone."
  @spec close(t, Exception.t() | nil) :: map
  def close(resume, error) do
    account = Engine.close(resume.engine, error)
    Checkpoint.close(resume.checkpoint)
    account
  end

  defp go_on(resume) do
    case Engine.step(resume.engine) do
      {:outputs, outputs, engine} ->
        resume = note(resume, engine, outputs)
        if length(resume.finished) >= @often, do: hand_on(resume), else: go_on(resume)

      {:wait, engine} ->
        resume = note(resume, engine, [])

        if resume.finished == [], do: {:wait, resume}, else: hand_on(resume)

      {:done, engine} ->
        resume = note(resume, engine, [])
        if resume.finished == [], do: {:done, resume}, else: hand_on(resume)

      {:halted, outputs, error, engine} ->
        case resume |> note(engine, outputs) |> record() do
          {:ok, recorded, resume} -> {:halted, recorded, error, resume}
          {:error, unrecorded, resume} -> {:halted, [], unrecorded, resume}
        end
    end
  end

  defp note(resume, engine, outputs) do
    {finished, engine} = Engine.finished(engine)

    %{
      resume
      | engine: engine,
        finished: finished ++ resume.finished,
        unfinished: Enum.reverse(outputs, resume.unfinished)
    }
  end

  defp hand_on(resume) do
    case record(resume) do
      {:ok, [], resume} -> go_on(resume)
      {:ok, recorded, resume} -> {:outputs, recorded, resume}
      # If the disk is full, say, the run halts: it never hands on an output that is not recorded.
      {:error, error, resume} -> {:halted, [], error, resume}
    end
  end

  defp record(%__MODULE__{finished: []} = resume), do: {:ok, [], resume}

  defp record(%__MODULE__{} = resume) do
    finished = MapSet.new(resume.finished, &elem(&1, 0))

    {ready, unfinished} =
      resume.unfinished
      |> Enum.reverse()
      |> Enum.split_with(fn {[position | _], _output, _item} -> position in finished end)

    case Checkpoint.append(resume.checkpoint, resume.finished, ready) do
      {:ok, checkpoint} ->
        unfinished = Enum.reverse(unfinished)
        resume = %{resume | checkpoint: checkpoint, finished: [], unfinished: unfinished}
        {:ok, plain(ready), resume}

      {:error, error} ->
        {:error, error, resume}
    end
  end

  defp plain(outputs), do: for({_seq, output, item} <- outputs, do: {output, item})

  ## What a checkpoint belongs to

  defp resumable(definition) do
    case Enum.find(definition.stages, &(&1.type not in @types)) do
      nil ->
        :ok

      stage ->
        {:error,
         %PipeError{
           pipe: definition.name,
           stage: stage.name,
           reason: :not_resumable,
           message: "a stage of type #{inspect(stage.type)} can't run with checkpoint:"
         }}
    end
  end
end
