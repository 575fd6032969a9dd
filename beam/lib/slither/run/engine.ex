defmodule Slither.Run.Engine do
  @moduledoc false
  # One run of a pipe, as a state machine over its nodes in order: it pulls the input as its first
  # node of batches has room, pushes entries down from node to node, takes up what comes back, and
  # collects what reaches an output. Nodes overlap, as each is given entries as soon as the one
  # before it has results and it has room.
  #
  # It runs in the process that drives it, which waits for messages with `next/1` or, if it gets
  # other messages too, calls `step/1` and `message/2`, which never wait. With the input `:fed`
  # nothing is pulled: the driver gives `feed/2` as many items as `want/1` asks for. The drivers
  # are `Slither.Pipe.Run`, for the caller of a pipe, and the servers of long-running pipes.
  #
  # Entries are `{seq, item}`. A seq is a list, `[n]` for the n-th input and longer for the items a
  # stage made of it, so that seqs order the outputs. What leaves the pipe early, or goes on at a
  # later stage, passes all nodes in between by, in its place. So every node gives entries on in
  # the order in which it got them, and all that reaches the end is in order.

  alias Slither.{Item, PipeError, Receipt}
  alias Slither.Run.{Account, Fill, Finished, Mailbox, Node, Result, Source, Unfinished}
  alias Slither.Telemetry.Events

  # Outputs that may wait while the input is pulled.
  @most_emitted 1_000
  # A pipe without batches has none to fill; so many items are run before its driver looks up.
  @handful 64

  @enforce_keys [
    :facts,
    :mailbox,
    :source,
    :nodes,
    :count,
    :holding,
    :bounded,
    :default,
    :started
  ]
  defstruct @enforce_keys ++
              [:halted, :live, account: %Account{}, next: 0, emitted: []] ++
              [passing?: false, grouped?: false]

  @type output_name :: atom | String.t()
  @typedoc """
  `facts` are the metadata of the run's events, `default` is the output of what no route took.

  `holding` are the places of nodes that entries can be in, the last one first, and `bounded` those
  of nodes that take only so many. Nobody looks for entries that pass nodes by before there are any
  (`passing?`), and inputs are followed only where the run is tracked (`live`).
  """
  @type t :: %__MODULE__{
          facts: %{run: String.t(), pipe: term},
          mailbox: Mailbox.t(),
          source: Source.t(),
          nodes: tuple,
          count: non_neg_integer,
          holding: [non_neg_integer],
          bounded: [non_neg_integer],
          default: output_name,
          halted: {Result.seq(), index :: non_neg_integer, Exception.t()} | nil,
          started: integer,
          live: Unfinished.t(),
          account: Account.t(),
          next: non_neg_integer,
          passing?: boolean,
          grouped?: boolean,
          emitted: [output | group | tracked]
        }
  @type output :: {output_name, Item.t()}
  @typedoc "Several items of one output; see `grouped/1`."
  @type group :: {:items, output_name, [Item.t()]}
  @typedoc "An output of a run that is tracked: the first of its seq is the input's position."
  @type tracked :: {Result.seq(), output_name, Item.t()}
  @type step ::
          {:outputs, [output | group] | [tracked], t}
          | {:done, t}
          | {:halted, [output | group] | [tracked], Exception.t(), t}

  @doc "A run of nodes that is ready to begin; `default` is the output of what no route took."
  @spec new([Node.t()], Mailbox.t(), Enumerable.t() | :fed, map, output_name) :: t
  def new(nodes, mailbox, input, facts, default) do
    bounded = for node <- nodes, node.module.want(node.state) != :any, do: node.index
    holding = for node <- nodes, not node.module.instant?(node.state), do: node.index

    Events.run_started(:pipe, facts)

    %__MODULE__{
      facts: facts,
      mailbox: mailbox,
      source: Source.new(input),
      nodes: List.to_tuple(nodes),
      count: length(nodes),
      holding: Enum.reverse(holding),
      bounded: bounded,
      default: default,
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
    case engine |> pump() |> fill() do
      %{halted: nil, emitted: [_ | _] = emitted} = engine ->
        {:outputs, Enum.reverse(emitted), rest(%{engine | emitted: []})}

      %{halted: nil} = engine ->
        if engine.source == :done and clear?(engine, 0),
          do: {:done, engine},
          else: {:wait, rest(engine)}

      # What is ahead of the failed item still finishes.
      %{halted: {_seq, index, error}} = engine ->
        if clear?(engine, index + 1),
          do: {:halted, Enum.reverse(engine.emitted), error, %{engine | emitted: []}},
          else: {:wait, rest(engine)}
    end
  end

  @doc "Waits for a message of the run and takes it in."
  @spec await(t) :: t
  def await(engine) do
    {index, message} = Mailbox.await(engine.mailbox)
    deliver(engine, index, message)
  end

  @doc "Takes in a message, if it is one of the run; `:pool_down` says that a pool has ended."
  @spec message(t, term) :: {:ok | :pool_down, t} | :unknown
  def message(engine, message) do
    with {index, message} <- Mailbox.match(engine.mailbox, message) do
      %Node{module: module, state: state} = elem(engine.nodes, index)
      down? = module.pool_down?(state, message)
      {if(down?, do: :pool_down, else: :ok), deliver(engine, index, message)}
    end
  end

  defp deliver(engine, index, message) do
    {result, node} = engine.nodes |> elem(index) |> Node.message(message)
    engine |> put(node) |> settle(index, result)
  end

  @doc "Ends the run: frees the workers and the input, and closes the account."
  @spec close(t, Exception.t() | nil) :: Receipt.t()
  def close(engine, error) do
    free(engine)
    for node <- nodes(engine), do: node.module.shutdown(node.state)
    Source.close(engine.source)
    Mailbox.close(engine.mailbox)
    receipt = receipt(engine, error)

    for {node, {_name, part}} <- Enum.zip(nodes(engine), receipt.stages),
        do: Node.ended(node, part, error)

    Events.run_ended(:pipe, receipt, engine.facts, error)
    receipt
  end

  defp free(engine), do: for(node <- nodes(engine), do: node.module.free(node.state))

  defp receipt(engine, error) do
    now = System.monotonic_time()
    works = for node <- nodes(engine), do: node.module.work(node.state)
    work = Enum.reduce(works, Receipt.no_work(), &Receipt.add_work/2)
    stages = Enum.map(nodes(engine), &Node.receipt(&1, now, error))
    receipt = Account.receipt(engine.account, work, now - engine.started, error)
    %{receipt | stages: stages}
  end

  ## Runs that are tracked, and runs that are collected

  @doc "Has the run give the items of an output that come together as one group."
  @spec grouped(t) :: t
  def grouped(engine), do: %{engine | grouped?: true}

  @doc """
  Has the run say which inputs are finished, and leave out those that `done` names; where such an
  input is not what it was, the run halts, unless it is told not to `compare`.
  """
  @spec track(t, Finished.t(), boolean) :: t
  def track(engine, done, compare), do: %{engine | live: Unfinished.new(done, compare)}

  @doc """
  The inputs that have finished since it was last asked: their positions and digests.

  None is told while a run that halts keeps outputs back: theirs may be among them.
  """
  @spec finished(t) :: {[{non_neg_integer, Finished.digest()}], t}
  def finished(%__MODULE__{emitted: [_ | _]} = engine), do: {[], engine}

  def finished(engine) do
    {positions, live} = Unfinished.take(engine.live)
    {positions, %{engine | live: live}}
  end

  ## Runs that are fed by their driver

  @doc "How many more items it can use now."
  @spec want(t) :: non_neg_integer
  def want(%__MODULE__{source: :fed, halted: nil} = engine) do
    case engine.bounded do
      [] -> if engine.emitted == [], do: @handful, else: 0
      [first | _] -> room(engine, first)
    end
  end

  def want(_engine), do: 0

  @doc "Takes items in."
  @spec feed(t, [term]) :: t
  def feed(%__MODULE__{source: :fed, next: next} = engine, items) do
    count = length(items)
    take_in(%{engine | next: next + count}, Source.number(items, count, next, &[&1]))
  end

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
  def flush_stage(engine, index), do: engine |> advance(index, true) |> elem(1)

  @doc "The stages whose batches are partly filled, each with how many items it has ever had."
  @spec partial(t) :: [{index :: non_neg_integer, entered :: pos_integer}]
  def partial(engine) do
    for index <- engine.bounded,
        node = elem(engine.nodes, index),
        Node.partial?(node),
        do: {index, node.bypass.entered}
  end

  @doc "What has passed each stage, and what waits where."
  @spec status(t) :: [map]
  def status(engine), do: Enum.map(nodes(engine), &Node.status/1)

  ## The input

  # It is pulled only for the first node of batches, as far as that one has room.
  defp fill(%__MODULE__{source: source} = engine) when source in [:done, :fed], do: engine
  defp fill(%__MODULE__{halted: halted} = engine) when halted != nil, do: engine

  defp fill(%__MODULE__{bounded: [], emitted: []} = engine),
    do: engine |> pull(1) |> pump() |> fill()

  defp fill(%__MODULE__{bounded: []} = engine), do: engine

  # If most items leave before that node it never fills: then what has come out says when to stop.
  defp fill(%__MODULE__{bounded: [first | _]} = engine) do
    room = if length(engine.emitted) > @most_emitted, do: 0, else: room(engine, first)
    if room > 0, do: engine |> pull(room) |> pump() |> fill(), else: engine
  end

  defp room(engine, first) do
    %Node{module: module, state: state} = elem(engine.nodes, first)
    crowded? = engine.passing? and Enum.any?(nodes(engine), &Node.crowded?/1)
    if crowded?, do: 0, else: module.want(state)
  end

  defp pull(%__MODULE__{next: next} = engine, count) do
    {entries, next, source} = Source.entries(engine.source, count, next, &[&1])
    take_in(%{engine | source: source, next: next}, entries)
  catch
    # What the input raises passes through. Only the engine of that moment knows what is out.
    kind, reason ->
      free(engine)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp take_in(engine, entries) do
    {entries, live} = Unfinished.begin(engine.live, entries)
    engine = %{engine | live: live, account: Account.add(engine.account, :in, length(entries))}

    case Unfinished.other(live) do
      nil -> process(engine, 0, entries)
      # Nothing is inside yet: none is taken in before all that is known was seen.
      position -> halt(engine, 0, {[position], other_input(engine, position)})
    end
  end

  # `Slither.Pipe.Resume` says it with the checkpoint's name.
  defp other_input(engine, position),
    do: %PipeError{pipe: engine.facts.pipe, reason: :other_input, item: position}

  ## Down: entries go from node to node until one keeps them, or to the end

  defp process(engine, _index, []), do: engine

  # What comes after an item that has halted the run goes nowhere.
  defp process(%__MODULE__{halted: {limit, _at, _error}} = engine, index, entries),
    do: go_on(engine, index, Enum.filter(entries, &(elem(&1, 0) < limit)))

  defp process(engine, index, entries), do: go_on(engine, index, entries)

  defp go_on(engine, _index, []), do: engine
  defp go_on(%__MODULE__{count: index} = engine, index, entries), do: emit(engine, entries)

  defp go_on(engine, index, entries) do
    pushed = engine.nodes |> elem(index) |> Node.push(entries, engine.passing?)
    decided(engine, index, pushed)
  end

  defp settle(engine, _index, nil), do: engine

  defp settle(engine, index, result),
    do: decided(engine, index, engine.nodes |> elem(index) |> Node.settle(result))

  defp decided(engine, index, {on, result, node}) do
    engine = %{
      engine
      | nodes: put_elem(engine.nodes, index, node),
        account: Account.settle(engine.account, result, result.out),
        live: Unfinished.pass(engine.live, result),
        passing?: engine.passing? or result.parts?
    }

    engine |> halt(index, result.halt) |> process(index + 1, on)
  end

  defp halt(engine, _index, nil), do: engine
  defp halt(%{halted: {ahead, _, _}} = engine, _index, {seq, _}) when ahead <= seq, do: engine
  defp halt(engine, index, {seq, error}), do: %{engine | halted: {seq, index, error}}

  defp put(engine, node), do: %{engine | nodes: put_elem(engine.nodes, node.index, node)}
  defp nodes(engine), do: Tuple.to_list(engine.nodes)

  ## Up: from the last node to the first, results come out and batches go in

  defp pump(engine), do: pump(engine, engine.holding)

  defp pump(engine, []), do: engine

  defp pump(engine, [index | before]) do
    {results, engine} = take(engine, index)
    engine = Enum.reduce(results, engine, &whole(&2, index, &1))
    flush? = Node.crowded?(elem(engine.nodes, index)) or nothing_before?(engine, index)
    {result, engine} = advance(engine, index, flush?)
    # What was taken may have been the last that a later node waited for.
    if results == [] and result == nil, do: pump(engine, before), else: pump(engine)
  end

  # Results stay where they are while the next node of batches can't use them.
  defp take(engine, index) do
    next = Enum.find(engine.bounded, &(&1 > index))
    node = next && elem(engine.nodes, next)

    if node == nil or not (node.module.full?(node.state) or Node.crowded?(node)) do
      {results, node} = engine.nodes |> elem(index) |> Node.take()
      {results, put(engine, node)}
    else
      {[], engine}
    end
  end

  defp advance(engine, index, flush?) do
    {result, node} = engine.nodes |> elem(index) |> Node.advance(flush?)
    {result, engine |> put(node) |> settle(index, result)}
  end

  # Most batches of most pipes come from the last stage, and all of one goes to the same output at
  # once: then its values are put in items that are outputs already.
  defp whole(engine, index, %Result{fill: {values, attempt}, on: entries} = result) do
    node = elem(engine.nodes, index)
    alone? = engine.live == nil and engine.halted == nil and node.bypass.count == 0

    if alone? and Result.in_order?(entries) do
      {_on, _result, node} = Node.settle(node, result)
      engine = engine |> put(node) |> out(length(entries))
      items = Fill.items(entries, values, attempt)
      %{engine | emitted: onto(engine.emitted, items, engine.grouped?, engine.default)}
    else
      settle(engine, index, Result.filled(result))
    end
  end

  defp whole(engine, index, result), do: settle(engine, index, result)

  defp onto(emitted, items, true, output), do: [{:items, output, items} | emitted]
  defp onto(emitted, items, false, output), do: Enum.reduce(items, emitted, &[{output, &1} | &2])

  defp nothing_before?(engine, index) do
    case engine.halted do
      {_seq, at, _error} when at < index -> clear?(engine, at + 1, index)
      _ -> engine.source == :done and clear?(engine, 0, index)
    end
  end

  defp clear?(%__MODULE__{count: count} = engine, from), do: clear?(engine, from, count)
  defp clear?(_engine, index, index), do: true

  defp clear?(engine, index, until),
    do: Node.clear?(elem(engine.nodes, index)) and clear?(engine, index + 1, until)

  defp rest(%__MODULE__{bounded: bounded} = engine) do
    nodes =
      Enum.reduce(bounded, engine.nodes, fn index, nodes ->
        %Node{module: module, state: state} = node = elem(nodes, index)
        put_elem(nodes, index, %{node | state: module.rest(state)})
      end)

    %{engine | nodes: nodes}
  end

  ## Out

  defp emit(engine, entries) do
    plain = Enum.count(entries, &match?({_seq, %Item{}}, &1))
    live = engine.live && Unfinished.ended(engine.live, entries)
    engine = out(%{engine | live: live}, plain)
    %{engine | emitted: Enum.reduce(entries, engine.emitted, &[shape(engine, &1) | &2])}
  end

  defp out(engine, count), do: %{engine | account: Account.add(engine.account, :out, count)}

  defp shape(engine, {seq, {:exit, output, item}}), do: shape(engine, seq, output, item)
  defp shape(engine, {seq, item}), do: shape(engine, seq, engine.default, item)

  defp shape(%__MODULE__{live: nil}, _seq, output, item), do: {output, item}
  defp shape(_tracked, seq, output, item), do: {seq, output, item}
end
