defmodule Slither.Python.Limit do
  @moduledoc false
  # How long a call may run, and what is said of one that has run for longer. Pure: lanes and
  # carriers reckon with it, and owners of workers and drivers take its sentences.

  alias Slither.Error

  # ms for each item of a call, where nobody has said how long it may take.
  @each 30_000
  # The longest time that a timer takes.
  @longest 0xFFFFFFFF

  @typedoc """
  What is known of a call that is over its time: the ms that it had, the items that it was sent
  with, and `each`, the ms for an item that these ms are made of, nil where they were given.
  """
  @type facts :: %{timeout: pos_integer, items: pos_integer, each: pos_integer | nil}

  @doc "ms for each item where no time is given."
  @spec each() :: pos_integer
  def each, do: @each

  @doc "ms that a call of so many items may run; a `timeout` of nil was not given."
  @spec total(timeout | nil, non_neg_integer) :: timeout
  def total(nil, count), do: min(@each * max(count, 1), @longest)
  def total(timeout, _count), do: timeout

  @doc "What is known of a call that is over a time that `total/2` gave."
  @spec facts(pos_integer, timeout | nil, pos_integer) :: facts
  def facts(total, given, count),
    do: %{timeout: total, items: count, each: if(given == nil, do: @each)}

  @doc "The error of what was over its time, `what` it is; `ended` says what became of it."
  @spec overdue(facts, String.t(), String.t()) :: Error.t()
  def overdue(facts, what, ended) do
    %Error{
      reason: :timeout,
      message: "#{what} ran for more than #{time(facts, &ms/1)}; #{ended}",
      hint: hint(facts, "timeout:"),
      details: facts
    }
  end

  @doc """
  The same error for who reads Python: with its option, and in seconds. What others have added to
  the hint stays, and so does an error that is none of `overdue/3`.
  """
  @spec in_python(Error.t()) :: Error.t()
  def in_python(%Error{reason: :timeout, details: %{timeout: total, items: _} = facts} = error) do
    message = String.replace(error.message, time(facts, &ms/1), time(facts, &seconds/1))

    hint =
      String.replace_prefix(error.hint || "", hint(facts, "timeout:"), hint(facts, "timeout="))

    details = %{error.details | timeout: total / 1_000}
    %{error | message: message, hint: hint, details: Map.delete(details, :each)}
  end

  def in_python(error), do: error

  defp time(%{each: each, items: items} = facts, unit) when each != nil and items > 1,
    do: "#{unit.(facts.timeout)} (#{unit.(each)} for each of #{items} items)"

  defp time(facts, unit), do: unit.(facts.timeout)

  defp ms(time), do: "#{time} ms"

  defp seconds(time) when rem(time, 1_000) == 0, do: "#{div(time, 1_000)} s"
  defp seconds(time), do: "#{time / 1_000} s"

  defp hint(%{each: nil}, option), do: "raise #{option}, or lower batch_size"

  defp hint(_facts, option), do: "raise #{option}"
end
