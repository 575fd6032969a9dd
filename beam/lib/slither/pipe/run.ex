defmodule Slither.Pipe.Run do
  @moduledoc false
  # A run of a pipe, in the process that drives it: `Slither.Pipe.Runner` for its caller,
  # `Slither.Driver.PipeRun` for a Python program, `Slither.Pipe.Server` for whoever pushes. It is
  # an engine over the definition's nodes, or with a checkpoint a `Resume` around that.

  alias Slither.{Context, Receipt}
  alias Slither.Pipe.{Definition, Graph, Nodes, Resume}
  alias Slither.Run.{Chain, Engine, Mailbox}

  @type t :: Engine.t() | Resume.t()
  @type step ::
          {:outputs, [Chain.output() | Chain.group()], t}
          | {:done, t}
          | {:halted, [Chain.output() | Chain.group()], Exception.t(), t}

  @doc """
  A run that is ready to begin. Of the options of `Slither.Pipe.Runner.run/3` it takes those that
  are not about its answer; with `bounded?` results that nobody has read count as in flight. Drivers
  say with `kind` and `name` what the run is, where it is no run of a caller's.
  """
  @spec open(Definition.t(), Enumerable.t() | :fed, keyword, boolean) ::
          {:ok, t} | {:error, Exception.t()}
  def open(definition, input, options, bounded?) do
    with {:ok, engine} <- engine(definition, input, options, bounded?) do
      if path = options[:checkpoint],
        do: resume(definition, engine, path, options),
        else: {:ok, engine}
    end
  end

  defp engine(definition, input, options, bounded?) do
    mailbox = Mailbox.open()
    context = context(definition, options)

    nodes = %Nodes{
      definition: definition,
      context: context,
      mailbox: mailbox,
      options: [lenient: input == :fed] ++ options,
      bounded?: bounded?
    }

    case Nodes.build(nodes) do
      {:ok, nodes} ->
        seen = seen(definition, context, kind(options, bounded?), options[:name])
        {:ok, Engine.new(Chain.new(nodes, definition.default), mailbox, input, seen)}

      {:error, error} ->
        Mailbox.close(mailbox)
        {:error, error}
    end
  end

  defp kind(options, bounded?), do: options[:kind] || if(bounded?, do: :stream, else: :pipe)

  # What the board of runs has of it.
  defp seen(definition, context, kind, name) do
    %{
      kind: kind,
      run: context.runtime.run,
      pipe: definition.name,
      name: name,
      started: System.system_time(:millisecond),
      stages: Graph.stages(definition),
      edges: Graph.edges(definition)
    }
  end

  defp resume(definition, engine, path, options) do
    with {:error, error} <- Resume.new(definition, engine, path, options) do
      Engine.close(engine, error)
      {:error, error}
    end
  end

  @doc "Whether a run could begin: its pools are there, and its executors can be used."
  @spec check(Definition.t(), keyword) :: :ok | {:error, Exception.t()}
  def check(definition, options), do: Nodes.check(definition, context(definition, options))

  # The context that all stages of the run share, but for their names and stores.
  defp context(definition, options) do
    run = "run-#{System.unique_integer([:positive])}"

    %Context{
      pipe: definition.name,
      session_id: options[:session_id] || run,
      stores: definition.stores,
      metadata: options[:metadata],
      runtime: %{run: run}
    }
  end

  @doc "Has the outputs that come together come as groups, if they need not be looked at."
  @spec grouped(t) :: t
  def grouped(%Engine{} = engine), do: Engine.grouped(engine)
  def grouped(%Resume{} = resume), do: resume

  @doc "What comes out next, waiting for it if need be."
  @spec next(t) :: step
  def next(%Engine{} = engine), do: Engine.next(engine)
  def next(%Resume{} = resume), do: Resume.next(resume)

  @doc "As `next/1`, with `:wait` where nothing can be done before a message comes."
  @spec step(t) :: step | {:wait, t}
  def step(%Engine{} = engine), do: Engine.step(engine)
  def step(%Resume{} = resume), do: Resume.step(resume)

  @doc "What its engine, which gets the messages and the input, says of itself."
  @spec ask(t, (Engine.t() -> answer)) :: answer when answer: term
  def ask(%Engine{} = engine, fun), do: fun.(engine)
  def ask(%Resume{engine: engine}, fun), do: fun.(engine)

  @doc "The run with its engine changed."
  @spec update(t, (Engine.t() -> Engine.t())) :: t
  def update(%Engine{} = engine, fun), do: fun.(engine)
  def update(%Resume{engine: engine} = resume, fun), do: %{resume | engine: fun.(engine)}

  @doc "Ends the run, with the error that stopped it if there was one."
  @spec close(t, Exception.t() | nil) :: Receipt.t()
  def close(%Engine{} = engine, error), do: Engine.close(engine, error)
  def close(%Resume{} = resume, error), do: Resume.close(resume, error)
end
