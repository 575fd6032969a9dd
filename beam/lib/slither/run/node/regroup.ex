defmodule Slither.Run.Node.Regroup do
  @moduledoc false
  # A node that makes one entry of many, for a `:batch` stage: entries wait until enough have come,
  # or for long enough. The one has the seq of the last, so that it comes in that one's place.

  use Slither.Run.Node

  alias Slither.Item
  alias Slither.Run.{Mailbox, Result}

  @enforce_keys [:size, :timeout, :inbox]
  defstruct [:size, :timeout, :inbox, :timer, :due, held: [], count: 0]

  @typedoc "`due` is when its timer runs out, in ms."
  @type t :: %__MODULE__{
          size: pos_integer,
          timeout: timeout,
          inbox: Slither.Python.Inbox.t(),
          timer: reference | nil,
          due: integer | nil,
          held: [Slither.Run.Node.entry()],
          count: non_neg_integer
        }

  @impl true
  def push(node, entries) do
    {result, node} = Enum.reduce(entries, {%Result{}, node}, &add/2)
    # The run reads no messages while it pulls its
    # input, so the timer alone might be seen too late.
    due? = node.due != nil and System.monotonic_time(:millisecond) >= node.due
    {result, node} = if due?, do: make(result, node), else: {result, node}
    {Result.in_order(result), node}
  end

  @impl true
  def advance(node, flush?), do: if(flush? and node.count > 0, do: one(node), else: {nil, node})

  # Another timer's message is of a batch that was made before its timer ran out.
  @impl true
  def message(%__MODULE__{timer: timer} = node, {:timer, timer}), do: one(node)
  def message(node, _other), do: {nil, node}

  @impl true
  def waiting(node), do: %{batching: node.count}

  @impl true
  def free(%__MODULE__{timer: timer}), do: timer && :erlang.cancel_timer(timer)

  defp add(entry, {result, node}) do
    node = begin(node)
    node = %{node | held: [entry | node.held], count: node.count + 1}
    if node.count == node.size, do: make(result, node), else: {result, node}
  end

  defp begin(%__MODULE__{count: 0, timeout: timeout} = node) when timeout != :infinity do
    timer = Mailbox.start_timer(node.inbox, timeout)
    %{node | timer: timer, due: System.monotonic_time(:millisecond) + timeout}
  end

  defp begin(node), do: node

  defp one(node), do: make(%Result{}, node)

  # `count` entries become one.
  defp make(result, %__MODULE__{count: count, held: [{seq, _item} | _]} = node) do
    held = Enum.reverse(node.held)
    items = for {_seq, item} <- held, do: item
    item = %Item{id: Enum.map(items, & &1.id), payload: Enum.map(items, & &1.payload)}
    took = result.took + count
    merged = [{seq, Enum.map(held, &elem(&1, 0))} | result.merged]
    result = %{result | took: took, expanded: result.expanded + 1 - count, merged: merged}
    result = Result.on(%{result | of: Enum.reverse(held, result.of)}, seq, item)
    free(node)
    {result, %{node | held: [], count: 0, timer: nil, due: nil}}
  end
end
