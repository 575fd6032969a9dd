defmodule Slither.Examples.DataEtl do
  @moduledoc """
  100,000 rows of CSV through three generations of a schema.

  The rows are characters of Unicode. Workers validate them and read the schema from a store
  through a view; while they work, the store is reloaded, twice. The audit is a table that all
  workers count in.
  """

  @behaviour Slither.Examples.Example

  alias Slither.Examples.{JSON, Measure, Progress}
  alias Slither.Store.Server

  @pool :data_etl
  @reference :data_etl_reference
  @generations 3
  @batch_size 500

  # coordination: slither
  defmodule Ledger do
    @moduledoc false
    # What is in force, and what was counted.
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :release}, %{name: :etl_audit, python: :read_write}]

    @impl true
    def load(tables) do
      :ets.insert(tables[:release], {:generation, 1})
      :ok
    end
  end

  defmodule Schema do
    @moduledoc false
    # The rules of the generation that is in force. A reload swaps all of them in one step.
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :rules}]

    @impl true
    def views do
      [
        %{
          name: :etl_rules,
          handler: fn %{"columns" => columns}, _context ->
            Server.get_many(__MODULE__, :rules, columns)
          end
        }
      ]
    end

    @impl true
    def load(tables) do
      rules = Ledger |> Server.get!(:release, :generation) |> rules()
      :ets.insert(tables[:rules], rules)
      :ok
    end

    # end of coordination

    @schemas Path.join(__DIR__, "schemas.json")

    defp rules(generation) do
      {:ok, schemas} = @schemas |> File.read!() |> JSON.decode()

      for {column, rule} <- Enum.at(schemas, generation - 1),
          do: {column, Map.put(rule, "generation", generation)}
    end
  end

  @impl true
  def title, do: "characters of Unicode as CSV, validated while their schema changes"

  @impl true
  def shows do
    "threads read a schema while it is updated, and hold a row against half of the old rules and " <>
      "half of the new ones; here a reload swaps all rules in one step, and no row sees two."
  end

  @impl true
  def size, do: {100_000, "rows"}

  @impl true
  def needs, do: []

  @impl true
  def why do
    "A schema that is updated in place changes in the middle of a row: what the row was checked " <>
      "against never existed, and nothing says so. safe_python swaps a whole schema and counts " <>
      "under a lock; process_pool ships the schema with each chunk. In slither schema and audit are " <>
      "tables: rules of one generation are read in one step, and counting takes no lock. A row is " <>
      "little work: the way to BEAM and back is what slither takes longer."
  end

  @impl true
  def run(options) do
    pool = [size: options[:workers], python: options[:python], paths: [__DIR__]]
    pool = [preload: ["data_etl"]] ++ pool

    with {:ok, lines, expected} <- prepared(pool, options[:size]),
         {:ok, figures, result} <-
           Measure.run(
             [{Server, Ledger}, {Server, Schema}, {Slither.Python.Pool, [name: @pool] ++ pool}],
             [@pool],
             fn -> validate_all(lines) end
           ) do
      {:ok, outcome(figures, lines, expected, result)}
    end
  end

  # The rows, and their checksums under each generation. None of that is measured.
  defp prepared(pool, size) do
    pool = Keyword.merge(pool, name: @reference, size: 1)

    with {:ok, _figures, {lines, expected}} <-
           Measure.run([{Slither.Python.Pool, pool}], [@reference], fn ->
             lines = ask("load", size)
             {lines, ask("checksums", lines)}
           end),
         do: {:ok, lines, expected}
  end

  defp ask(function, payload) do
    options = [module: "data_etl", function: function, pool: @reference]
    {:ok, [item]} = Slither.Dispatch.call_batch([payload], options)
    item.payload
  end

  defp validate_all(lines) do
    progress = Progress.start("rows", length(lines))
    result = validate(lines, changes(length(lines)), fn -> Progress.step(progress) end)
    Progress.stop(progress)
    result
  end

  # coordination: slither
  defp validate(lines, changes, step) do
    options = [module: "data_etl", function: "validate", pool: @pool, batch_size: @batch_size]

    # Reloads happen while the workers are busy with the batches that are out.
    {rows, reloads} =
      lines
      |> Slither.Dispatch.stream(options)
      |> Stream.with_index(1)
      |> Enum.map_reduce([], fn {item, number}, reloads ->
        step.()
        generation = changes[number]
        {item.payload, if(generation, do: [release(generation) | reloads], else: reloads)}
      end)

    %{rows: rows, reloads: Enum.reverse(reloads), audit: audit()}
  end

  defp release(generation) do
    began = System.monotonic_time(:microsecond)
    :ok = Server.put(Ledger, :release, :generation, generation)
    :ok = Server.reload(Schema)
    {generation, System.monotonic_time(:microsecond) - began}
  end

  defp audit, do: Map.new(Server.select(Ledger, :etl_audit, [{:"$1", [], [:"$1"]}]))

  # end of coordination

  # After which row which generation comes into force.
  defp changes(rows) do
    for generation <- 2..@generations, into: %{} do
      {div(rows * (generation - 1), @generations), generation}
    end
  end

  defp outcome(figures, lines, expected, %{rows: rows, audit: audit} = result) do
    %{
      figures: figures,
      invariants: [
        {"every row has one verdict, in its order",
         Enum.map(rows, & &1["code"]) == Enum.map(lines, &(&1 |> String.split(",") |> hd()))},
        {"every row was held against exactly one generation, none torn",
         rows |> Enum.zip(expected) |> Enum.all?(&whole?/1)},
        {"all three generations were in use", generations(rows) == Enum.to_list(1..@generations)},
        {"the audit adds up to the verdicts of all rows",
         audit == Enum.frequencies_by(rows, &verdict/1) and
           Enum.sum(Map.values(audit)) == length(lines)}
      ],
      parts: parts(result)
    }
  end

  # Whether a row is what its one generation makes of it.
  defp whole?({%{"generations" => [generation], "checksum" => checksum}, expected}),
    do: Enum.at(expected, generation - 1) == checksum

  defp whole?(_torn), do: false

  defp generations(rows),
    do: rows |> Enum.flat_map(& &1["generations"]) |> Enum.uniq() |> Enum.sort()

  defp verdict(%{"generations" => [generation | _], "problems" => problems}),
    do: "generation #{generation}: #{if problems == [], do: "accepted", else: "rejected"}"

  defp parts(%{rows: rows, reloads: reloads, audit: audit}) do
    took = Map.new(reloads)

    [
      {:table, "Rows by generation",
       ["generation", "accepted", "rejected", "its reload", "most frequent problem"],
       for generation <- 1..@generations do
         [
           generation,
           audit["generation #{generation}: accepted"] || 0,
           audit["generation #{generation}: rejected"] || 0,
           if(took[generation], do: "#{took[generation] / 1_000} ms", else: "-"),
           problem(for row <- rows, row["generations"] == [generation], do: row["problems"])
         ]
       end}
    ]
  end

  defp problem(problems) do
    case problems
         |> Enum.concat()
         |> Enum.frequencies()
         |> Enum.max_by(&elem(&1, 1), fn -> nil end) do
      {problem, count} -> "#{problem} (#{count})"
      nil -> "-"
    end
  end
end
