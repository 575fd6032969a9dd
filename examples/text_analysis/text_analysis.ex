defmodule Slither.Examples.TextAnalysis do
  @moduledoc """
  5,000 documents through BEAM, Python and a router.

  The documents are the docstrings of Python's standard library. BEAM prepares them, Python
  workers analyze them, and a router sends each by its sentiment to an output. The stop words
  are state on BEAM that the workers read through a view.
  """

  @behaviour Slither.Examples.Example

  alias Slither.Examples.{Progress, Report}

  @documents 5_000
  @pool :text_analysis

  defmodule StopWords do
    @moduledoc false
    @behaviour Slither.Store

    @english ~w(a about after all also an and any are as at be been but by can do does each for
                from has have if in into is it its may more must no not of on one only or other
                out s same see so some such t than that the their them then there these they this
                to up use used using was we what when where which will with you your)

    @impl true
    def tables, do: [%{name: :words, type: :set, read_concurrency: true}]

    @impl true
    def views do
      [
        %{
          name: :stop_words,
          mode: :scalar,
          scope: :session,
          handler: fn %{"language" => language}, _context ->
            %{"words" => Slither.Store.Server.get(__MODULE__, :words, language) || []}
          end,
          timeout_ms: 5_000
        }
      ]
    end

    @impl true
    def load(tables) do
      :ets.insert(tables[:words], {"en", @english})
      :ok
    end
  end

  defmodule Flow do
    @moduledoc false
    use Slither.Pipe

    pipe :text_analysis do
      store :stop_words, StopWords

      stage :prepare, :beam,
        handler: fn item, _context ->
          %{"name" => item.payload["name"], "text" => String.downcase(item.payload["text"])}
        end

      stage :analyze, :python,
        module: "text_analysis",
        function: "analyze",
        pool: :text_analysis,
        batch_size: 64,
        max_in_flight: 8

      stage :classify, :router,
        routes: [
          {fn item -> item.payload["sentiment"] > 0.2 end, :positive},
          {fn item -> item.payload["sentiment"] < -0.2 end, :negative}
        ]

      output :positive
      output :negative

      on_error :*, :halt
    end
  end

  @impl true
  def title, do: "#{@documents} docstrings of Python's standard library, by sentiment"

  @impl true
  def run(options) do
    workers = options[:workers]
    count = options[:documents] || @documents
    pool = [name: @pool, size: workers, paths: [__DIR__]]

    {:ok, supervisor} =
      Supervisor.start_link(
        [{Slither.Store.Server, StopWords}, {Slither.Python.Pool, pool}],
        strategy: :one_for_one
      )

    try do
      with :ok <- Slither.Python.Pool.await_ready(@pool), do: analyze(count, workers)
    after
      Supervisor.stop(supervisor)
    end
  end

  defp analyze(count, workers) do
    documents = Enum.take(documents(), count)
    progress = Progress.start("documents", length(documents))
    started = System.monotonic_time()

    outputs =
      Flow
      |> Slither.stream_pipe(documents)
      |> Stream.each(fn _output -> Progress.step(progress) end)
      |> Enum.group_by(&elem(&1, 0), fn {_output, item} -> item.payload end)

    elapsed = System.monotonic_time() - started
    Progress.stop(progress)
    report(outputs, length(documents), workers, elapsed)
  end

  # The documents are found by Python too: files in, docstrings out, lazily and in order.
  defp documents do
    {:ok, [files]} = Slither.Dispatch.call_batch([nil], python("source_files"))

    files.payload
    |> Slither.Dispatch.stream([batch_size: 8] ++ python("docstrings"))
    |> Stream.flat_map(& &1.payload)
  end

  defp python(function), do: [module: "text_analysis", function: function, pool: @pool]

  defp report(outputs, count, workers, elapsed) do
    results = outputs |> Map.values() |> Enum.concat()
    shares = shares(results)
    seconds = System.convert_time_unit(elapsed, :native, :microsecond) / 1_000_000

    checks = [
      {"every document has a result", length(results) == count},
      {"at least #{min(count, @documents)} documents", count >= min(count, @documents)},
      {"the workers' document counters add up to #{count}", sum(shares, "documents") == count},
      {"the workers' word counters add up to the words of the results",
       sum(shares, "words") == Enum.sum(Enum.map(results, & &1["words"]))}
    ]

    Report.print([
      {:table, "Documents by output", ["output", "documents"],
       for(name <- [:positive, :negative, :default], do: [name, length(outputs[name] || [])])},
      {:table, "Work by worker (#{workers} of them)", ["pid", "documents", "words", "share"],
       for {pid, share} <- Enum.sort(shares) do
         percent = Float.round(100 * share["documents"] / max(count, 1), 1)
         [pid, share["documents"], share["words"], "#{percent} %"]
       end},
      {:table, "Samples", ["output", "document", "sentiment", "frequent words"],
       for name <- [:positive, :negative, :default],
           result <- Enum.take(outputs[name] || [], 2) do
         sentiment = :erlang.float_to_binary(result["sentiment"] / 1, decimals: 2)
         [name, result["name"], sentiment, Enum.join(result["top"], " ")]
       end},
      {:line,
       "#{count} documents in #{Float.round(seconds, 2)} s: " <>
         "#{round(count / seconds)} documents a second"},
      {:checks, checks}
    ])

    if Enum.all?(checks, &elem(&1, 1)), do: :ok, else: {:error, :invariant}
  end

  # A worker's counters only grow: its last report is its largest.
  defp shares(results) do
    results
    |> Enum.map(& &1["worker"])
    |> Enum.group_by(& &1["pid"])
    |> Map.new(fn {pid, reports} -> {pid, Enum.max_by(reports, & &1["documents"])} end)
  end

  defp sum(shares, key), do: shares |> Map.values() |> Enum.map(& &1[key]) |> Enum.sum()
end
