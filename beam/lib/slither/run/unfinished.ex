defmodule Slither.Run.Unfinished do
  @moduledoc false
  # Which inputs of a run are finished: an input is not, as long as any item made of it is inside.
  # Pure; held by the chain of a run. Runs that are not tracked have `nil` in its place, and pay
  # nothing.
  #
  # A run that goes on from a checkpoint first checks that the inputs which earlier runs finished
  # are still the same. Until the last of these has come, all other inputs wait here.

  alias Slither.Run.{Finished, Result}

  defstruct done: [], last: -1, compare: true, counts: %{}, finished: [], waiting: [], other: nil

  @typedoc """
  `done` are the inputs that earlier runs have finished, of which `last` is the last to be compared,
  or -1; `counts` are how many items of each input are inside, with its digest; `finished` those that
  nobody has taken yet, `waiting` the entries that wait, and `other` is where the input differs.
  """
  @type t ::
          %__MODULE__{
            done: Finished.t(),
            last: integer,
            compare: boolean,
            counts: %{optional(non_neg_integer) => {pos_integer, Finished.digest()}},
            finished: [{non_neg_integer, Finished.digest()}],
            waiting: [Result.entry()],
            other: non_neg_integer | nil
          }
          | nil

  @doc "Tracks a run that leaves out what is done, and compares it unless it is told not to."
  @spec new(Finished.t(), boolean) :: t
  def new(done, compare),
    do: %__MODULE__{
      done: done,
      last: if(compare, do: Finished.last(done), else: -1),
      compare: compare
    }

  @doc "Takes in entries of the input, in order; gives those that are not done."
  @spec begin(t, list) :: {list, t}
  def begin(nil, entries), do: {entries, nil}

  def begin(unfinished, entries) do
    {kept, unfinished} = Enum.reduce(entries, {unfinished.waiting, unfinished}, &enter/2)

    cond do
      unfinished.other != nil -> {[], %{unfinished | waiting: []}}
      known?(unfinished) -> {Enum.reverse(kept), %{unfinished | waiting: []}}
      true -> {[], %{unfinished | waiting: kept}}
    end
  end

  @doc "Whether the finished inputs have come again, and are the same."
  @spec known?(t) :: boolean
  def known?(unfinished), do: unfinished.last == -1 and unfinished.other == nil

  @doc "The position at which the input is another one, if that was seen."
  @spec other(t) :: non_neg_integer | nil
  def other(nil), do: nil
  def other(unfinished), do: unfinished.other

  @doc "The last of the finished positions that have not come again yet."
  @spec last(t) :: integer
  def last(unfinished), do: unfinished.last

  defp enter(_entry, {kept, %{other: other} = unfinished}) when other != nil,
    do: {kept, unfinished}

  defp enter({[position], item} = entry, {kept, unfinished}) do
    digest = Finished.digest(item)
    {known, done} = Finished.pop(unfinished.done, position)
    last = if position == unfinished.last, do: -1, else: unfinished.last
    unfinished = %{unfinished | done: done, last: last}

    cond do
      known == nil ->
        {[entry | kept],
         %{unfinished | counts: Map.put(unfinished.counts, position, {1, digest})}}

      known == digest or not unfinished.compare ->
        {kept, unfinished}

      true ->
        {kept, %{unfinished | other: position}}
    end
  end

  @doc "A node has made a result of entries, of which it may have made several or none."
  @spec pass(t, Result.t()) :: t
  def pass(nil, _result), do: nil

  def pass(unfinished, result) do
    # A failed item is not finished, and neither are the items after it.
    passed =
      case result.halt do
        nil -> result.of
        {limit, _error} -> Enum.filter(result.of, &(elem(&1, 0) < limit))
      end

    %{}
    |> add(passed, -1)
    |> add(result.on, 1)
    |> Enum.reduce(unfinished, &change/2)
  end

  @doc "Entries have reached an output."
  @spec ended(t, [Result.entry()]) :: t
  def ended(nil, _entries), do: nil

  def ended(unfinished, entries),
    do: %{} |> add(entries, -1) |> Enum.reduce(unfinished, &change/2)

  @doc "The inputs that have finished since, with their digests, in no order."
  @spec take(t) :: {[{non_neg_integer, Finished.digest()}], t}
  def take(unfinished), do: {unfinished.finished, %{unfinished | finished: []}}

  defp add(changes, entries, by) do
    Enum.reduce(entries, changes, fn entry, changes ->
      Map.update(changes, hd(elem(entry, 0)), by, &(&1 + by))
    end)
  end

  defp change({_position, 0}, unfinished), do: unfinished

  defp change({position, by}, unfinished) do
    {count, digest} = Map.fetch!(unfinished.counts, position)

    case count + by do
      0 ->
        counts = Map.delete(unfinished.counts, position)
        %{unfinished | counts: counts, finished: [{position, digest} | unfinished.finished]}

      count ->
        %{unfinished | counts: Map.put(unfinished.counts, position, {count, digest})}
    end
  end
end
