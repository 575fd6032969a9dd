defmodule Slither.Watch.Stages do
  @moduledoc false
  # What has become of each stage's items so far, and where the time of its calls went: of the stages of
  # pipes, and of what dispatches, calls and gathers have called. Read from the counters at once, in the
  # process that asks, without `Slither.Watch.Server`: what it tells only grows.

  alias Slither.Metrics.{Definitions, Series}
  alias Slither.Quantiles
  alias Slither.Watch.Counters

  @outcomes Definitions.outcomes()
  @phases Definitions.phases()

  @typedoc """
  `pipe` is nil for what no pipe has called. `items` were decided; each of the outcomes counts some of
  them. `errors` counts items that failed, by reason, whatever became of them then. `calls` were
  answered. `times` are in native units, and so are `p50` and `p95`, of the handler.
  """
  @type stage :: %{
          pipe: String.t() | nil,
          stage: String.t(),
          items: non_neg_integer,
          ok: non_neg_integer,
          failed: non_neg_integer,
          skipped: non_neg_integer,
          routed: non_neg_integer,
          errors: %{atom => pos_integer},
          calls: non_neg_integer,
          times: %{atom => non_neg_integer},
          p50: number | nil,
          p95: number | nil
        }

  @doc "All that have had an item or a call, in the order of their names."
  @spec all() :: [stage]
  def all do
    counts = Counters.read()
    sketches = Counters.sketches()
    errors = errors()

    for {pipe, stage} = place <-
          Enum.sort(Enum.uniq(Counters.places(counts) ++ Map.keys(sketches))),
        sketch = Map.get(sketches, place, Quantiles.new()),
        items = Map.get(counts, {place, :items}, 0),
        items > 0 or sketch != Quantiles.new() do
      outcomes = Map.new(@outcomes, &{&1, Map.get(counts, {place, &1}, 0)})

      Map.merge(outcomes, %{
        pipe: pipe,
        stage: stage,
        items: items,
        errors: Map.get(errors, place, %{}),
        calls: Enum.sum(Map.values(sketch)),
        times: Map.new(@phases, &{&1, Map.get(counts, {place, &1}, 0)}),
        p50: Quantiles.at(sketch, 0.5),
        p95: Quantiles.at(sketch, 0.95)
      })
    end
  end

  defp errors do
    for {{pipe, stage, reason}, counter} <- Series.of(:item_errors_total), reduce: %{} do
      errors ->
        found = %{reason => :counters.get(counter, 1)}
        Map.update(errors, Counters.place(pipe, stage), found, &added(&1, found))
    end
  end

  # Names that read the same are one stage.
  defp added(some, more), do: Map.merge(some, more, fn _reason, a, b -> a + b end)
end
