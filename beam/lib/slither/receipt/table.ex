defmodule Slither.Receipt.Table do
  @moduledoc false
  # A receipt as a table that a person reads: a row for each stage, and a last line that says what to
  # look at. Pure; called by `Slither.Receipt`.

  alias Slither.Metrics.Definitions
  alias Slither.Receipt.{Bottleneck, Words}

  @phases Definitions.phases()
  @head ["stage", "items", "errors", "calls", "p50", "p95"]

  @doc "The table of a receipt, or of a map that has as much."
  @spec of(map) :: String.t()
  def of(receipt) do
    phases = phases(rows(receipt))
    rows = Enum.map(rows(receipt), &row(&1, phases))

    [
      [title(receipt), ""],
      lines([@head ++ Enum.map(phases, &to_string/1) | rows]),
      "",
      errors(receipt.errors)
    ]
    |> Kernel.++([Bottleneck.sentence(Bottleneck.of(receipt))])
    |> List.flatten()
    |> Enum.join("\n")
  end

  defp rows(%{stages: [], name: name} = receipt), do: [{name || "all", receipt}]
  defp rows(%{stages: stages}), do: stages

  # Few runs have a rate.
  defp phases(rows) do
    rated? = Enum.any?(rows, fn {_name, %{times: times}} -> Map.get(times, :rate, 0) > 0 end)
    if rated?, do: @phases, else: @phases -- [:rate]
  end

  defp title(receipt) do
    name = if receipt.name, do: "#{receipt.name}: "

    counts =
      for {count, word} <- [
            {receipt.out, "out"},
            {receipt.skipped, "skipped"},
            {receipt.routed, "routed"},
            {receipt.failed, "not finished"},
            {receipt.retries, "retries"}
          ],
          count > 0 or word == "out",
          do: ", #{Words.count(count)} #{word}"

    "#{name}#{Words.count(receipt.in)} items in #{Words.time(receipt.duration)}#{counts}"
  end

  defp row({name, receipt}, phases) do
    shares = shares(receipt.times)

    [
      to_string(name),
      Words.count(receipt.in),
      Words.count(receipt.errors |> Map.values() |> Enum.sum()),
      if(receipt.batches > 0, do: Words.count(receipt.batches), else: "-"),
      Words.time(receipt.p50),
      Words.time(receipt.p95)
    ] ++ for phase <- phases, do: share(shares[phase])
  end

  defp share(share) when share == 0, do: "-"
  defp share(share), do: Words.share(share)

  @doc "The share that each phase has of the times."
  @spec shares(map) :: %{atom => float}
  def shares(times) do
    all = @phases |> Enum.map(&Map.get(times, &1, 0)) |> Enum.sum()
    for phase <- @phases, into: %{}, do: {phase, Map.get(times, phase, 0) / max(all, 1)}
  end

  defp lines(rows) do
    widths =
      rows
      |> Enum.zip_with(& &1)
      |> Enum.map(&(&1 |> Enum.map(fn t -> String.length(t) end) |> Enum.max()))

    for [name | cells] <- rows do
      [first | others] = widths
      cells = Enum.zip_with(cells, others, &String.pad_leading/2)
      Enum.join([String.pad_trailing(name, first) | cells], "  ")
    end
  end

  defp errors(none) when none == %{}, do: []

  defp errors(errors) do
    counted = errors |> Enum.sort_by(&{-elem(&1, 1), elem(&1, 0)}) |> Enum.take(5)
    kinds = Enum.map_join(counted, ", ", fn {kind, count} -> "#{kind} #{Words.count(count)}" end)
    more = map_size(errors) - length(counted)
    ["errors: #{kinds}#{if more > 0, do: ", and #{more} kinds more"}"]
  end
end
