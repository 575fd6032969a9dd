defmodule Slither.Metrics.SeriesTest do
  use ExUnit.Case, async: true

  alias Slither.Metrics.Series

  defp name(base), do: "#{base}_#{System.unique_integer([:positive])}"

  defp samples(metric, label, value) do
    for sample <- Series.read(),
        sample.name == "slither_#{metric}",
        {label, value} in sample.labels,
        do: sample
  end

  test "a counter adds up what many processes add, and is read with the names of its labels" do
    store = name("store")
    many = for _ <- 1..8, do: Task.async(fn -> for _ <- 1..100, do: write(store, 2) end)
    Task.await_many(many)

    assert [%{type: :counter, value: 1_600, labels: [store: ^store, table: "items"]}] =
             samples(:store_writes_total, :store, store)

    assert Series.get(:store_writes_total, {store, :items}) == 1_600
  end

  defp write(store, count), do: Series.add(:store_writes_total, {store, :items}, count)

  test "a metric with slots has a sample of each, by its last label" do
    pipe = name("pipe")
    Series.add(:items_total, {pipe, :one, :failed}, 3)

    values =
      for %{value: value, labels: labels} <- samples(:items_total, :pipe, pipe),
          do: {labels[:outcome], value}

    assert Enum.sort(values) == [{"failed", 3}, {"ok", 0}, {"routed", 0}, {"skipped", 0}]
  end

  test "a histogram counts times in the buckets that they are within, in seconds" do
    pool = name("pool")
    ms = System.convert_time_unit(1, :millisecond, :native)
    for time <- [1, 1, 3, 1_000_000], do: Series.observe(:pool_wait_seconds, {pool}, time * ms)
    assert [sample] = samples(:pool_wait_seconds, :pool, pool)
    assert %{count: 4, buckets: buckets} = sample
    assert {0.001, 2} in buckets
    assert {0.0025, 2} in buckets
    assert {0.005, 3} in buckets
    assert {300.0, 3} in buckets
    assert_in_delta sample.sum, 1_000.005, 0.001
  end

  test "a gauge has the last value" do
    pipe = name("pipe")
    for at <- [5_000, 7_500], do: Series.put(:pipe_last_output_timestamp_seconds, {pipe}, at)
    assert [%{value: 7.5}] = samples(:pipe_last_output_timestamp_seconds, :pipe, pipe)
    Series.forget(:pipe_last_output_timestamp_seconds, {pipe})
    assert samples(:pipe_last_output_timestamp_seconds, :pipe, pipe) == []
  end

  test "names that read the same are one series, and any name reads as a short text" do
    pool = name("pool")
    Series.add(:worker_starts_total, {pool}, 1)
    Series.add(:worker_starts_total, {String.to_atom(pool)}, 2)
    assert [%{value: 3}] = samples(:worker_starts_total, :pool, pool)

    Series.add(:worker_starts_total, {{:via, Registry, <<255>>}}, 1)
    Series.add(:worker_starts_total, {String.duplicate(pool, 100)}, 1)
    texts = for %{labels: [pool: text]} <- Series.read(), do: text
    assert Enum.all?(texts, &(String.valid?(&1) and String.length(&1) <= 120))
  end
end
