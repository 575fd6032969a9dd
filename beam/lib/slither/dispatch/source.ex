defmodule Slither.Dispatch.Source do
  @moduledoc false
  # Any enumerable, pulled a few elements at a time and not one further.

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
    case Enum.split(list, count) do
      {taken, []} -> {taken, :done}
      {taken, rest} -> {taken, {:list, rest}}
    end
  end

  def pull({:suspended, continue}, count) do
    case continue.({:cont, {count, []}}) do
      {:suspended, {_left, taken}, continue} -> {Enum.reverse(taken), {:suspended, continue}}
      {_done_or_halted, {_left, taken}} -> {Enum.reverse(taken), :done}
    end
  end

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
