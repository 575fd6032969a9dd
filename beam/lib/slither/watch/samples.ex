defmodule Slither.Watch.Samples do
  @moduledoc false
  # How counters stood before, for rates of now and lines of the last five minutes. Pure; held by
  # `Slither.Watch.Server`, which adds how they stand once a second.

  # The last half minute by the second, and five minutes by five seconds.
  @recent 31
  @step 5_000
  @steps 61

  defstruct recent: [], steps: [], keys: %{}

  @type counts :: %{optional(term) => number}
  @typedoc """
  How counters stood when, in ms of the monotonic clock, newest first. All have the names of counters
  from `keys`: else each would have its own, which are most of its size.
  """
  @type t :: %__MODULE__{
          recent: [{integer, counts}],
          steps: [{integer, counts}],
          keys: %{optional(term) => term}
        }

  @doc "Adds how counters stand now."
  @spec add(t, integer, counts) :: t
  def add(samples, now, counts) do
    counts = Map.new(counts, fn {key, n} -> {Map.get(samples.keys, key, key), n} end)
    recent = Enum.take([{now, counts} | samples.recent], @recent)

    steps =
      case samples.steps do
        [{last, _counts} | _] = steps when now - last < @step -> steps
        steps -> Enum.take([{now, counts} | steps], @steps)
      end

    %{samples | recent: recent, steps: steps, keys: keys(samples.keys, counts)}
  end

  defp keys(keys, counts) when map_size(keys) == map_size(counts), do: keys
  defp keys(_keys, counts), do: Map.new(counts, fn {key, _n} -> {key, key} end)

  @doc """
  By how much a counter grew within the last `window` ms, and within how many ms that was: as many
  as there are samples of.

      iex> samples = Slither.Watch.Samples.add(%Slither.Watch.Samples{}, 0, %{a: 10})
      iex> samples = Slither.Watch.Samples.add(samples, 1_000, %{a: 30})
      iex> Slither.Watch.Samples.grown(samples, 2_000, %{a: 40}, :a, 500)
      {10, 1_000}
      iex> Slither.Watch.Samples.grown(samples, 2_000, %{a: 40}, :a, 60_000)
      {30, 2_000}
  """
  @spec grown(t, integer, counts, term, pos_integer) :: {number, pos_integer}
  def grown(%__MODULE__{recent: []}, _now, _counts, _key, _window), do: {0, 1_000}

  def grown(samples, now, counts, key, window) do
    {at, before} =
      Enum.find(samples.recent, List.last(samples.recent), fn {at, _} -> now - at >= window end)

    # A counter that went back has begun anew.
    grown = Map.get(counts, key, 0) - Map.get(before, key, 0)
    {max(grown, 0), max(now - at, 1_000)}
  end

  @doc "By how much a counter grows in a second."
  @spec rate(t, integer, counts, term, pos_integer) :: float
  def rate(samples, now, counts, key, window) do
    {grown, time} = grown(samples, now, counts, key, window)
    Float.round(grown * 1_000 / time, 3)
  end

  @doc """
  How much a counter grew in a second, of each five seconds of the last five minutes, oldest first.
  """
  @spec spark(t, integer, counts, term) :: [number]
  def spark(samples, now, counts, key) do
    steps = [{now, counts} | samples.steps]

    rates =
      for {{at, counts}, {before, former}} <- Enum.zip(steps, tl(steps)) do
        grown = max(Map.get(counts, key, 0) - Map.get(former, key, 0), 0)
        if grown == 0, do: 0, else: Float.round(grown * 1_000 / max(at - before, 1_000), 3)
      end

    line = rates |> Enum.take(@steps - 1) |> Enum.reverse()
    List.duplicate(0, @steps - 1 - length(line)) ++ line
  end
end
