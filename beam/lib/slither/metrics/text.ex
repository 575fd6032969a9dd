defmodule Slither.Metrics.Text do
  @moduledoc false
  # Samples as Prometheus reads them: its text format, version 0.0.4. Pure; called by
  # `Slither.Metrics`.

  @type value :: number | :nan | :infinity | :neg_infinity

  @doc """
  The text of samples, of which those of one name stand together.

      iex> sample = %{name: "hits_total", type: :counter, help: "Hits.", labels: [kind: "a"], value: 2}
      iex> [sample] |> Slither.Metrics.Text.of() |> IO.iodata_to_binary()
      "# HELP hits_total Hits.\\n# TYPE hits_total counter\\nhits_total{kind=\\"a\\"} 2\\n"
  """
  @spec of([map]) :: iodata
  def of(samples) do
    for [%{name: name, type: type, help: help} | _] = same <-
          Enum.chunk_by(samples, & &1.name) do
      ["# HELP ", name, " ", escaped(help), "\n# TYPE ", name, " ", to_string(type), "\n"] ++
        Enum.map(same, &lines/1)
    end
  end

  defp lines(%{type: :histogram, name: name, labels: labels} = sample) do
    buckets =
      for {bound, count} <- sample.buckets,
          do: line([name, "_bucket"], labels ++ [le: number(bound)], count)

    [
      buckets,
      line([name, "_bucket"], labels ++ [le: "+Inf"], sample.count),
      line([name, "_sum"], labels, sample.sum),
      line([name, "_count"], labels, sample.count)
    ]
  end

  defp lines(%{name: name, labels: labels, value: value}), do: line(name, labels, value)

  defp line(name, [], value), do: [name, " ", number(value), "\n"]

  defp line(name, labels, value) do
    pairs = for {label, text} <- labels, do: [to_string(label), "=\"", quoted(text), "\""]
    [name, "{", Enum.intersperse(pairs, ","), "} ", number(value), "\n"]
  end

  defp number(:nan), do: "NaN"
  defp number(:infinity), do: "+Inf"
  defp number(:neg_infinity), do: "-Inf"
  defp number(value) when is_integer(value), do: Integer.to_string(value)
  defp number(value), do: Float.to_string(value)

  defp escaped(text), do: text |> String.replace("\\", "\\\\") |> String.replace("\n", "\\n")
  defp quoted(text), do: text |> escaped() |> String.replace("\"", "\\\"")
end
