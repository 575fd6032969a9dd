defmodule Slither.Examples.BatchStats do
  @moduledoc """
  Welford's statistics of 2,000 data sets, of which 50 are poison.

  The data sets are the lengths of lines of passages from Python's standard library. The poison
  makes means that are no number, raises, crashes the interpreter (once) or never ends (once).
  `isolate: true` with `on_error: :skip` loses exactly that, whichever strategy makes the batches.
  """

  @behaviour Slither.Examples.Example

  alias Slither.Dispatch.Strategies.{FixedBatch, KeyPartition, WeightedBatch}
  alias Slither.Examples.{Measure, Report}

  @pool :batch_stats
  @reference :batch_stats_reference

  # ms that a batch may take, which is some 70 times what it needs. A batch of others that a busy
  # machine kept for so long is split and tried again.
  @timeout 750

  @impl true
  def title, do: "statistics of passages from Python's standard library, 1 in 40 of them poison"

  @impl true
  def shows do
    "a data set that crashes the interpreter takes threads and all their results with it, and one " <>
      "that hangs stops a pool; here they are found, lost alone, and accounted for."
  end

  @impl true
  def size, do: {2_000, "data sets"}

  @impl true
  def needs, do: []

  @impl true
  def why do
    "A thread shares its interpreter with the results of all others: when one data set crashes it, " <>
      "nothing is left. A process pool breaks instead, and its futures don't say whose fault it " <>
      "was; process_pool here rebuilds it, puts those that were out into quarantine, and kills " <>
      "processes that hang through an attribute that is private. Slither does that by itself: a " <>
      "batch that raises, crashes or runs over its time is split until the culprits are alone. " <>
      "Most of the time is spent waiting for the one that hangs, once for each split: process_pool " <>
      "halves, slither tries a batch of so few item by item, and waits twice in place of five times."
  end

  @impl true
  def run(options) do
    pool = [size: options[:workers], python: options[:python], paths: [__DIR__]]
    pool = [preload: ["batch_stats"]] ++ pool

    with {:ok, sets, expected} <- prepared(pool, options[:size]),
         {:ok, runs} <- strategies(pool, sets) do
      {:ok, outcome(runs, sets, expected)}
    end
  end

  # The data sets, and what one process finds in the sound ones. None of that is measured.
  defp prepared(pool, size) do
    pool = Keyword.merge(pool, name: @reference, size: 1)

    with {:ok, _figures, {sets, expected}} <-
           Measure.run([{Slither.Python.Pool, pool}], [@reference], fn ->
             sets = ask("load", size)
             {sets, ask("expected", sets)}
           end),
         do: {:ok, sets, expected}
  end

  defp ask(function, payload) do
    options = [module: "batch_stats", function: function, pool: @reference]
    {:ok, [item]} = Slither.Dispatch.call_batch([payload], options)
    item.payload
  end

  defp strategies(pool, sets) do
    [
      {"FixedBatch", [strategy: FixedBatch, batch_size: 16]},
      {"WeightedBatch",
       [strategy: WeightedBatch, max_weight: 2_500, weight_fn: &length(&1.payload["values"])]},
      {"KeyPartition", [strategy: KeyPartition, key_fn: & &1.payload["source"], window: 25]}
    ]
    |> Enum.reduce_while({:ok, []}, fn {name, strategy}, {:ok, runs} ->
      case Measure.run(pool(pool), [@pool], fn -> describe(sets, strategy) end) do
        {:ok, figures, result} -> {:cont, {:ok, runs ++ [{name, figures, result}]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  # coordination: slither
  defp pool(pool), do: [{Slither.Python.Pool, [name: @pool, spare: 1] ++ pool}]

  defp describe(sets, strategy) do
    options = [
      module: "batch_stats",
      function: "describe",
      pool: @pool,
      timeout: @timeout,
      isolate: true,
      on_error: :skip,
      receipt: true
    ]

    {:ok, items, receipt} = Slither.dispatch(sets, options ++ strategy)
    {lost, sound} = Enum.split_with(items, & &1.meta[:skipped])
    total = Enum.reduce(sound, {0, 0.0, 0.0}, &combine(total(&1.payload), &2))
    %{lost: lost, sound: sound, total: total, receipt: receipt}
  end

  # end of coordination

  defp total(%{"count" => count, "mean" => mean, "m2" => m2}), do: {count, mean, m2}

  # The statistics of two sets of values together.
  defp combine({count, mean, m2}, {counts, means, m2s}) do
    all = count + counts
    delta = means - mean
    {all, mean + delta * counts / all, m2 + m2s + delta * delta * count * counts / all}
  end

  defp outcome([{_name, figures, first} | _] = runs, sets, expected) do
    poison = for n <- div(40, 2)..(length(sets) - 1)//40, do: n
    sound = Enum.to_list(0..(length(sets) - 1)) -- poison

    %{
      figures: figures,
      invariants: [
        {"every sound data set has its statistics",
         every(runs, &(Enum.map(&1.sound, fn item -> item.payload["number"] end) == sound))},
        {"exactly the poison is lost, each with its reason",
         every(runs, fn run ->
           Enum.map(run.lost, & &1.payload["number"]) == poison and
             Enum.all?(run.lost, &is_exception(&1.meta[:error]))
         end)},
        {"the merged mean and variance are those of one process",
         every(runs, &same?(&1.total, expected))},
        {"the receipts add up: in = out + skipped",
         every(runs, fn %{receipt: receipt} ->
           {receipt.in, receipt.skipped} == {length(sets), length(poison)} and
             receipt.in == receipt.out + receipt.skipped
         end)}
      ],
      parts: parts(runs, first)
    }
  end

  defp every(runs, held?), do: Enum.all?(runs, fn {_name, _figures, run} -> held?.(run) end)

  defp same?({count, mean, m2}, {expected, means, m2s}),
    do: count == expected and close?(mean, means) and close?(m2, m2s)

  defp close?(one, other), do: abs(one - other) <= 1.0e-9 * abs(other)

  defp parts(runs, first) do
    strategies =
      for {name, figures, %{receipt: receipt} = run} <- runs do
        [name, Report.seconds(figures.start_ms + figures.ms), receipt.batches, receipt.splits] ++
          [figures.restarts, length(run.lost)]
      end

    reasons = Enum.frequencies_by(first.lost, & &1.meta.error.reason)

    [
      {:table, "Slither, by strategy (the first is the one above)",
       ["strategy", "time", "calls", "splits", "restarts survived", "lost"], strategies},
      {:table, "What was lost, by reason", ["reason", "data sets"],
       for({reason, count} <- Enum.sort(reasons), do: [reason, count])}
    ]
  end
end
