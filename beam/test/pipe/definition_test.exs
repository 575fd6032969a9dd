defmodule Slither.Pipe.DefinitionTest do
  use ExUnit.Case, async: true

  alias Slither.Pipe.Definition

  # Compiles a pipe whose body is `lines`, the first of them on line 4 of the file.
  defp compile(lines) do
    name = "Slither.Pipe.DefinitionTest.P#{System.unique_integer([:positive])}"

    source = """
    defmodule #{name} do
      use Slither.Pipe
      pipe :sample do
    #{Enum.join(lines, "\n")}
      end
    end
    """

    [{module, _} | _] = Code.compile_string(source, "sample.ex")
    module
  end

  @first "stage :first, :beam, handler: fn item, _ -> item.payload end"

  describe "a sound pipe" do
    test "is data" do
      module =
        compile([
          @first,
          "stage :second, :python, module: \"m\", function: \"f\", batch_size: 3",
          "stage :third, :router, routes: [{fn _ -> true end, :good}]",
          "store :features, MyApp.Features",
          "output :good",
          "on_error :second, :skip",
          "on_error :*, {:route, :good}"
        ])

      assert %Definition{name: :sample} = definition = module.__pipe_definition__()
      assert definition.outputs == [:good, :default]
      assert definition.stores == %{features: MyApp.Features}
      assert definition.on_error == %{second: :skip, *: {:route, :good}}

      assert Enum.map(definition.stages, &{&1.name, &1.type}) ==
               [first: :beam, second: :python, third: :router]

      second = Enum.at(definition.stages, 1)
      assert second.options[:batch_size] == 3
      assert second.options[:max_in_flight] == 8
      assert second.options[:executor] == Slither.Dispatch.Executors.SnakeBridge
    end
  end

  test "a router may have several routes to one output, and to one later stage" do
    routes = ~s([{fn _ -> true end, :a}, {fn _ -> false end, :b}, {fn _ -> true end, :a}])
    again = ~s([{fn _ -> true end, :last}, {fn _ -> false end, :last}])

    module =
      compile([
        "stage :one, :router, routes: #{routes}",
        "stage :two, :router, routes: #{again}",
        "stage :last, :beam, handler: & &1.payload",
        "output :a",
        "output :b"
      ])

    assert module.__pipe_definition__().outputs == [:a, :b, :default]
  end

  describe "a pipe as a stage" do
    test "gives its stages to the outer pipe, with their own policies" do
      module =
        compile([
          @first,
          "stage :inner, :pipe, pipe: Slither.Test.InnerPipe, outputs: [odd: :strange]",
          "output :strange",
          "on_error :inner, :skip"
        ])

      stages = module.__pipe_definition__().stages
      assert Enum.map(stages, & &1.name) == [:first, :"inner.check", :"inner.split"]
      assert Enum.map(stages, & &1.policy) == [nil, {:route, :odd}, :skip]
      assert %{odd: {:output, :strange}} = Enum.at(stages, 1).policy_targets
    end
  end

  describe "a mistake is a compile error with its line:" do
    for {name, lines, line, words} <- [
          {"unknown stage in on_error", ["on_error :frist, :skip"], 5,
           "no stage :frist. Did you mean :first? Stages: :first, and :*"},
          {"route to an undeclared output",
           ["output :good", "stage :r, :router, routes: [{fn _ -> true end, :god}]"], 6,
           "output :god is not declared. Did you mean :good?"},
          {"route to an earlier stage",
           [
             "stage :r, :router, routes: [{fn _ -> true end, :first}]",
             "stage :last, :batch, size: 2"
           ], 5, ":first is not a later stage; an item can't go back. Later: :last"},
          {"output with a stage's name", ["output :first"], 5, ":first is a stage and an output"},
          {"stage with an output's name", ["output :x", "stage :x, :batch"], 6,
           ":x is a stage and an output"},
          {"stage named as the output that is always there", ["stage :default, :batch"], 5,
           ":default is an output"},
          {"size of a batch", ["stage :b, :batch, size: 0"], 5, "option :size takes an integer"},
          {"pipe that is none", ["stage :p, :pipe, pipe: String"], 5,
           "takes a module with a pipe, got String"},
          {"output of an inner pipe that is not declared",
           ["stage :p, :pipe, pipe: Slither.Test.InnerPipe"], 5, "output :odd is not declared"},
          {"mapping of an output that the inner pipe has not",
           [
             "output :odd",
             "stage :p, :pipe, pipe: Slither.Test.InnerPipe, outputs: [od: :odd]"
           ], 6, "has no output :od. Did you mean :odd?"},
          {"policy that routes to an undeclared output", ["on_error :*, {:route, :bad}"], 5,
           "output :bad is not declared"},
          {"missing option", ["stage :r, :router"], 5, "option :routes is required"},
          {"missing handler", ["stage :b, :beam"], 5, "needs handler: or batch_handler:"},
          {"two handlers",
           ["stage :b, :beam, handler: fn x, _ -> x end, batch_handler: fn x, _ -> x end"], 5,
           "not both"},
          {"stage twice", ["stage :first, :router, routes: []"], 5,
           "stage :first is there twice"},
          {"output twice", ["output :x", "output :x"], 6, "output :x is there twice"},
          {"policy twice", ["on_error :*, :skip", "on_error :*, :halt"], 6, "is there twice"},
          {"unknown option", ["stage :p, :python, modul: \"m\""], 5,
           "unknown option :modul. Did you mean :module?"},
          {"wrong type", ["stage :p, :python, batch_size: \"3\""], 5,
           "option :batch_size takes an integer of 1 or more, or one of :auto, got \"3\""},
          {"option of the run", ["stage :p, :python, session_id: \"s\""], 5,
           "belongs to the pipe"},
          {"unknown policy", ["on_error :first, :explode"], 5, "got :explode"},
          {"handler of the wrong arity", ["stage :b, :beam, handler: fn -> 1 end"], 5,
           "a function of arity 1 or 2"},
          {"unknown stage type", ["stage :b, :pyhton"], 5, "Did you mean :python?"},
          {"foreign statement", ["stagee :b, :python"], 5, "Did you mean :stage?"},
          {"wrong number of arguments", ["output :a, :b"], 5, "output does not take 2"}
        ] do
      test name do
        error = assert_raise CompileError, fn -> compile([@first | unquote(lines)]) end
        assert error.line == unquote(line)
        assert error.file =~ "sample.ex"
        assert error.description =~ unquote(words)
      end
    end

    test "a pipe that holds itself" do
      assert_raise CompileError, ~r/would hold itself/, fn ->
        compile([@first, "stage :again, :pipe, pipe: __MODULE__"])
      end
    end

    test "no stage at all" do
      assert_raise CompileError, ~r/a pipe needs at least one stage/, fn ->
        compile(["output :x"])
      end
    end

    test "no pipe, or two" do
      assert_raise CompileError, ~r/needs a pipe NAME do/, fn ->
        Code.compile_string("defmodule Slither.NoPipe do\nuse Slither.Pipe\nend")
      end

      body = "pipe :a do\n#{@first}\nend\n"

      assert_raise CompileError, ~r/a module has one pipe/, fn ->
        Code.compile_string("defmodule Slither.TwoPipes do\nuse Slither.Pipe\n#{body}#{body}end")
      end
    end
  end
end
