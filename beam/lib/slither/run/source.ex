defmodule Slither.Run.Source do
  @moduledoc false
  # The input of a run: any enumerable, pulled a few elements at a time and not one further. A value of
  # the process that drives the run, where the enumerable's own code runs.

  alias Slither.Item

  @typedoc "`:fed` is never pulled: a pipe's driver hands its items in."
  @type t :: {:list, list} | {:suspended, fun} | :fed | :done

  @doc "Whether a term can be a source; an improper list can't."
  @spec enumerable?(term) :: boolean
  def enumerable?(list) when is_list(list), do: List.improper?(list) == false
  def enumerable?(term), do: Enumerable.impl_for(term) != nil

  @doc "A source of the enumerable; nothing is pulled yet."
  @spec new(Enumerable.t() | :fed) :: t
  def new(:fed), do: :fed
  def new(list) when is_list(list), do: {:list, list}

  def new(enumerable) do
    {:suspended, &Enumerable.reduce(enumerable, &1, fn element, acc -> step(element, acc) end)}
  end

  @doc """
  Up to `count` elements, in order, as entries: each wrapped, with what `seq` makes of its number,
  the first of which is `first`. Fewer mean that the source is at its end.

  Also gives the number after the last.
  """
  @spec entries(t, pos_integer, non_neg_integer, (non_neg_integer -> seq)) ::
          {[{seq, Item.t()}], non_neg_integer, t}
        when seq: term
  def entries(:done, _count, first, _seq), do: {[], first, :done}

  def entries({:list, list}, count, first, seq) do
    entries = number(list, count, first, seq)

    case Enum.drop(list, count) do
      [] -> {entries, first + length(entries), :done}
      rest -> {entries, first + count, {:list, rest}}
    end
  end

  def entries({:suspended, continue}, count, first, seq) do
    {taken, source} =
      case continue.({:cont, {count, []}}) do
        {:suspended, {_left, taken}, continue} -> {taken, {:suspended, continue}}
        {_done_or_halted, {_left, taken}} -> {taken, :done}
      end

    entries = taken |> Enum.reverse() |> number(count, first, seq)
    {entries, first + length(entries), source}
  end

  @doc "The first `count` elements of a list as entries."
  @spec number(list, non_neg_integer, non_neg_integer, (non_neg_integer -> seq)) ::
          [{seq, Item.t()}]
        when seq: term
  # Done for every item of every run, so it builds no intermediate list.
  def number([item | items], count, next, seq) when count > 0,
    do: [{seq.(next), wrap(item, next)} | number(items, count - 1, next + 1, seq)]

  def number(_rest, _count, _next, _seq), do: []

  # A payload gets its place in the input as its id.
  defp wrap(%Item{} = item, _place), do: item
  defp wrap(payload, place), do: %Item{id: place, payload: payload}

  @doc "Lets the enumerable free what it holds."
  @spec close(t) :: :ok
  def close({:suspended, continue}) do
    _ = continue.({:halt, {0, []}})
    :ok
  end

  def close(_source), do: :ok

  defp step(element, {1, taken}), do: {:suspend, {0, [element | taken]}}
  defp step(element, {left, taken}), do: {:cont, {left - 1, [element | taken]}}
end
