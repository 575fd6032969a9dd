defmodule Slither.Metrics do
  alias Slither.Metrics.{Definitions, Handlers, Series, Text}
  alias Slither.Watch.Gauges

  @moduledoc """
  Counters, gauges and histograms of all that Slither does, for Prometheus and whoever reads its text.

      plug = fn conn -> send_resp(conn, 200, Slither.Metrics.text()) end

  The dashboard serves them at `/metrics`. Counting needs no process and no set-up: it goes on from
  the start of the application, also while nobody looks. What can only be looked up (workers, queues,
  memory, rows) is read when somebody asks.

  Times are in seconds, and counters end in `_total`. Labels are names that you have given: of pools,
  pipes and stages, stores, tables and views; where a dispatch, a call or a gather belongs to no pipe,
  `pipe` is empty and `stage` is what it calls, `"module.function"`. Each metric has at most 1,000
  series, unless `config :slither, max_series:` says otherwise: what would be one more is not counted,
  and `slither_metrics_refused_total` says so.

  In each stage, once its runs have ended, the items that came in are those that are `ok`, `skipped`,
  `routed` and `failed` in `slither_items_total`, each counted once, however often it was tried.

  What handlers count with `slither.metrics` stands beside these, under the names that they give.

  | metric | type | labels | what it says |
  | --- | --- | --- | --- |
  #{Enum.map_join(Definitions.written(), "\n", fn d -> "| `slither_#{d.metric}` | #{d.type} | #{Enum.map_join(d.labels, ", ", &"`#{&1}`")} | #{d.help} |" end)}

  Histograms have the buckets #{Enum.map_join(Definitions.buckets(), ", ", &"#{&1}")} s.

  Rules for alerts and a dashboard for Grafana are in the folder `guides/observability` of the
  repository: `slither.rules.yml` and `grafana/slither.json`.
  """

  @doc """
  All metrics in Prometheus' text format, version 0.0.4.

      iex> text = IO.iodata_to_binary(Slither.Metrics.text())
      iex> text =~ "# TYPE slither_build_info gauge"
      true
  """
  @spec text() :: iodata
  def text, do: Text.of(read())

  @doc """
  All samples: maps with `name`, `type`, `help`, `labels` (a list of pairs) and `value`; a histogram's
  have `buckets` (pairs of an upper bound and how many were within), `sum` and `count` in its place.

      iex> sample = Enum.find(Slither.Metrics.read(), &(&1.name == "slither_build_info"))
      iex> {sample.type, sample.value, Keyword.keys(sample.labels)}
      {:gauge, 1, [:version, :elixir, :otp]}
  """
  @spec read() :: [Series.sample() | Handlers.sample()]
  def read do
    # First, as it counts what was inside of runs whose process was killed.
    gauges = Gauges.read()
    in_order(Series.read() ++ gauges) ++ Handlers.read()
  end

  defp in_order(samples) do
    order =
      for {d, at} <- Enum.with_index(Definitions.all()),
          into: %{},
          do: {"slither_#{d.metric}", at}

    Enum.sort_by(samples, &Map.fetch!(order, &1.name))
  end
end
