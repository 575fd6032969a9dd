defmodule Slither.Pipe.AloneTest do
  # The built-in stages called by hand, as a test of one's own does.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Context, DispatchError, Item, Stage}
  alias Slither.Test.FunExecutor

  doctest Slither.Context
  doctest Slither.Stage.Beam
  doctest Slither.Stage.Router

  test "a context by hand names the field that it can't have" do
    for {fields, said} <- [
          {5, "a keyword list"},
          {[metdata: %{}], "metdata"},
          {[metadata: 5], ":metadata"},
          {[session_id: :a], ":session_id"}
        ] do
      assert Exception.message(catch_error(Context.new(fields))) =~ said
    end
  end

  for module <- [Stage.Beam, Stage.Python, Stage.Router] do
    test "#{inspect(module)} has all callbacks of a stage" do
      module = unquote(module)
      behaviours = for {:behaviour, of} <- module.module_info(:attributes), do: of
      assert Slither.Stage in List.flatten(behaviours)

      for {name, arity} <- Slither.Stage.behaviour_info(:callbacks),
          do: assert(function_exported?(module, name, arity), "#{name}/#{arity}")
    end
  end

  test "a beam stage answers what its handler says" do
    for {answer, cardinality, expected} <- [
          {{:ok, 2}, :one, {:ok, 2}},
          {{:skip, :odd}, :one, {:skip, :odd}},
          {{:route, :aside, 1}, :one, {:route, :aside, 1}},
          {[1, 2], :many, {:many, [1, 2]}}
        ] do
      {:ok, state} = Stage.Beam.init(handler: fn _item, _ -> answer end, cardinality: cardinality)
      assert Stage.Beam.handle_item(Item.wrap(1), Context.new(), state) == expected
      assert Stage.Beam.handle_batch([Item.wrap(1)], Context.new(), state) == [expected]
      assert Stage.Beam.shutdown(state) == :ok
    end
  end

  test "a batch handler answers a list, or {:ok, list}" do
    for wrap <- [& &1, &{:ok, &1}] do
      double = fn items -> wrap.(Enum.map(items, &Item.update_payload(&1, 2 * &1.payload))) end
      {:ok, state} = Stage.Beam.init(batch_handler: double)
      items = Stage.Beam.handle_batch(Item.wrap_many([1, 2]), Context.new(), state)
      assert Enum.map(items, & &1.payload) == [2, 4]
    end

    {:ok, state} = Stage.Beam.init(batch_handler: fn _items -> {:ok, 5} end)

    assert_raise Slither.Error, ~r/returns a list, got {:ok, 5}/, fn ->
      Stage.Beam.handle_batch([Item.wrap(1)], Context.new(), state)
    end
  end

  test "beam and router stages say what is wrong with their options" do
    for {stage, options, words} <- [
          {Stage.Beam, [], "a beam stage needs handler: or batch_handler:"},
          {Stage.Beam, [handler: 5], "option :handler takes a function of arity 1 or 2, got 5"},
          {Stage.Beam, :none, "takes a keyword list, got :none"},
          {Stage.Router, [], "option :routes is required"},
          {Stage.Router, [routes: :x], "option :routes takes a list of {function"}
        ] do
      assert {:error, %Slither.Error{} = error} = stage.init(options)
      assert Exception.message(error) =~ words
      assert Exception.message(error) =~ "#{inspect(stage)}.init/1"
    end
  end

  test "a batch handler's wrong number of answers to one item is told as a pipe tells it" do
    for answers <- [[], [1, 2]] do
      options = [batch_handler: fn _items -> answers end]
      pipe = Slither.Pipe.build!(:alone, [{:stage, 1, :all, :beam, options}])
      assert {:error, %{reason: :invalid_return} = told, _} = Slither.Pipe.Runner.run(pipe, [1])
      {:ok, state} = Stage.Beam.init(options)

      error =
        assert_raise Slither.Error, fn ->
          Stage.Beam.handle_item(Item.wrap(1), Context.new(), state)
        end

      assert error.reason == :invalid_return
      assert error.message == told.message
      assert error.message =~ "#{length(answers)} answers for 1 items"
    end
  end

  test "a router hands its context to routes that take one" do
    route = {fn item, context -> item.payload == context.metadata.chosen end, :chosen}
    {:ok, state} = Stage.Router.init(routes: [route])
    context = Context.new(metadata: %{chosen: 1})
    assert Stage.Router.handle_item(Item.wrap(1), context, state) == {:route, :chosen, 1}
    assert Stage.Router.handle_item(Item.wrap(2), context, state) == {:ok, 2}
    assert Stage.Router.shutdown(state) == :ok
  end

  describe "a Python stage" do
    defp python(fun, options) do
      options = [executor: FunExecutor, executor_options: [fun: fun]] ++ options
      {:ok, state} = Stage.Python.init(options)
      state
    end

    test "has the SnakeBridge executor unless told otherwise" do
      {:ok, state} = Stage.Python.init(module: "m", function: "f")
      assert state.executor == Slither.Dispatch.Executors.SnakeBridge
      assert state.options[:batch_size] == 64
      assert Stage.Python.shutdown(state) == :ok
    end

    test "says what is wrong with its options" do
      assert {:error, error} = Stage.Python.init(module: "m", function: "f", batch_size: 0)
      assert Exception.message(error) =~ "option :batch_size takes an integer of 1 or more"
      assert {:error, error} = Stage.Python.init(module: "m")
      assert Exception.message(error) =~ "needs function:"
    end

    test "answers for each item, in order, whatever its options say of order and failures" do
      fail = fn payloads ->
        if 3 in payloads, do: {:error, :three}, else: {:ok, Enum.map(payloads, &(&1 * 10))}
      end

      state = python(fail, batch_size: 2, ordering: :as_completed)
      items = Item.wrap_many([1, 2, 3, 4, 5])
      answers = Stage.Python.handle_batch(items, Context.new(), state)
      assert [{:ok, 10}, {:ok, 20}, {:error, error}, {:error, error}, {:ok, 50}] = answers
      assert %DispatchError{reason: :executor_failed} = error

      assert {:error, %DispatchError{}} =
               Stage.Python.handle_item(Item.wrap(3), Context.new(), state)

      assert Stage.Python.handle_item(Item.wrap(4), Context.new(), state) == {:ok, 40}
    end

    test "answers what becomes of an item here, whatever failure it had before" do
      state = python(&{:ok, Enum.map(&1, fn n -> n * 10 end)}, [])
      failed = Item.put_meta(Item.wrap(1), skipped: true, error: :earlier)
      assert Stage.Python.handle_item(failed, Context.new(), state) == {:ok, 10}

      state = python(fn _payloads -> {:error, :now} end, [])
      assert {:error, error} = Stage.Python.handle_item(failed, Context.new(), state)
      assert %DispatchError{reason: :executor_failed} = error
    end

    test "answers an error for each item where its pool can't be used" do
      {:ok, state} = Stage.Python.init(module: "m", function: "f", pool: :no_such_pool)
      answers = Stage.Python.handle_batch(Item.wrap_many([1, 2]), Context.new(), state)
      assert [{:error, %{reason: :unknown_pool}}, {:error, _}] = answers
    end

    test "calls Python, in the session of its context" do
      pool = ready_pool(size: 2)
      {:ok, state} = Stage.Python.init(module: "keeping_handlers", function: "count", pool: pool)
      context = Context.new(session_id: "alone")
      count = &Stage.Python.handle_item(Item.wrap(1), &1, state)
      assert {:ok, [process, 1]} = count.(context)
      assert {:ok, [^process, 2]} = count.(context)
      assert {:ok, [_process, 1]} = count.(Context.new())
    end
  end
end
