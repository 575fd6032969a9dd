defmodule Slither.Python.Limit do
  @moduledoc false
  # How long a call and its items may run, and what is said of those that have run for longer. Pure:
  # lanes and carriers reckon with it, and owners of workers and drivers take its sentences.

  alias Slither.Error

  # ms for each item of a call, where nobody has said how long it may take.
  @each 30_000
  # The longest time that a timer takes.
  @longest 0xFFFFFFFF

  @typedoc """
  What is known of what is over its time: the `option` that sets it, the ms that it had, for so many
  items, and `each`, the ms for an item that these ms are made of, nil where they were given so.
  """
  @type facts :: %{
          option: :timeout | :item_timeout,
          timeout: pos_integer,
          items: pos_integer,
          each: pos_integer | nil
        }

  @doc """
  ms that a call of so many items may run, by its `timeout`, nil where none was given, and by its
  `item_timeout`: an item may run as long as that, whatever is the default.
  """
  @spec total(timeout | nil, timeout, non_neg_integer) :: timeout
  def total(nil, :infinity, count), do: times(@each, count)
  def total(nil, item, count), do: times(max(@each, item), count)
  def total(timeout, _item, _count), do: timeout

  @doc "ms that so many items may run together, each for `item_timeout`."
  @spec together(timeout, non_neg_integer) :: timeout
  def together(:infinity, _count), do: :infinity
  def together(item, count), do: times(item, count)

  defp times(each, count), do: min(each * max(count, 1), @longest)

  @doc """
  The ms that a call of so many items may run, where nobody sees which of them it is at, and what is
  known once it is over them; nil where it may run for ever.
  """
  @spec whole(timeout | nil, timeout, pos_integer) :: {pos_integer, facts} | nil
  def whole(timeout, item, count) do
    total = total(timeout, item, count)

    # In the order of terms an atom comes after all numbers.
    case together(item, count) do
      :infinity when total == :infinity -> nil
      items when items <= total -> {items, of_items(item, count)}
      _more -> {total, of_call(total, timeout, count)}
    end
  end

  @doc "What is known of a call that is over the time that `total/3` gave."
  @spec of_call(pos_integer, timeout | nil, pos_integer) :: facts
  def of_call(total, given, count) do
    each = if given == nil and count > 0, do: div(total, count)
    %{option: :timeout, timeout: total, items: count, each: each}
  end

  @doc "What is known of an item that is over its time."
  @spec of_item(pos_integer) :: facts
  def of_item(limit), do: %{option: :item_timeout, timeout: limit, items: 1, each: nil}

  @doc "What is known of items that are over their time together, as nobody can tell them apart."
  @spec of_items(pos_integer, pos_integer) :: facts
  def of_items(limit, count),
    do: %{option: :item_timeout, timeout: times(limit, count), items: count, each: limit}

  @doc "The error of what was over its time, `what` it is; `ended` says what became of it."
  @spec overdue(facts, String.t(), String.t()) :: Error.t()
  def overdue(facts, what, ended) do
    %Error{
      reason: :timeout,
      message: "#{what} ran for more than #{time(facts, &ms/1)}; #{ended}",
      hint: hint(facts, "#{facts.option}:"),
      details: facts
    }
  end

  @doc """
  The same error for who reads Python: with its option, and in seconds. What others have added to
  the hint stays, and so does an error that is none of `overdue/3`.
  """
  @spec in_python(Error.t()) :: Error.t()
  def in_python(%Error{reason: :timeout, details: %{option: option, each: _} = facts} = error) do
    message = String.replace(error.message, time(facts, &ms/1), time(facts, &seconds/1))
    ours = hint(facts, "#{option}:")
    hint = String.replace_prefix(error.hint || "", ours, hint(facts, "#{option}="))
    details = %{error.details | timeout: facts.timeout / 1_000}
    %{error | message: message, hint: hint, details: Map.drop(details, [:each, :option])}
  end

  def in_python(error), do: error

  defp time(%{each: each, items: items} = facts, unit) when each != nil and items > 1,
    do: "#{unit.(facts.timeout)} (#{unit.(each)} for each of #{items} items)"

  defp time(facts, unit), do: unit.(facts.timeout)

  defp ms(time), do: "#{time} ms"

  defp seconds(time) when rem(time, 1_000) == 0, do: "#{div(time, 1_000)} s"
  defp seconds(time), do: "#{time / 1_000} s"

  # A call of one item may have none, and would be as long with a lower one.
  defp hint(%{option: :timeout, each: nil, items: items}, option) when items > 1,
    do: "raise #{option}, or lower batch_size"

  defp hint(_facts, option), do: "raise #{option}"
end
