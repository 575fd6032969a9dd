defmodule Slither.Proof do
  @moduledoc false
  # What the long runs share (chaos, fuzz, soak): options, the report with its verdict, and the
  # exit status. A run is a function of its options that returns a report; the scripts call
  # `main/4`, the tests call the run itself.

  alias Slither.Proof.JSON

  @type figure :: {String.t(), term}
  @type check :: {String.t(), boolean, String.t()}
  @type report :: %{
          required(:figures) => [figure],
          required(:checks) => [check],
          optional(:samples) => [map]
        }
  @type spec :: [{atom, {default :: integer | nil, doc :: String.t()}}]

  @doc "Runs `run` with the options of a command line, prints its report, and halts."
  @spec main(String.t(), spec, (map -> report), [String.t()]) :: no_return
  def main(name, spec, run, arguments) do
    options = options(name, spec, arguments)
    said = for {key, value} <- options, do: " --#{key |> to_string() |> dashed()} #{value}"
    IO.puts("#{name}#{said}\n")
    load_code()
    report = run.(Map.put(options, :alone, true))
    IO.puts(text(report))
    IO.puts("written to #{write(name, options, report)}")
    System.halt(if held?(report), do: 0, else: 1)
  end

  @doc "A run's options from their defaults and what is given."
  @spec defaults(spec, Enumerable.t()) :: map
  def defaults(spec, given) do
    spec
    |> Map.new(fn {key, {default, _doc}} -> {key, default} end)
    |> Map.merge(Map.new(given))
    |> Map.replace_lazy(:seed, &(&1 || :rand.uniform(1_000_000_000)))
  end

  @doc "Whether every check of a report held."
  @spec held?(report) :: boolean
  def held?(report), do: Enum.all?(report.checks, fn {_label, held?, _detail} -> held? end)

  @doc "A report in words."
  @spec text(report) :: String.t()
  def text(report) do
    figures = for {label, value} <- report.figures, do: line(label, value)

    checks =
      for {label, held?, detail} <- report.checks do
        "  #{if held?, do: "held  ", else: "BROKEN"}  #{label}#{if detail != "", do: ": "}#{detail}\n"
      end

    verdict = if held?(report), do: "all of it held", else: "IT DID NOT HOLD"
    IO.iodata_to_binary([figures, "\n", checks, "\n", verdict])
  end

  @doc "Bytes in MB, and times in s, as they are printed."
  @spec mb(number) :: float
  def mb(bytes), do: Float.round(bytes / 1_048_576, 1)

  @spec seconds(number) :: float
  def seconds(ms), do: Float.round(ms / 1_000, 1)

  @doc "The middle of numbers, and nil of none."
  @spec median([number]) :: number | nil
  def median([]), do: nil
  def median(numbers), do: numbers |> Enum.sort() |> Enum.at(div(length(numbers), 2))

  @doc "Counts as words: `3 kill, 2 stop`."
  @spec counts(map) :: String.t()
  def counts(counts) when map_size(counts) == 0, do: "none"

  def counts(counts) do
    counts
    |> Enum.sort_by(fn {what, count} -> {-count, to_string(what)} end)
    |> Enum.map_join(", ", fn {what, count} -> "#{count} #{what}" end)
  end

  @doc "Keeps what is logged off the terminal, but lets it be logged."
  @spec mute() :: :ok
  def mute do
    # The console is a backend up to Elixir 1.14, and a handler of Erlang's since.
    _ =
      if Version.match?(System.version(), "< 1.15.0"),
        do: apply(Logger, :remove_backend, [:console])

    _ = :logger.remove_handler(:default)
    :ok
  end

  # Code that is loaded when it is first called would count as growth: it brings its atoms.
  defp load_code do
    for app <- [:kernel, :stdlib, :elixir, :logger, :slither],
        {:ok, modules} = :application.get_key(app, :modules),
        module <- modules,
        do: Code.ensure_loaded(module)
  end

  defp options(name, spec, arguments) do
    switches = for {key, _} <- spec, do: {key, :integer}

    case OptionParser.parse(arguments, strict: switches) do
      {given, [], []} -> defaults(spec, given)
      _ -> usage(name, spec)
    end
  end

  @spec usage(String.t(), spec) :: no_return
  defp usage(name, spec) do
    lines =
      for {key, {default, doc}} <- spec do
        option = String.pad_trailing("--#{key |> to_string() |> dashed()} N", 18)
        "  #{option} #{doc} (#{default || "drawn at random"})\n"
      end

    IO.puts(:stderr, ["usage: scripts/#{name} [options]\n\n" | lines])
    System.halt(2)
  end

  defp dashed(name), do: String.replace(name, "_", "-")

  defp line(label, value) when is_binary(value),
    do: "#{String.pad_trailing(label, 24)} #{value}\n"

  defp line(label, value), do: line(label, inspect(value))

  defp write(name, options, report) do
    path = Path.join(["_build", "proof", name <> ".json"])
    File.mkdir_p!(Path.dirname(path))

    facts = %{
      options: options,
      held: held?(report),
      figures: Map.new(report.figures),
      checks:
        for({label, held?, why} <- report.checks, do: %{check: label, held: held?, why: why}),
      samples: Map.get(report, :samples, [])
    }

    File.write!(path, [JSON.encode(facts), "\n"])
    path
  end
end
