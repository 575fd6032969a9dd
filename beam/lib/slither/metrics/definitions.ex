defmodule Slither.Metrics.Definitions do
  @moduledoc false
  # The table of all metrics: what each is called, counts and is labelled with. `Series` keeps their
  # values by it, `Slither.Metrics` writes them by it, and the guide's table is held against it.
  # Pure data, read when the code is compiled and by whoever writes metrics.

  # Upper bounds of histograms, in seconds: from a view's answer to a call that takes minutes.
  @buckets [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0] ++
             [60.0, 300.0]

  @phases [:rate, :queue, :encode, :wire, :decode, :handler, :reorder]
  @outcomes [:ok, :failed, :skipped, :routed]

  @typedoc """
  A metric: `metric` is its name without `slither_`. The values of its labels are given in the order
  of `labels`; where `slots` names those of the last one, one array has a place for each. What is
  kept in a unit of time is written in seconds. A `scraped` one is read when it is asked for, and a
  sketch, which is for quantiles, is not written.
  """
  @type t :: %{
          metric: atom,
          type: :counter | :gauge | :histogram | :sketch,
          labels: [atom],
          help: String.t(),
          slots: [atom] | nil,
          unit: :one | :native | :ms,
          scraped?: boolean
        }

  @doc "The upper bounds of a histogram's buckets, in seconds, without the last, which takes all."
  @spec buckets() :: [float]
  def buckets, do: @buckets

  @doc "The parts of a batch's time."
  @spec phases() :: [atom]
  def phases, do: @phases

  @doc "What may become of an item in a stage."
  @spec outcomes() :: [atom]
  def outcomes, do: @outcomes

  @doc "Those that are written."
  @spec written() :: [t]
  def written, do: Enum.reject(all(), &(&1.type == :sketch))

  @doc "All metrics, in the order in which they are written."
  @spec all() :: [t]
  def all, do: items() ++ batches() ++ pools() ++ workers() ++ state() ++ own()

  defp items do
    [
      slotted(:items_total, [:pipe, :stage, :outcome], @outcomes, """
      Items that a stage, a dispatch, a call or a gather has decided, once each: ok, failed (the run \
      ended, or nobody waited for the answer), skipped or routed (by a handler or an error policy).
      """),
      counter(:item_errors_total, [:pipe, :stage, :reason], """
      Errors of items that no further attempt mended, whatever the error policy made of the items.
      """),
      counter(:outputs_total, [:pipe, :output], """
      Items that have reached an output of a pipe.
      """),
      scraped(:items_inside, [:pipe, :stage, :place], """
      Items inside of runs that are open: waiting for a batch, queued for a worker, running, or \
      pausing before the next attempt.
      """),
      %{
        gauge(:pipe_last_output_timestamp_seconds, [:pipe], """
        When a pipe last gave an output, in Unix time.
        """)
        | unit: :ms
      }
    ]
  end

  defp batches do
    [
      histogram(:batch_duration_seconds, [:pool, :pipe, :stage], """
      How long batches and calls took, from when they were sent to a worker to their answer.
      """),
      seconds(
        slotted(:batch_phase_seconds_total, [:pool, :pipe, :stage, :phase], @phases, """
        Where the time of batches and calls went; the phases do not overlap.
        """)
      ),
      sketch(:handler_seconds, [:pool, :pipe, :stage], """
      How long handlers took, fine enough for quantiles.
      """),
      counter(:batch_failures_total, [:pool, :pipe, :stage, :reason], """
      Batches and calls that failed as a whole, each attempt counted.
      """),
      counter(:retries_total, [:pool, :pipe, :stage], """
      Batches that the error policy had tried again, or that were refused with a time to come again.
      """),
      counter(:splits_total, [:pool, :pipe, :stage], """
      Batches that were split to find the item that fails (isolate: true).
      """),
      counter(:requeues_total, [:pool, :pipe, :stage], """
      Batches that went to another worker, as theirs had ended before it began them.
      """)
    ]
  end

  defp pools do
    [
      counter(:rate_pauses_total, [:rate], """
      Pauses of a rate, as another side told when to come again; that of a run's own has no name.
      """),
      scraped(:pool_oldest_wait_seconds, [:pool], """
      How long the call that waits longest has waited for a worker; 0 where none waits.
      """),
      histogram(:pool_wait_seconds, [:pool], """
      How long calls waited for a worker.
      """),
      %{
        scraped(:pool_busy_seconds_total, [:pool], """
        How long the workers of a pool have run calls, those that run now among them, added up over \
        the workers.
        """)
        | type: :counter
      },
      scraped(:pool_workers, [:pool, :state], """
      Workers of a pool by what they do: free, busy (at a call), starting, spare (waiting to take a \
      place), draining (another has their place) or stopping.
      """),
      scraped(:pool_queue, [:pool], """
      Calls that wait for a worker.
      """),
      scraped(:pool_max_queue, [:pool], """
      The bound on the calls that wait for a worker; missing where there is none.
      """),
      scraped(:sessions, [:pool], """
      Sessions that are open.
      """)
    ]
  end

  defp workers do
    [
      counter(:worker_starts_total, [:pool], """
      Workers that have become ready.
      """),
      histogram(:worker_start_seconds, [:pool], """
      How long workers took to become ready.
      """),
      counter(:worker_ends_total, [:pool, :reason], """
      Workers that have ended, by the reason.
      """),
      scraped(:worker_resident_memory_bytes, [:pool, :worker], """
      Resident memory of each worker.
      """)
    ]
  end

  defp state do
    [
      counter(:view_calls_total, [:store, :view, :outcome], """
      Calls of views by Python handlers: ok, view_failed or view_timeout.
      """),
      histogram(:view_duration_seconds, [:store, :view], """
      How long views took to answer.
      """),
      counter(:store_writes_total, [:store, :table], """
      Keys that writes to a store have changed.
      """),
      counter(:store_loads_total, [:store, :outcome], """
      Loads and reloads of a store: ok or failed.
      """),
      scraped(:table_rows, [:store, :table], """
      Rows of a store's table.
      """),
      counter(:pipe_restarts_total, [:pipe], """
      Restarts of long-running pipes.
      """),
      counter(:pipe_lost_items_total, [:pipe], """
      Items that were inside of a long-running pipe when it ended.
      """),
      counter(:sink_failures_total, [:pipe], """
      Outputs whose sink raised.
      """)
    ]
  end

  defp own do
    [
      counter(:metrics_refused_total, [:metric], """
      What was not counted, as its metric has too many series already.
      """),
      counter(:handler_metrics_refused_total, [:pool, :reason], """
      Values of handlers' own metrics that were not taken: the pool has too many series, or the name \
      is of another type elsewhere.
      """),
      slotted(:trace_spans_total, [:outcome], [:sent, :dropped], """
      Spans that were sent to the receiver of traces, or dropped: it did not take them in time.
      """),
      scraped(:build_info, [:version, :elixir, :otp], """
      1; its labels say what runs.
      """)
    ]
  end

  defp counter(metric, labels, help), do: definition(metric, :counter, labels, help)
  defp gauge(metric, labels, help), do: definition(metric, :gauge, labels, help)
  defp seconds(definition), do: %{definition | unit: :native}
  defp histogram(metric, labels, help), do: seconds(definition(metric, :histogram, labels, help))
  defp sketch(metric, labels, help), do: seconds(definition(metric, :sketch, labels, help))
  defp scraped(metric, labels, help), do: %{gauge(metric, labels, help) | scraped?: true}

  defp slotted(metric, labels, slots, help),
    do: %{counter(metric, labels, help) | slots: slots}

  defp definition(metric, type, labels, help) do
    %{
      metric: metric,
      type: type,
      labels: labels,
      help: String.trim(help),
      slots: nil,
      unit: :one,
      scraped?: false
    }
  end
end
