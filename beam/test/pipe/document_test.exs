defmodule Slither.Pipe.DocumentTest do
  # Not async: the functions that a document may name are one setting for all.
  use ExUnit.Case, async: false

  import Slither.Test.JSON, only: [rows: 1]

  alias Slither.Pipe.{Definition, Document}

  doctest Slither.Pipe.Document

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
    def route(item, context), do: {:route, "loud", {item.payload, context.metadata.mark}}
    def all(items), do: Enum.map(items, &{:ok, -&1.payload})
    def parts(item), do: String.graphemes(item.payload)
  end

  setup_all do
    start_supervised!({Slither.Store.Server, Features})
    :ok
  end

  setup do
    functions = %{
      "shout" => {Functions, :shout, 1},
      "route" => {Functions, :route, 2},
      "all" => {Functions, :all, 1},
      "parts" => {Functions, :parts, 1},
      "gone" => {Functions, :gone, 1}
    }

    Application.put_env(:slither, :functions, functions)
    on_exit(fn -> Application.delete_env(:slither, :functions) end)
  end

  defp document(stages, more \\ %{}),
    do: Map.merge(%{"version" => 1, "name" => "p", "stages" => stages}, more)

  defp parse!(document, options \\ []) do
    {:ok, definition} = Document.parse(document, options)
    definition
  end

  defp run(document, input, options \\ []) do
    {:ok, outputs} = Slither.run_pipe(parse!(document), input, options)
    for {name, [_ | _] = items} <- outputs, into: %{}, do: {name, Enum.map(items, & &1.payload)}
  end

  defp beam(name, expression),
    do: %{"name" => name, "type" => "beam", "expression" => expression}

  defp python(name, options \\ %{}),
    do: %{"name" => name, "type" => "python", "command" => name, "options" => options}

  defp function(name, options \\ %{}),
    do: %{"name" => name, "type" => "beam", "function" => name, "options" => options}

  describe "vectors" do
    for %{"path" => path} = row <- rows("documents") do
      @row row
      test "refused at #{path}: #{row["name"]}" do
        assert {:error, error} = Document.parse(@row["document"])
        assert error.reason in [:invalid_document, :unsupported_version]
        assert error.details.path == @row["path"], Exception.message(error)
        assert String.starts_with?(error.message, @row["path"])
      end
    end

    for %{"name" => name} = row <- rows("documents"), not is_map_key(row, "path") do
      @row row
      test "read: #{name}" do
        assert {:ok, %Definition{} = definition} = Document.parse(@row["document"])
        assert definition.name == @row["name"]
        assert definition.outputs == @row["document"]["outputs"] ++ ["default"]
      end
    end
  end

  describe "a document's pipe" do
    test "has what the document says" do
      [row] = Enum.filter(rows("documents"), &(&1["name"] == "score"))
      definition = parse!(row["document"])
      assert definition.stores == %{"features" => Features}
      assert definition.on_error == %{:* => :halt, "predict" => :skip}
      assert Enum.map(definition.stages, & &1.name) == ["prepare", "predict", "route"]
      options = Enum.at(definition.stages, 1).options
      assert options[:module] == "pipe_samples"
      assert options[:function] == "predict_batch"
      assert options[:batch_size] == 32
      assert options[:max_in_flight] == 4
      assert options[:pool] == :default
      assert {:ok, definition} = Document.parse(row["document"], pool: :other)
      assert Enum.at(definition.stages, 1).options[:pool] == :other
    end

    test "has options for the Python stages that do not give them, in inner pipes too" do
      deep = %{"name" => "deep", "type" => "pipe", "pipe" => document([python("inner")])}
      stages = [python("plain"), python("limited", %{"timeout" => 50}), deep]
      timeouts = &for(stage <- parse!(document(stages), &1).stages, do: stage.options[:timeout])

      assert [:infinity, 50, inner] = timeouts.(python: [timeout: :infinity])
      assert inner == :infinity
      assert [nil, 50, nil] = timeouts.([])
    end

    test "has all options of Python stages and policies" do
      documents = Map.new(rows("documents"), &{&1["name"], &1["document"]})
      stages = Map.new(parse!(documents["stages"]).stages, &{&1.name, &1.options})

      assert [:auto, 20, 2, 500, :as_completed, true] ==
               for(
                 key <- ~w(batch_size batch_time min_batch_size max_batch_size ordering isolate)a,
                 do: stages["auto"][key]
               )

      assert stages["weighed"][:strategy] == Slither.Dispatch.Strategies.WeightedBatch
      assert stages["weighed"][:timeout] == :infinity
      assert stages["keyed"][:strategy] == Slither.Dispatch.Strategies.KeyPartition
      assert stages["keyed"][:command] == "embed"
      assert stages["keyed"][:queue_timeout] == 5_000
      assert stages["each"][:max_in_flight_bytes] == 1_048_576
      assert for(name <- ~w(auto each keyed), do: stages[name][:each]) == [:auto, true, false]
      assert stages["each"][:item_timeout] == 100
      assert Map.new(stages["rest"]) == %{size: 100, timeout: :infinity}

      policies = parse!(documents["policies"]).on_error
      assert policies["a"] == {:route, "broken"}
      assert {:route, fun} = policies["b"]
      item = Slither.Item.wrap(1)
      assert fun.(item, %Slither.DispatchError{reason: :timeout}) == "late"
      assert fun.(item, %Slither.DispatchError{reason: :worker_died}) == "broken"

      assert {:retry, retry} = policies["c"]

      assert Map.new(retry) == %{
               max_attempts: 5,
               base_ms: 10,
               max_ms: 1_000,
               jitter: false,
               on: [:timeout, :worker_died],
               then: {:route, "late"}
             }
    end

    test "has strings for the names of its outputs, and accounts for every item" do
      document =
        document(
          [
            beam("drop", ["when", [[["==", ["item"], ""], ["skip", "empty"]]], ["item"]]),
            %{
              "name" => "split",
              "type" => "router",
              "routes" => [%{"when" => [">", ["len", ["item"]], 3], "to" => "long"}]
            }
          ],
          %{"outputs" => ["long"], "on_error" => [%{"stage" => "*", "policy" => "skip"}]}
        )

      {:ok, outputs, receipt} =
        Slither.run_pipe(parse!(document), ["", "a", "long", 7], receipt: true)

      assert Map.keys(outputs) == ["default", "long"]
      assert [%{payload: "long", route: "long"}] = outputs["long"]
      assert %{in: 4, out: 2, skipped: 2, failed: 0} = receipt
      assert [{"drop", %{in: 4, skipped: 1}}, {"split", %{in: 3, skipped: 1}}] = receipt.stages
    end

    test "routes to a later stage" do
      document =
        document([
          %{
            "name" => "way",
            "type" => "router",
            "routes" => [%{"when" => ["<", ["item"], 0], "to" => "last"}]
          },
          beam("double", ["*", ["item"], 2]),
          beam("last", ["+", ["item"], 1])
        ])

      assert run(document, [1, -1, 2]) == %{"default" => [3, 0, 5]}
    end

    test "makes many items of one, and one of many" do
      document =
        document([
          Map.put(beam("words", ["split", ["item"]]), "options", %{"cardinality" => "many"}),
          %{"name" => "pairs", "type" => "batch", "options" => %{"size" => 2}}
        ])

      assert run(document, ["a b", "", "c"]) == %{"default" => [["a", "b"], ["c"]]}
    end

    test "calls functions of the configuration" do
      stages = [
        function("shout"),
        function("parts", %{"cardinality" => "many", "concurrency" => 2})
      ]

      assert run(document(stages), ["ab", "c"]) == %{"default" => ["A", "B", "C"]}

      assert run(document([function("all", %{"batch" => true})]), [1, 2]) ==
               %{"default" => [-1, -2]}

      document = document([function("route")], %{"outputs" => ["loud"]})
      assert run(document, [1], metadata: %{mark: :m}) == %{"loud" => [{1, :m}]}
    end

    test "says which functions there are" do
      {:error, error} = Document.parse(document([Map.put(function("s"), "function", "shuot")]))

      assert error.message ==
               ~s(stages[0].function: no function "shuot" is configured. Did you mean "shout"? ) <>
                 ~s(Known: "all", "gone", "parts", "route", "shout")

      {:error, error} = Document.parse(document([function("gone")]))
      assert error.message =~ "Slither.Pipe.DocumentTest.Functions.gone/1"
      assert error.message =~ "is not defined"
    end

    test "says what is wrong with the configuration" do
      for {wrong, message} <- [
            {[1], "takes a map, got [1]"},
            {%{"f" => {Functions, :shout}}, "takes {module, function, arity 1 or 2} by name"},
            {%{"f" => {Functions, :shout, 3}}, "takes {module, function, arity 1 or 2} by name"}
          ] do
        Application.put_env(:slither, :functions, wrong)
        assert {:error, %{reason: :invalid_option} = error} = Slither.Pipe.Functions.all()
        assert Exception.message(error) =~ "config :slither, functions: " <> message
        assert {:error, error} = Document.parse(document([function("shout")]))
        assert error.message =~ message
      end

      Application.put_env(:slither, :functions, shout: {Functions, :shout, 1})
      assert run(document([function("shout")]), ["a"]) == %{"default" => ["A"]}
    end

    test "holds pipes, with policies of their own or of the stage" do
      inner =
        document(
          [
            beam("check", ["get", ["item"], "n"]),
            %{
              "name" => "sign",
              "type" => "router",
              "routes" => [%{"when" => ["<", ["item"], 0], "to" => "negative"}]
            }
          ],
          %{"name" => "q", "outputs" => ["negative"]}
        )

      stages = [
        %{"name" => "in", "type" => "pipe", "pipe" => inner, "outputs" => %{"negative" => "bad"}},
        beam("after", ["+", ["item"], 1])
      ]

      more = %{
        "outputs" => ["bad"],
        "on_error" => [%{"stage" => "in", "policy" => %{"route" => "bad"}}]
      }

      document = document(stages, more)
      assert Enum.map(parse!(document).stages, & &1.name) == ["in.check", "in.sign", "after"]
      input = [%{"n" => 1}, %{"n" => -1}, %{}]
      assert run(document, input) == %{"default" => [2], "bad" => [-1, %{}]}
    end

    test "fails an item whose expression has no value, by the stage's policy" do
      document = document([beam("get", ["get", ["item"], "n"])])
      {:error, error, partial} = Slither.run_pipe(parse!(document), [%{"n" => 1}, %{}])

      assert %Slither.PipeError{reason: :expression, stage: "get", cause: %{reason: :expression}} =
               error

      assert Exception.message(error) =~ ~S(stage "get", item)
      assert Exception.message(error) =~ ~S(item["n"]: there is no key "n")
      assert [%{payload: 1}] = partial["default"]
    end

    test "does not try an expression again" do
      document =
        document([beam("get", ["get", ["item"], "n"])], %{
          "outputs" => ["bad"],
          "on_error" => [
            %{"stage" => "*", "policy" => %{"retry" => %{"then" => %{"route" => "bad"}}}}
          ]
        })

      {:ok, outputs, receipt} = Slither.run_pipe(parse!(document), [%{}], receipt: true)
      assert [%{meta: %{error: %{reason: :expression}}}] = outputs["bad"]
      assert receipt.retries == 0
    end

    test "fails an item whose route is no truth value" do
      routes = [%{"when" => ["item"], "to" => "x"}]
      stages = [%{"name" => "r", "type" => "router", "routes" => routes}]
      document = document(stages, %{"outputs" => ["x"]})
      assert run(document, [true, false]) == %{"x" => [true], "default" => [false]}
      {:error, error, _} = Slither.run_pipe(parse!(document), [1])
      assert error.reason == :expression
      assert Exception.message(error) =~ "a route takes True or False, got 1"
    end

    test "ends a run whose error policy names no output" do
      route = ["get", ["error"], "no such fact"]

      document =
        document([beam("get", ["get", ["item"], "n"])], %{
          "on_error" => [%{"stage" => "*", "policy" => %{"route" => route}}]
        })

      {:error, error, _} = Slither.run_pipe(parse!(document), [%{}])
      assert error.reason == :unknown_output
      assert Exception.message(error) =~ "there is no key \\\"no such fact\\\""
    end

    test "goes on from a checkpoint, unless it is another pipe by then" do
      path = Slither.Test.Pools.path("document.checkpoint")
      twice = document([beam("twice", ["*", ["item"], 2])])
      definition = parse!(twice)
      stream = Slither.stream_pipe(definition, 1..500, checkpoint: path)
      assert [{"default", %{payload: 2}}] = Enum.take(stream, 1)
      {:ok, outputs} = Slither.run_pipe(definition, 1..500, checkpoint: path)
      assert Enum.map(outputs["default"], & &1.payload) == Enum.map(1..500, &(2 * &1))

      other = parse!(document([beam("twice", ["*", ["item"], 3])]))
      assert {:error, error, _} = Slither.run_pipe(other, 1..500, checkpoint: path)
      assert error.reason == :other_checkpoint
      assert Exception.message(error) =~ ~s(stage "twice")
    end

    test "runs for long, with sinks by its outputs' names" do
      definition = parse!(document([beam("double", ["*", ["item"], 2])]))
      test = self()
      name = "long-#{System.unique_integer([:positive])}"
      sinks = %{"default" => &send(test, {:out, &1.payload})}
      start_supervised!({Slither.Pipe, {definition, name: name, sinks: sinks}})
      :ok = Slither.Pipe.push(name, [1, 2])
      :ok = Slither.Pipe.drain(name)
      assert_received {:out, 2}
      assert_received {:out, 4}
      assert {:ok, %{outputs: %{"default" => 2}}} = Slither.Pipe.status(name)
    end
  end

  describe "parse/2" do
    test "takes any term, and makes no atom of a name" do
      for term <- [nil, 1, "x", [], %{}, self(), %{1 => 2}, {:a}, ~D[2024-01-01], [1 | 2]] do
        assert {:error, %{reason: :invalid_document}} = Document.parse(term)
      end

      name = "slither-never-an-atom-#{System.unique_integer([:positive])}"

      document =
        document([beam(name, ["get", ["item"], name])], %{
          "name" => name,
          "outputs" => ["x" <> name]
        })

      assert {:ok, _} = Document.parse(document)
      assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
    end

    test "is total: any part of a sound document may be anything" do
      rows = for row <- rows("documents"), not is_map_key(row, "path"), do: row["document"]

      for document <- rows, path <- paths(document), junk <- [nil, -1, "?", [[]], %{"a" => []}] do
        case Document.parse(put(document, path, junk)) do
          {:ok, %Definition{}} -> :ok
          {:error, error} -> assert error.reason in [:invalid_document, :unsupported_version]
        end
      end
    end
  end

  defp paths(map) when is_map(map),
    do: for({key, inner} <- map, path <- [[] | paths(inner)], do: [key | path])

  defp paths(list) when is_list(list) do
    for {inner, index} <- Enum.with_index(list), path <- [[] | paths(inner)], do: [index | path]
  end

  defp paths(_leaf), do: []

  defp put(_value, [], junk), do: junk

  defp put(map, [key | path], junk) when is_map(map),
    do: Map.update!(map, key, &put(&1, path, junk))

  defp put(list, [at | path], junk), do: List.update_at(list, at, &put(&1, path, junk))
end
