defmodule Slither.Run.Fates do
  @moduledoc false
  # What becomes of inputs that somebody follows: an input has ended once all that was made of it
  # has, and its fate is the worst of theirs. Pure; held by the chain of a run, and by the server of
  # a long-running pipe once its run is over. Runs in which nobody follows an input have `nil` in
  # its place, and pay nothing.
  #
  # A part is an input, or what a `:batch` stage made of several entries. Each entry belongs to one
  # part: that of the longest beginning of its seq that is the place of a merged one, or else the
  # input that its seq begins with. A merged part that ends hands its fate to all parts it is of.

  alias Slither.Run.Result

  defstruct ranges: :queue.new(), parts: %{}, places: %{}, merges: 0, ended: []

  @type fate ::
          :ok | {:skipped, term} | {:routed, term, Exception.t()} | {:failed, Exception.t()}
  @type id :: non_neg_integer | {:merged, pos_integer}
  @typedoc "Whose input it is, and which of his it is."
  @type input :: {tag :: term, index :: non_neg_integer}
  @typedoc """
  `inside` counts the entries of a part that the nodes hold, and `held` those that have come out and
  the merged parts that it is in.
  """
  @type part ::
          {inside :: non_neg_integer, held :: non_neg_integer, fate | nil,
           {:input, input} | {:merged, Result.seq(), [id, ...]}}
  @typedoc """
  `ranges` are the inputs to come that are followed, in order; `places` says where merged parts are,
  and `ended` which inputs have ended since somebody asked, the last one first.
  """
  @type t ::
          %__MODULE__{
            ranges: :queue.queue({first :: non_neg_integer, count :: pos_integer, tag :: term}),
            parts: %{optional(id) => part},
            places: %{optional(Result.seq()) => id},
            merges: non_neg_integer,
            ended: [{tag :: term, index :: non_neg_integer, fate}]
          }
          | nil

  @doc "Follows `count` inputs from position `first` on, which is behind all that are followed."
  @spec follow(t, non_neg_integer, pos_integer, tag :: term) :: t
  def follow(nil, first, count, tag), do: follow(%__MODULE__{}, first, count, tag)

  def follow(fates, first, count, tag),
    do: %{fates | ranges: :queue.in({first, count, tag}, fates.ranges)}

  @doc "Entries of the input come in."
  @spec begin(t, [Result.entry()]) :: t
  def begin(nil, _entries), do: nil
  def begin(fates, entries), do: Enum.reduce(entries, fates, &enter/2)

  defp enter({[position], _item}, %{ranges: ranges} = fates) do
    case :queue.peek(ranges) do
      {:value, {first, count, tag}} when position >= first ->
        part = {1, 0, nil, {:input, {tag, position - first}}}
        # The next input to come is in what is left of the ranges, or ahead of them.
        ranges = if position == first + count - 1, do: :queue.drop(ranges), else: ranges
        %{fates | parts: Map.put(fates.parts, position, part), ranges: ranges}

      _later_or_none ->
        fates
    end
  end

  @doc "A node has made a result of entries, of which it may have made several, one, or none."
  @spec pass(t, Result.t()) :: t
  def pass(nil, _result), do: nil

  def pass(fates, result) do
    # The item that halts the run stays inside, and so do those behind it.
    passed =
      case result.halt do
        nil -> result.of
        {limit, _error} -> Enum.filter(result.of, &(elem(&1, 0) < limit))
      end

    touched = places(fates, passed)
    fates = Enum.reduce(touched, fates, &inside(&2, &1, -1))
    fates = Enum.reduce(result.gone, fates, fn {seq, why}, f -> meet(f, seq, {:skipped, why}) end)
    fates = result.merged |> Enum.reverse() |> Enum.reduce(fates, &merge/2)
    fates = fates |> places(result.on) |> Enum.reduce(fates, &inside(&2, &1, 1))
    touched |> Enum.uniq() |> Enum.reduce(fates, &close/2)
  end

  defp places(fates, entries) do
    for entry <- entries, id = place(fates, elem(entry, 0)), id != nil, do: id
  end

  # The part of an entry, nil where nobody follows it.
  defp place(%{places: none, parts: parts}, [position | _]) when none == %{},
    do: if(is_map_key(parts, position), do: position)

  defp place(fates, seq), do: place(fates, seq, seq)

  defp place(fates, seq, beginning) do
    case fates.places do
      %{^beginning => id} -> id
      _none when tl(beginning) == [] -> place(%{fates | places: %{}}, seq)
      _none -> place(fates, seq, Enum.drop(beginning, -1))
    end
  end

  defp inside(fates, id, by), do: change(fates, id, by, 0, nil)

  defp change(fates, id, inside, held, fate) do
    {was_inside, was_held, was, of} = Map.fetch!(fates.parts, id)
    part = {was_inside + inside, was_held + held, worst(was, fate), of}
    %{fates | parts: %{fates.parts | id => part}}
  end

  defp meet(fates, seq, fate) do
    case place(fates, seq) do
      nil -> fates
      id -> change(fates, id, 0, 0, fate)
    end
  end

  # The entries have left their parts already; the one that they became has not come yet.
  defp merge({seq, seqs}, fates) do
    case Enum.uniq(for of <- seqs, id = place(fates, of), id != nil, do: id) do
      [] ->
        fates

      ids ->
        id = {:merged, fates.merges + 1}
        fates = Enum.reduce(ids, fates, &change(&2, &1, 0, 1, nil))

        %{
          fates
          | merges: fates.merges + 1,
            parts: Map.put(fates.parts, id, {0, 0, nil, {:merged, seq, ids}}),
            places: Map.put(fates.places, seq, id)
        }
    end
  end

  @doc "Entries come out; gives the part of each, nil where nobody follows it."
  @spec out(t, [Result.entry()]) :: {[id | nil], t}
  def out(fates, entries) do
    Enum.map_reduce(entries, fates, fn {seq, _item}, fates ->
      case place(fates, seq) do
        nil -> {nil, fates}
        id -> {id, change(fates, id, -1, 1, nil)}
      end
    end)
  end

  @doc "What had come out has reached its end."
  @spec reached(t, [{id, fate}]) :: t
  def reached(fates, ends) do
    Enum.reduce(ends, fates, fn {id, fate}, fates ->
      close(id, change(fates, id, 0, -1, fate))
    end)
  end

  @doc "All that is still inside has failed."
  @spec fail(t, Exception.t()) :: t
  def fail(nil, _error), do: nil

  def fail(fates, error) do
    inside = for {id, {inside, _held, _fate, _of}} <- fates.parts, inside > 0, do: {id, inside}
    failed = fn {id, count}, fates -> change(fates, id, -count, 0, {:failed, error}) end
    fates = Enum.reduce(inside, fates, failed)
    Enum.reduce(inside, fates, fn {id, _count}, fates -> close(id, fates) end)
  end

  defp close(id, fates) do
    case fates.parts do
      %{^id => {0, 0, fate, of}} ->
        ended(%{fates | parts: Map.delete(fates.parts, id)}, fate, of, id)

      _open_or_closed ->
        fates
    end
  end

  defp ended(fates, fate, {:input, {tag, index}}, _id),
    do: %{fates | ended: [{tag, index, fate} | fates.ended]}

  defp ended(fates, fate, {:merged, seq, ids}, id) do
    # What was merged again, alone, has left its place to the later part.
    places = if fates.places[seq] == id, do: Map.delete(fates.places, seq), else: fates.places

    Enum.reduce(ids, %{fates | places: places}, fn of, fates ->
      close(of, change(fates, of, 0, -1, fate))
    end)
  end

  @doc "The inputs that have ended since, in the order in which they did; nil where none is left."
  @spec take(t) :: {[{tag :: term, index :: non_neg_integer, fate}], t}
  def take(nil), do: {[], nil}

  def take(%__MODULE__{ended: ended} = fates) do
    over? = fates.parts == %{} and :queue.is_empty(fates.ranges)
    {Enum.reverse(ended), if(over?, do: nil, else: %{fates | ended: []})}
  end

  @doc "What became of an item that has reached an output, if its sink does its work."
  @spec of(term, Slither.Item.t()) :: fate
  # An item that an error policy has routed has the
  # error in its meta, and the output in its route.
  def of(output, %{route: output, meta: %{error: error}}), do: {:routed, output, error}
  def of(_output, _item), do: :ok

  @doc "The worse of two fates."
  @spec worst(fate | nil, fate | nil) :: fate | nil
  def worst(fate, nil), do: fate
  def worst(nil, fate), do: fate
  def worst(one, other), do: if(rank(other) > rank(one), do: other, else: one)

  # A handler that drops one of an item's parts filters; a policy that does so drops a failure.
  defp rank({:skipped, reason}) when is_exception(reason), do: 2
  defp rank({:skipped, _reason}), do: 0
  defp rank(:ok), do: 1
  defp rank({:routed, _output, _error}), do: 3
  defp rank({:failed, _error}), do: 4
end
