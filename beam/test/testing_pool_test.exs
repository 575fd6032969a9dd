defmodule Slither.TestingPoolTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools, only: [unique: 1]

  alias Slither.{Error, Item}
  alias Slither.Testing

  defp pool(functions, options \\ []) do
    name = unique(:functions)
    start_supervised!({Testing.Pool, [name: name, functions: functions] ++ options}, id: name)
    name
  end

  defp double(rows), do: Enum.map(rows, &(2 * &1))

  test "calls run functions in place of Python" do
    pool =
      pool(%{
        "math.pow" => fn x, y -> x ** y end,
        "m.C.greet" => fn name, %{"mark" => mark} -> "hello #{name}#{mark}" end
      })

    assert Slither.call("math", "pow", [2, 3], pool: pool) == {:ok, 8}
    greet = [kwargs: %{mark: "!"}, pool: pool]
    assert Slither.call("m", "C.greet", ["you"], greet) == {:ok, "hello you!"}
    tasks = for n <- 1..4, do: Slither.async("math", "pow", [n, 2], pool: pool)
    assert Enum.map(tasks, &Slither.await/1) == [{:ok, 1}, {:ok, 4}, {:ok, 9}, {:ok, 16}]
  end

  test "values are on each side what they would be with Python between" do
    pool = pool(%{"m.same" => fn value -> value end, "m.inspect" => &inspect/1})
    same = &Slither.call("m", "same", [&1], pool: pool)

    assert same.({:ok, ~T[01:02:03], MapSet.new([{1}])}) ==
             {:ok, {"ok", ~T[01:02:03.000000], MapSet.new([{1}])}}

    assert same.(%Slither.Test.Encodables.Point{x: 1}) == {:ok, %{"x" => 1, "y" => nil}}
    assert {:error, %Error{reason: :not_encodable}} = same.(%URI{})
    said = Slither.call("m", "inspect", [%{MapSet.new([1]) => 2}], pool: pool)
    assert said == {:ok, inspect(%{Slither.FrozenSet.new([1]) => 2})}
  end

  test "streams of one call run functions that give an enumerable, and close what is read no further" do
    me = self()

    count = fn n ->
      Stream.resource(
        fn -> 0 end,
        fn at -> if at < n, do: {[at], at + 1}, else: {:halt, at} end,
        fn _at -> send(me, :closed) end
      )
    end

    fails = fn -> Stream.map(0..2, fn at -> if at < 2, do: at, else: raise("two") end) end
    pool = pool(%{"m.count" => count, "m.fails" => fails, "m.one" => fn -> 5 end})
    assert Enum.sum(Slither.stream_call("m", "count", [3_000], pool: pool)) == Enum.sum(0..2_999)
    assert_receive :closed
    assert Enum.take(Slither.stream_call("m", "count", [1_000_000], pool: pool), 3) == [0, 1, 2]
    assert_receive :closed, 60_000

    for {function, message} <- [{"fails", "two"}, {"one", "many values"}] do
      stream = Slither.stream_call("m", function, [], pool: pool)
      assert_raise Error, ~r/#{message}/, fn -> Enum.to_list(stream) end
    end
  end

  test "dispatches run functions of a batch, with the strategies and policies of their own" do
    me = self()

    look = fn rows, context ->
      send(me, {:batch, length(rows), context.metadata})
      double(rows)
    end

    pool = pool(%{"m.double" => look, "registered" => &double/1})
    options = [pool: pool, module: "m", function: "double", batch_size: 2, metadata: %{a: 1}]
    assert {:ok, items} = Slither.dispatch([1, 2, 3], options)
    assert Enum.map(items, & &1.payload) == [2, 4, 6]
    assert_received {:batch, 2, %{a: 1}}
    assert_received {:batch, 1, %{a: 1}}

    command = [pool: pool, executor: Slither.Dispatch.Executors.Snakepit, command: "registered"]
    assert {:ok, [%Item{payload: 2}]} = Slither.dispatch([1], command)
  end

  test "an exception is Python's: it fails the batch, and isolation finds the item" do
    fail = fn rows -> if 2 in rows, do: raise(ArgumentError, "no 2"), else: rows end
    options = [pool: pool(%{"m.f" => fail}), module: "m", function: "f"]
    assert {:error, error, []} = Slither.dispatch([1, 2, 3], options)
    assert error.reason == :python_exception
    assert %Error{python: %{type: "ArgumentError", message: "no 2"}} = error.cause
    assert Exception.message(error) =~ "testing_pool_test.exs"

    safe = options ++ [isolate: true, on_error: :skip, receipt: true]
    assert {:ok, items, receipt} = Slither.dispatch([1, 2, 3], safe)
    assert for(i <- items, do: Map.get(i.meta, :skipped, false)) == [false, true, false]
    assert %{in: 3, out: 2, skipped: 1, errors: %{"ArgumentError" => 1}} = receipt
  end

  test "items fail alone by {:error, reason}, and what can't cross fails its own" do
    results = fn rows ->
      Enum.map(rows, fn
        1 -> {:error, "odd"}
        2 -> self()
        n -> n
      end)
    end

    options = [pool: pool(%{"m.f" => results}), module: "m", function: "f", on_error: :skip]
    assert {:ok, [one, two, three, four]} = Slither.dispatch([1, 2, 3, make_ref()], options)
    assert {one.meta.error.reason, two.meta.error.reason} == {:handler_failure, :not_encodable}
    assert three.payload == 3
    assert four.meta.error.reason == :not_encodable
  end

  test "values cross as they do to Python" do
    pool = pool(%{"m.f" => & &1})
    assert Slither.call("m", "f", [%{a: :b}], pool: pool) == {:ok, %{"a" => "b"}}
  end

  test "a call that runs too long fails, and its worker goes on" do
    pool = pool(%{"m.f" => fn -> Process.sleep(:infinity) end, "m.g" => fn -> 1 end}, size: 1)

    assert {:error, %Error{reason: :timeout}} =
             Slither.call("m", "f", [], pool: pool, timeout: 10)

    assert Slither.call("m", "g", [], pool: pool) == {:ok, 1}
  end

  test "a caller that is gone frees its worker" do
    me = self()

    hang = fn ->
      send(me, {:runs, self()})
      Process.sleep(:infinity)
    end

    pool = pool(%{"m.f" => hang, "m.g" => fn -> 1 end}, size: 1)
    task = Slither.async("m", "f", [], pool: pool)
    assert_receive {:runs, runner}, 60_000
    monitor = Process.monitor(runner)
    Task.shutdown(task, :brutal_kill)
    assert_receive {:DOWN, ^monitor, :process, ^runner, :killed}, 60_000
    assert Slither.call("m", "g", [], pool: pool) == {:ok, 1}
  end

  test "a function that ends its process fails its own call" do
    pool = pool(%{"m.f" => fn -> Process.exit(self(), :kill) end, "m.g" => fn -> 1 end}, size: 1)
    assert {:error, %Error{reason: :worker_died}} = Slither.call("m", "f", [], pool: pool)
    assert Slither.call("m", "g", [], pool: pool) == {:ok, 1}
  end

  test "throws and exits are exceptions, and a Slither.Error is itself" do
    pool =
      pool(%{
        "m.throw" => fn -> throw(:away) end,
        "m.error" => fn -> raise %Error{reason: :saturated, message: "full"} end
      })

    assert {:error, %Error{reason: :python_exception, python: %{type: "throw"}}} =
             Slither.call("m", "throw", [], pool: pool)

    assert {:error, %Error{reason: :saturated, message: "full"}} =
             Slither.call("m", "error", [], pool: pool)
  end

  test "what nothing stands in for is named, with what is nearest" do
    pool = pool(%{"m.double" => &double/1})

    assert {:error, %Error{reason: :import_failed} = error} =
             Slither.call("m", "duble", [[1]], pool: pool)

    assert Exception.message(error) =~
             "no function stands in for \"m.duble\". Did you mean \"m.double\"?"
  end

  test "results of another number than the payloads' fail the batch" do
    for odd <- [fn _rows -> [] end, fn _rows -> :none end] do
      options = [pool: pool(%{"m.f" => odd}), module: "m", function: "f"]
      assert {:error, %{reason: :wrong_result}, []} = Slither.dispatch([1], options)
    end
  end

  test "streams of a call draw from an enumerable, and close it" do
    me = self()

    numbers = fn first ->
      Stream.resource(
        fn -> first end,
        fn n -> {[n], n + 1} end,
        fn n -> send(me, {:closed, n}) end
      )
    end

    functions = %{"m.numbers" => numbers, "m.list" => fn -> [1, 2] end, "m.one" => fn -> 1 end}
    pool = pool(functions, size: 1)
    stream = Slither.stream_call("m", "numbers", [5], pool: pool)
    assert Enum.take(stream, 3) == [5, 6, 7]
    assert_receive {:closed, _n}, 60_000
    assert stream |> Enum.take(2_500) |> List.last() == 2_504
    assert_receive {:closed, _n}, 60_000
    assert Enum.to_list(Slither.stream_call("m", "list", [], pool: pool)) == [1, 2]

    assert_raise Error, ~r/many values are a list or a stream/, fn ->
      Enum.to_list(Slither.stream_call("m", "one", [], pool: pool))
    end
  end

  test "a stream that fails gives what came before" do
    failing = fn -> Stream.map(1..5, fn n -> if n == 3, do: raise("no 3"), else: n end) end
    pool = pool(%{"m.f" => failing, "m.pid" => fn -> [1, self()] end})

    assert_raise Error, ~r/RuntimeError: no 3/, fn ->
      Enum.to_list(Slither.stream_call("m", "f", [], pool: pool))
    end

    assert Enum.take(Slither.stream_call("m", "pid", [], pool: pool), 1) == [1]
  end

  test "dispatches of many values draw from what functions give" do
    chunk = fn rows -> Enum.map(rows, fn n -> Stream.map(1..n//1, &{n, &1}) end) end
    pool = pool(%{"m.chunk" => chunk}, size: 1)
    options = [pool: pool, module: "m", function: "chunk", cardinality: :many, receipt: true]

    assert {:ok, items, receipt} =
             Slither.dispatch([2, 0, 3_000, make_ref()], options ++ [on_error: :skip])

    values = for n <- [2, 3_000], i <- 1..n, do: {n, i}
    assert Enum.map(Enum.reject(items, &Map.get(&1.meta, :skipped)), & &1.payload) == values
    assert %{in: 4, out: 3_002, skipped: 2} = receipt
  end

  test "gathers run them" do
    me = self()

    look = fn rows ->
      send(me, {:batch, length(rows)})
      double(rows)
    end

    pool = pool(%{"m.double" => look})
    name = unique(:gather)
    start_supervised!({Slither.Gather, name: name, module: "m", function: "double", pool: pool})
    tasks = for n <- 1..20, do: Task.async(fn -> Slither.Gather.call(name, n) end)
    assert Task.await_many(tasks, 60_000) == for(n <- 1..20, do: {:ok, 2 * n})
    assert_received {:batch, _size}
  end

  defmodule Doubled do
    use Slither.Pipe

    pipe :doubled do
      stage :double, :python, module: "m", function: "double", pool: :testing_pool_test
      output :out
    end
  end

  test "long-running pipes run them" do
    start_supervised!(
      {Testing.Pool, name: :testing_pool_test, functions: %{"m.double" => &double/1}}
    )

    me = self()
    name = unique(:pipe)
    options = [name: name, sinks: [default: &send(me, {:out, &1.payload})]]
    start_supervised!({Slither.Pipe, {Doubled, options}})
    assert Slither.Pipe.push(name, [1, 2]) == :ok
    assert Slither.Pipe.drain(name, 60_000) == :ok
    assert_received {:out, 2}
    assert_received {:out, 4}
  end

  test "the pool is one as any other: its status, sessions, restart and size" do
    pool = pool(%{"m.f" => fn -> 1 end})
    assert Slither.call("m", "f", [], pool: pool, session: "s") == {:ok, 1}
    assert {:ok, [%{id: "s"}]} = Slither.Session.list(pool)
    assert Slither.Session.stop("s") == :ok
    assert {:ok, %{size: 2, died: 0}} = Slither.Python.Pool.status(pool)
    assert Slither.Python.Pool.resize(pool, 3) == :ok
    assert Slither.Python.Pool.restart(pool) == :ok
    assert Slither.call("m", "f", [], pool: pool) == {:ok, 1}
  end

  test "its workers say what runs, and mind no strangers" do
    me = self()

    waits = fn ->
      send(me, {:runs, self()})
      receive do: (:go_on -> :done)
    end

    pool = pool(%{"m.waits" => waits}, size: 1)
    idle = %{worker: 0, os_pid: nil, call: nil, stack: ""}
    assert Slither.Python.Pool.stacks(pool) == {:ok, [idle]}
    task = Slither.async("m", "waits", [], pool: pool)
    assert_receive {:runs, function}, 60_000
    assert {:ok, [%{call: "m.waits", stack: stack}]} = Slither.Python.Pool.stacks(pool)
    assert stack =~ "testing_pool_test.exs:"
    refute stack =~ "Slither.Testing.Functions"
    {:ok, handle} = Slither.Python.Pool.handle(pool)
    {:ok, [worker]} = Slither.Pool.Scheduler.owners(handle)
    GenServer.cast(worker, :hello)
    send(worker, :hello)
    assert GenServer.call(worker, :hello) == {:error, :unknown_call}
    send(function, :go_on)
    assert Slither.await(task) == {:ok, "done"}
    assert {:ok, %{died: 0}} = Slither.Python.Pool.status(pool)
  end

  test "mistakes are errors that say what is taken" do
    for {options, words} <- [
          {[], "option :functions is required"},
          {[functions: []], "option :functions takes a map"},
          {[functions: %{f: &double/1}], "takes functions by names such as \"math.pow\""},
          {[functions: %{"m.f" => 1}], "takes functions by names"},
          {[functions: %{}, sise: 1], "unknown option :sise. Did you mean :size?"}
        ] do
      assert {:error, error} = Testing.Pool.start_link(options)
      assert Exception.message(error) =~ words
    end
  end
end
