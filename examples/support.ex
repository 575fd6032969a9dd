defmodule Slither.Examples.Example do
  @moduledoc """
  What an example is: a title, and a run that prints its report.
  """

  @callback title() :: String.t()

  @doc "Takes `workers:`; returns `{:error, :invariant}` when one of its checks failed."
  @callback run(options :: keyword) :: :ok | {:error, term}
end

defmodule Slither.Examples.Progress do
  @moduledoc """
  A line that counts, on a terminal; nothing where there is none.
  """

  @every 50

  def start(what, total) do
    %{what: what, total: total, done: :counters.new(1, []), show: IO.ANSI.enabled?()}
  end

  def step(progress) do
    :counters.add(progress.done, 1, 1)
    done = :counters.get(progress.done, 1)

    if progress.show and (rem(done, @every) == 0 or done == progress.total) do
      width = 30
      filled = div(done * width, max(progress.total, 1))
      bar = String.duplicate("#", filled) <> String.duplicate("-", width - filled)
      IO.write("\r  [#{bar}] #{done} of #{progress.total} #{progress.what}")
    end
  end

  def stop(progress), do: if(progress.show, do: IO.write("\n"))
end

defmodule Slither.Examples.Report do
  @moduledoc """
  Plain tables and checks for a person to read.
  """

  def print(parts) do
    Enum.each(parts, fn part ->
      IO.puts("")
      part(part)
    end)
  end

  defp part({:line, text}), do: IO.puts(text)

  defp part({:table, title, head, rows}) do
    rows = for row <- rows, do: Enum.map(row, &to_string/1)

    widths =
      for column <- 0..(length(head) - 1) do
        [head | rows] |> Enum.map(&String.length(Enum.at(&1, column))) |> Enum.max()
      end

    IO.puts(title)
    Enum.each([head | rows], &IO.puts("  " <> line(&1, widths)))
  end

  defp part({:checks, checks}) do
    for {what, held?} <- checks do
      IO.puts("  #{if held?, do: "ok    ", else: "FAILED"}  #{what}")
    end
  end

  defp line(cells, widths) do
    cells
    |> Enum.zip(widths)
    |> Enum.map_join("  ", fn {cell, width} -> String.pad_trailing(cell, width) end)
    |> String.trim_trailing()
  end
end
