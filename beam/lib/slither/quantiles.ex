defmodule Slither.Quantiles do
  @moduledoc false
  # How long things took, so that one can ask for what half of them, or 95 in 100, took at most: a count
  # for each class of times, of which a class ends 9 % above where it begins. Pure, and small whatever
  # it has counted: times from a nanosecond to a day are 374 classes. A flow has one of its handler,
  # receipts are made of it, and metrics keep theirs in the same classes.
  #
  # `at/2` is within 4.5 % of the time that it stands for.

  # Classes in which a time doubles.
  @classes 8

  @typedoc "How many times there were of each class."
  @type t :: %{optional(index) => pos_integer}
  @type index :: non_neg_integer

  @doc """
  Nothing counted.

      iex> Slither.Quantiles.at(Slither.Quantiles.new(), 0.5)
      nil
  """
  @spec new() :: t
  def new, do: %{}

  @doc "Counts a time, in native units; one of none counts as the shortest."
  @spec add(t, integer) :: t
  def add(quantiles, time), do: count(quantiles, index(time))

  @doc "Counts a time of a class."
  @spec count(t, index) :: t
  def count(quantiles, index) do
    case quantiles do
      %{^index => count} -> %{quantiles | index => count + 1}
      _ -> Map.put(quantiles, index, 1)
    end
  end

  @doc "What two have counted together."
  @spec merge(t, t) :: t
  def merge(one, other), do: Map.merge(one, other, fn _index, a, b -> a + b end)

  @doc """
  The time that a share of what was counted took at most; nil where nothing was counted.

      iex> times = Enum.reduce([100, 100, 900], Slither.Quantiles.new(), &Slither.Quantiles.add(&2, &1))
      iex> for share <- [0.5, 0.95], do: Slither.Quantiles.at(times, share)
      [103, 899]
  """
  @spec at(t, float) :: pos_integer | nil
  def at(quantiles, _share) when quantiles == %{}, do: nil

  def at(quantiles, share) do
    total = quantiles |> Map.values() |> Enum.sum()
    quantiles |> Enum.sort() |> reach(max(1, ceil(share * total))) |> value()
  end

  defp reach([{index, count} | _rest], left) when left <= count, do: index
  defp reach([{_index, count} | rest], left), do: reach(rest, left - count)

  @doc "The class of a time."
  @spec index(integer) :: index
  def index(time) when time <= 1, do: 0
  def index(time), do: trunc(:math.log2(time) * @classes)

  @doc "The time that stands for a class: the middle of it."
  @spec value(index) :: pos_integer
  def value(index), do: round(:math.pow(2, (index + 0.5) / @classes))
end
