defmodule Slither.Examples.Report do
  @moduledoc """
  Plain tables and sentences for a person to read.

  A part is `{:line, text}`, `{:table, title, head, rows}` or `{:paragraph, text}`.
  """

  @width 92

  @doc "Prints parts, an empty line before each."
  @spec print([term]) :: :ok
  def print(parts) do
    for part <- parts, part != {:lines, []} do
      IO.puts("")
      part(part)
    end

    :ok
  end

  @doc "Prints a paragraph further to the right, with no empty line before it."
  @spec print_indented(String.t()) :: :ok
  def print_indented(text), do: Enum.each(wrapped(text), &IO.puts("    " <> &1))

  @doc """
  The parts that compare rows (see `Slither.Examples.Runner`): the table, and what did not hold.
  """
  @spec comparison([map]) :: [term]
  def comparison(rows) do
    head =
      ["", "correct?", "time", "of it start", "peak memory", "restarts survived"] ++
        ["coordination"]

    table = for row <- rows, do: cells(row)
    [{:table, nil, head, table}, {:lines, broken(rows) ++ fastest(rows)}]
  end

  @doc "What a number of bytes, or of ms, is to a person."
  @spec bytes(number | nil) :: String.t()
  def bytes(nil), do: "-"
  def bytes(bytes), do: "#{round(bytes / 1_048_576)} MiB"

  @spec seconds(number | nil) :: String.t()
  def seconds(nil), do: "-"
  def seconds(ms), do: :erlang.float_to_binary(ms / 1_000, decimals: 2) <> " s"

  @doc "A ratio."
  @spec decimals(float) :: String.t()
  def decimals(ratio), do: :erlang.float_to_binary(ratio, decimals: 2)

  @doc "A number with its thousands apart."
  @spec number(integer) :: String.t()
  def number(number) do
    number |> Integer.to_string() |> String.replace(~r/(?<=\d)(?=(\d{3})+$)/, ",")
  end

  defp cells(row) do
    [
      row.kind,
      correct(row),
      row |> time() |> seconds(),
      seconds(row.start_ms),
      bytes(row.peak_memory),
      row.restarts,
      "#{row.coordination} lines"
    ]
  end

  defp correct(%{ended: false}), do: "NO"
  defp correct(row), do: if(Enum.all?(row.invariants, &elem(&1, 1)), do: "yes", else: "NO")

  defp time(%{ms: nil}), do: nil
  defp time(row), do: row.start_ms + row.ms

  # What died has held nothing: that is said once.
  defp broken(rows) do
    for row <- rows, text <- List.wrap(row.note) ++ not_held(row), do: "#{row.kind}: #{text}"
  end

  defp not_held(%{ms: nil}), do: []
  defp not_held(row), do: for({text, false} <- row.invariants, do: "not held: #{text}")

  @doc """
  Which way is the fastest that is correct, and how many times as long Slither takes: 1.0 where it is
  Slither's, `nil` where that is not correct or was not run.
  """
  @spec fastest_correct([map]) :: %{kind: String.t() | nil, ratio: float | nil}
  def fastest_correct(rows) do
    case by_time(rows) do
      [] -> %{kind: nil, ratio: nil}
      [first | _] = correct -> %{kind: first.kind, ratio: ratio(slither(correct), first)}
    end
  end

  defp ratio(nil, _first), do: nil
  defp ratio(slither, first), do: Float.round(time(slither) / time(first), 3)

  defp by_time(rows),
    do: rows |> Enum.filter(&(correct(&1) == "yes" and time(&1))) |> Enum.sort_by(&time/1)

  defp slither(rows), do: Enum.find(rows, &(&1.kind == "slither"))

  # If a baseline is faster, this is where it is said.
  defp fastest([_alone]), do: []

  defp fastest(rows) do
    correct = by_time(rows)
    [compared(correct, slither(correct)) | imported(correct, slither(correct))]
  end

  # A parent that has imported everything anyway has workers for less.
  defp imported(_correct, nil), do: []

  defp imported(correct, slither) do
    warm =
      for %{import_ms: ms} = row when ms != nil <- correct,
          do: %{row | start_ms: row.start_ms - ms}

    case by_time(warm) do
      [] ->
        []

      [first | _] ->
        [
          "Without the #{seconds(first.import_ms)} of its imports #{first.kind} takes " <>
            "#{seconds(time(first))}; slither, all of its own counted, " <>
            "#{times(slither, first)} times that."
        ]
    end
  end

  defp compared([%{kind: "slither"} = slither, next | _], slither) do
    "Fastest of those that are correct: slither; #{next.kind} takes " <>
      "#{times(next, slither)} times as long."
  end

  defp compared([%{kind: kind}], _slither), do: "Only #{kind} is correct."

  defp compared([first | _], nil), do: "Fastest of those that are correct: #{first.kind}."

  defp compared([first | _], slither) do
    "Fastest of those that are correct: #{first.kind}; slither takes " <>
      "#{times(slither, first)} times as long."
  end

  defp compared([], _slither), do: "None is correct."

  defp times(row, other), do: decimals(time(row) / time(other))

  defp part({:line, text}), do: IO.puts(text)
  defp part({:lines, lines}), do: Enum.each(lines, &IO.puts("  " <> &1))

  defp part({:paragraph, text}), do: Enum.each(wrapped(text), &IO.puts("  " <> &1))

  defp part({:table, title, head, rows}) do
    rows = for row <- rows, do: Enum.map(row, &to_string/1)

    widths =
      for column <- 0..(length(head) - 1) do
        [head | rows] |> Enum.map(&String.length(Enum.at(&1, column))) |> Enum.max()
      end

    if title, do: IO.puts(title)
    Enum.each([head | rows], &IO.puts("  " <> line(&1, widths)))
  end

  defp wrapped(text) do
    text
    |> String.split()
    |> Enum.reduce([""], fn
      word, [""] -> [word]
      word, [line | lines] -> wrap(word, line, lines)
    end)
    |> Enum.reverse()
  end

  defp wrap(word, line, lines) do
    if String.length(line) + String.length(word) < @width,
      do: [line <> " " <> word | lines],
      else: [word, line | lines]
  end

  defp line(cells, widths) do
    cells
    |> Enum.zip(widths)
    |> Enum.map_join("  ", fn {cell, width} -> String.pad_trailing(cell, width) end)
    |> String.trim_trailing()
  end
end
