defmodule Slither.Metrics.SeriesLimitTest do
  # Alone, as the limit is everybody's.
  use ExUnit.Case, async: false

  alias Slither.Metrics.Series

  setup do
    most = Application.fetch_env!(:slither, :max_series)
    on_exit(fn -> Series.forget(:retries_total, {"limit-known", "", ""}) end)
    on_exit(fn -> Application.put_env(:slither, :max_series, most) end)
  end

  test "a metric takes no series beyond its limit, counts what it refuses, and goes on with those it has" do
    :ok = Series.add(:retries_total, {"limit-known", "", ""}, 1)
    Application.put_env(:slither, :max_series, 1)
    before = Series.get(:metrics_refused_total, {:retries_total}) || 0

    assert :ok = Series.add(:retries_total, {"limit-new", "", ""}, 1)
    assert :ok = Series.add(:retries_total, {"limit-known", "", ""}, 1)

    labels =
      for %{name: "slither_retries_total", labels: labels} <- Series.read(), do: labels[:pool]

    assert "limit-known" in labels
    refute "limit-new" in labels
    assert Series.get(:retries_total, {"limit-known", "", ""}) == 2
    assert Series.get(:metrics_refused_total, {:retries_total}) == before + 1
  end
end
