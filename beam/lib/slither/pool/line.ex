defmodule Slither.Pool.Line do
  @moduledoc false
  # Who waits for a lane: one queue of those whom any worker can serve, and one for each session and
  # each worker that somebody waits for. Pure; the ledger's, in the scheduler.
  #
  # Each function but `calls/1` takes time for the waiters that it returns, however many wait.

  alias Slither.Pool.Waiter

  defstruct waiters: %{},
            queues: %{},
            owners: %{},
            deadlines: :gb_sets.empty(),
            seq: 0

  @typedoc "A queue: `nil` is that of those whom any worker can serve."
  @type key :: nil | (session :: String.t()) | {:worker, pid}

  @typedoc """
  `waiters` by reference; in each of `queues`, and of each of `owners`, their references; and
  `deadlines`, the soonest first.
  """
  @opaque t :: %__MODULE__{
            waiters: %{optional(reference) => Waiter.t()},
            queues: %{optional(key) => :gb_trees.tree(integer, reference)},
            owners: %{optional(pid) => %{optional(reference) => true}},
            deadlines: :gb_sets.set({integer, reference}),
            seq: non_neg_integer
          }

  @doc "The queue of a waiter."
  @spec key(Waiter.t()) :: key
  def key(%Waiter{session: nil, worker: nil}), do: nil
  def key(%Waiter{session: nil, worker: worker}), do: {:worker, worker}
  def key(%Waiter{session: session}), do: session

  @doc "One more waits, behind those of the same queue."
  @spec put(t, Waiter.t()) :: t
  def put(line, waiter) do
    %Waiter{ref: ref} = waiter = %{waiter | seq: line.seq}

    %{
      line
      | seq: line.seq + 1,
        waiters: Map.put(line.waiters, ref, waiter),
        queues: into_queue(line.queues, waiter),
        owners: Map.update(line.owners, waiter.owner, %{ref => true}, &Map.put(&1, ref, true)),
        deadlines: into_deadlines(line.deadlines, waiter)
    }
  end

  @doc "Takes a waiter out; `nil` where nobody waits by this reference."
  @spec take(t, reference) :: {Waiter.t() | nil, t}
  def take(line, ref) do
    case Map.pop(line.waiters, ref) do
      {nil, _waiters} ->
        {nil, line}

      {waiter, waiters} ->
        {waiter,
         %{
           line
           | waiters: waiters,
             queues: out_of_queue(line.queues, waiter),
             owners: out_of_owners(line.owners, waiter),
             deadlines: out_of_deadlines(line.deadlines, waiter)
         }}
    end
  end

  @doc "How many wait."
  @spec count(t) :: non_neg_integer
  def count(line), do: map_size(line.waiters)

  @doc "Whether somebody waits in a queue."
  @spec waits?(t, key) :: boolean
  def waits?(line, key), do: is_map_key(line.queues, key)

  @doc "The first of a queue."
  @spec first(t, key) :: Waiter.t() | nil
  def first(line, key) do
    case line.queues do
      %{^key => queue} ->
        {_place, ref} = :gb_trees.smallest(queue)
        Map.fetch!(line.waiters, ref)

      _nobody ->
        nil
    end
  end

  @doc "All of a queue, in order."
  @spec all(t, key) :: [Waiter.t()]
  def all(line, key) do
    case line.queues do
      %{^key => queue} -> for ref <- :gb_trees.values(queue), do: Map.fetch!(line.waiters, ref)
      _nobody -> []
    end
  end

  @doc "Those who wait for a call, in the order of asking."
  @spec calls(t) :: [Waiter.t()]
  def calls(line) do
    Enum.sort_by(for({_ref, %Waiter{service: nil} = w} <- line.waiters, do: w), & &1.seq)
  end

  @doc "Those of an owner."
  @spec of(t, pid) :: [reference]
  def of(line, owner), do: line.owners |> Map.get(owner, %{}) |> Map.keys()

  @doc "The soonest deadline."
  @spec deadline(t) :: integer | nil
  def deadline(line) do
    unless :gb_sets.is_empty(line.deadlines), do: elem(:gb_sets.smallest(line.deadlines), 0)
  end

  @doc "Those whose deadline is over, the soonest first."
  @spec late(t, integer) :: [Waiter.t()]
  def late(line, now) do
    line.deadlines |> :gb_sets.iterator() |> :gb_sets.next() |> late(line.waiters, now)
  end

  defp late({{at, ref}, later}, waiters, now) when at <= now,
    do: [Map.fetch!(waiters, ref) | late(:gb_sets.next(later), waiters, now)]

  defp late(_later_or_none, _waiters, _now), do: []

  # A session moves before its next call: before all of its queue.
  defp place(%Waiter{service: :move, seq: seq}), do: -seq
  defp place(%Waiter{seq: seq}), do: seq

  defp into_queue(queues, waiter) do
    key = key(waiter)
    queue = Map.get_lazy(queues, key, &:gb_trees.empty/0)
    Map.put(queues, key, :gb_trees.insert(place(waiter), waiter.ref, queue))
  end

  defp out_of_queue(queues, waiter) do
    key = key(waiter)
    queue = :gb_trees.delete(place(waiter), Map.fetch!(queues, key))

    if :gb_trees.is_empty(queue),
      do: Map.delete(queues, key),
      else: Map.put(queues, key, queue)
  end

  defp out_of_owners(owners, %Waiter{owner: owner, ref: ref}) do
    refs = Map.delete(Map.fetch!(owners, owner), ref)
    if refs == %{}, do: Map.delete(owners, owner), else: Map.put(owners, owner, refs)
  end

  defp into_deadlines(deadlines, %Waiter{deadline: nil}), do: deadlines
  defp into_deadlines(deadlines, w), do: :gb_sets.add_element({w.deadline, w.ref}, deadlines)

  defp out_of_deadlines(deadlines, %Waiter{deadline: nil}), do: deadlines
  defp out_of_deadlines(deadlines, w), do: :gb_sets.del_element({w.deadline, w.ref}, deadlines)
end
