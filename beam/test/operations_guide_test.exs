defmodule Slither.OperationsGuideTest do
  # The tables of guides/operations.md against the code that they tell of.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)
  @guide Path.join(@root, "guides/operations.md")

  test "every reason that an error can have is explained, and no other" do
    given = reasons()
    told = told("By reason")

    assert MapSet.size(given) > 60
    assert Enum.sort(MapSet.difference(given, told)) == []
    assert Enum.sort(MapSet.difference(told, given)) == []
  end

  test "every exception of the Python package is explained" do
    errors = File.read!(Path.join(@root, "python/slither/_errors.py"))
    given = for [_, name] <- Regex.scan(~r/^class ([A-Z]\w*)\(/m, errors), do: name
    guide = File.read!(@guide)

    assert length(given) > 20
    assert for(name <- given, not (guide =~ ~r/`(slither\.)?#{name}`/), do: name) == []
  end

  test "every event that a guide names is emitted, with the measurements named for alerts" do
    events = events()

    documents = [Path.join(@root, "README.md") | Path.wildcard(Path.join(@root, "guides/*.md"))]

    for path <- documents,
        [_, name] <- Regex.scan(~r/`\[:slither, ([a-z:, ]+)\]`/, File.read!(path)) do
      assert is_map_key(events, name), "#{Path.basename(path)} names [:slither, #{name}]"
    end

    alerts = rows("What to alert on")
    assert length(alerts) > 8

    for [event, measured | _] <- alerts,
        [_, name] <- Regex.scan(~r/`\[:slither, ([a-z:, ]+)\]`/, event),
        [_, key] <- Regex.scan(~r/`(\w+)`/, measured) do
      assert key in events[name], "#{name} has no #{key}"
    end
  end

  # What the source gives as a reason: `reason: :atom`, error(…, :atom, …), and lists of them.
  defp reasons do
    for path <- Path.wildcard(Path.join(@root, "beam/lib/slither/**/*.ex")), into: MapSet.new() do
      path |> File.read!() |> Code.string_to_quoted!()
    end
    |> Enum.flat_map(fn ast -> ast |> Macro.prewalk([], &collect/2) |> elem(1) end)
    |> Enum.reject(&(&1 in [nil, true, false, :ok]))
    |> MapSet.new(&to_string/1)
  end

  # Of processes, runs and sessions that end: what is told in an event, and is no error.
  @ends [:crashed, :stopped, :idle]

  defp collect({:reason, atom} = node, acc) when is_atom(atom) and atom not in @ends,
    do: {node, [atom | acc]}

  defp collect({:error, _meta, arguments} = node, acc) when is_list(arguments),
    do: {node, Enum.filter(arguments, &is_atom/1) ++ acc}

  # Functions that build an error take its reason as an argument.
  defp collect({:refused, _meta, arguments} = node, acc) when is_list(arguments),
    do: {node, Enum.filter(arguments, &is_atom/1) ++ acc}

  defp collect({{:., _, [{:__aliases__, _, [:Statement]}, :fault]}, _, arguments} = node, acc),
    do: {node, Enum.filter(arguments, &is_atom/1) ++ acc}

  # reason = if …, do: :one, else: :other
  defp collect({:=, _meta, [{:reason, _, nil}, {:if, _, [_condition, branches]}]} = node, acc),
    do: {node, Enum.filter(Keyword.values(branches), &is_atom/1) ++ acc}

  defp collect({{:., _, [_, :refuse]}, _, arguments} = node, acc),
    do: {node, Enum.filter(arguments, &is_atom/1) ++ acc}

  defp collect({:\\, _meta, [{:reason, _, _}, atom]} = node, acc), do: {node, [atom | acc]}

  defp collect({:@, _meta, [{:reasons, _, [value]}]} = node, acc),
    do: {node, atoms(value) ++ acc}

  defp collect({{:., _, [_, :get]}, _, [{:@, _, [{:reasons, _, _}]}, _, atom]} = node, acc),
    do: {node, [atom | acc]}

  defp collect(node, acc), do: {node, acc}

  defp atoms(ast) do
    {_ast, found} =
      Macro.prewalk(ast, [], fn
        node, acc when is_atom(node) -> {node, [node | acc]}
        node, acc -> {node, acc}
      end)

    found
  end

  defp told(heading) do
    for [first | _] <- rows(heading),
        [_, name] <- Regex.scan(~r/`:(\w+)`/, first),
        into: MapSet.new(),
        do: name
  end

  # The rows of the tables under a heading, without their heads.
  defp rows(heading) do
    [_, section] = String.split(File.read!(@guide), "\n## #{heading}\n", parts: 2)
    [section | _] = String.split(section, "\n## ", parts: 2)

    for "| " <> row <- String.split(section, "\n"),
        not (row =~ ~r/^[-| ]+$/),
        do: row |> String.split(" | ") |> Enum.map(&String.trim(&1, " |"))
  end

  # The measurements of each event, by the table of Slither.Telemetry.
  defp events do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Slither.Telemetry)

    for [_, names, measured] <-
          Regex.scan(~r/^\| `\[:slither, ([^`]+)\]`[^|]* \| (.+?) \| /m, doc),
        name <- spread(names),
        into: %{},
        do: {name, measured(measured) ++ account(name)}
  end

  defp spread(names) do
    case String.split(names, "\\|") do
      [name] -> [name]
      [first | more] -> [first | Enum.map(more, &Regex.replace(~r/:\w+$/, first, &1))]
    end
  end

  # Those of runs and stages have the fields of a receipt.
  defp account(name) do
    if name =~ ~r/^:(dispatch, :run|pipe, :run|pipe, :stage), :(stop|exception)$/,
      do: for({key, _} <- Slither.Receipt.measurements(%Slither.Receipt{}), do: to_string(key)),
      else: []
  end

  defp measured(text) do
    for [_, key] <- Regex.scan(~r/`(\w+)`/, text), do: key
  end
end
