defmodule Slither.Run.Chain do
  @moduledoc false
  # The nodes of a run in their order, and the outputs at its end. The chain pushes entries down
  # from node to node until one keeps them. It takes up results from the last node to the first,
  # so that each node has room for the results of the one before it. Held by `Slither.Run.Engine`,
  # and run in the process that drives it.
  #
  # Entries are `{seq, item}`. A seq is a list, `[n]` for the n-th input and longer for the items a
  # stage made of it, so that seqs order the outputs. An entry that leaves the pipe early, or
  # skips to a later stage, keeps its place as it passes by the nodes in between. So every node
  # gives entries on in the order in which it got them, and they reach the end in order.

  alias Slither.{Item, PipeError, Receipt}
  alias Slither.Metrics.Runs
  alias Slither.Run.{Account, Fates, Fill, Finished, Mailbox, Node, Result, Unfinished}
  alias Slither.Telemetry.Events

  @enforce_keys [:nodes, :count, :holding, :bounded, :default]
  defstruct @enforce_keys ++
              [:pipe, :place, :halted, :unfinished, :fates, account: %Account{}, emitted: []] ++
              [passing?: false, grouped?: false]

  @typedoc """
  `holding` are the places of nodes that entries can be in, the last one first, and `bounded` those
  of nodes that take only so many. `default` is the output of what no route took. Nobody looks for
  entries that pass nodes by before there are any (`passing?`). Which inputs are finished is seen
  only where the run is tracked (`unfinished`), and what becomes of them only where somebody follows
  them (`fates`). `emitted` has the last output first. What comes out of the `pipe` by default is
  counted in `place`.
  """
  @type t :: %__MODULE__{
          nodes: tuple,
          count: non_neg_integer,
          holding: [non_neg_integer],
          bounded: [non_neg_integer],
          default: output_name,
          pipe: term,
          place: Slither.Metrics.Series.place(),
          halted: {Result.seq(), index :: non_neg_integer, Exception.t()} | nil,
          unfinished: Unfinished.t(),
          fates: Fates.t(),
          account: Account.t(),
          emitted: [output | group | tracked | followed],
          passing?: boolean,
          grouped?: boolean
        }
  @type output_name :: atom | String.t()
  @type output :: {output_name, Item.t()}
  @typedoc "Several items of one output; see `grouped/1`."
  @type group :: {:items, output_name, [Item.t()]}
  @typedoc "An output of a run that is tracked: the first of its seq is the input's position."
  @type tracked :: {Result.seq(), output_name, Item.t()}
  @typedoc "An output of a run in which inputs are followed, with the part that it is of."
  @type followed :: {Fates.id() | nil, output_name, Item.t()}

  @doc "A chain of nodes; `default` is the output of what no route takes."
  @spec new([Node.t()], output_name) :: t
  def new(nodes, default) do
    holding = for node <- nodes, not node.module.instant?(node.state), do: node.index

    %__MODULE__{
      nodes: List.to_tuple(nodes),
      count: length(nodes),
      holding: Enum.reverse(holding),
      bounded: for(node <- nodes, node.module.want(node.state) != :any, do: node.index),
      default: default
    }
  end

  @doc "Has it give the items of an output that come together as one group."
  @spec grouped(t) :: t
  def grouped(chain), do: %{chain | grouped?: true}

  @doc "Has it follow the inputs, and leave out those that are `done`; see `Unfinished`."
  @spec track(t, Finished.t(), boolean) :: t
  def track(chain, done, compare), do: %{chain | unfinished: Unfinished.new(done, compare)}

  @doc "Has it show what is inside on the board, and count what comes out of a pipe."
  @spec seen(t, Runs.t(), pipe :: term) :: t
  def seen(chain, board, pipe) do
    nodes = for node <- nodes(chain), do: %{node | seen: Runs.place(board, node.index)}
    place = Events.output_place(pipe, chain.default)
    %{chain | nodes: List.to_tuple(nodes), pipe: pipe, place: place}
  end

  ## Down

  @doc "Takes in entries of the input."
  @spec push(t, [Node.entry()]) :: t
  def push(chain, entries) do
    {entries, unfinished} = Unfinished.begin(chain.unfinished, entries)

    chain = %{
      chain
      | unfinished: unfinished,
        fates: Fates.begin(chain.fates, entries),
        account: Account.add(chain.account, :in, length(entries))
    }

    case Unfinished.other(unfinished) do
      nil -> process(chain, 0, entries)
      # No entry has gone on yet: `Unfinished` keeps
      # them until it has compared all finished inputs.
      position -> halt(chain, 0, {[position], other_input(position)})
    end
  end

  # `Slither.Pipe.Resume` gives the user one that names the checkpoint.
  defp other_input(position), do: %PipeError{reason: :other_input, item: position}

  defp process(chain, _index, []), do: chain

  # Entries behind the item that has halted the run are dropped.
  defp process(%__MODULE__{halted: {limit, _at, _error}} = chain, index, entries),
    do: go_on(chain, index, Enum.filter(entries, &(elem(&1, 0) < limit)))

  defp process(chain, index, entries), do: go_on(chain, index, entries)

  defp go_on(chain, _index, []), do: chain
  defp go_on(%__MODULE__{count: index} = chain, index, entries), do: emit(chain, entries)

  defp go_on(chain, index, entries) do
    pushed = chain.nodes |> elem(index) |> Node.push(entries, chain.passing?)
    decided(chain, index, pushed)
  end

  defp settle(chain, _index, nil), do: chain

  defp settle(chain, index, result),
    do: decided(chain, index, chain.nodes |> elem(index) |> Node.settle(result))

  defp decided(chain, index, {on, result, node}) do
    chain = %{
      chain
      | nodes: put_elem(chain.nodes, index, node),
        account: Account.settle(chain.account, result, result.out),
        unfinished: Unfinished.pass(chain.unfinished, result),
        fates: Fates.pass(chain.fates, result),
        passing?: chain.passing? or result.parts?
    }

    chain |> halt(index, result.halt) |> process(index + 1, on)
  end

  defp halt(chain, _index, nil), do: chain
  defp halt(%{halted: {ahead, _, _}} = chain, _index, {seq, _}) when ahead <= seq, do: chain
  defp halt(chain, index, {seq, error}), do: %{chain | halted: {seq, index, error}}

  defp put(chain, node), do: %{chain | nodes: put_elem(chain.nodes, node.index, node)}

  ## Up

  @doc "Takes up what has come back and sends on what it can; `ended?` says that no input comes."
  @spec pump(t, boolean) :: t
  def pump(chain, ended?), do: pump(chain, chain.holding, ended?)

  defp pump(chain, [], _ended?), do: chain

  defp pump(chain, [index | before], ended?) do
    {results, chain} = take(chain, index)
    chain = Enum.reduce(results, chain, &whole(&2, index, &1))
    flush? = Node.crowded?(elem(chain.nodes, index)) or nothing_before?(chain, index, ended?)
    {result, chain} = advance(chain, index, flush?)
    # A later node may have waited for the entries that have just moved: begin at the end again.
    if results == [] and result == nil, do: pump(chain, before, ended?), else: pump(chain, ended?)
  end

  # Results stay in their node while the next node of batches has no room for them.
  defp take(chain, index) do
    next = Enum.find(chain.bounded, &(&1 > index))
    node = next && elem(chain.nodes, next)

    if node == nil or not (node.module.full?(node.state) or Node.crowded?(node)) do
      {results, node} = chain.nodes |> elem(index) |> Node.take()
      {results, put(chain, node)}
    else
      {[], chain}
    end
  end

  defp advance(chain, index, flush?) do
    {result, node} = chain.nodes |> elem(index) |> Node.advance(flush?)
    {result, chain |> put(node) |> settle(index, result)}
  end

  defp nothing_before?(%__MODULE__{halted: {_seq, at, _error}} = chain, index, _ended?)
       when at < index,
       do: clear?(chain, at + 1, index)

  defp nothing_before?(chain, index, ended?), do: ended? and clear?(chain, 0, index)

  # The short way for most batches of most pipes. All results of the last stage go to one output,
  # so the chain puts their values straight into items, and builds no entries in between.
  defp whole(chain, index, %Result{fill: {values, attempt}, on: entries} = result) do
    node = elem(chain.nodes, index)
    plain? = chain.unfinished == nil and chain.fates == nil
    alone? = plain? and chain.halted == nil and node.bypass.count == 0

    if alone? and Result.in_order?(entries) do
      {_on, _result, node} = Node.settle(node, result)
      chain = chain |> put(node) |> out(length(entries))
      items = Fill.items(entries, values, attempt)
      %{chain | emitted: onto(chain.emitted, items, chain.grouped?, chain.default)}
    else
      settle(chain, index, Result.filled(result))
    end
  end

  defp whole(chain, index, result), do: settle(chain, index, result)

  defp onto(emitted, items, true, output), do: [{:items, output, items} | emitted]
  defp onto(emitted, items, false, output), do: Enum.reduce(items, emitted, &[{output, &1} | &2])

  @doc "Gives a message to the node whose inbox it is of; `:pool_down` says that a pool has ended."
  @spec message(t, non_neg_integer, Mailbox.message()) :: {:ok | :pool_down, t}
  def message(chain, index, message) do
    node = elem(chain.nodes, index)
    down? = node.module.pool_down?(node.state, message)
    {result, node} = Node.message(node, message)
    {if(down?, do: :pool_down, else: :ok), chain |> put(node) |> settle(index, result)}
  end

  @doc "Sends off the partial batch of a node."
  @spec flush(t, non_neg_integer) :: t
  def flush(chain, index), do: chain |> advance(index, true) |> elem(1)

  @doc "Sends off all partial batches for which there is a worker that has nothing to do."
  @spec flush(t) :: t
  def flush(chain) do
    Enum.reduce(chain.bounded, chain, fn index, chain ->
      if Node.partial?(elem(chain.nodes, index)), do: flush(chain, index), else: chain
    end)
  end

  ## Out

  defp emit(chain, entries) do
    plain = Enum.count(entries, &match?({_seq, %Item{}}, &1))
    for {_seq, {:exit, output, _item}} <- entries, do: Events.output(chain.pipe, output)
    chain = out(%{chain | unfinished: Unfinished.ended(chain.unfinished, entries)}, plain)
    onto(chain, entries)
  end

  defp onto(%__MODULE__{fates: nil} = chain, entries),
    do: %{chain | emitted: Enum.reduce(entries, chain.emitted, &[shape(chain, &1) | &2])}

  defp onto(chain, entries) do
    {parts, fates} = Fates.out(chain.fates, entries)

    followed =
      for {entry, part} <- Enum.zip(entries, parts) do
        {output, item} = shape(chain, entry)
        {part, output, item}
      end

    %{chain | fates: fates, emitted: Enum.reverse(followed, chain.emitted)}
  end

  defp out(chain, count) do
    Events.outputs(chain.place, count)
    %{chain | account: Account.add(chain.account, :out, count)}
  end

  defp shape(chain, {seq, {:exit, output, item}}), do: shape(chain, seq, output, item)
  defp shape(chain, {seq, item}), do: shape(chain, seq, chain.default, item)

  defp shape(%__MODULE__{unfinished: nil}, _seq, output, item), do: {output, item}
  defp shape(_tracked, seq, output, item), do: {seq, output, item}

  @doc "What has come out, in order."
  @spec outputs(t) :: {[output | group | tracked | followed], t}
  def outputs(chain), do: {Enum.reverse(chain.emitted), %{chain | emitted: []}}

  @doc "The failure that has halted the run, once all that is ahead of it has come out."
  @spec failure(t) :: Exception.t() | nil
  def failure(%__MODULE__{halted: {_seq, index, error}, count: count} = chain),
    do: if(clear?(chain, index + 1, count), do: error)

  @doc "Whether no entry is inside."
  @spec clear?(t) :: boolean
  def clear?(chain), do: clear?(chain, 0, chain.count)

  defp clear?(_chain, index, index), do: true

  defp clear?(chain, index, until),
    do: Node.clear?(elem(chain.nodes, index)) and clear?(chain, index + 1, until)

  @doc "How many more entries its first node of batches can use; `:any` without one."
  @spec room(t) :: non_neg_integer | :any
  def room(%__MODULE__{bounded: []}), do: :any

  def room(%__MODULE__{bounded: [first | _]} = chain) do
    %Node{module: module, state: state} = elem(chain.nodes, first)
    crowded? = chain.passing? and Enum.any?(nodes(chain), &Node.crowded?/1)
    if crowded?, do: 0, else: module.want(state)
  end

  @doc "The nodes in order."
  @spec nodes(t) :: [Node.t()]
  def nodes(chain), do: Tuple.to_list(chain.nodes)

  @doc "Gives back what its nodes do not need while nothing comes."
  @spec rest(t) :: t
  def rest(chain), do: each_bounded(chain, :rest)

  @doc "Has its nodes ask for more of what workers keep for them."
  @spec draw(t) :: t
  def draw(chain), do: each_bounded(chain, :draw)

  defp each_bounded(%__MODULE__{bounded: bounded} = chain, function) do
    nodes =
      Enum.reduce(bounded, chain.nodes, fn index, nodes ->
        %Node{module: module, state: state} = node = elem(nodes, index)
        put_elem(nodes, index, %{node | state: apply(module, function, [state])})
      end)

    %{chain | nodes: nodes}
  end

  @doc "Gives back all that its nodes hold of others."
  @spec free(t) :: any
  def free(chain), do: for(node <- nodes(chain), do: node.module.free(node.state))

  @doc "Tells its nodes that the run has ended, after `free/1`."
  @spec shutdown(t) :: any
  def shutdown(chain), do: for(node <- nodes(chain), do: node.module.shutdown(node.state))

  @doc "The receipt of the run, of which this is the end."
  @spec receipt(t, integer, integer, Exception.t() | nil) :: Receipt.t()
  def receipt(chain, started, now, error) do
    works = for node <- nodes(chain), do: node.module.work(node.state)
    work = Enum.reduce(works, Account.no_work(), &Account.add_work/2)
    stages = Enum.map(nodes(chain), &Node.receipt(&1, now, error))
    %{Account.receipt(chain.account, work, now - started, error) | stages: stages}
  end
end
