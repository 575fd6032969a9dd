defmodule Slither.Dispatch.EachTest do
  use ExUnit.Case, async: true

  alias Slither.{Context, Dispatch, DispatchError, Error, Item, Pipe, Stage}
  alias Slither.Dispatch.Executors.{SnakeBridge, Snakepit}
  alias Slither.Python.Pool
  alias Slither.Test.{FunExecutor, Pools}

  @pool __MODULE__

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["each_handlers"])}
  end

  defmodule Roots do
    use Slither.Pipe

    pipe :roots do
      stage :root, :python,
        module: "math",
        function: "sqrt",
        each: true,
        pool: Slither.Dispatch.EachTest

      output :bad
      on_error :root, {:route, :bad}
    end
  end

  defp run(items, options), do: Dispatch.run(items, [pool: @pool] ++ options)
  defp payloads(items), do: Enum.map(items, & &1.payload)

  describe "each: true" do
    test "gives a function one item at a time" do
      assert {:ok, items} = run([4, 9, 16], module: "math", function: "sqrt", each: true)
      assert payloads(items) == [2.0, 3.0, 4.0]
      words = ["a b", "c"]
      assert {:ok, items} = run(words, module: "builtins", function: "str.split", each: true)
      assert payloads(items) == [["a", "b"], ["c"]]
    end

    test "fails the item whose call raised, and no other of its batch" do
      options = [module: "math", function: "sqrt", each: true, on_error: :skip]
      assert {:ok, items} = run([4, -1, "x", 16], options)
      assert payloads(items) == [2.0, -1, "x", 4.0]
      assert for(item <- items, do: item.meta[:skipped]) == [nil, true, true, nil]

      assert {:error, %DispatchError{reason: :python_exception, item: 1}, [%{payload: 2.0}]} =
               run([4, -1, 16], module: "math", function: "sqrt", each: true)
    end

    test "is a stage's option too, and a stage's by hand" do
      {:ok, outputs} = Pipe.Runner.run(Roots, [4, -1, 16])
      assert payloads(outputs.default) == [2.0, 4.0]
      assert payloads(outputs.bad) == [-1]

      options = [module: "math", function: "sqrt", each: true, pool: @pool]
      {:ok, state} = Stage.Python.init(options)
      items = Item.wrap_many([4, -1])
      assert [{:ok, 2.0}, {:error, _}] = Stage.Python.handle_batch(items, Context.new(), state)
    end

    test "is refused where a mark says that the function takes the list" do
      options = [module: "each_handlers", function: "marked_list", each: true]
      assert {:error, %{cause: %Error{reason: :python_exception} = error}, []} = run([1], options)
      assert error.python.type == "TypeError"
      assert error.message =~ "batch_handler"
    end
  end

  test "each: :auto asks the function" do
    auto = fn function -> [module: "each_handlers", function: function, each: :auto] end
    assert {:ok, items} = run([1, 2], auto.("double"))
    assert payloads(items) == [2, 4]
    assert {:ok, items} = run([[1], [2]], auto.("marked_list"))
    assert payloads(items) == [[1], [2]]
    assert {:ok, items} = run([4, 9], module: "math", function: "sqrt", each: :auto)
    assert payloads(items) == [2.0, 3.0]
    assert {:error, %{cause: error}, []} = run([[1]], auto.("double"))
    assert error.message =~ "an item is a list itself"
  end

  describe "the error of a function that got the other" do
    test "names each: true where a list was given" do
      for {module, function, item} <- [{"math", "sqrt", "16"}, {"builtins", "len", "four"}] do
        assert {:error, error, []} = run([item], module: module, function: function)
        assert Exception.message(error) =~ "the list of a batch's items"
        assert Exception.message(error) =~ "add each: true"
      end
    end

    test "names each: true where one item was given" do
      options = [module: "each_handlers", function: "double", each: true]
      assert {:error, error, []} = run([1], options)
      assert Exception.message(error) =~ "leave out each:)"
    end

    test "is in Elixir's words where the function's mark says what it takes" do
      options = [module: "each_handlers", function: "marked_list", each: true]
      assert {:error, error, []} = run([[1]], options)
      message = Exception.message(error)
      assert message =~ "is marked with @slither.worker.batch_handler, so it takes a list"
      assert message =~ "leave out each:"
      refute message =~ "each=True"
    end
  end

  test "a command, and a value that is none, are refused before anything runs" do
    assert {:error, %Error{reason: :invalid_option} = error, []} =
             run([1], executor: Snakepit, command: "double", each: true)

    assert error.message =~ "by its decorator"

    assert {:error, %Error{reason: :invalid_option} = error, []} =
             run([1], module: "math", function: "sqrt", each: "yes")

    assert Exception.message(error) =~ ":each"
    assert {:error, %Error{}} = Stage.Python.init(executor: Snakepit, command: "c", each: true)
  end

  test "an executor of one's own may fail single items, and only such" do
    fail = fn errors -> &{:ok, &1, errors} end
    one = %Error{reason: :no, message: "no"}
    options = fn errors -> [executor: FunExecutor, executor_options: [fun: fail.(errors)]] end

    assert {:ok, items} = Dispatch.run([1, 2], options.(%{1 => one}) ++ [on_error: :skip])
    assert [%{meta: meta}, %{meta: %{skipped: true, error: error}}] = items
    assert meta == %{}
    assert error.reason == :no

    for odd <- [%{2 => one}, %{-1 => one}, %{0 => :no}, :none] do
      assert {:error, %{reason: :wrong_result}, []} = Dispatch.run([1, 2], options.(odd))
    end
  end

  test "a single call of a pool names a function of one item" do
    assert {:ok, [2.0, nil], %{1 => %Error{reason: :python_exception}}} =
             Pool.call(@pool, ["item", "math", "sqrt"], [4, -1])

    assert {:ok, ["item", "m", "f"]} = SnakeBridge.target(module: :m, function: :f, each: true)
  end
end
