defmodule Slither.Examples.Command do
  @moduledoc """
  What `mix slither.example` and `mix slither.baseline` do. Each returns an exit status.
  """

  alias Slither.Examples.{Report, Runner, Watched}

  @root Path.expand("..", __DIR__)

  @ok 0
  @usage 1
  @invariant 2
  @not_run 3

  @options [all: :boolean, baseline: :boolean, workers: :integer, size: :integer] ++
             [json: :string, python: :string, dashboard: :boolean, port: :integer]
  @usage_text "--all, --no-baseline, --workers N, --size N, --python PATH, --json FILE, " <>
                "--dashboard, --port N"

  @doc "Runs examples of a folder, or lists them."
  @spec example([String.t()], Path.t()) :: 0..3
  def example(arguments, root \\ @root), do: command(arguments, :all, root)

  @doc "Runs baselines, or lists them."
  @spec baseline([String.t()], Path.t()) :: 0..3
  def baseline(arguments, root \\ @root), do: command(arguments, :baselines, root)

  defp command(arguments, only, root) do
    {options, names, invalid} = OptionParser.parse(arguments, strict: @options)
    options = Keyword.put(options, :root, root)
    known = Runner.known(root)
    only = if options[:baseline] == false, do: :slither, else: only

    cond do
      invalid != [] ->
        refuse("unknown option or value: #{words(invalid)}", known)

      unknown = Enum.find(names, &(&1 not in known)) ->
        refuse("no example #{unknown}", known)

      small = Enum.find([:workers, :size], &((options[&1] || 1) < 1)) ->
        refuse(less(small), known)

      names == [] and options[:all] != true ->
        list(known, root)

      options[:dashboard] || options[:port] ->
        names = if options[:all], do: known, else: names
        Watched.run(options[:port], fn -> run(names, :slither, options) end)

      true ->
        run(if(options[:all], do: known, else: names), only, options)
    end
  end

  defp words([{option, nil} | _]), do: option
  defp words([{option, value} | _]), do: "#{option} #{value}"

  defp less(option), do: "--#{option} takes a number of 1 or more"

  defp refuse(message, known) do
    IO.puts(
      :stderr,
      "#{message}. Examples: #{Enum.join(known, ", ")}. Options: #{@usage_text}"
    )

    @usage
  end

  defp list(known, root) do
    IO.puts("Examples (mix slither.example NAME..., or --all):")

    for name <- known do
      module = Runner.load(name, root)
      {size, unit} = module.size()
      needs = if module.needs() == [], do: "nothing", else: Enum.join(module.needs(), ", ")
      IO.puts("\n  #{name}: #{module.title()}")
      Report.print_indented("Shows: " <> module.shows())
      IO.puts("    Size: #{Report.number(size)} #{unit}. Needs: #{needs}.")
    end

    IO.puts("\nWithout Elixir: .venv/bin/python examples/python_first/python_first.py")
    IO.puts("                .venv/bin/python examples/grid_search/grid_search.py")
    IO.puts("\nOptions: #{@usage_text}")
    @ok
  end

  defp run(names, only, options) do
    run_options = Keyword.take(options, [:workers, :size, :python, :root]) ++ [say: &say/1]

    results =
      for name <- names do
        result = Runner.run(name, only, run_options)
        show(result)
        result
      end

    if options[:json], do: File.write!(options[:json], json(results))
    compare(results)
    summary(results)
  end

  # A line that the next one replaces, on a terminal.
  defp say(line) do
    if IO.ANSI.enabled?(), do: IO.write("\r\e[K  " <> String.slice(line, 0, 90) <> " ...")
  end

  defp show(result) do
    if IO.ANSI.enabled?(), do: IO.write("\r\e[K")
    module = result.module

    size = "#{Report.number(result.size)} #{result.unit}"
    IO.puts("\n== #{result.name}: #{size}, #{result.workers} workers\n   #{module.title()}")

    if result.rows != [] do
      Report.print(Report.comparison(result.rows))
      Report.print([{:paragraph, "Why: " <> module.why()} | interpreters(result.rows)])
      Report.print(invariants(result.rows) ++ result.parts)
    end

    if result.error, do: IO.puts("\n  NOT RUN: see the end.")
  end

  defp interpreters(rows) do
    lines =
      for %{interpreter: %{} = interpreter, kind: kind} <- rows do
        threads = if interpreter["free_threaded"], do: "free-threaded", else: "with its GIL"
        {"#{interpreter["implementation"]} #{interpreter["version"]}, #{threads}", kind}
      end

    groups = Enum.group_by(lines, &elem(&1, 0), &elem(&1, 1))
    [{:lines, for({text, kinds} <- groups, do: "#{Enum.join(kinds, ", ")}: #{text}")}]
  end

  defp invariants([%{kind: "slither", invariants: invariants} | _]) do
    [
      {:lines,
       for({text, held?} <- invariants, do: "#{if held?, do: "ok    ", else: "FAILED"}  #{text}")}
    ]
  end

  defp invariants(_baselines), do: []

  # All of them on a few lines, where there are several with baselines.
  defp compare(results) do
    rows =
      for %{rows: [%{kind: "slither"}, _ | _] = rows} = result <- results do
        %{kind: kind, ratio: ratio} = Report.fastest_correct(rows)
        [result.name, kind || "none", if(ratio, do: Report.decimals(ratio), else: "-")]
      end

    if length(rows) > 1 do
      head = ["", "fastest that is correct", "slither takes, times that"]
      Report.print([{:table, "All of them", head, rows}])
    end
  end

  defp summary(results) do
    broken =
      for %{rows: [%{kind: "slither"} = row | _], name: name} <- results,
          {text, false} <- row.invariants,
          do: "#{name}: #{text}"

    errors = for %{error: error} = result when error != nil <- results, do: result

    if broken != [], do: IO.puts(:stderr, "\nNot held:\n  #{Enum.join(broken, "\n  ")}")

    for result <- errors do
      IO.puts(:stderr, "\n#{result.name} was not run: #{Exception.message(result.error)}")
    end

    cond do
      broken != [] -> @invariant
      errors != [] -> @not_run
      true -> @ok
    end
  end

  defp json(results) do
    rows = fn result ->
      for row <- result.rows do
        invariants = for {text, held?} <- row.invariants, do: %{text: text, held: held?}
        Map.put(row, :invariants, invariants)
      end
    end

    figures =
      for result <- results do
        result
        |> Map.take([:name, :workers, :size, :unit])
        |> Map.merge(%{
          rows: rows.(result),
          fastest: Report.fastest_correct(result.rows),
          error: result.error && Exception.message(result.error)
        })
      end

    [Slither.Json.encode(figures), "\n"]
  end
end
