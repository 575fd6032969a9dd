defmodule Slither.Run.Bypass do
  @moduledoc false
  # What passes one stage by: entries on their way to an output or to a later stage. The engine
  # keeps them here until everything that entered the stage ahead of them has left it, so that
  # a stage gives on its entries in the order in which it got them, handled or not.

  defstruct entries: :queue.new(), count: 0

  @typedoc "`{seq, {:to, stage, item}}` or `{seq, {:exit, output, item}}`."
  @type passing :: {[non_neg_integer, ...], {:to | :exit, term, Slither.Item.t()}}
  @type t :: %__MODULE__{}

  @doc """
  Parts entries, in order, into those that the stage at `index` is to handle and those that pass
  it by, each of these with how many will have entered the stage ahead of it, `fed` being how
  many have so far.
  """
  @spec part(list, non_neg_integer, non_neg_integer) ::
          {here :: list, past :: [{non_neg_integer, passing}]}
  def part(entries, index, fed), do: part(entries, index, fed, [], [])

  defp part([{_seq, {:exit, _, _}} = entry | entries], index, fed, here, past),
    do: part(entries, index, fed, here, [{fed, entry} | past])

  defp part([{_seq, {:to, to, _}} = entry | entries], index, fed, here, past) when to > index,
    do: part(entries, index, fed, here, [{fed, entry} | past])

  defp part([{seq, {:to, _index, item}} | entries], index, fed, here, past),
    do: part(entries, index, fed + 1, [{seq, item} | here], past)

  defp part([entry | entries], index, fed, here, past),
    do: part(entries, index, fed + 1, [entry | here], past)

  defp part([], _index, _fed, here, past), do: {Enum.reverse(here), Enum.reverse(past)}

  @doc "Takes in what `part/3` gave."
  @spec add(t, [{non_neg_integer, passing}]) :: t
  def add(bypass, []), do: bypass

  def add(bypass, past) do
    entries = Enum.reduce(past, bypass.entries, &:queue.in/2)
    %{bypass | entries: entries, count: bypass.count + length(past)}
  end

  @doc "What may go on now that `left` entries have left the stage; `:all` where none need wait."
  @spec take(t, non_neg_integer | :all) :: {[passing], t}
  def take(%__MODULE__{count: 0} = bypass, _left), do: {[], bypass}

  def take(bypass, left) do
    {taken, entries} = take(bypass.entries, left, [])
    {Enum.reverse(taken), %{bypass | entries: entries, count: bypass.count - length(taken)}}
  end

  defp take(entries, left, taken) do
    case :queue.peek(entries) do
      # Any number is less than an atom.
      {:value, {ahead, entry}} when ahead <= left ->
        take(:queue.drop(entries), left, [entry | taken])

      _later_or_empty ->
        {taken, entries}
    end
  end
end
