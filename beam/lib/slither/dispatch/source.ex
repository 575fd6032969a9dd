defmodule Slither.Dispatch.Source do
  @moduledoc false
  # Any enumerable, pulled a few elements at a time and not one further.

  alias Slither.Dispatch.Strategy
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

  @doc "Up to `count` elements, in order; fewer mean that the source is at its end."
  @spec pull(t, pos_integer) :: {list, t}
  def pull(:done, _count), do: {[], :done}

  def pull({:list, list}, count) do
    case Enum.drop(list, count) do
      [] -> {list, :done}
      rest -> {Enum.take(list, count), {:list, rest}}
    end
  end

  def pull({:suspended, continue}, count) do
    case continue.({:cont, {count, []}}) do
      {:suspended, {_left, taken}, continue} -> {Enum.reverse(taken), {:suspended, continue}}
      {_done_or_halted, {_left, taken}} -> {Enum.reverse(taken), :done}
    end
  end

  @doc """
  The same, as entries: each element wrapped, with its number, the first of which is `first`.

  Also gives the number after the last.
  """
  @spec entries(t, pos_integer, non_neg_integer) :: {[Strategy.entry()], non_neg_integer, t}
  def entries({:list, list}, count, first) do
    entries = number(list, count, first)

    case Enum.drop(list, count) do
      [] -> {entries, first + length(entries), :done}
      rest -> {entries, first + count, {:list, rest}}
    end
  end

  def entries(source, count, first) do
    {items, source} = pull(source, count)
    entries = number(items, count, first)
    {entries, first + length(entries), source}
  end

  # Not a step is made for the rest of the list, and nothing that is thrown away again: this is
  # done for every item.
  defp number([item | items], count, next) when count > 0,
    do: [{next, Item.wrap(item)} | number(items, count - 1, next + 1)]

  defp number(_rest, _count, _next), do: []

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
