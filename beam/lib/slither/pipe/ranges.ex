defmodule Slither.Pipe.Ranges do
  @moduledoc false
  # A set of positions as disjoint ranges in order, since what is finished is nearly always one
  # range from 0.

  @type t :: [{from :: non_neg_integer, to :: non_neg_integer}]

  @doc "The set of positions, given in any order."
  @spec new([non_neg_integer]) :: t
  def new(positions), do: positions |> Enum.map(&{&1, &1}) |> union()

  @doc "Ranges in any order, which may touch or overlap, as a set."
  @spec union(t) :: t
  def union(ranges), do: ranges |> Enum.sort() |> join()

  @doc "Whether a position is in the set, and the set without what lies before the position."
  @spec pop(t, non_neg_integer) :: {boolean, t}
  def pop([{_from, to} | rest], position) when position > to, do: pop(rest, position)
  def pop([{from, _to} | _] = ranges, position), do: {position >= from, ranges}
  def pop([], _position), do: {false, []}

  @doc "How many positions the set has."
  @spec count(t) :: non_neg_integer
  def count(ranges), do: ranges |> Enum.map(fn {from, to} -> to - from + 1 end) |> Enum.sum()

  defp join([{from, to}, {next, last} | rest]) when next <= to + 1,
    do: join([{from, max(to, last)} | rest])

  defp join([range | rest]), do: [range | join(rest)]
  defp join([]), do: []
end
