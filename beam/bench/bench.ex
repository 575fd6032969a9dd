defmodule Slither.Bench do
  @moduledoc """
  Rounds, medians, ratios, and where they are written.
  """

  @doc "The median and the spread of a measure in each round."
  def summary(values) do
    sorted = Enum.sort(values)
    %{median: Enum.at(sorted, div(length(sorted), 2)), min: hd(sorted), max: List.last(sorted)}
  end

  @doc """
  Runs every measure once in each round, so that what disturbs one disturbs all, in an order of
  chance: what went before leaves the machine warm or cold.
  """
  def rounds(count, measures) do
    for(_ <- 1..count, {name, fun} <- Enum.shuffle(measures), do: {name, fun.()})
    |> Enum.flat_map(fn
      {_name, %{} = many} -> Enum.to_list(many)
      one -> [one]
    end)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, values} -> {name, summary(values)} end)
  end

  @doc "Prints measures and claims, and writes both to a file."
  def report(title, unit, results, claims) do
    IO.puts("\n#{title} (#{unit}; median, min to max)\n")

    for {name, s} <- Enum.sort_by(results, fn {_, s} -> s.median end) do
      IO.puts(
        "  #{String.pad_trailing(name, 28)} #{pad(s.median)}   #{pad(s.min)} to #{pad(s.max)}"
      )
    end

    IO.puts("\n  ratio of medians")

    for {name, ratio, sign, limit} <- claims do
      held = if holds?(ratio, sign, limit), do: "held", else: "MISSED"
      IO.puts("  #{String.pad_trailing(name, 60)} #{pad(ratio)}  #{sign} #{limit}  #{held}")
    end

    path = Path.join(["_build", "bench", String.replace(title, ~r/\W+/, "-") <> ".json"])
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, json(title, unit, results, claims))
    IO.puts("\n  written to #{path}")
  end

  defp holds?(ratio, "<=", limit), do: ratio <= limit
  defp holds?(ratio, ">=", limit), do: ratio >= limit

  defp pad(number), do: String.pad_leading(:erlang.float_to_binary(number / 1, decimals: 2), 10)

  defp json(title, unit, results, claims) do
    results =
      for {name, s} <- results do
        ~s(  {"name": #{inspect(name)}, "median": #{s.median}, "min": #{s.min}, "max": #{s.max}})
      end

    claims =
      for {name, ratio, sign, limit} <- claims do
        ~s(  {"name": #{inspect(name)}, "ratio": #{ratio}, "claim": "#{sign} #{limit}"})
      end

    """
    {"title": #{inspect(title)}, "unit": #{inspect(unit)}, "results": [
    #{Enum.join(results, ",\n")}], "claims": [
    #{Enum.join(claims, ",\n")}]}
    """
  end
end
