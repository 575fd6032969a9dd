defmodule Slither.Run.Node.Batches do
  @moduledoc false
  # A node that sends batches of its entries elsewhere, and gets their results in messages: a
  # Python stage, or a stage on BEAM whose handler runs in processes beside the run. Entries wait
  # in the batcher until they are a batch, in `groups` until the flow has room, and in the flow.

  use Slither.Run.Node

  alias Slither.Python.Inbox
  alias Slither.Run.{Answer, AutoSize, Batcher, Flow, Handler, Mailbox, Plan, Result}

  # ms between two batches that are hardly worth a call. What comes meanwhile goes together.
  @lull 5

  @enforce_keys [:batcher, :fresh, :flow, :inbox]
  defstruct [:batcher, :fresh, :flow, :inbox, :handler, :timer] ++
              [targets: %{}, groups: [], halted: false]

  @typedoc """
  `fresh` is the batcher before its first entry, `targets` where the policy's routes lead. With a
  `handler` the results are its answers. `timer` runs since a batch went that was hardly worth a
  call.
  """
  @type t :: %__MODULE__{
          batcher: Batcher.t(),
          fresh: Batcher.t(),
          flow: Flow.t(),
          inbox: Inbox.t(),
          timer: reference | nil,
          handler: Handler.t() | nil,
          targets: %{optional(term) => Result.target()},
          groups: [Batcher.group()],
          halted: boolean
        }

  @doc "A node with a flow of the plan, whose messages go to the inbox."
  @spec new(Plan.t(), Batcher.t(), Inbox.t(), keyword) :: t
  def new(plan, batcher, inbox, options) do
    flow = Flow.new(plan, inbox)
    # The results of the last stage are taken at once, so its flow may give whole batches.
    flow = if options[:last?] && options[:handler] == nil, do: Flow.give_whole(flow), else: flow

    %__MODULE__{
      batcher: batcher,
      fresh: batcher,
      flow: flow,
      inbox: inbox,
      handler: options[:handler],
      targets: options[:targets]
    }
  end

  @impl true
  def push(%__MODULE__{halted: true} = node, _entries), do: {%Result{took: :all}, node}

  def push(node, entries) do
    {groups, batcher} = node |> sized() |> Batcher.add(entries)
    {nil, %{node | batcher: batcher, groups: node.groups ++ groups}}
  end

  @impl true
  def take(node) do
    {chunks, flow} = Flow.take(node.flow)
    Enum.map_reduce(chunks, %{node | flow: flow}, &result/2)
  end

  defp result({:full, entries, values, attempt}, node),
    do: {%{Result.new(entries) | on: entries, fill: {values, attempt}}, node}

  defp result({:ok, entries}, %__MODULE__{handler: nil} = node), do: {Result.all(entries), node}

  defp result({:ok, entries}, %__MODULE__{handler: handler} = node) do
    result = Enum.reduce(entries, Result.new(entries), &answered(&2, handler, &1))
    {Result.in_order(result), node}
  end

  defp result({:mixed, outcomes}, node) do
    # What an item has made of itself is none of the node's entries.
    entries = Enum.reject(outcomes, &match?({_seq, :made, _item}, &1))
    result = Enum.reduce(outcomes, Result.new(entries), &outcome(&2, &1, node))
    {Result.in_order(result), node}
  end

  # A flow that has halted has dropped its batches
  # and takes no more, so the node drops its entries.
  defp result({:halt, seq, error}, node) do
    node = %{node | batcher: node.fresh, groups: [], halted: true}
    {%Result{took: :all, halt: {seq, error}}, node}
  end

  defp outcome(result, {seq, :ok, item}, node), do: answered(result, node.handler, {seq, item})
  defp outcome(result, {seq, :made, item}, _node), do: Result.made(result, seq, item)
  defp outcome(result, {_seq, :ended, _item}, _node), do: Result.ended(result)
  defp outcome(result, {seq, :none, _item}, _node), do: Result.skip(result, seq, :no_items)

  defp outcome(result, {seq, outcome, item}, node),
    do: Result.failed(result, seq, outcome, item, node.targets)

  defp answered(result, nil, {seq, item}), do: Result.on(result, seq, item)

  defp answered(result, handler, {_seq, item} = entry),
    do: Answer.settle(result, handler, entry, item.payload)

  @impl true
  def advance(node, flush?), do: {nil, node |> submit() |> cut(flush?)}

  defp submit(%__MODULE__{groups: [group | groups]} = node) do
    if Flow.free(node.flow) > 0,
      do: submit(%{node | groups: groups, flow: Flow.submit(node.flow, group)}),
      else: node
  end

  defp submit(node), do: node

  defp cut(%__MODULE__{groups: []} = node, flush?) do
    why = if flush?, do: :end, else: why(node)

    with true <- why != nil and Batcher.inside(node.batcher) > 0 and Flow.free(node.flow) > 0,
         {[_ | _] = groups, batcher} <- Batcher.cut(sized(node), why) do
      node = %{node | batcher: batcher, groups: groups}
      node = if why == :spare, do: rested(node), else: node
      node |> submit() |> cut(flush?)
    else
      false -> node
      {[], batcher} -> %{node | batcher: batcher}
    end
  end

  defp cut(node, _flush?), do: node

  # Where the size of batches is found, what there is goes to a worker that has nothing to do.
  defp why(node) do
    case Flow.found(node.flow) do
      nil ->
        nil

      {auto, _workers} ->
        if spare?(node, auto) and Flow.spare?(node.flow), do: :spare, else: :room
    end
  end

  defp spare?(node, auto),
    do: node.timer == nil or AutoSize.worth?(auto, Batcher.inside(node.batcher))

  defp rested(%__MODULE__{timer: nil, inbox: inbox} = node),
    do: %{node | timer: Mailbox.start_timer(inbox, @lull)}

  defp rested(node), do: node

  @impl true
  def message(%__MODULE__{timer: timer} = node, {:timer, timer}) when timer != nil,
    do: {nil, %{node | timer: nil}}

  def message(node, message), do: {nil, %{node | flow: Flow.message(node.flow, message)}}

  @impl true
  def pool_down?(node, {:down, monitor, _reason}), do: Flow.pool?(node.flow, monitor)
  def pool_down?(_node, _message), do: false

  @impl true
  def want(%__MODULE__{groups: [], flow: flow} = node),
    do: if(Flow.free(flow) > 0, do: node |> sized() |> Batcher.want(), else: 0)

  def want(_node), do: 0

  defp sized(node), do: Batcher.sized(node.batcher, Flow.found(node.flow))

  @impl true
  def full?(%__MODULE__{groups: []} = node), do: node |> sized() |> Batcher.want() == 0
  def full?(_node), do: true

  @impl true
  def batching(node), do: Batcher.inside(node.batcher)

  @impl true
  def partial?(node), do: batching(node) > 0 and Flow.spare?(node.flow)

  @impl true
  def waiting(node) do
    flow = Flow.where(node.flow)
    Map.merge(flow, %{batching: batching(node), queued: Batcher.count(node.groups) + flow.queued})
  end

  @impl true
  def work(node), do: Flow.work(node.flow)

  @impl true
  def rest(node), do: %{node | flow: Flow.rest(node.flow)}

  @impl true
  def draw(node), do: %{node | flow: Flow.draw(node.flow)}

  @impl true
  def free(node), do: Flow.close(node.flow)

  @impl true
  def shutdown(node), do: node.handler && Handler.shutdown(node.handler)
end
