defmodule Slither.Pipe.Live do
  @moduledoc false
  # Which inputs of a run are finished: an input lives as long as any item made of it is inside.
  # Runs that are not tracked have `nil` in its place, and pay nothing.

  alias Slither.Pipe.Ranges

  defstruct done: [], counts: %{}, finished: []

  @type t :: %__MODULE__{} | nil

  @doc "Tracks a run that leaves out what is done."
  @spec new(Ranges.t()) :: t
  def new(done), do: %__MODULE__{done: done}

  @doc "Takes in entries of the input, in order; gives those that are not done."
  @spec begin(t, list) :: {list, t}
  def begin(nil, entries), do: {entries, nil}

  def begin(live, entries) do
    {kept, live} =
      Enum.reduce(entries, {[], live}, fn {[position], _item} = entry, {kept, live} ->
        {done?, done} = Ranges.pop(live.done, position)

        if done?,
          do: {kept, %{live | done: done}},
          else: {[entry | kept], %{live | done: done, counts: Map.put(live.counts, position, 1)}}
      end)

    {Enum.reverse(kept), live}
  end

  @doc "Entries went through a stage on BEAM, which may have made several or none of one."
  @spec pass(t, list, Slither.Pipe.Inline.result()) :: t
  def pass(nil, _entries, _result), do: nil

  def pass(live, entries, result) do
    # A failed item, and what is behind it, is not finished.
    passed =
      case result.halt do
        nil -> entries
        {limit, _error} -> Enum.filter(entries, &(elem(&1, 0) < limit))
      end

    %{}
    |> add(passed, -1)
    |> add(result.on, 1)
    |> add(result.exits, 1)
    |> Enum.reduce(live, &change/2)
  end

  @doc "Items have ended."
  @spec ended(t, [[non_neg_integer, ...]]) :: t
  def ended(nil, _seqs), do: nil

  def ended(live, seqs),
    do: Enum.reduce(seqs, live, fn [n | _], live -> change({n, -1}, live) end)

  @doc "The inputs that have finished since, in no order."
  @spec take(t) :: {[non_neg_integer], t}
  def take(live), do: {live.finished, %{live | finished: []}}

  defp add(changes, entries, by) do
    Enum.reduce(entries, changes, fn entry, changes ->
      Map.update(changes, hd(elem(entry, 0)), by, &(&1 + by))
    end)
  end

  defp change({_position, 0}, live), do: live

  defp change({position, by}, live) do
    case Map.fetch!(live.counts, position) + by do
      0 ->
        counts = Map.delete(live.counts, position)
        %{live | counts: counts, finished: [position | live.finished]}

      count ->
        %{live | counts: Map.put(live.counts, position, count)}
    end
  end
end
