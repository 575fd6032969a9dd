defmodule Slither.GatherTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3]

  alias Slither.{Error, Gather}
  alias Slither.Pool.Scheduler
  alias Slither.Python.{Board, Pool}
  alias Slither.Test.Pools

  @patience Pools.patience()

  setup_all do
    {:ok, pool: Pools.start!(__MODULE__, preload: ["gather_handlers"])}
  end

  # Where a test says nothing of it, items wait for each other as long as they must.
  defp gather(function, options \\ []) do
    name = Pools.unique(:gather)
    own = [name: name, module: "gather_handlers", function: function, pool: __MODULE__]
    options = Keyword.merge(own ++ [max_wait: @patience, timeout: @patience], options)
    start_supervised!({Gather, options}, id: name)
    name
  end

  # Begins a call in a process of its own.
  defp call(gather, item, timeout \\ @patience),
    do: Task.async(fn -> Gather.call(gather, item, timeout) end)

  defp await(tasks), do: Task.await_many(tasks, @patience)

  defp status(gather) do
    {:ok, status} = Gather.status(gather)
    status
  end

  # Waits until a gather's status has these values.
  defp until(gather, expected) do
    case status(gather) do
      %{} = status when map_size(status) > 0 ->
        if Enum.all?(expected, fn {key, value} -> status[key] == value end),
          do: status,
          else: :erlang.yield() && until(gather, expected)
    end
  end

  # A pool of one worker that is held at a gate by the first item of a gather, until `open/1`.
  defp held(options \\ []) do
    {lanes, options} = Keyword.pop(options, :lanes, :one)
    {pool_options, options} = Keyword.pop(options, :pool_options, [])

    pool =
      if lanes == :all, do: Pools.quick_pool(pool_options), else: Pools.ready_pool(pool_options)

    gate = Pools.path("gate")
    gather = gather("gated", [pool: pool] ++ options)
    first = call(gather, [gate, 0])
    Pools.await_running(pool)
    %{pool: pool, gate: gate, gather: gather, first: first}
  end

  defp open(%{gate: gate}), do: File.touch!(gate)
  defp items(%{gate: gate}, numbers), do: Enum.map(numbers, &[gate, &1])

  describe "call/3" do
    test "gives what the function makes of the item" do
      assert Gather.call(gather("together"), "a") == {:ok, ["a"]}
      assert Gather.call(gather("yields"), 21) == {:ok, 42}
    end

    test "an item goes at once while a worker is free, and others join it while all are busy" do
      held = held()
      tasks = for item <- items(held, 1..5), do: call(held.gather, item)
      until(held.gather, waiting: 5, out: 1)
      open(held)
      assert await([held.first]) == [{:ok, [0]}]
      assert [{:ok, numbers} | _] = answers = await(tasks)
      assert Enum.sort(numbers) == [1, 2, 3, 4, 5]
      assert Enum.uniq(answers) == [{:ok, numbers}]
      assert %{batches: 2, answered: 6, waiting: 0, running: 0} = status(held.gather)
    end

    test "a whole batch does not wait for an answer" do
      held = held(lanes: :all, max_batch: 2)
      tasks = for item <- items(held, 1..5), do: call(held.gather, item)
      # The worker takes two batches more; one item is left.
      until(held.gather, waiting: 1, out: 3)
      open(held)
      sizes = for {:ok, numbers} <- await(tasks), do: length(numbers)
      assert Enum.sort(sizes) == [1, 2, 2, 2, 2]
      await([held.first])
    end

    test "after max_wait an item goes to the pool's queue" do
      # A worker that is at a long call gets no other while it runs.
      held = held(lanes: :all, pool_options: [size: 2], max_wait: 1)
      task = call(held.gather, [held.gate, 1])
      until(held.gather, waiting: 0, out: 2)
      open(held)
      assert await([held.first, task]) == [{:ok, [0]}, {:ok, [1]}]
    end

    test "what comes while the pool has no room joins what has waited for it" do
      held = held()
      other = gather("gated", pool: held.pool, max_wait: 1)
      early = call(other, [held.gate, 1])
      {:ok, handle} = Pool.handle(held.pool)
      # The pool knows that the gather wants a worker.
      until_true(fn -> Board.waiting?(handle.board) end)
      late = call(other, [held.gate, 2])
      until(other, waiting: 2, out: 0)
      open(held)
      assert await([held.first, early, late]) == [{:ok, [0]}, {:ok, [1, 2]}, {:ok, [1, 2]}]
    end

    test "items of different keys do not go together" do
      held = held(key: fn [_gate, n] -> rem(n, 2) end)
      tasks = for item <- items(held, 1..6), do: call(held.gather, item)
      until(held.gather, waiting: 6)
      open(held)
      batches = for {:ok, numbers} <- await(tasks), uniq: true, do: Enum.sort(numbers)
      assert Enum.sort(batches) == [[1, 3, 5], [2, 4, 6]]
      await([held.first])
    end

    test "a batch has no more than max_batch items" do
      held = held(max_batch: 3)
      tasks = for item <- items(held, 1..10), do: call(held.gather, item)
      until(held.gather, waiting: 10, out: 1)
      open(held)
      assert Enum.all?(await(tasks), fn {:ok, numbers} -> length(numbers) <= 3 end)
      await([held.first])
    end

    test "a function of one item is given with each: true" do
      assert 1..9 |> Enum.map(&call(gather("one", each: true), &1)) |> await() ==
               Enum.map(1..9, &{:ok, 2 * &1})

      assert {:error, %Error{reason: :python_exception}} = Gather.call(gather("one"), 1)
    end

    test "a command is one that is registered in Python" do
      name = Pools.unique(:gather)
      start_supervised!({Gather, name: name, command: "gathered", pool: __MODULE__}, id: name)
      assert Gather.call(name, 4) == {:ok, 12}
    end

    test "its caller's mailbox is left as it was" do
      gather = gather("together")
      send(self(), :mine)
      assert Gather.call(gather, 1) == {:ok, [1]}
      {:messages, messages} = Process.info(self(), :messages)

      assert Enum.reject(messages, &match?({kind, _, _} when kind in [:up, :progress], &1)) == [
               :mine
             ]
    end
  end

  describe "failures" do
    test "an item that fails fails its own caller, though its batch fails as a whole" do
      gather = gather("fails_on_seven")
      answers = 0..31 |> Enum.map(&call(gather, &1)) |> await()

      for {answer, n} <- Enum.with_index(answers) do
        if n == 7,
          do:
            assert(
              {:error, %Error{reason: :python_exception, python: %{message: "seven"}}} = answer
            ),
          else: assert(answer == {:ok, n})
      end
    end

    test "so does one that ends its worker" do
      gather = gather("dies_on_seven", pool: Pools.ready_pool())
      answers = 0..9 |> Enum.map(&call(gather, &1)) |> await()
      assert {{:error, %Error{reason: :worker_died}}, others} = List.pop_at(answers, 7)
      assert others == for(n <- 0..9, n != 7, do: {:ok, n})
    end

    test "an item that can't be sent fails alone, and a result that is missing is an error" do
      gather = gather("together")
      assert {:error, %Error{reason: :not_encodable}} = Gather.call(gather, self())
      assert Gather.call(gather, 1) == {:ok, [1]}
      assert {:error, %Error{reason: :wrong_result}} = Gather.call(gather("too_few"), 1)
    end

    test "a function that is not there is an error of each caller" do
      assert {:error, %Error{} = error} = Gather.call(gather("no_such_function"), 1)
      assert Exception.message(error) =~ "no_such_function"
    end

    test "call!/3 raises the error" do
      assert Gather.call!(gather("together"), 1) == [1]

      error = assert_raise Error, fn -> Gather.call!(gather("fails_on_seven"), 7) end
      assert error.reason == :python_exception
    end

    test "a key function that fails is an error of its caller" do
      gather = gather("together", key: fn item -> item.size end)
      assert {:error, %Error{reason: :key_failed} = error} = Gather.call(gather, %{})
      assert Exception.message(error) =~ "key function failed"
      assert Gather.call(gather, %{size: 1}) == {:ok, [%{"size" => 1}]}
    end
  end

  describe "callers that go" do
    test "a caller's time is over: its item is taken out" do
      held = held()

      assert {:error, %Error{reason: :timeout} = error} =
               Gather.call(held.gather, [held.gate, 1], 0)

      assert Exception.message(error) =~ "no answer within 0 ms (raise the timeout"
      until(held.gather, waiting: 0, timed_out: 1)
      open(held)
      assert await([held.first]) == [{:ok, [0]}]
      assert %{batches: 1} = status(held.gather)
      # The late answer of an item that was out is nobody's.
      assert Gather.call(held.gather, [held.gate, 2]) == {:ok, [2]}
    end

    test "a caller has ended: its item is taken out, the others go" do
      held = held()
      gone = spawn(fn -> Gather.call(held.gather, [held.gate, 1], :infinity) end)
      until(held.gather, waiting: 1)
      left = call(held.gather, [held.gate, 2])
      until(held.gather, waiting: 2)
      Process.exit(gone, :kill)
      until(held.gather, waiting: 1)
      open(held)
      assert await([held.first, left]) == [{:ok, [0]}, {:ok, [2]}]
    end

    test "a batch that nobody waits for is cancelled" do
      held = held()
      next = call(held.gather, [Pools.path("never"), 1])
      until(held.gather, waiting: 1)
      Task.shutdown(held.first, :brutal_kill)
      # The worker stands before the gate until it is told that nobody waits.
      Pools.await_running(held.pool)
      Task.shutdown(next, :brutal_kill)
      until(held.gather, out: 0, waiting: 0)
      open(held)
      assert Gather.call(held.gather, [held.gate, 2], @patience) == {:ok, [2]}
    end

    test "a batch that somebody waits for is not" do
      held = held()
      [gone, left] = for item <- items(held, 1..2), do: call(held.gather, item)
      until(held.gather, waiting: 2)
      # The next batch has another gate: that of its first item.
      open(held)
      await([held.first])
      assert {:ok, numbers} = Task.await(left, @patience)
      assert Enum.sort(numbers) == [1, 2]
      Task.shutdown(gone)
    end

    test "beyond max_waiting a call is refused at once" do
      held = held(max_waiting: 1)
      waits = call(held.gather, [held.gate, 1])
      until(held.gather, waiting: 1)

      assert {:error, %Error{reason: :saturated} = error} =
               Gather.call(held.gather, [held.gate, 2])

      assert Exception.message(error) =~ "1 items wait already; the limit is 1"
      open(held)
      assert await([held.first, waits]) == [{:ok, [0]}, {:ok, [1]}]
    end
  end

  describe "ends" do
    test "when the gather ends, each caller gets an error" do
      held = held()
      waits = call(held.gather, [held.gate, 1])
      until(held.gather, waiting: 1)
      stop_supervised!(held.gather)

      for {:error, error} <- await([held.first, waits]) do
        assert %Error{reason: :gather_unavailable} = error
        assert Exception.message(error) =~ "ended before it answered"
      end

      assert {:error, %Error{reason: :gather_unavailable} = error} = Gather.call(held.gather, 1)
      assert Exception.message(error) =~ "is not running"
      assert {:error, %Error{reason: :gather_unavailable}} = Gather.status(held.gather)
      # What it had out at the worker is cancelled: the gate is shut.
      assert {:ok, [[1]], %{}} =
               Pool.call(held.pool, ["function", "gather_handlers", "together"], [1])
    end

    @tag :capture_log
    test "when its pool ends, each caller gets an error, and it goes on once the pool is back" do
      held = held()
      waits = call(held.gather, [held.gate, 1])
      until(held.gather, waiting: 1)
      {:ok, handle} = Pool.handle(held.pool)
      Process.exit(handle.scheduler, :kill)

      for answer <- await([held.first, waits]),
          do: assert({:error, %Error{reason: :pool_unavailable}} = answer)

      open(held)
      assert again(held.gather, [held.gate, 2]) == {:ok, [2]}
    end

    test "a pool that starts later is found" do
      pool = Pools.unique(:late_pool)
      gather = gather("together", pool: pool)
      assert {:error, %Error{reason: :unknown_pool}} = Gather.call(gather, 1)
      assert %{waiting: 0, batches: 0} = status(gather)
      Pools.ready_pool(name: pool)
      assert Gather.call(gather, 1, @patience) == {:ok, [1]}
    end

    test "lanes that it does not need go back to the pool" do
      pool = Pools.ready_pool()
      gather = gather("together", pool: pool)
      for n <- 1..50, do: assert(Gather.call(gather, n) == {:ok, [n]})
      {:ok, handle} = Pool.handle(pool)
      until_true(fn -> Scheduler.status(handle) |> idle?() end)
    end

    defp idle?({:ok, %{workers: workers}}), do: Enum.all?(workers, &(&1.calls == 0))

    defp again(gather, item) do
      case Gather.call(gather, item, @patience) do
        {:error, %Error{reason: reason}} when reason in [:unknown_pool, :pool_unavailable] ->
          again(gather, item)

        answer ->
          answer
      end
    end
  end

  describe "start_link/1" do
    test "a name is taken once" do
      gather = gather("together")
      options = [name: gather, module: "m", function: "f"]
      assert {:error, {:already_started, pid}} = Gather.start_link(options)
      assert is_pid(pid)
    end

    test "options that it can't use are errors that name them" do
      for {options, text} <- [
            {[module: "m", function: "f"], "option :name is required"},
            {[name: :a], "needs module: and function:, or command:"},
            {[name: :a, module: "m"], "needs function: beside module:"},
            {[name: :a, function: "f"], "needs module: beside function:"},
            {[name: :a, module: "m", function: "f", command: "c"], "and got both"},
            {[name: :a, command: "c", each: true], "each: goes with module: and function:"},
            {[name: :a, module: "m", function: "f", max_batch: 0], "option :max_batch takes"},
            {[name: :a, module: "m", function: "f", max_wait: -1], "option :max_wait takes"},
            {[name: :a, module: "m", function: "f", max_bach: 2], "Did you mean :max_batch?"},
            {[name: :a, module: "m", function: "f", key: "size"], "option :key takes a function"},
            {:embed, "takes a keyword list"}
          ] do
        assert {:error, %Error{where: "Slither.Gather.start_link/1"} = error} =
                 Gather.start_link(options)

        assert Exception.message(error) =~ text
      end

      assert {:error, %Error{reason: :invalid_option}} = Gather.call(:a, 1, -1)
      assert {:error, %Error{reason: :invalid_option}} = Gather.call(:a, 1, "1")
      assert {:error, %Error{reason: :invalid_option}} = Gather.call(:a, 1, 5_000_000_000)
    end

    test "functions can stand in for Python" do
      pool = Pools.unique(:functions)
      double = fn numbers -> Enum.map(numbers, &(&1 * 2)) end
      picky = fn numbers -> if 7 in numbers, do: raise("seven"), else: numbers end
      functions = %{"gather_handlers.double" => double, "gather_handlers.picky" => picky}
      start_supervised!({Slither.Testing.Pool, name: pool, functions: functions}, id: pool)

      double = gather("double", pool: pool)
      assert 1..20 |> Enum.map(&call(double, &1)) |> await() == Enum.map(1..20, &{:ok, &1 * 2})
      picky = gather("picky", pool: pool)
      answers = 5..9 |> Enum.map(&call(picky, &1)) |> await()
      assert [{:ok, 5}, {:ok, 6}, {:error, %Error{}}, {:ok, 8}, {:ok, 9}] = answers
    end
  end

  test "each caller gets the answer of its own item, whoever fails, gives up or ends" do
    gather = gather("fails_on_seven", max_batch: 5, max_wait: 1, key: &rem(&1, 2))

    check_all(25, &callers/0, fn callers ->
      tasks =
        for {item, how} <- callers do
          timeout = if how == :gives_up, do: 0, else: @patience
          {item, how, call(gather, item, timeout)}
        end

      for {_item, :ends, task} <- tasks, do: Task.shutdown(task, :brutal_kill)

      for {item, how, task} when how != :ends <- tasks do
        case Task.await(task, @patience) do
          {:error, %Error{reason: :timeout}} -> assert how == :gives_up
          {:error, %Error{reason: :python_exception}} -> assert item == 7
          {:ok, value} -> assert value == item and item != 7
        end
      end

      until(gather, waiting: 0, running: 0)
    end)
  end

  test "strangers' messages, before the first item and after, cost no answer" do
    name = gather("fails_on_seven", max_wait: 1)
    [{server, _key}] = Registry.lookup(Slither.Python.Registry, {:gather, name})

    for _ <- 1..2 do
      for message <- [:timeout, :hello, {:DOWN, make_ref(), :process, self(), :gone}],
          do: send(server, message)

      GenServer.cast(server, :hello)
      assert GenServer.call(server, :hello) == {:error, :unknown_call}
      assert Gather.call(name, 4, @patience) == {:ok, 4}
    end
  end

  test "names that name nothing are refused" do
    for {options, words} <- [
          {[name: nil, module: "m", function: "f"], "option :name takes anything but nil"},
          {[name: :a, module: "", function: "f"], "option :module takes a name"},
          {[name: :a, module: "m", function: ""], "option :function takes a name"},
          {[name: :a, command: ""], "option :command takes a name"}
        ] do
      assert {:error, %Error{reason: :invalid_option} = error} = Gather.start_link(options)
      assert error.message =~ words
    end
  end

  defp callers do
    for _ <- 1..:rand.uniform(40),
        do: {:rand.uniform(10) - 1, Enum.random([:waits, :waits, :gives_up, :ends])}
  end

  defp until_true(fun), do: if(fun.(), do: :ok, else: :erlang.yield() && until_true(fun))
end
