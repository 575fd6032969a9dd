defmodule Slither.Metrics.Batches do
  @moduledoc false
  # Counts what happens to batches, calls and their items, by where they run: a stage of a pipe, or
  # the target of a dispatch, a call or a gather. Called by `Slither.Telemetry.Events`, in the process
  # that drives them.

  alias Slither.Metrics.{Definitions, Series}
  alias Slither.Quantiles

  @of_batch [:batch_duration_seconds, :batch_phase_seconds_total, :handler_seconds]
  @phases Enum.with_index(Definitions.phases() -- [:reorder], 1)
  @handler @phases[:handler]
  @reorder length(Definitions.phases())
  :reorder = List.last(Definitions.phases())
  @ok 1
  @failed 2
  @skipped 3
  @routed 4
  [:ok, :failed, :skipped, :routed] = Definitions.outcomes()

  @typedoc "Where the outcomes of a stage's items are counted."
  @opaque place :: Series.place()
  @typedoc "Where the times of batches are counted: who has many keeps it."
  @opaque places :: [Series.place()]

  @doc "Where the items of a stage or a target are counted, by the facts of its events."
  @spec place(map) :: place
  def place(facts), do: Series.place(:items_total, where(facts))

  @doc "The names of a pipe, empty for none, and of its stage or the target, by the same facts."
  @spec where(map) :: {pipe :: term, stage :: term}
  def where(facts), do: {facts[:pipe] || "", stage(facts)}

  @doc "Items have been decided."
  @spec items(place, [{:ok | :failed | :skipped | :routed, integer}]) :: :ok
  def items(place, outcomes) do
    for {outcome, count} <- outcomes, count != 0, do: Series.bump(place, slot(outcome), count)
    :ok
  end

  defp slot(:ok), do: @ok
  defp slot(:failed), do: @failed
  defp slot(:skipped), do: @skipped
  defp slot(:routed), do: @routed

  @doc "Where the times of batches are counted, by the facts of their events."
  @spec places(map) :: places
  def places(facts), do: Series.places(@of_batch, labels(facts))

  @doc "A batch was answered after so long, with its times by their phases."
  @spec answered(map, integer, places) :: :ok
  def answered(times, took, [duration, phases, handler]) do
    Series.observed(duration, took)
    Series.sketched(handler, times.handler)

    for {phase, slot} <- @phases,
        time = Map.get(times, phase, 0),
        time > 0,
        do: Series.bump(phases, slot, time)

    :ok
  end

  @typedoc "Where the time of a handler is counted that runs in the run's own process."
  @opaque own :: {Series.place(), Series.place()}

  @doc "The same of such a handler, by the facts of its stage."
  @spec own(map) :: own
  def own(facts) do
    [phases, handler] =
      Series.places([:batch_phase_seconds_total, :handler_seconds], labels(facts))

    {phases, handler}
  end

  @doc "It has worked for a time, of which each item took one of a class."
  @spec handled(own, integer, Quantiles.index()) :: :ok
  def handled({phases, handler}, time, class) do
    Series.bump(phases, @handler, time)
    Series.classed(handler, class)
  end

  @doc "Results have waited for the turn of their batch."
  @spec reordered(integer, places) :: :ok
  def reordered(time, [_duration, phases, _handler]), do: Series.bump(phases, @reorder, time)

  @doc "A batch failed as a whole."
  @spec failed(map, atom) :: :ok
  def failed(facts, reason) do
    {pool, pipe, stage} = labels(facts)
    Series.add(:batch_failures_total, {pool, pipe, stage, reason}, 1)
  end

  @doc "A batch goes out again."
  @spec again(:retries | :splits | :requeues, map) :: :ok
  def again(:retries, facts), do: Series.add(:retries_total, labels(facts), 1)
  def again(:splits, facts), do: Series.add(:splits_total, labels(facts), 1)
  def again(:requeues, facts), do: Series.add(:requeues_total, labels(facts), 1)

  @doc "An item failed, and is not tried again."
  @spec error(map, atom) :: :ok
  def error(facts, reason) do
    where = where(facts)
    Series.add(:item_errors_total, Tuple.insert_at(where, tuple_size(where), reason), 1)
  end

  defp labels(facts), do: {facts[:pool] || "", facts[:pipe] || "", stage(facts)}

  # Other runs than those of pipes have the target for a stage, where there is one.
  defp stage(%{stage: stage}) when stage != nil, do: stage
  defp stage(%{target: target}) when target != nil, do: target
  defp stage(_facts), do: ""
end
