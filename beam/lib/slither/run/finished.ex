defmodule Slither.Run.Finished do
  @moduledoc false
  # The positions of finished inputs, each with a digest, by which a run that goes on from a
  # checkpoint can tell whether its input is the same. Positions that follow one another are kept
  # as one range, and ranges in order: nearly always there is one range, from 0. Pure; made and
  # recorded by `Slither.Pipe.Resume`, and read by `Unfinished`.

  alias Slither.Item

  @size 8

  @type digest :: <<_::64>>
  @type t :: [{from :: non_neg_integer, to :: non_neg_integer, digests :: binary}]

  @doc "The digest of an input: of its payload, and of the facts that came with it."
  @spec digest(Item.t()) :: digest
  def digest(%Item{payload: payload, meta: meta}) do
    term = if meta == %{}, do: payload, else: {payload, meta}
    # Without :deterministic, another VM may encode a map's keys in another order.
    <<digest::binary-size(@size), _::binary>> =
      :erlang.md5(:erlang.term_to_binary(term, [:deterministic]))

    digest
  end

  @doc "The set of positions with their digests, given in any order."
  @spec new([{non_neg_integer, digest}]) :: t
  def new(positions),
    do:
      positions |> Enum.map(fn {position, digest} -> {position, position, digest} end) |> union()

  @doc "Runs in any order, none of which overlap, as a set."
  @spec union(t) :: t
  def union(runs), do: runs |> Enum.sort() |> join([])

  @doc "The digest of a position in the set, or `nil`; and the set from the position on."
  @spec pop(t, non_neg_integer) :: {digest | nil, t}
  def pop([{_from, to, _digests} | rest], position) when position > to, do: pop(rest, position)

  def pop([{from, _to, digests} | _] = runs, position) when position >= from,
    do: {binary_part(digests, (position - from) * @size, @size), runs}

  def pop(runs, _position), do: {nil, runs}

  @doc "The last position of the set; -1 where it has none."
  @spec last(t) :: integer
  def last([]), do: -1
  def last(runs), do: runs |> List.last() |> elem(1)

  defp join([], joined), do: Enum.reverse(joined)

  defp join([{from, _to, _digests} | _] = runs, joined) do
    {to, digests, rest} = following(runs, from, [])
    join(rest, [{from, to, IO.iodata_to_binary(digests)} | joined])
  end

  defp following([{next, to, digests} | rest], next, before),
    do: following(rest, to + 1, [before | digests])

  defp following(rest, next, digests), do: {next - 1, digests, rest}
end
