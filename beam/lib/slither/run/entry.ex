defmodule Slither.Run.Entry do
  @moduledoc false
  # The waiting room of a run that others push items to: up to `max_waiting` items, and behind
  # them the pushes that wait for room, first come, first served. Pure; held by the server of a
  # long-running pipe, which sets the timers and answers whoever pushed.

  defmodule Push do
    @moduledoc false
    # What one process pushes at once: `ref` is the monitor of a push that waits, `from` whom to
    # answer, `timer` what ends its wait, `ack` who is to be told what became of the items.
    @enforce_keys [:from, :items, :count]
    defstruct [:from, :items, :count, :ref, :timer, :ack]
  end

  @enforce_keys [:limit]
  defstruct [:limit, items: :queue.new(), count: 0, waiting: :queue.new()]

  @type push :: %Push{
          from: GenServer.from(),
          items: list,
          count: non_neg_integer,
          ref: reference | nil,
          timer: reference | nil,
          ack: {pid, term} | nil
        }
  @type t :: %__MODULE__{
          limit: pos_integer,
          items: :queue.queue(),
          count: non_neg_integer,
          waiting: :queue.queue(push)
        }

  @doc "An empty entry for so many items."
  @spec new(pos_integer) :: t
  def new(limit), do: %__MODULE__{limit: limit}

  @doc "Takes a push in if there is room and none waits: a small one does not overtake a large one."
  @spec offer(t, push) :: {:ok, t} | :full
  def offer(entry, push) do
    if :queue.is_empty(entry.waiting) and fits?(entry, push),
      do: {:ok, put(entry, push)},
      else: :full
  end

  @doc "Has a push wait for room."
  @spec wait(t, push) :: t
  def wait(entry, push), do: %{entry | waiting: :queue.in(push, entry.waiting)}

  @doc "Takes in the pushes that have room now; gives them."
  @spec admit(t) :: {[push], t}
  def admit(entry) do
    case :queue.peek(entry.waiting) do
      {:value, push} -> if fits?(entry, push), do: admit(entry, push), else: {[], entry}
      :empty -> {[], entry}
    end
  end

  defp admit(entry, push) do
    {more, entry} = admit(put(%{entry | waiting: :queue.drop(entry.waiting)}, push))
    {[push | more], entry}
  end

  @doc "The next `count` items, of those that are there."
  @spec take(t, non_neg_integer) :: {list, t}
  def take(entry, count) do
    {taken, items} = :queue.split(count, entry.items)
    {:queue.to_list(taken), %{entry | items: items, count: entry.count - count}}
  end

  @doc "Removes the push that waits under `ref`, if it still does."
  @spec give_up(t, reference) :: {[push], t}
  def give_up(entry, ref), do: remove(entry, &(&1.ref == ref))

  @doc "Removes all pushes that wait."
  @spec refuse(t) :: {[push], t}
  def refuse(entry), do: remove(entry, fn _push -> true end)

  defp remove(entry, fun) do
    {gone, waiting} = entry.waiting |> :queue.to_list() |> Enum.split_with(fun)
    {gone, %{entry | waiting: :queue.from_list(waiting)}}
  end

  @doc "How many items a push may have that need not wait."
  @spec free(t) :: non_neg_integer
  def free(entry),
    do: if(:queue.is_empty(entry.waiting), do: entry.limit - entry.count, else: 0)

  @doc "How many pushes wait."
  @spec waiting(t) :: non_neg_integer
  def waiting(entry), do: :queue.len(entry.waiting)

  defp fits?(entry, push), do: entry.count + push.count <= entry.limit

  defp put(entry, push) do
    items = Enum.reduce(push.items, entry.items, &:queue.in/2)
    %{entry | items: items, count: entry.count + push.count}
  end
end
