defmodule Slither.ObservabilityGuideTest do
  # The tables of guides/observability.md against the code that they tell of: every event, metric and
  # span, what each has, and what a line of the log knows.
  use ExUnit.Case, async: true

  alias Slither.Metrics.Definitions
  alias Slither.Protocol.Facts
  alias Slither.{Telemetry, Trace}

  @root Path.expand("../..", __DIR__)
  @guide Path.join(@root, "guides/observability.md")
  @lib Path.join(@root, "beam/lib/slither")
  @mend "guides/observability.md is behind the code: `make tables` writes its tables anew"

  test "every event stands there as it is documented, and is emitted" do
    told = table("Every event")

    assert told == documented(Telemetry, "event"), @mend

    names = for [name | _] <- told, event <- events(name), do: event
    patterns = emitted()
    assert length(names) > 30
    assert for(name <- names, not Enum.any?(patterns, &match(&1, name)), do: name) == []
    assert for(pattern <- patterns, not Enum.any?(names, &match(pattern, &1)), do: pattern) == []
  end

  test "every metric stands there as it is defined, and is shown so" do
    defined =
      for %{type: type} = definition when type != :sketch <- Definitions.all() do
        labels = Enum.map_join(definition.labels, ", ", &"`#{&1}`")
        ["`slither_#{definition.metric}`", "#{type}", labels, definition.help]
      end

    assert table("Every metric") == defined, @mend
    named = for [name | _] <- defined, do: String.trim(name, "`")

    assert for(
             %{name: "slither_" <> _ = name} <- Slither.Metrics.read(),
             name not in named,
             do: name
           ) == []
  end

  test "every span stands there as it is documented, and has the attributes that the code gives it" do
    told = table("Every span")
    assert told == documented(Trace, "span"), @mend

    section = section("Every span")
    named = names(section)
    given = attributes()
    assert length(given) > 15
    assert given -- named == []

    assert for(name <- named, name =~ ".", name not in ["module.function" | given], do: name) ==
             []
  end

  test "the metadata of logs is what a driver is told of, and of a record's place" do
    named = for [names | _] <- table("Logs"), name <- names(names), do: String.to_atom(name)
    everything = Map.new(named, &{&1, 1})
    of_call = ~w(pool worker os_pid call batch run pipe stage session trace_id span_id)
    assert Map.keys(Facts.told(nil, everything)["beam"]) == Enum.sort(of_call)

    of_record =
      Facts.metadata(%{"pathname" => "a", "lineno" => 1, "funcName" => "f", "process" => 1})

    known = [:python_logger | Keyword.keys(of_record)] ++ Enum.map(of_call, &String.to_atom/1)
    assert Enum.sort(known) == Enum.sort(named)
  end

  ## The guide

  defp section(heading) do
    [_before, rest] = String.split(File.read!(@guide), ~r/^##+ #{heading}$/m)
    rest |> String.split(~r/^## /m) |> hd()
  end

  defp table(heading) do
    [_names, _line | rows] = heading |> section() |> rows()
    rows
  end

  defp rows(text), do: for("| " <> row <- String.split(text, "\n"), do: cells(row))

  # A bar in a cell is escaped.
  defp cells(row) do
    row
    |> String.trim_trailing("|")
    |> String.split(~r/(?<!\\)\|/)
    |> Enum.map(&(&1 |> String.trim() |> String.replace("\\|", "|")))
  end

  defp names(text), do: for([_, name] <- Regex.scan(~r/`([\w.]+)`/, text), do: name)

  ## The code

  # The table in a module's documentation whose first column is called so.
  defp documented(module, column) do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(module)
    [_before, rest] = String.split(text, "| #{column} | ", parts: 2)
    table = rest |> String.split("\n\n") |> hd()
    [_line | rows] = rows(table)
    rows
  end

  defp events("`[" <> _ = name) do
    [_, names] = Regex.run(~r/^`\[([^\]]*)\]`/, name)
    names = for name <- String.split(names, ", "), do: String.split(name, "|")

    for last <- List.last(names) do
      for ":" <> name <- Enum.map(Enum.drop(names, -1), &hd/1) ++ [last], do: String.to_atom(name)
    end
  end

  # The events of `telemetry/events.ex`: what is decided when it runs is `:_`.
  defp emitted do
    {_ast, found} =
      Path.join(@lib, "telemetry/events.ex")
      |> File.read!()
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], fn
        [:slither | parts] = event, found ->
          {event, [[:slither | Enum.map(parts, &if(is_atom(&1), do: &1, else: :_))] | found]}

        node, found ->
          {node, found}
      end)

    Enum.uniq(found)
  end

  defp match(pattern, name) do
    length(pattern) == length(name) and
      pattern |> Enum.zip(name) |> Enum.all?(fn {part, given} -> part in [:_, given] end)
  end

  # The names of spans' attributes that stand in the code of both sides.
  defp attributes do
    elixir =
      Enum.flat_map(
        ~w(trace/*.ex run/traced.ex python/lane/spans.ex python/worker/frames.ex),
        &Path.wildcard(Path.join(@lib, &1))
      )

    python = [Path.join(@root, "python/slither/_worker/tracing.py")]

    for path <- elixir ++ python,
        [_, name] <-
          Regex.scan(~r/"((?:rpc|messaging|slither|error|process)\.[a-z_.]+)"/, File.read!(path)),
        name not in ["slither._worker.named"],
        uniq: true,
        do: name
  end
end
