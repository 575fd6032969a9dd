defmodule Slither.Examples.Coordination do
  @moduledoc """
  Counts the lines of an example that coordinate: what is about threads, locks, queues, processes,
  batches, retries and merging, and not about the work itself.

  In the sources of an example, Elixir's and Python's, they stand between the comments
  `# coordination: KIND` (or several kinds, with commas) and `# end of coordination`. Empty lines
  and comments don't count.
  """

  @begin ~r/^\s*# coordination: (.*)$/
  @finish ~r/^\s*# end of coordination$/

  @doc "How many there are of a kind: `slither` or one of the baselines'."
  @spec lines(Path.t(), String.t()) :: non_neg_integer
  def lines(folder, kind) do
    for path <- Path.wildcard(Path.join(folder, "*.{ex,py}")), reduce: 0 do
      sum -> sum + (path |> File.read!() |> String.split("\n") |> count(kind))
    end
  end

  defp count(lines, kind) do
    {_open, sum} =
      Enum.reduce(lines, {[], 0}, fn line, {open, sum} ->
        cond do
          match = Regex.run(@begin, line) -> {kinds(match), sum}
          line =~ @finish -> {[], sum}
          kind in open and line =~ ~r/^\s*[^#\s]/ -> {open, sum + 1}
          true -> {open, sum}
        end
      end)

    sum
  end

  defp kinds([_line, names]), do: String.split(names, ~r/,\s*/)
end
