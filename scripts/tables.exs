# Writes the tables of guides/observability.md anew, from what the code says of its events, metrics and
# spans: MIX_ENV=test mix run --no-start scripts/tables.exs, which is `make tables`.

guide = Path.expand("../guides/observability.md", __DIR__)

# The table in a module's documentation whose first column is called so.
documented = fn module, column ->
  {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(module)
  head = "| #{column} | "
  [_before, rest] = String.split(text, head, parts: 2)
  head <> (rest |> String.split("\n\n") |> hd() |> String.trim_trailing())
end

metrics =
  for metric <- Slither.Metrics.Definitions.written() do
    labels = Enum.map_join(metric.labels, ", ", &"`#{&1}`")
    "| `slither_#{metric.metric}` | #{metric.type} | #{labels} | #{metric.help} |"
  end

head = ["| metric | type | labels | what it says |", "| --- | --- | --- | --- |"]

tables = %{
  "Every event" => documented.(Slither.Telemetry, "event"),
  "Every metric" => Enum.join(head ++ metrics, "\n"),
  "Every span" => documented.(Slither.Trace, "span")
}

# The first table below a heading.
put = fn {heading, table}, text ->
  [before, rest] = String.split(text, "\n## #{heading}\n", parts: 2)
  rest = Regex.replace(~r/(^\|.*\n)+/m, rest, fn _, _ -> table <> "\n" end, global: false)
  before <> "\n## #{heading}\n" <> rest
end

File.write!(guide, Enum.reduce(tables, File.read!(guide), put))
