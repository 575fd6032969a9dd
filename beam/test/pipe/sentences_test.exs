defmodule Slither.Pipe.SentencesTest do
  # What somebody is told of a pipe, a document or a driver's settings that can't be, as it stands:
  # each mistake with the whole of its sentence, in sentences.txt beside this file. Where a sentence
  # is to change, SENTENCES=write writes the file anew, for the diff to be read.
  #
  # Not async: the functions and tables that a document may name are the same for all tests.
  use ExUnit.Case, async: false

  import Slither.Test.JSON, only: [rows: 1]

  alias Slither.Pipe.Document

  @file_name Path.join(__DIR__, "sentences.txt")

  defmodule Features do
    @behaviour Slither.Store
    @impl true
    def tables, do: [%{name: :features, type: :set, python: :read}]
    @impl true
    def views, do: []
    @impl true
    def load(_tables), do: :ok
  end

  defmodule Functions do
    def shout(item), do: String.upcase(item.payload)
  end

  setup do
    start_supervised!({Slither.Store.Server, Features})
    functions = %{"shout" => {Functions, :shout, 1}, "gone" => {Functions, :gone, 1}}
    Application.put_env(:slither, :functions, functions)
    on_exit(fn -> Application.delete_env(:slither, :functions) end)
  end

  test "each mistake has its sentence" do
    said =
      section("pipes", pipes(), &pipe/1) ++
        section("documents", documents(), &document/1) ++
        section("changed documents", changed(), &document/1) ++
        section("functions", functions(), &function/1) ++
        section("settings of a driver", settings(), &settings/1) ++
        section("maps of a driver", maps(), &map/1) ++
        section("pipes of a driver", runs(), &run/1)

    text = Enum.map_join(said, &(&1 <> "\n"))
    if System.get_env("SENTENCES") == "write", do: File.write!(@file_name, text)
    expected = File.read!(@file_name) |> String.split("\n", trim: true)
    now = String.split(text, "\n", trim: true)
    assert {now -- expected, expected -- now} == {[], []}
    assert now == expected
  end

  defp section(title, rows, fun) do
    ["# #{title}" | for({name, value} <- rows, do: "#{name}: #{line(fun.(value))}")]
  end

  # A function's number in its module is the compiler's.
  defp line(text) do
    text = String.replace(text, "\n", "\\n")
    Regex.replace(~r/#Function<[^ ]+( in [^>]+)?>/, text, "#Function<…>")
  end

  ## Pipes of the DSL

  @first "stage :first, :beam, handler: & &1.payload"

  defp pipes do
    [
      # Statements
      [@first, "stagee :b, :python"],
      [@first, "frobnicate 1"],
      [@first, "1 + 1"],
      [@first, "42"],
      [@first, "output :a, :b"],
      [@first, "stage :b"],
      [@first, "on_error :first"],
      [@first, "store :a"],
      ["output :x"],
      [],
      # Names
      ["stage \"b\", :beam, handler: & &1"],
      ["stage nil, :beam, handler: & &1"],
      [@first, "output \"x\""],
      [@first, "store \"x\", A.B"],
      [@first, "on_error \"first\", :skip"],
      [@first, @first],
      [@first, "output :x", "output :x"],
      [@first, "store :x, A.B", "store :x, A.C"],
      [@first, "on_error :*, :skip", "on_error :*, :halt"],
      [@first, "output :first"],
      [@first, "output :x", "stage :x, :batch"],
      [@first, "stage :default, :batch"],
      [@first, "store :x, :lists"],
      [@first, "store :x, \"A\""],
      # Types
      [@first, "stage :b, :pyhton"],
      [@first, "stage :b, \"beam\""],
      [@first, "stage :b, 1"],
      # Options
      [@first, "stage :b, :beam"],
      [@first, "stage :b, :beam, handler: & &1, batch_handler: & &1"],
      [@first, "stage :b, :beam, handler: fn -> 1 end"],
      [@first, "stage :b, :beam, handler: & &1, cardinality: :some"],
      [@first, "stage :b, :beam, handler: & &1, concurrency: 0"],
      [@first, "stage :b, :beam, handlr: & &1"],
      [@first, "stage :b, :beam, 5"],
      [@first, "stage :b, :beam, [1]"],
      [@first, "stage :b, :router"],
      [@first, "stage :b, :router, routes: :x"],
      [@first, "stage :b, :router, routes: [{1, :x}]"],
      [@first, "stage :b, :router, routes: [{& &1, nil}]"],
      [@first, "stage :b, :router, routs: []"],
      [@first, "stage :b, :router, 5"],
      [@first, "stage :b, :batch, size: 0"],
      [@first, "stage :b, :window, timeout: 0"],
      [@first, "stage :b, :batch, sise: 1"],
      [@first, "stage :b, :batch, 5"],
      [@first, "stage :b, :python"],
      [@first, "stage :b, :python, 5"],
      [@first, "stage :b, :python, [5]"],
      [@first, "stage :b, :python, module: \"m\""],
      [@first, "stage :b, :python, executor: Slither.Dispatch.Executors.Snakepit"],
      [@first, "stage :b, :python, modul: \"m\""],
      [@first, "stage :b, :python, module: 1, function: 2"],
      [@first, "stage :b, :python, batch_size: \"3\""],
      [@first, "stage :b, :python, batch_size: :auto, strategy: A.B"],
      [@first, "stage :b, :python, strategy: A.B"],
      [@first, "stage :b, :python, strategy: Slither.Dispatch.Strategies.WeightedBatch"],
      [@first, "stage :b, :python, strategy: Slither.Dispatch.Strategies.KeyPartition"],
      [@first, "stage :b, :python, ordering: :sorted"],
      [@first, "stage :b, :python, timeout: 0"],
      [@first, "stage :b, :python, isolate: :yes"],
      [@first, "stage :b, :python, on_error: :skip"],
      [@first, "stage :b, :python, session_id: \"s\""],
      [@first, "stage :b, :python, metadata: %{}"],
      [@first, "stage :b, :python, receipt: true"],
      [@first, "stage :b, :pipe"],
      [@first, "stage :b, :pipe, 5"],
      [@first, "stage :b, :pipe, pipe: String"],
      [@first, "stage :b, :pipe, pipe: \"name\""],
      [@first, "stage :b, :pipe, pipe: __MODULE__"],
      [@first, "stage :b, :pipe, pipe: Slither.Test.InnerPipe"],
      [@first, "stage :b, :pipe, pipe: Slither.Test.InnerPipe, outputs: [odd: :x]"],
      [
        @first,
        "output :odd",
        "stage :b, :pipe, pipe: Slither.Test.InnerPipe, outputs: [od: :odd]"
      ],
      [@first, "stage :b, :pipe, pipe: Slither.Test.InnerPipe, outputs: 5"],
      # Routes
      ["output :good", "stage :r, :router, routes: [{fn _ -> true end, :god}]"],
      ["stage :r, :router, routes: [{fn _ -> true end, :x}]"],
      ["stage :r, :router, routes: [{fn _ -> true end, \"x\"}]"],
      [@first, "stage :r, :router, routes: [{fn _ -> true end, :first}]"],
      [@first, "stage :r, :router, routes: [{fn _ -> true end, :r}]"],
      [@first, "stage :r, :router, routes: [{& &1, :first}]", "stage :last, :batch"],
      # Policies
      [@first, "on_error :frist, :skip"],
      [@first, "on_error :first, :explode"],
      [@first, "on_error :first, {:route, 5}"],
      [@first, "on_error :*, {:route, :bad}"],
      [@first, "output :bad", "on_error :*, {:route, :bat}"],
      [@first, "on_error :*, {:retry, max_attempts: 0}"],
      [@first, "on_error :*, {:retry, tries: 1}"],
      [@first, "on_error :*, {:retry, 5}"],
      [@first, "on_error :*, {:retry, then: {:retry, []}}"],
      [@first, "on_error :*, {:retry, then: :explode}"],
      [@first, "on_error :*, {:retry, then: {:route, :bad}}"],
      # The first of several
      [@first, "output :x", "output :x", "stage :b, :pyhton"],
      [@first, "on_error :frist, :skip", "stage :b, :pyhton"],
      [@first, "on_error :frist, :skip", "stage :r, :router, routes: [{& &1, :x}]"]
    ]
    |> Enum.map(
      &{&1 |> Enum.map(fn l -> if l == @first, do: "…", else: l end) |> Enum.join("; "), &1}
    )
  end

  defp pipe(lines) do
    # A name of its own and of no changing length, for sentences hold it.
    name = "Slither.Pipe.SentencesTest.Sample"

    source = """
    defmodule #{name} do
      use Slither.Pipe
      pipe :sample do
    #{Enum.join(lines, "\n")}
      end
    end
    """

    error = assert_raise CompileError, fn -> Code.compile_string(source, "sample.ex") end
    Exception.message(error)
  after
    :code.purge(Slither.Pipe.SentencesTest.Sample)
    :code.delete(Slither.Pipe.SentencesTest.Sample)
  end

  ## Documents

  defp documents do
    for %{"path" => path} = row <- rows("documents"),
        do: {"#{row["name"]} (#{path})", row["document"]}
  end

  # Each part of the sound ones in turn is left out, or is something else; of the sentences that
  # differ in no more than where they point, the first.
  defp changed do
    for %{"name" => name, "document" => document} = row <- rows("documents"),
        not is_map_key(row, "path"),
        path <- paths(document),
        {what, junk} <- [
          {"nothing", :gone},
          {"nil", nil},
          {"-1", -1},
          {"?", "?"},
          {"{a: []}", %{"a" => []}}
        ],
        changed = put(document, path, junk),
        {:error, error} <- [Document.parse(changed)] do
      {"#{name} #{Enum.join(path, ".")} #{what}", error}
    end
    |> Enum.uniq_by(fn {_name, error} ->
      said = String.replace_prefix(error.message, error.details.path, "")

      {Regex.replace(~r/.*[.\]]/, error.details.path, ""),
       Regex.replace(~r/(no expression).*/, said, "\\1")}
    end)
  end

  defp paths(map) when is_map(map),
    do: for({key, inner} <- Enum.sort(map), path <- [[] | paths(inner)], do: [key | path])

  defp paths(list) when is_list(list) do
    for {inner, index} <- Enum.with_index(list), path <- [[] | paths(inner)], do: [index | path]
  end

  defp paths(_leaf), do: []

  defp put(map, [key], :gone) when is_map(map), do: Map.delete(map, key)
  defp put(list, [at], :gone), do: List.delete_at(list, at)
  defp put(_value, [], junk), do: junk

  defp put(map, [key | path], junk) when is_map(map),
    do: Map.update!(map, key, &put(&1, path, junk))

  defp put(list, [at | path], junk), do: List.update_at(list, at, &put(&1, path, junk))

  defp document(%Slither.Error{} = error), do: "#{error.reason}: #{Exception.message(error)}"

  defp document(document) do
    {:error, error} = Document.parse(document)
    document(error)
  end

  ## Functions of the configuration

  defp functions do
    [
      {"a list", [1]},
      {"no arity", %{"f" => {Functions, :shout}}},
      {"arity 3", %{"f" => {Functions, :shout, 3}}},
      {"none", %{}},
      {"others", %{"shuot" => {Functions, :shout, 1}}},
      {"not defined", %{"shout" => {Functions, :gone, 1}}}
    ]
  end

  defp function(configured) do
    Application.put_env(:slither, :functions, configured)
    stage = %{"name" => "s", "type" => "beam", "function" => "shout"}
    document(%{"version" => 1, "name" => "p", "stages" => [stage]})
  end

  ## What a driver says

  defp settings do
    named(~w(sise leevl), 3) ++
      named(~w(level log_level), "loud") ++
      named(
        ~w(level log_level size spare python preload paths env cd main argv initializer window),
        %{"a" => 1}
      ) ++
      named(~w(max_queue max_frame startup_timeout max_requests max_calls max_rss max_age), -1) ++
      named(~w(cancel_grace session_idle shutdown capture_failures), -1) ++
      named(~w(size window max_requests cancel_grace), nil)
  end

  defp settings(settings) do
    case Slither.Driver.Options.pool(settings) do
      {:ok, _options, _level} -> "is taken"
      {:error, error} -> document(error)
    end
  end

  defp maps do
    named(~w(orderin max_in_flight ordering on_error isolate timeout queue_timeout session), -1) ++
      named(~w(max_in_flight ordering on_error isolate session trace), nil) ++
      for policy <- [
            %{"retry" => %{"tries" => 1}},
            %{"retry" => %{"max_attempts" => 0}},
            %{"retry" => %{"on" => ["no_such"]}},
            %{"retry" => 5},
            %{"route" => ["nothing"]},
            %{"route" => "a name with spaces"}
          ],
          do: {"on_error #{inspect(policy)}", %{"on_error" => policy}}
  end

  defp map(spec) do
    case Slither.Driver.Options.map(spec) do
      {:ok, _options} -> "is taken"
      {:error, error} -> document(error)
    end
  end

  defp runs do
    named(~w(chekpoint checkpoint resume session sources), -1) ++
      named(~w(trace resume), "x") ++ named(~w(resume), "anyway")
  end

  defp run(spec) do
    case Slither.Driver.Options.pipe(spec) do
      {:ok, nil, options} -> "is taken: #{inspect(options)}"
      {:error, error} -> document(error)
    end
  end

  defp named(names, value),
    do: for(name <- names, do: {"#{name} #{inspect(value)}", %{name => value}})
end
