defmodule Slither.Examples.TextAnalysis do
  @moduledoc """
  15,000 documents through BEAM, Python and a router.

  The documents are the docstrings of Python's standard library. BEAM prepares them, Python
  workers analyze them, each with a word index of its own, and a router sends each document by its
  sentiment to an output. The workers' indexes, merged on BEAM, are what one process counts.
  """

  @behaviour Slither.Examples.Example

  alias Slither.Examples.{Measure, Progress}

  @pool :text_analysis
  @reference :text_analysis_reference
  @invariants [
    every: "every document has one analysis, in its order",
    index: "the index of words equals that of a single process, word for word"
  ]

  # coordination: slither
  defmodule Flow do
    @moduledoc false
    use Slither.Pipe

    pipe :text_analysis do
      stage :prepare, :beam,
        handler: fn item, _context -> Map.update!(item.payload, "text", &String.downcase/1) end

      stage :analyze, :python,
        module: "text_analysis",
        function: "analyze",
        pool: :text_analysis,
        batch_size: 64,
        max_in_flight: 8

      # end of coordination
      stage :classify, :router,
        routes: [
          {fn item -> item.payload["sentiment"] > 0.2 end, :positive},
          {fn item -> item.payload["sentiment"] < -0.2 end, :negative}
        ]

      output :positive
      output :negative
      output :default
    end
  end

  @impl true
  def title, do: "docstrings of Python's standard library, rated and indexed"

  @impl true
  def shows do
    "threads that share a word index lose words; here each worker has an index of its own, no " <>
      "line of code takes a lock, and the indexes add up to a single-process count."
  end

  @impl true
  def size, do: {15_000, "documents"}

  @impl true
  def needs, do: []

  @impl true
  def why do
    "Two threads read the same count, and both write it back plus their own: the words of one " <>
      "are lost, silently. Locks mend that; under a GIL, threads still take turns. process_pool " <>
      "and slither count in processes that share nothing, and merge at the end. Where nothing " <>
      "fails, a pool of forked processes is cheaper: each document passes through BEAM, which " <>
      "prepares and routes it, on the cores that the workers use."
  end

  @impl true
  def run(options) do
    pool = [size: options[:workers], python: options[:python], paths: [__DIR__]]
    pool = [preload: ["text_analysis"]] ++ pool

    with {:ok, documents, expected} <- prepared(pool, options[:size]),
         {:ok, figures, {outputs, indexes}} <-
           Measure.run(
             [{Slither.Python.Pool, [name: @pool] ++ pool}],
             [@pool],
             fn -> {analyze_all(documents), indexes(options[:workers])} end
           ) do
      {:ok, outcome(figures, documents, expected, outputs, indexes)}
    end
  end

  # The documents, and what one process counts in them. None of that is measured.
  defp prepared(pool, size) do
    pool = Keyword.merge(pool, name: @reference, size: 1)

    with {:ok, _figures, result} <-
           Measure.run([{Slither.Python.Pool, pool}], [@reference], fn ->
             documents = ask(@reference, "load", size)
             {documents, ask(@reference, "index_words", documents)}
           end) do
      {documents, expected} = result
      {:ok, documents, expected}
    end
  end

  defp analyze_all(documents) do
    progress = Progress.start("documents", length(documents))
    outputs = analyze(documents, fn _output -> Progress.step(progress) end)
    Progress.stop(progress)
    outputs
  end

  # coordination: slither
  defp analyze(documents, step) do
    Flow
    |> Slither.stream_pipe(documents)
    |> Stream.each(step)
    |> Enum.group_by(&elem(&1, 0), fn {_output, item} -> item.payload end)
  end

  # Sessions spread over the workers: as many as there are workers ask each of them once.
  defp indexes(workers) do
    for worker <- 1..workers, do: ask(@pool, "index", nil, session_id: "index-#{worker}")
  end

  defp merge(indexes) do
    Enum.reduce(indexes, %{}, fn %{"index" => index}, merged ->
      Map.merge(merged, index, fn _word, {count, documents}, {more, others} ->
        {count + more, documents + others}
      end)
    end)
  end

  # end of coordination

  defp ask(pool, function, payload, options \\ []) do
    options = [module: "text_analysis", function: function, pool: pool] ++ options
    {:ok, [item]} = Slither.Dispatch.call_batch([payload], options)
    item.payload
  end

  defp outcome(figures, documents, expected, outputs, indexes) do
    analyzed = outputs |> Map.values() |> Enum.concat() |> MapSet.new(& &1["name"])
    ordered? = Enum.all?(outputs, fn {_output, analyses} -> in_order?(analyses, documents) end)
    count = outputs |> Map.values() |> Enum.map(&length/1) |> Enum.sum()

    %{
      figures: figures,
      invariants: [
        {@invariants[:every],
         count == length(documents) and ordered? and
           analyzed == MapSet.new(documents, & &1["name"])},
        {@invariants[:index], merge(indexes) == expected},
        {"each worker handed over one index",
         indexes |> Enum.uniq_by(& &1["pid"]) |> length() == length(indexes)}
      ],
      parts: parts(outputs, indexes)
    }
  end

  # Whether the names come in the order in which the documents have them.
  defp in_order?(analyses, documents) do
    names = Enum.map(analyses, & &1["name"])

    [] ==
      Enum.reduce(documents, names, fn
        %{"name" => name}, [name | rest] -> rest
        _other, rest -> rest
      end)
  end

  defp parts(outputs, indexes) do
    words = indexes |> merge() |> Enum.sort_by(fn {word, {count, _}} -> {-count, word} end)

    [
      {:table, "Documents by output", ["output", "documents", "such as", "its phrases"],
       for output <- [:positive, :negative, :default],
           [first | _] = analyses <- [outputs[output] || []] do
         [output, length(analyses), first["name"], Enum.join(first["phrases"], "; ")]
       end},
      {:table, "Words of #{length(words)}", ["word", "occurs", "in documents"],
       for({word, {count, documents}} <- Enum.take(words, 4), do: [word, count, documents])},
      {:lines,
       for %{"pid" => pid, "index" => index} <- indexes do
         "worker #{pid} indexed #{index |> Map.values() |> Enum.map(&elem(&1, 0)) |> Enum.sum()} words"
       end}
    ]
  end
end
