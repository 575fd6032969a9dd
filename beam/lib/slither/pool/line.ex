defmodule Slither.Pool.Line do
  @moduledoc false
  # Who waits for a lane: one queue of those whom any worker can serve, and one for each session and
  # each worker that somebody waits for. Pure; the ledger's, in the scheduler.
  #
  # In the common queue an urgent request stands as if it had been made `age` earlier. So it goes before
  # all that are not and that had not waited for that long when it came, and behind the others: however
  # many urgent ones come, each other has its turn. Those of one priority keep their order. A session's
  # calls, and what goes on at one worker, keep theirs whatever they are.

  alias Slither.Pool.{Ordered, Waiter}

  defstruct waiters: %{},
            queues: %{},
            owners: %{},
            deadlines: %{},
            seq: 0,
            age: 0,
            came: nil,
            urgent: 0

  @typedoc "A queue: `nil` is that of those whom any worker can serve."
  @type key :: nil | (session :: String.t()) | {:worker, pid}

  @typedoc """
  The waiters, by reference; and their references by queue, by owner, and by deadline, under the one
  key `:all`. `age` is in native time, the last one `came` at that time, and so many are `urgent`.
  """
  @type t :: %__MODULE__{
          waiters: %{optional(reference) => Waiter.t()},
          queues: Ordered.t(key, {place, reference}),
          owners: Ordered.t(pid, reference),
          deadlines: Ordered.t(:all, {integer, reference}),
          seq: non_neg_integer,
          age: non_neg_integer,
          came: integer | nil,
          urgent: non_neg_integer
        }
  @typep place :: integer | {integer, non_neg_integer}

  @doc "Nobody waits; so many ms of waiting have a request go before urgent ones that come later."
  @spec new(non_neg_integer) :: t
  def new(age), do: %__MODULE__{age: System.convert_time_unit(age, :millisecond, :native)}

  @doc "The queue of a waiter."
  @spec key(Waiter.t()) :: key
  def key(%Waiter{session: nil, worker: nil}), do: nil
  def key(%Waiter{session: nil, worker: worker}), do: {:worker, worker}
  def key(%Waiter{session: session}), do: session

  @doc "One more waits, behind those of the same queue."
  @spec put(t, Waiter.t()) :: t
  def put(line, %Waiter{ref: ref} = waiter) do
    # Of two that ask at once either may come first, and is first.
    came = max(waiter.asked, line.came || waiter.asked)
    waiter = %{waiter | seq: line.seq, came: came}

    line = %{line | seq: line.seq + 1, came: came, waiters: Map.put(line.waiters, ref, waiter)}
    line |> counted(waiter, 1) |> change(waiter, &Ordered.put/3)
  end

  @doc "Takes a waiter out; `nil` where nobody waits by this reference."
  @spec take(t, reference) :: {Waiter.t() | nil, t}
  def take(line, ref) do
    case Map.pop(line.waiters, ref) do
      {nil, _waiters} -> {nil, line}
      {waiter, rest} -> {waiter, line |> taken(rest, waiter) |> counted(waiter, -1)}
    end
  end

  defp taken(line, rest, waiter),
    do: change(%{line | waiters: rest}, waiter, &Ordered.delete/3)

  defp counted(line, %Waiter{priority: :normal}, _by), do: line
  defp counted(line, _urgent, by), do: %{line | urgent: line.urgent + by}

  defp change(line, %Waiter{ref: ref, deadline: deadline} = waiter, fun) do
    queues = fun.(line.queues, key(waiter), {place(line, waiter), ref})
    owners = fun.(line.owners, waiter.owner, ref)
    times = line.deadlines
    times = if deadline, do: fun.(times, :all, {deadline, ref}), else: times
    %{line | queues: queues, owners: owners, deadlines: times}
  end

  # A move of a session comes ahead of its whole queue,
  # so that the session moves before its next call.
  defp place(_line, %Waiter{service: :move, seq: seq}), do: -seq

  defp place(line, %Waiter{session: nil, worker: nil, seq: seq} = waiter),
    do: {waiter.came - if(waiter.priority == :urgent, do: line.age, else: 0), seq}

  defp place(_line, %Waiter{seq: seq}), do: seq

  @doc "How many wait."
  @spec count(t) :: non_neg_integer
  def count(line), do: map_size(line.waiters)

  @doc "When the one asked who waits the longest, in native time; nil where nobody waits."
  @spec asked(t) :: integer | nil
  def asked(line) do
    line.queues
    |> Map.keys()
    |> Enum.flat_map(&oldest(line, &1))
    |> Enum.map(& &1.asked)
    |> Enum.min(fn -> nil end)
  end

  # The first of a queue, unless it has come ahead of the others.
  defp oldest(line, key) do
    case first(line, key) do
      %Waiter{service: :move} -> all(line, key)
      _first when key == nil and line.urgent > 0 -> all(line, key)
      waiter -> [waiter]
    end
  end

  @doc "How many of those whom any worker can serve asked before a time, or then."
  @spec overdue(t, integer) :: non_neg_integer
  def overdue(line, before) do
    Enum.count(line.waiters, fn {_ref, waiter} ->
      waiter.asked <= before and key(waiter) == nil
    end)
  end

  @doc "Whether somebody waits in a queue."
  @spec waits?(t, key) :: boolean
  def waits?(line, key), do: is_map_key(line.queues, key)

  @doc "The first of a queue."
  @spec first(t, key) :: Waiter.t() | nil
  def first(line, key) do
    with {_place, ref} <- Ordered.first(line.queues, key), do: Map.fetch!(line.waiters, ref)
  end

  @doc "All of a queue, in order."
  @spec all(t, key) :: [Waiter.t()]
  def all(line, key),
    do: for({_place, ref} <- Ordered.all(line.queues, key), do: Map.fetch!(line.waiters, ref))

  @doc "Those who wait for a call, in the order of asking."
  @spec calls(t) :: [Waiter.t()]
  def calls(line) do
    Enum.sort_by(for({_ref, %Waiter{service: nil} = w} <- line.waiters, do: w), & &1.seq)
  end

  @doc "Those of an owner."
  @spec of(t, pid) :: [reference]
  def of(line, owner), do: Ordered.all(line.owners, owner)

  @doc "The soonest deadline."
  @spec deadline(t) :: integer | nil
  def deadline(line), do: with({at, _ref} <- Ordered.first(line.deadlines, :all), do: at)

  @doc "The first of those whose deadline is over."
  @spec late(t, integer) :: Waiter.t() | nil
  def late(line, now) do
    case Ordered.first(line.deadlines, :all) do
      {at, ref} when at <= now -> Map.fetch!(line.waiters, ref)
      _none -> nil
    end
  end
end
