defmodule Slither.Run.Engine do
  @moduledoc false
  # One run of a pipe, as a state machine: it pulls the input as the chain of its nodes has room,
  # gives the nodes their messages, and collects what comes out. Nodes overlap, as each is given
  # entries as soon as the one before it has results and it has room.
  #
  # It runs in the process that drives it, which waits for messages with `next/1` or, if it gets
  # other messages too, calls `step/1` and `message/2`, which never wait. With the input `:fed`
  # nothing is pulled: the driver gives `feed/2` as many items as `want/1` asks for. The drivers
  # are `Slither.Pipe.Run`, for the caller of a pipe, and the servers of long-running pipes.

  alias Slither.Metrics.Runs
  alias Slither.Receipt
  alias Slither.Run.{Account, Chain, Fates, Finished, Mailbox, Node, Source, Unfinished}
  alias Slither.Telemetry.Events

  # Outputs that may wait while the input is pulled.
  @most_emitted 1_000
  # Items that a fed run without batches takes at once, before its driver reads its next message.
  @handful 64

  @enforce_keys [:facts, :mailbox, :source, :chain, :started, :board]
  defstruct @enforce_keys ++ [:pause, :place, next: 0]

  @typedoc """
  `facts` are the metadata of the run's events, `next` is the position of the next input. While the
  input is slow, nothing is pulled until `pause`. When it last gave outputs is noted in `place`, and
  what is inside on the `board`.
  """
  @type t :: %__MODULE__{
          facts: %{run: String.t(), pipe: term},
          mailbox: Mailbox.t(),
          source: Source.t(),
          chain: Chain.t(),
          started: integer,
          board: Runs.t(),
          pause: integer | nil,
          place: Slither.Metrics.Series.place(),
          next: non_neg_integer
        }
  @type step ::
          {:outputs, outputs, t} | {:done, t} | {:halted, outputs, Exception.t(), t}
  @type outputs ::
          [Chain.output() | Chain.group()]
          | [Chain.tracked()]
          | [Chain.output() | Chain.followed()]

  @doc "A run of a chain of nodes, ready to begin; `seen` says what it is, for the board of runs."
  @spec new(Chain.t(), Mailbox.t(), Enumerable.t() | :fed, Runs.facts()) :: t
  def new(chain, mailbox, input, seen) do
    facts = Map.take(seen, [:run, :pipe])
    Events.run_started(:pipe, facts)
    board = Runs.open(seen)

    %__MODULE__{
      facts: facts,
      mailbox: mailbox,
      source: Source.new(input),
      chain: Chain.seen(chain, board, facts.pipe),
      board: board,
      place: Events.last_place(facts),
      started: System.monotonic_time()
    }
  end

  @doc """
  What comes out next, waiting for it if need be: outputs in order, and whether there is more.
  """
  @spec next(t) :: step
  def next(engine) do
    case step(engine) do
      {:wait, engine} -> engine |> await() |> next()
      answer -> answer
    end
  end

  @doc "As `next/1`, with `:wait` where nothing can be done before a message comes."
  @spec step(t) :: step | {:wait, t}
  def step(engine) do
    engine = engine |> pump() |> fill()

    case engine.chain do
      %{halted: nil, emitted: [_ | _]} = chain ->
        Events.gave(engine.place)
        {outputs, chain} = Chain.outputs(chain)
        {:outputs, outputs, noted(%{engine | chain: Chain.rest(chain)})}

      %{halted: nil} = chain ->
        if engine.source == :done and Chain.clear?(chain), do: {:done, engine}, else: wait(engine)

      # What is ahead of the failed item still finishes.
      chain ->
        if error = Chain.failure(chain) do
          {outputs, chain} = Chain.outputs(chain)
          {:halted, outputs, error, %{engine | chain: chain}}
        else
          wait(engine)
        end
    end
  end

  defp wait(engine) do
    {:wait, noted(%{engine | chain: engine.chain |> Chain.draw() |> Chain.rest()})}
  end

  # Whoever takes outputs may wait, too.
  defp noted(%__MODULE__{chain: chain} = engine) do
    inside = fn -> Enum.map(Chain.nodes(chain), &Node.inside/1) end
    %{engine | board: Runs.note(engine.board, inside)}
  end

  @doc "ms after which a driver that waits is to step again, to note what is inside."
  @spec due(t) :: timeout
  def due(engine), do: Runs.due(engine.board)

  # While the input pauses, what is there goes to workers that have nothing to do.
  defp pump(engine) do
    chain = Chain.pump(engine.chain, engine.source == :done)
    %{engine | chain: if(engine.pause, do: Chain.flush(chain), else: chain)}
  end

  @doc "Waits for a message of the run and takes it in."
  @spec await(t) :: t
  def await(engine) do
    case Mailbox.await(engine.mailbox, min(patience(engine.pause), due(engine))) do
      {index, message} ->
        {_ok_or_pool_down, chain} = Chain.message(engine.chain, index, message)
        %{engine | chain: chain}

      :timeout ->
        if patience(engine.pause) == 0, do: %{engine | pause: nil}, else: engine
    end
  end

  defp patience(nil), do: :infinity
  defp patience(pause), do: max(0, pause - Source.now())

  @doc "Takes in a message, if it is one of the run; `:pool_down` says that a pool has ended."
  @spec message(t, term) :: {:ok | :pool_down, t} | :unknown
  def message(engine, message) do
    with {index, message} <- Mailbox.match(engine.mailbox, message) do
      {what, chain} = Chain.message(engine.chain, index, message)
      {what, %{engine | chain: chain}}
    end
  end

  @doc "Ends the run: frees the workers and the input, and closes the account."
  @spec close(t, Exception.t() | nil) :: Receipt.t()
  def close(%__MODULE__{chain: chain} = engine, error) do
    Chain.free(chain)
    Chain.shutdown(chain)
    Source.close(engine.source)
    Mailbox.close(engine.mailbox)
    receipt = Chain.receipt(chain, engine.started, System.monotonic_time(), error)
    receipt = %{receipt | name: engine.facts.pipe}

    for {node, {_name, part}} <- Enum.zip(Chain.nodes(chain), receipt.stages),
        do: Node.ended(node, part, error)

    Runs.close(engine.board)
    Events.run_ended(:pipe, receipt, engine.facts, error)
    receipt
  end

  @doc "What the run has counted so far."
  @spec account(t) :: Account.t()
  def account(engine), do: engine.chain.account

  @doc "Has the run give the items of an output that come together as one group."
  @spec grouped(t) :: t
  def grouped(engine), do: %{engine | chain: Chain.grouped(engine.chain)}

  ## The input

  # A chain without a node of batches pulls items until an output comes out. Any other pulls as
  # many as its first node of batches has room for.
  defp fill(%__MODULE__{source: source} = engine) when source in [:done, :fed], do: engine
  defp fill(%__MODULE__{chain: %{halted: halted}} = engine) when halted != nil, do: engine

  # Nothing more can come meanwhile from an empty chain.
  defp fill(%__MODULE__{pause: pause} = engine) when pause != nil do
    if engine.chain.emitted == [] and Chain.clear?(engine.chain),
      do: fill(%{engine | pause: nil}),
      else: engine
  end

  defp fill(%__MODULE__{chain: %{emitted: emitted} = chain} = engine) do
    case Chain.room(chain) do
      :any when emitted == [] -> engine |> pull(1) |> pump() |> fill()
      :any -> engine
      0 -> engine
      # That node may never fill, if most items leave the pipe ahead of it: then the outputs that
      # wait say when to stop.
      _room when length(emitted) > @most_emitted -> engine
      room -> engine |> pull(room) |> pump() |> fill()
    end
  end

  defp pull(%__MODULE__{next: next} = engine, count) do
    began = Source.now()
    {entries, next, source} = Source.entries(engine.source, count, next, &[&1])
    pause = Source.pause(source, began, length(entries))
    chain = Chain.push(engine.chain, entries)
    %{engine | source: source, next: next, pause: pause, chain: chain}
  catch
    # The user's input may raise. The driver then closes the engine that it had before this call,
    # so this function frees what only the newer one holds, and raises again.
    kind, reason ->
      Chain.free(engine.chain)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  ## Runs that are tracked, for a checkpoint

  @doc """
  Has the run say which inputs are finished, and leave out those that `done` names; where such an
  input is not what it was, the run halts, unless it is told not to `compare`.
  """
  @spec track(t, Finished.t(), boolean) :: t
  def track(engine, done, compare),
    do: %{engine | chain: Chain.track(engine.chain, done, compare)}

  @doc "Which inputs are finished, of a run that is tracked."
  @spec unfinished(t) :: Unfinished.t()
  def unfinished(engine), do: engine.chain.unfinished

  @doc """
  The inputs that have finished since it was last asked: their positions and digests.

  None is told while a run that halts keeps outputs back: theirs may be among them.
  """
  @spec finished(t) :: {[{non_neg_integer, Finished.digest()}], t}
  def finished(%__MODULE__{chain: %{emitted: [_ | _]}} = engine), do: {[], engine}

  def finished(%__MODULE__{chain: chain} = engine) do
    {positions, unfinished} = Unfinished.take(chain.unfinished)
    {positions, %{engine | chain: %{chain | unfinished: unfinished}}}
  end

  ## Runs that are fed by their driver

  @doc "How many more items it can use now."
  @spec want(t) :: non_neg_integer
  def want(%__MODULE__{source: :fed, chain: %{halted: nil, emitted: emitted} = chain}) do
    case Chain.room(chain) do
      :any -> if emitted == [], do: @handful, else: 0
      room -> room
    end
  end

  def want(_engine), do: 0

  @doc "Takes items in."
  @spec feed(t, [term]) :: t
  def feed(%__MODULE__{source: :fed, next: next} = engine, items) do
    count = length(items)
    entries = Source.number(items, count, next, &[&1])
    %{engine | next: next + count, chain: Chain.push(engine.chain, entries)}
  end

  @doc "What becomes of the inputs that somebody follows, nil while nobody does."
  @spec fates(t) :: Fates.t()
  def fates(engine), do: engine.chain.fates

  @doc "Has it follow the inputs of these."
  @spec put_fates(t, Fates.t()) :: t
  def put_fates(engine, fates), do: %{engine | chain: %{engine.chain | fates: fates}}

  @doc "Says that no more items come: partial batches go as soon as nothing can join them."
  @spec finish(t) :: t
  def finish(%__MODULE__{source: :fed} = engine), do: %{engine | source: :done}
  def finish(engine), do: engine

  @doc "Takes items again, after `finish/1`."
  @spec reopen(t) :: t
  def reopen(%__MODULE__{source: :done} = engine), do: %{engine | source: :fed}
  def reopen(engine), do: engine

  @doc "Whether no more items come."
  @spec finishing?(t) :: boolean
  def finishing?(engine), do: engine.source == :done

  @doc "Sends off the partial batch of a stage."
  @spec flush_stage(t, non_neg_integer) :: t
  def flush_stage(engine, index), do: %{engine | chain: Chain.flush(engine.chain, index)}

  @doc """
  The stages that could send a batch that is not full to a worker that has nothing to do, each with
  how many items it has ever had.
  """
  @spec partial(t) :: [{index :: non_neg_integer, entered :: pos_integer}]
  def partial(%__MODULE__{chain: chain}) do
    for index <- chain.bounded,
        node = elem(chain.nodes, index),
        Node.partial?(node),
        do: {index, node.bypass.entered}
  end

  @doc "What has passed each stage, and what waits where."
  @spec status(t) :: [map]
  def status(engine), do: engine.chain |> Chain.nodes() |> Enum.map(&Node.status/1)
end
