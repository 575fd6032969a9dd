defmodule Slither.Watch.Counters do
  @moduledoc false
  # How the counters stand that a snapshot tells of, as one map: read from the metrics and from the
  # accounts of long-running pipes, in the process of `Slither.Watch.Server`.

  alias Slither.Metrics.{Definitions, Series}
  alias Slither.Pipe.{Counts, Names}
  alias Slither.Quantiles
  alias Slither.Watch.{Samples, Words}

  @outcomes Enum.with_index(Definitions.outcomes(), 1)
  @phases Enum.with_index(Definitions.phases(), 1)
  @lately 30_000

  @typedoc "A stage: its pipe's name, nil for none, and its own, or what was called."
  @type place :: {String.t() | nil, String.t()}

  @doc "How they stand now."
  @spec read() :: Samples.counts()
  def read, do: sum(items() ++ errors() ++ phases() ++ writes() ++ outputs())

  defp items do
    for {{pipe, stage}, counter} <- Series.of(:items_total),
        place = place(pipe, stage),
        {outcome, slot} <- @outcomes,
        count = :counters.get(counter, slot),
        key <- [{place, outcome}, {place, :items}],
        do: {key, count}
  end

  defp errors do
    for {{pipe, stage, _reason}, counter} <- Series.of(:item_errors_total),
        do: {{place(pipe, stage), :errors}, :counters.get(counter, 1)}
  end

  defp phases do
    for {{_pool, pipe, stage}, counter} <- Series.of(:batch_phase_seconds_total),
        {phase, slot} <- @phases,
        do: {{place(pipe, stage), phase}, :counters.get(counter, slot)}
  end

  defp writes do
    for {{store, _table}, counter} <- Series.of(:store_writes_total),
        do: {{:writes, Words.name(store)}, :counters.get(counter, 1)}
  end

  defp outputs do
    for {name, counts} <- Names.running(),
        {output, count} <- Counts.outputs(counts),
        do: {{:output, Words.name(name), Words.name(output)}, count}
  end

  # Pools and pipes may share what they run.
  defp sum(counts),
    do: Enum.reduce(counts, %{}, fn {key, n}, sum -> Map.update(sum, key, n, &(&1 + n)) end)

  @doc "A stage as the metrics name it."
  @spec place(term, term) :: place
  def place(pipe, stage) when pipe in ["", nil], do: {nil, Words.name(stage)}
  def place(pipe, stage), do: {Words.name(pipe), Words.name(stage)}

  @doc "The stages that there are counters of."
  @spec places(Samples.counts()) :: [place]
  def places(counts), do: for({{{_pipe, _stage} = place, :items}, _count} <- counts, do: place)

  @doc "ms since each pipe gave an output last."
  @spec last_outputs() :: %{optional(String.t()) => non_neg_integer}
  def last_outputs do
    now = System.system_time(:millisecond)

    for {{pipe}, counter} <- Series.of(:pipe_last_output_timestamp_seconds),
        at = :counters.get(counter, 1),
        at > 0,
        into: %{},
        do: {Words.name(pipe), max(now - at, 0)}
  end

  @doc "How long handlers of each stage take, in ms: what half of the calls and what most take."
  @spec handlers() :: %{optional(place) => %{p50: float, p95: float}}
  def handlers do
    for {place, sketch} <- sketches(), into: %{} do
      {place, %{p50: ms(Quantiles.at(sketch, 0.5)), p95: ms(Quantiles.at(sketch, 0.95))}}
    end
  end

  @doc "The same as they were counted, of all pools together; stages without calls are left out."
  @spec sketches() :: %{optional(place) => Quantiles.t()}
  def sketches do
    for {{_pool, pipe, stage} = labels, _counter} <- Series.of(:handler_seconds),
        sketch = Series.quantiles(:handler_seconds, labels),
        sketch != Quantiles.new(),
        reduce: %{} do
      all -> Map.update(all, place(pipe, stage), sketch, &Quantiles.merge(&1, sketch))
    end
  end

  defp ms(native), do: System.convert_time_unit(round(native), :native, :microsecond) / 1_000

  @doc """
  How many items of a stage failed by themselves within a time, and of how many: what ended with its
  run, or as nobody waited for it, is of neither.

      iex> samples = Slither.Watch.Samples.add(%Slither.Watch.Samples{}, 0, %{})
      iex> place = {nil, "m.f"}
      iex> decided = fn counts -> Map.new(counts, fn {key, count} -> {{place, key}, count} end) end
      iex> halted = decided.(items: 64, failed: 64, errors: 1)
      iex> Slither.Watch.Counters.failed(samples, 1_000, halted, place, 30_000)
      {1, 1}
      iex> closed = decided.(items: 264, failed: 64)
      iex> Slither.Watch.Counters.failed(samples, 1_000, closed, place, 30_000)
      {0, 200}
      iex> skipped = decided.(items: 100, skipped: 3, errors: 3)
      iex> Slither.Watch.Counters.failed(samples, 1_000, skipped, place, 30_000)
      {3, 100}
  """
  @spec failed(Samples.t(), integer, Samples.counts(), place, pos_integer) :: {number, number}
  def failed(samples, now, counts, place, window) do
    [items, ended, errors] =
      for what <- [:items, :failed, :errors],
          do: samples |> Samples.grown(now, counts, {place, what}, window) |> elem(0)

    # An item whose failure ended its run is counted as decided a moment later.
    {errors, max(items - ended + min(ended, errors), errors)}
  end

  @doc "Where the time of a stage's calls went within the last half minute, in native units."
  @spec times(Samples.t(), integer, Samples.counts(), place) :: %{atom => integer}
  def times(samples, now, counts, place) do
    for phase <- Definitions.phases(), into: %{} do
      {grown, _ms} = Samples.grown(samples, now, counts, {place, phase}, @lately)
      {phase, grown}
    end
  end

  @doc "The same as shares; where nothing was called lately, since the start. Nil where nothing was."
  @spec shares(%{atom => integer}, Samples.counts(), place) :: %{atom => float} | nil
  def shares(times, counts, place) do
    times =
      if Enum.all?(times, fn {_phase, time} -> time == 0 end),
        do: Map.new(times, fn {phase, 0} -> {phase, Map.get(counts, {place, phase}, 0)} end),
        else: times

    case Enum.sum(Map.values(times)) do
      0 -> nil
      all -> Map.new(times, fn {phase, time} -> {phase, Float.round(time / all, 4)} end)
    end
  end

  @doc "ms that `times/4` are of."
  @spec lately() :: pos_integer
  def lately, do: @lately
end
