defmodule Slither.Gather.Told do
  @moduledoc false
  # What a gather tells of its batches and counts of its items, for events and metrics. Called by
  # `Slither.Gather.Batches`, in the process that drives it.

  alias Slither.Metrics.Batches
  alias Slither.Python.{Outcome, Timing}
  alias Slither.Run.Batch
  alias Slither.Telemetry.Events

  @doc "A batch was answered, with so many failures in its answer."
  @spec stopped(map, Batch.t(), Outcome.t(), non_neg_integer) :: :ok
  def stopped(facts, batch, outcome, failed) do
    timing = outcome.timing || %Timing{}
    sizes = %{size: Batch.size(batch), failed: batch.early_failed + failed}

    timing
    |> Timing.waited(batch.sent - batch.queued)
    |> Timing.measurements()
    |> Map.merge(sizes)
    |> Events.gather_stopped(batch.sent, Map.put(facts, :worker, timing.worker))
  end

  @doc "A batch failed as a whole."
  @spec failed(map, Batch.t(), Exception.t()) :: :ok
  def failed(facts, batch, error),
    do: Events.gather_failed(batch.sent, length(batch.entries), facts, error)

  @doc "An item has its answer, for somebody who waits for it."
  @spec answered(Batches.place(), map, {:ok, term} | {:error, Exception.t()}) ::
          :ok
  def answered(place, _facts, {:ok, _value}), do: Events.settled(place, ok: 1)

  def answered(place, facts, {:error, error}) do
    Events.settled(place, failed: 1)
    Events.item_failed(error, facts)
  end

  @doc "Items will have no answer, as nobody waits for it."
  @spec given_up(Batches.place(), non_neg_integer) :: :ok
  def given_up(place, count), do: Events.settled(place, failed: count)
end
