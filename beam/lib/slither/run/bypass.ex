defmodule Slither.Run.Bypass do
  @moduledoc false
  # The entries that pass a node by, on their way to an output or to a later
  # stage. Each waits here until all entries that entered the node ahead of
  # it have left, so that a node gives its entries on in the order in which
  # it got them, handled or not. Pure; held by each `Node` of a run.
  #
  # To know that, it counts the entries that enter and leave the node, whatever kind of node it
  # is. The same counts tell whether the node is empty.

  alias Slither.Run.Result

  defstruct entries: :queue.new(), count: 0, entered: 0, left: 0, ordered?: true

  @typedoc "`count` entries wait, each with how many had entered the node ahead of it."
  @type t :: %__MODULE__{
          entries: :queue.queue({non_neg_integer, Result.entry()}),
          count: non_neg_integer,
          entered: non_neg_integer,
          left: non_neg_integer,
          ordered?: boolean
        }

  @doc "One that lets entries by at once unless the node keeps its order."
  @spec new(boolean) :: t
  def new(ordered?), do: %__MODULE__{ordered?: ordered?}

  @doc "So many entries enter the node, and none passes it by."
  @spec enter(t, non_neg_integer) :: t
  def enter(bypass, count), do: %{bypass | entered: bypass.entered + count}

  @doc """
  Parts entries, in order: those that the node at `index` is to handle enter it, the others wait
  to pass it by.
  """
  @spec part(t, [Result.entry()], non_neg_integer) :: {here :: [Result.entry()], t}
  def part(bypass, entries, index) do
    {here, count, waiting} = part(entries, index, bypass.entered, [], bypass.entries)
    entered = bypass.entered + count
    by = length(entries) - count
    {here, %{bypass | entries: waiting, count: bypass.count + by, entered: entered}}
  end

  # `ahead` counts the entries that have entered the node so far.
  defp part([{_seq, {:exit, _, _}} = entry | entries], index, ahead, here, waiting),
    do: part(entries, index, ahead, here, :queue.in({ahead, entry}, waiting))

  defp part([{_seq, {:to, to, _}} = entry | entries], index, ahead, here, waiting)
       when to > index,
       do: part(entries, index, ahead, here, :queue.in({ahead, entry}, waiting))

  defp part([{seq, {:to, _index, item}} | entries], index, ahead, here, waiting),
    do: part(entries, index, ahead + 1, [{seq, item} | here], waiting)

  defp part([entry | entries], index, ahead, here, waiting),
    do: part(entries, index, ahead + 1, [entry | here], waiting)

  defp part([], _index, _ahead, here, waiting),
    do: {Enum.reverse(here), length(here), waiting}

  @doc "So many entries, or all, leave the node; gives those that may pass it by now."
  @spec leave(t, non_neg_integer | :all) :: {[Result.entry()], t}
  def leave(bypass, :all), do: leave(bypass, bypass.entered - bypass.left)

  def leave(%__MODULE__{count: 0} = bypass, count),
    do: {[], %{bypass | left: bypass.left + count}}

  def leave(bypass, count) do
    left = bypass.left + count
    {taken, entries} = take(bypass.entries, if(bypass.ordered?, do: left, else: :all), [])
    count = bypass.count - length(taken)
    {Enum.reverse(taken), %{bypass | entries: entries, count: count, left: left}}
  end

  defp take(entries, left, taken) do
    case :queue.out(entries) do
      # `left` may be `:all`: any number is less than an atom.
      {{:value, {ahead, entry}}, entries} when ahead <= left ->
        take(entries, left, [entry | taken])

      _later_or_empty ->
        {taken, entries}
    end
  end

  @doc "How many entries are in the node."
  @spec inside(t) :: non_neg_integer
  def inside(bypass), do: bypass.entered - bypass.left

  @doc "Whether nothing is in the node, and nothing waits to pass it by."
  @spec clear?(t) :: boolean
  def clear?(%__MODULE__{count: count, entered: entered, left: left}),
    do: count == 0 and entered == left
end
