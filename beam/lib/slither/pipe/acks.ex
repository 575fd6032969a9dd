defmodule Slither.Pipe.Acks do
  @moduledoc false
  # Whom a long-running pipe is to tell what became of the items that he pushed. A value that the
  # pipe's server holds, which tells them, and its heir (`Slither.Pipe.Heir`), which does so where
  # the server can't any more. Only `tell/2` and `lose/1` send.

  alias Slither.Run.Fates

  # `Slither.Pipe`, by which users know these messages. Its module knows this one, and so is not
  # named here.
  @pipe :"Elixir.Slither.Pipe"

  @type t :: %{optional(reference) => push}
  @typedoc "`told` has the indexes that were told, as lists, and `left` says how many are not."
  @type push :: %{
          to: pid,
          term: term,
          count: pos_integer,
          left: non_neg_integer,
          told: [[non_neg_integer]]
        }
  @typedoc "Who is told, and the term by which he knows the push."
  @type ack :: {pid, term}
  @typedoc "What became of an item of a push, by its index there."
  @type ending :: {push :: reference, index :: non_neg_integer, Fates.fate()}

  @doc "Nobody is to be told anything."
  @spec new() :: t
  def new, do: %{}

  @doc "So many items of a push are to be told of."
  @spec expect(t, reference, ack, pos_integer) :: t
  def expect(acks, ref, {to, term}, count),
    do: Map.put(acks, ref, %{to: to, term: term, count: count, left: count, told: []})

  @doc "Tells what became of items, those of one push at once."
  @spec tell(t, [ending]) :: t
  def tell(acks, endings) do
    for {ref, outcomes} <- by_push(endings),
        push = acks[ref],
        do: send(push.to, {@pipe, :ack, push.term, outcomes})

    told(acks, endings)
  end

  @doc "Notes that the server has told them."
  @spec told(t, [ending | {reference, non_neg_integer}]) :: t
  def told(acks, endings) do
    endings |> Enum.group_by(&elem(&1, 0), &elem(&1, 1)) |> Enum.reduce(acks, &note/2)
  end

  defp note({ref, indexes}, acks) do
    case acks do
      %{^ref => %{left: left} = push} when left > length(indexes) ->
        %{acks | ref => %{push | left: left - length(indexes), told: [indexes | push.told]}}

      _all_told ->
        Map.delete(acks, ref)
    end
  end

  defp by_push(endings),
    do: Enum.group_by(endings, &elem(&1, 0), fn {_, at, fate} -> {at, fate} end)

  @doc "Tells that all items of which nothing was told are lost."
  @spec lose(t) :: t
  def lose(acks) do
    for {_ref, push} <- acks do
      left = Enum.to_list(0..(push.count - 1)) -- Enum.concat(push.told)
      send(push.to, {@pipe, :ack, push.term, Enum.map(left, &{&1, :lost})})
    end

    new()
  end
end
