defmodule Slither.Run.Source do
  @moduledoc false
  # The input of a run: any enumerable, pulled a few elements at a time and not one further. A value of
  # the process that drives the run, where the enumerable's own code runs.
  #
  # An enumerable that takes its time gives fewer elements than were asked for, so that its driver
  # can send them, and read its messages meanwhile.

  alias Slither.Item

  # ms after which no further element is pulled at once.
  @patience 5
  # ms that a driver waits for news, at most, before it pulls on from an enumerable that lets it wait:
  # such a part of what the last pull took.
  @most 50
  @part 10

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
  the first of which is `first`. Fewer mean that the source is at its end, or slow.

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
      case continue.({:cont, {count, late(), []}}) do
        {:suspended, {_left, _late, taken}, continue} -> {taken, {:suspended, continue}}
        {_done_or_halted, {_left, _late, taken}} -> {taken, :done}
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
  defp wrap(%Item{id: nil} = item, place), do: %{item | id: place}
  defp wrap(%Item{} = item, _place), do: item
  defp wrap(payload, place), do: %Item{id: place, payload: payload}

  @doc "Lets the enumerable free what it holds."
  @spec close(t) :: :ok
  def close({:suspended, continue}) do
    _ = continue.({:halt, {0, 0, []}})
    :ok
  end

  def close(_source), do: :ok

  defp late,
    do: System.monotonic_time() + System.convert_time_unit(@patience, :millisecond, :native)

  defp step(element, {1, late, taken}), do: {:suspend, {0, late, [element | taken]}}

  defp step(element, {left, late, taken}) do
    tag = if System.monotonic_time() < late, do: :cont, else: :suspend
    {tag, {left - 1, late, [element | taken]}}
  end

  @doc """
  When a driver pulls on from a source that began to give `count` elements at `began`, though no news
  have come: in ms of monotonic time. `nil` for a source that did not let it wait.
  """
  @spec pause(t, began :: integer, non_neg_integer) :: integer | nil
  def pause({:suspended, _continue}, began, count) do
    now = now()
    took = now - began

    cond do
      took < @patience -> nil
      # Each came soon after the other, and so will the next.
      took < @patience * count -> now
      true -> now + min(@most, max(1, div(took, @part * max(1, count))))
    end
  end

  def pause(_list_or_done, _began, _count), do: nil

  @doc "The time of `pause/3`."
  @spec now() :: integer
  def now, do: System.monotonic_time(:millisecond)
end
