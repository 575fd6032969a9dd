defmodule Slither.Telemetry.Events do
  @moduledoc false
  # Every event that Slither emits, one function each. Whoever does what an event tells of calls
  # its function, and the handlers run in that process: the caller of a run, a long-running pipe,
  # a worker's process, the caller of a store, the process of a view call. `Slither.Telemetry`
  # documents the events, and a test holds what they carry.
  #
  # What is told here is counted here, too, whether somebody listens or not, for `Slither.Metrics`.
  # Some functions only count: what they tell comes too often to be an event.

  alias Slither.Metrics.{Batches, Series}
  alias Slither.{Quantiles, Receipt, Telemetry}
  alias Slither.Telemetry.{Failures, Happenings}

  # What is counted from 0 on once there is a pipe, and once a pool has had a worker.
  @of_pipe [:pipe_restarts_total, :pipe_lost_items_total, :sink_failures_total]
  @ends [:worker_died, :memory, :protocol_error, :start_failed, :timeout, :cancelled, :max_rss]

  @type facts :: %{optional(atom) => term}
  @type kind :: :dispatch | :pipe

  ## Runs of dispatches and pipes

  @spec run_started(kind, facts) :: :ok
  def run_started(kind, facts) do
    # From 0 on, so that whoever looks sees the first of each.
    if kind == :pipe, do: Series.places(@of_pipe, {facts.pipe})
    emit([:slither, kind, :run, :start], now(), facts)
  end

  @doc "Whether somebody hears of a run's end: else its account need not be made."
  @spec run_end_heard?(kind, Exception.t() | nil) :: boolean
  def run_end_heard?(kind, error), do: Telemetry.heard?([:slither, kind, :run, phase(error)])

  @doc "A run ended; `error` is what ended it early, if anything did."
  @spec run_ended(kind, Receipt.t(), facts, Exception.t() | nil) :: :ok
  def run_ended(kind, receipt, facts, error),
    do: ended([:slither, kind, :run, phase(error)], receipt, facts, error)

  @spec stage_started(facts) :: :ok
  def stage_started(facts), do: emit([:slither, :pipe, :stage, :start], now(), facts)

  @spec stage_ended(Receipt.t(), facts, Exception.t() | nil) :: :ok
  def stage_ended(receipt, facts, error),
    do: ended([:slither, :pipe, :stage, phase(error)], receipt, facts, error)

  defp ended(event, receipt, facts, nil), do: emit(event, Receipt.measurements(receipt), facts)

  defp ended(event, receipt, facts, error) do
    why = %{reason: Map.get(error, :reason, :raised), error: error}
    emit(event, Receipt.measurements(receipt), Map.merge(facts, why))
  end

  defp phase(nil), do: :stop
  defp phase(_error), do: :exception

  ## Items

  @doc "Where the outcomes of a stage's items are counted, or of a target's, by the facts of a run."
  @spec place(facts) :: Batches.place()
  def place(facts), do: Batches.place(facts)

  @doc "Items of a stage or a target were decided, each once: how many ended how. Only counted."
  @spec settled(Batches.place(), [{:ok | :failed | :skipped | :routed, integer}]) :: :ok
  def settled(place, outcomes), do: Batches.items(place, outcomes)

  @doc "An item failed, and no attempt is left; the error policy has its say. Counted, and noted."
  @spec item_failed(Exception.t(), facts) :: :ok
  def item_failed(error, facts) do
    Batches.error(facts, Map.get(error, :reason, :raised))
    Failures.note(Batches.where(facts), error)
  end

  ## Batches

  @doc "Whether somebody hears of batches that start or stop: else a run need not gather facts."
  @spec batch_heard?(:start | :stop) :: boolean
  def batch_heard?(phase), do: Telemetry.heard?([:slither, :dispatch, :batch, phase])

  @spec batch_started(pos_integer, facts) :: :ok
  def batch_started(size, facts) do
    measurements = %{system_time: System.system_time(), size: size}
    emit([:slither, :dispatch, :batch, :start], measurements, facts)
  end

  @doc "Where the times of a flow's batches are counted."
  @spec batch_places(facts) :: Batches.places()
  def batch_places(facts), do: Batches.places(facts)

  @doc "A batch was answered after so long, with its times by their phases. Only counted."
  @spec batch_answered(map, integer, Batches.places()) :: :ok
  def batch_answered(times, duration, places), do: Batches.answered(times, duration, places)

  @spec batch_stopped(map, facts) :: :ok
  def batch_stopped(measurements, facts),
    do: emit([:slither, :dispatch, :batch, :stop], measurements, facts)

  @doc "Results have waited so long for the turn of their batch. Only counted."
  @spec reordered(integer, Batches.places()) :: :ok
  def reordered(time, places), do: Batches.reordered(time, places)

  @doc "A batch goes out again, and why. Only counted."
  @spec batch_again(:retries | :splits | :requeues, facts) :: :ok
  def batch_again(why, facts), do: Batches.again(why, facts)

  @doc "A batch failed as a whole; `sent` is when it was sent, nil if it never was."
  @spec batch_failed(integer | nil, pos_integer, facts, Exception.t()) :: :ok
  def batch_failed(sent, size, facts, error) do
    measurements = %{duration: if(sent, do: since(sent), else: 0), size: size}
    Batches.failed(facts, error.reason)
    facts = Map.merge(facts, %{reason: error.reason, error: error})
    emit([:slither, :dispatch, :batch, :exception], measurements, facts)
  end

  @doc "Where the time of a handler in the run's own process is counted, by the facts of its stage."
  @spec own_handler(facts) :: Batches.own()
  def own_handler(facts), do: Batches.own(facts)

  @doc "Such a handler has worked for a time, of which each item took one of a class. Only counted."
  @spec handled(Batches.own(), integer, Quantiles.index()) :: :ok
  def handled(own, time, class), do: Batches.handled(own, time, class)

  ## Single calls

  @doc "A single call is answered; `errors` are those of its items."
  @spec call_stopped(map, %{optional(non_neg_integer) => Exception.t()}, facts) :: :ok
  def call_stopped(measurements, errors, facts) do
    failed = map_size(errors)
    Batches.answered(measurements, measurements.duration, Batches.places(facts))
    settled(place(facts), ok: measurements.size - failed, failed: failed)
    for {_index, error} <- errors, do: item_failed(error, facts)
    emit([:slither, :call, :stop], Map.put(measurements, :failed, failed), facts)
  end

  @doc "A single call failed as a whole; `sent` is when it was sent, nil if it never was."
  @spec call_failed(integer | nil, pos_integer, facts, Exception.t()) :: :ok
  def call_failed(sent, size, facts, error) do
    measurements = %{duration: if(sent, do: since(sent), else: 0), size: size}
    Batches.failed(facts, error.reason)
    settled(place(facts), failed: size)
    item_failed(error, facts)
    facts = Map.merge(facts, %{reason: error.reason, error: error})
    emit([:slither, :call, :exception], measurements, facts)
  end

  ## Gathers

  @doc "A gather's batch is answered, which was sent at `sent`."
  @spec gather_stopped(map, integer, facts) :: :ok
  def gather_stopped(measurements, sent, facts) do
    duration = since(sent)
    Batches.answered(measurements, duration, Batches.places(facts))
    measurements = Map.put(measurements, :duration, duration)
    emit([:slither, :gather, :batch, :stop], measurements, facts)
  end

  @doc "A gather's batch failed as a whole; `sent` is when it was sent, nil if it never was."
  @spec gather_failed(integer | nil, pos_integer, facts, Exception.t()) :: :ok
  def gather_failed(sent, size, facts, error) do
    measurements = %{duration: if(sent, do: since(sent), else: 0), size: size}
    Batches.failed(facts, error.reason)
    facts = Map.merge(facts, %{reason: error.reason, error: error})
    emit([:slither, :gather, :batch, :exception], measurements, facts)
  end

  ## Long-running pipes

  @doc "Where it is kept when a pipe last gave an output."
  @spec last_place(facts) :: Series.place()
  def last_place(facts), do: Series.place(:pipe_last_output_timestamp_seconds, {facts.pipe})

  @doc "A pipe gives outputs now. Only noted."
  @spec gave(Series.place()) :: :ok
  def gave(nil), do: :ok
  def gave(place), do: :counters.put(place, 1, System.system_time(:millisecond))

  @doc "Where the items that reach an output are counted."
  @spec output_place(pipe :: term, output :: term) :: Series.place()
  def output_place(pipe, output), do: Series.place(:outputs_total, {pipe, output})

  @doc "Items have reached the output of a place. Only counted."
  @spec outputs(Series.place(), non_neg_integer) :: :ok
  def outputs(place, count), do: Series.bump(place, 1, count)

  @doc "An item has reached an output. Only counted."
  @spec output(pipe :: term, output :: term) :: :ok
  def output(pipe, output), do: Series.add(:outputs_total, {pipe, output}, 1)

  @spec pipe_restarted(non_neg_integer, facts) :: :ok
  def pipe_restarted(lost, facts) do
    Series.add(:pipe_restarts_total, {facts.pipe}, 1)
    Series.add(:pipe_lost_items_total, {facts.pipe}, lost)
    Happenings.note(:restart, Map.put(facts, :lost, lost))
    emit([:slither, :pipe, :restart], %{lost: lost}, facts)
  end

  @spec sink_failed(facts) :: :ok
  def sink_failed(facts) do
    Series.add(:sink_failures_total, {facts.pipe}, 1)
    emit([:slither, :pipe, :sink, :exception], %{count: 1}, facts)
  end

  ## Stores

  @doc "A write changed `count` keys; one that changed none is no event."
  @spec written(non_neg_integer, facts) :: :ok
  def written(0, _facts), do: :ok

  def written(count, facts) do
    Series.add(:store_writes_total, {facts.store, facts.table}, count)
    emit([:slither, :store, :write], %{count: count}, facts)
  end

  @spec load_started(:load | :reload, facts) :: :ok
  def load_started(kind, facts) do
    for outcome <- [:ok, :failed], do: Series.place(:store_loads_total, {facts.store, outcome})
    emit([:slither, :store, kind, :start], now(), facts)
  end

  @spec loaded(:load | :reload, integer, non_neg_integer, facts) :: :ok
  def loaded(kind, started, rows, facts) do
    Series.add(:store_loads_total, {facts.store, :ok}, 1)
    if kind == :reload, do: Happenings.note(:reload, %{store: facts.store, rows: rows})
    emit([:slither, :store, kind, :stop], %{duration: since(started), rows: rows}, facts)
  end

  @spec load_failed(:load | :reload, integer, term, facts) :: :ok
  def load_failed(kind, started, reason, facts) do
    measurements = %{duration: since(started), rows: 0}
    Series.add(:store_loads_total, {facts.store, :failed}, 1)
    if kind == :reload, do: Happenings.note(:reload, %{store: facts.store, reason: reason})
    emit([:slither, :store, kind, :exception], measurements, Map.put(facts, :reason, reason))
  end

  ## Views

  @spec view_started(pos_integer, facts) :: :ok
  def view_started(count, facts),
    do: emit([:slither, :bridge, :view, :start], Map.put(now(), :count, count), facts)

  @spec view_stopped(integer, pos_integer, facts) :: :ok
  def view_stopped(started, count, facts) do
    measurements = %{duration: since(started), count: count}
    answered(measurements, facts, :ok)
    emit([:slither, :bridge, :view, :stop], measurements, facts)
  end

  @doc "A view failed; `message` is what Python is told."
  @spec view_failed(integer, pos_integer, facts, :view_failed | :view_timeout, String.t()) :: :ok
  def view_failed(started, count, facts, reason, message) do
    measurements = %{duration: since(started), count: count}
    answered(measurements, facts, reason)
    facts = Map.merge(facts, %{reason: reason, error: message})
    emit([:slither, :bridge, :view, :exception], measurements, facts)
  end

  defp answered(%{duration: duration}, %{store: store, view: view}, outcome) do
    for other <- [:ok, :view_failed, :view_timeout],
        do:
          Series.add(
            :view_calls_total,
            {store, view, other},
            if(other == outcome, do: 1, else: 0)
          )

    Series.observe(:view_duration_seconds, {store, view}, duration)
  end

  ## Rates

  @doc "A bucket is paused for so many ms, while so many requests wait."
  @spec rate_paused(non_neg_integer, non_neg_integer, facts) :: :ok
  def rate_paused(time, waiting, facts) do
    Series.add(:rate_pauses_total, {facts.rate || ""}, 1)
    pause = System.convert_time_unit(time, :millisecond, :native)
    emit([:slither, :rate, :paused], %{pause: pause, waiting: waiting}, facts)
  end

  ## Workers and sessions

  @doc "A worker is ready; `began` is when its start began."
  @spec worker_up(integer, facts) :: :ok
  def worker_up(began, facts) do
    took = since(began)
    Series.add(:worker_starts_total, {facts.pool}, 1)
    for reason <- @ends, do: Series.place(:worker_ends_total, {facts.pool, reason})
    Series.observe(:worker_start_seconds, {facts.pool}, took)
    Happenings.note(:start, facts)
    emit([:slither, :pool, :worker, :up], %{start_time: took}, facts)
  end

  @spec worker_down(integer, facts) :: :ok
  def worker_down(began, facts) do
    Series.add(:worker_ends_total, {facts.pool, facts.reason}, 1)
    {error, kept} = Map.pop(facts, :error)
    kept = if error, do: Map.put(kept, :why, error.message), else: kept
    Happenings.note(Happenings.ended(facts.reason), kept)
    emit([:slither, :pool, :worker, :down], %{lifetime: since(began)}, facts)
  end

  @doc "Files that workers had imported changed: new ones serve, or `error` says why they can't."
  @spec pool_reloaded(integer, facts) :: :ok
  def pool_reloaded(began, facts) do
    Happenings.note(:reload, facts)
    emit([:slither, :pool, :reload], %{duration: since(began)}, facts)
  end

  @doc "A pool whose size is a range has grown or shrunk by itself."
  @spec pool_resized(pos_integer, pos_integer, facts) :: :ok
  def pool_resized(from, to, facts) do
    Happenings.note(:resize, Map.merge(facts, %{from: from, to: to}))
    event = if to > from, do: :grow, else: :shrink
    emit([:slither, :pool, event], %{from: from, to: to}, facts)
  end

  @doc "A template is ready to fork workers; `began` is when its start began."
  @spec template_up(integer, facts) :: :ok
  def template_up(began, facts),
    do: emit([:slither, :template, :up], %{start_time: since(began)}, facts)

  @doc "A template has ended, or can't start."
  @spec template_down(integer, facts) :: :ok
  def template_down(began, facts),
    do: emit([:slither, :template, :down], %{lifetime: since(began)}, facts)

  @doc "What a template has imported can't be forked."
  @spec template_refused(facts) :: :ok
  def template_refused(facts), do: emit([:slither, :template, :refused], now(), facts)

  @doc "A pool has given a caller a lane, for which that has waited. Only counted."
  @spec lane_granted(atom, integer) :: :ok
  def lane_granted(pool, waited), do: Series.observe(:pool_wait_seconds, {pool}, waited)

  @doc "What became of spans that have ended. Only counted."
  @spec spans(:sent | :dropped, non_neg_integer) :: :ok
  def spans(outcome, count), do: Series.add(:trace_spans_total, {outcome}, count)

  @doc "A handler says how far it is."
  @spec progress(non_neg_integer, non_neg_integer | nil, facts) :: :ok
  def progress(done, total, facts),
    do: emit([:slither, :worker, :progress], %{done: done, total: total}, facts)

  @spec session_stopped(facts) :: :ok
  def session_stopped(facts), do: emit([:slither, :session, :stop], now(), facts)

  @spec session_moved(facts) :: :ok
  def session_moved(facts), do: emit([:slither, :session, :move], now(), facts)

  defp emit(event, measurements, facts), do: Telemetry.execute(event, measurements, facts)

  defp now, do: %{system_time: System.system_time()}
  defp since(started), do: System.monotonic_time() - started
end
