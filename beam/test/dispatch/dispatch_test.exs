defmodule Slither.DispatchTest do
  use ExUnit.Case, async: true

  alias Slither.{Dispatch, DispatchError, Error, Item}
  alias Slither.Dispatch.Executors.{SnakeBridge, Snakepit}
  alias Slither.Dispatch.Strategies.{KeyPartition, WeightedBatch}
  alias Slither.Python.Pool
  alias Slither.Test.{FunExecutor, GateExecutor, Pools, Telemetry}

  @pool __MODULE__

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["flow_handlers"])}
  end

  defp python(function, options \\ []),
    do: Keyword.merge([module: "flow_handlers", function: function, pool: @pool], options)

  defp payloads(items), do: Enum.map(items, & &1.payload)

  describe "run/2" do
    test "gives one result for each item, in the order of the input" do
      assert {:ok, items} = Dispatch.run(1..1000, python("double", batch_size: 7))
      assert payloads(items) == Enum.map(1..1000, &(2 * &1))
    end

    test "keeps ids and meta, and changes the payload alone" do
      item = Item.put_meta(%Item{id: "a", payload: 1}, source: "test")
      assert {:ok, [result]} = Dispatch.run([item], python("double"))
      assert result == %{item | payload: 2}
    end

    test "keeps the order when later batches complete first" do
      options = python("slow_first", batch_size: 5, max_in_flight: 4)
      assert {:ok, items} = Dispatch.run(1..60, options)
      assert payloads(items) == Enum.to_list(1..60)
    end

    test "with :as_completed gives every item once, and the slow batch last" do
      test = self()
      options = [executor: GateExecutor, executor_options: [test: test], batch_size: 1]
      options = Keyword.merge(options, ordering: :as_completed, max_in_flight: 3)
      run = Task.async(fn -> Dispatch.run([1, 2, 3], options) end)
      pids = for n <- 1..3, into: %{}, do: {n, entered(n)}
      for n <- [3, 2, 1], do: release_and_await(pids[n])
      assert {:ok, items} = Task.await(run)
      assert payloads(items) == [3, 2, 1]
    end

    test "of nothing is nothing" do
      assert Dispatch.run([], python("double")) == {:ok, []}
    end

    test "leaves no message behind" do
      assert {:ok, _} = Dispatch.run(1..100, python("double", batch_size: 3))
      assert {:error, _, _} = Dispatch.run(1..100, python("fail_on_seven", batch_size: 3))
      assert Process.info(self(), :message_queue_len) == {:message_queue_len, 0}
    end

    test "takes the defaults of the configuration's names" do
      assert {:ok, [%{payload: 2}]} = Slither.dispatch([1], python("double"))
    end
  end

  describe "bounds" do
    test "never has more than max_in_flight batches out, nor pulls further" do
      test = self()
      pulled = :counters.new(1, [])
      input = Stream.map(1..100, fn n -> :counters.add(pulled, 1, 1) && n end)
      options = [executor: GateExecutor, executor_options: [test: test]]
      options = Keyword.merge(options, batch_size: 2, max_in_flight: 3)
      run = Task.async(fn -> Dispatch.run(input, options) end)

      out = for first <- [1, 3, 5], do: entered([first, first + 1])
      refute_received {:entered, _, _, _}
      assert :counters.get(pulled, 1) == 6

      send(hd(out), :release)
      next = entered([7, 8])
      assert :counters.get(pulled, 1) == 8
      for pid <- [next | tl(out)], do: send(pid, :release)
      for first <- 9..99//2, do: send(entered([first, first + 1]), :release)
      assert {:ok, items} = Task.await(run)
      assert payloads(items) == Enum.to_list(1..100)
    end

    test "a stream pulls nothing before it is read, and stops when its reader does" do
      pulled = :counters.new(1, [])

      input =
        Stream.resource(
          fn -> 0 end,
          fn n -> :counters.add(pulled, 1, 1) && {[n], n + 1} end,
          fn _ -> :counters.put(pulled, 1, -1000) end
        )

      stream = Dispatch.stream(input, python("double", batch_size: 2, max_in_flight: 2))
      assert :counters.get(pulled, 1) == 0
      assert stream |> Enum.take(3) |> payloads() == [0, 2, 4]
      # The input's own clean-up has run.
      assert :counters.get(pulled, 1) < 0
    end

    test "an infinite input pulls no further than max_in_flight batches ahead of the reader" do
      pulled = :counters.new(1, [])
      input = Stream.map(Stream.iterate(0, &(&1 + 1)), &(:counters.add(pulled, 1, 1) && &1))

      input
      |> Dispatch.stream(python("identity", batch_size: 5, max_in_flight: 3))
      |> Stream.with_index(1)
      |> Enum.take_while(fn {_item, read} ->
        assert :counters.get(pulled, 1) <= read + 5 * 4
        read < 200
      end)
    end

    test "frees its lanes for others when the reader stops, or dies" do
      stream = Dispatch.stream(Stream.cycle([1]), python("identity", batch_size: 1))
      assert [_] = Enum.take(stream, 1)

      {pid, monitor} = spawn_monitor(fn -> Enum.each(stream, fn _ -> exit(:reader_died) end) end)

      assert_receive {:DOWN, ^monitor, :process, ^pid, :reader_died}
      assert {:ok, items} = Dispatch.run(1..50, python("double", batch_size: 1))
      assert length(items) == 50
    end
  end

  describe "strategies" do
    test "that are built in give lists for a list of items, and are lazy for all else" do
      items = Item.wrap_many(1..5)

      for {strategy, options} <- [
            {Slither.Dispatch.Strategies.FixedBatch, [batch_size: 3]},
            {WeightedBatch, [max_weight: 6, weight_fn: & &1.payload]},
            {KeyPartition, [key_fn: &(&1.payload > 3)]}
          ] do
        assert [first, second | _] = batches = strategy.batch(items, options)
        assert is_list(first) and is_list(second)
        assert Enum.concat(batches) == items
        refute is_list(strategy.batch(Stream.map(items, & &1), options))
        assert items |> Stream.map(& &1) |> strategy.batch(options) |> Enum.to_list() == batches
      end
    end

    test "WeightedBatch keeps batches under the limit; a heavy item goes alone" do
      options = [strategy: WeightedBatch, max_weight: 10, weight_fn: & &1.payload]
      assert {seen, {:ok, items}} = batches([4, 4, 4, 25, 1, 1], options)
      assert seen == [[1, 1], [4], [4, 4], [25]]
      assert payloads(items) == [4, 4, 4, 25, 1, 1]
    end

    test "KeyPartition keeps items of a key together, and the output in the input's order" do
      options = [strategy: KeyPartition, key_fn: &rem(&1.payload, 3), window: 6]
      assert {seen, {:ok, items}} = batches(Enum.to_list(1..9), options)
      assert seen == Enum.sort([[1, 4], [2, 5], [3, 6], [7], [8], [9]])
      assert payloads(items) == Enum.to_list(1..9)
    end

    test "one of the user's own, with batch/2 alone, keeps the order too" do
      defmodule Backwards do
        @behaviour Slither.Dispatch.Strategy
        @impl true
        def batch(items, _options), do: items |> Enum.reverse() |> Stream.chunk_every(2)
      end

      options = [strategy: Backwards, batch_size: 2, max_in_flight: 2]
      assert {_seen, {:ok, items}} = batches([1, 2, 3, 4, 5], options)
      assert payloads(items) == [1, 2, 3, 4, 5]
    end

    test "one that loses an item fails its items" do
      defmodule Lossy do
        @behaviour Slither.Dispatch.Strategy
        @impl true
        def batch(items, _options), do: [tl(Enum.to_list(items))]
      end

      assert {[], {:error, error, []}} = batches([1, 2, 3], strategy: Lossy)
      assert error.reason == :invalid_strategy
      assert Exception.message(error) =~ "was given 3 items and gave 2 back"
    end
  end

  describe "executors" do
    test "SnakeBridge runs any importable function" do
      options = [executor: SnakeBridge, module: "math", function: "fsum", pool: @pool]
      assert {:error, %DispatchError{reason: :wrong_result}, []} = Dispatch.run([1.0], options)
      assert {:ok, [%{payload: 2}]} = Dispatch.run([1], python("double", executor: SnakeBridge))
    end

    test "Snakepit runs registered commands" do
      options = [executor: Snakepit, pool: @pool]
      assert {:ok, [a]} = Dispatch.run(["a"], [command: "shout"] ++ options)
      assert a.payload == "A"
      assert {:ok, [b]} = Dispatch.run([1], [command: "add-one"] ++ options)
      assert b.payload == 2

      assert {:error, %DispatchError{reason: :unknown_command} = error, []} =
               Dispatch.run([1], [command: "shuot"] ++ options)

      assert Exception.message(error) =~ "shout"
    end

    test "execute_batch/3 can be called by hand" do
      items = Item.wrap_many([1, 2])

      assert {:ok, [2, 4]} =
               SnakeBridge.execute_batch(items, %Slither.Context{}, python("double"))

      options = [command: "add-one", pool: @pool]
      assert {:ok, [2, 3]} = Snakepit.execute_batch(items, %Slither.Context{}, options)
    end

    test "one of the user's own runs in a process that is killed at the timeout" do
      fun = fn _ -> Process.sleep(:infinity) end
      options = [executor: FunExecutor, executor_options: [fun: fun], timeout: 20]
      assert {:error, %DispatchError{reason: :timeout}, []} = Dispatch.run([1], options)
    end

    test "one of the user's own gets the options that nobody else knows" do
      test = self()

      options = [
        executor: Slither.Test.OptionsExecutor,
        model: "small",
        batch_size: 2,
        executor_options: [depth: 3]
      ]

      assert {:ok, [_, _]} = Dispatch.run([1, 2], [{:test, test} | options])
      assert_received {:options, given}
      assert given[:model] == "small" and given[:batch_size] == 2
      assert given[:executor_options] == [test: test, model: "small", depth: 3]

      statement = {:stage, 1, :own, :python, [{:test, test} | options]}
      pipe = Slither.Pipe.build!(:own_options, [statement])
      assert {:ok, _} = Slither.run_pipe(pipe, [1, 2])
      assert_received {:options, given}
      assert given[:model] == "small"
      assert given[:executor_options] == [test: test, model: "small", depth: 3]
    end

    test "a slip in an option that is known is told whatever the executor" do
      options = [executor: Slither.Test.OptionsExecutor, batch_sise: 2]
      assert {:error, %Error{reason: :unknown_option} = error, []} = Dispatch.run([1], options)
      assert error.message =~ "Did you mean :batch_size?"
    end

    test "the built-in ones know what they take" do
      assert {:error, %Error{reason: :unknown_option}, []} =
               Dispatch.run([1], python("double") ++ [model: "small"])
    end

    test "one of the user's own may give items for some, or for all" do
      fun = fn payloads ->
        results =
          for n <- payloads do
            if rem(n, 2) == 0,
              do: n * 10,
              else: %Item{id: {:made, n}, payload: -n, meta: %{own: true}}
          end

        {:ok, results}
      end

      options = [executor: FunExecutor, executor_options: [fun: fun], batch_size: 3]
      assert {:ok, items} = Dispatch.run(1..5, options)
      assert payloads(items) == [-1, 20, -3, 40, -5]
      assert Enum.map(items, & &1.id) == [{:made, 1}, 1, {:made, 3}, 3, {:made, 5}]
      assert Enum.map(items, & &1.meta[:own]) == [true, nil, true, nil, true]
    end

    test "an item of one of the user's own without a map for meta fails its batch, by the policy" do
      for meta <- [nil, [own: true]] do
        fun = fn payloads ->
          {:ok,
           for(n <- payloads, do: %Item{id: n, payload: n, meta: if(n == 2, do: meta, else: %{})})}
        end

        executor = [executor: FunExecutor, executor_options: [fun: fun]]
        assert {:error, error, []} = Dispatch.run([1, 2], executor)
        assert %DispatchError{reason: :wrong_result} = error

        assert Exception.message(error) =~
                 "gave an item whose meta is #{inspect(meta)}, not a map"

        options = [on_error: :skip, isolate: true] ++ executor
        assert {:ok, items} = Dispatch.run([1, 2, 3], options)

        assert for(i <- items, do: i.meta[:error] && i.meta.error.reason) == [
                 nil,
                 :wrong_result,
                 nil
               ]
      end
    end

    test "the reason that one of the user's own gave is in the error's cause" do
      options = [executor: FunExecutor, executor_options: [fun: fn _ -> {:error, {:full, 3}} end]]
      assert {:error, error, []} = Dispatch.run([1], options)
      assert %DispatchError{reason: :executor_failed, cause: %Error{details: details}} = error
      assert details.reason == {:full, 3}
    end

    test "one that raises, exits, or answers nonsense fails the batch with what it said" do
      for {fun, words} <- [
            {fn _ -> raise "boom" end, "boom"},
            {fn _ -> exit(:gone) end, "gone"},
            {fn _ -> Process.exit(self(), :kill) end, "killed"},
            {fn _ -> :nonsense end, "nonsense"},
            {fn _ -> {:error, :full} end, "full"},
            {fn _ -> {:ok, []} end, "0 results for 1 items"}
          ] do
        options = [executor: FunExecutor, executor_options: [fun: fun]]
        assert {:error, %DispatchError{} = error, []} = Dispatch.run([1], options)
        assert Exception.message(error) =~ words
      end
    end
  end

  describe "failures" do
    test ":halt gives the results before the failed batch, in order, and nothing after it" do
      options = python("fail_on_seven", batch_size: 2, max_in_flight: 4)
      assert {:error, error, partial} = Dispatch.run(1..40, options)
      assert payloads(partial) == [1, 2, 3, 4, 5, 6]
      assert %DispatchError{reason: :python_exception, batch: 3, cause: cause} = error
      assert cause.python.type == "ValueError"
      assert cause.python.message == "seven is not welcome"
      assert cause.python.traceback =~ "fail_on_seven"
      assert Exception.message(error) =~ "batch 3: ValueError: seven is not welcome"
    end

    test ":skip keeps the items in their places, with the error" do
      options = python("fail_on_seven", batch_size: 2, on_error: :skip)
      assert {:ok, items} = Dispatch.run(1..10, options)
      assert payloads(items) == Enum.to_list(1..10)
      skipped = Enum.filter(items, & &1.meta[:skipped])
      assert payloads(skipped) == [7, 8]
      assert Enum.all?(skipped, &match?(%DispatchError{batch: 3}, &1.meta.error))
    end

    test "{:route, …} marks the items with their output" do
      options = python("fail_on_seven", batch_size: 1, on_error: {:route, :bad})
      assert {:ok, items} = Dispatch.run(6..8, options)
      assert Enum.map(items, & &1.route) == [nil, :bad, nil]

      chooser = fn item, error -> if error.reason == :python_exception and item, do: :worse end
      options = python("fail_on_seven", batch_size: 1, on_error: {:route, chooser})
      assert {:ok, items} = Dispatch.run(6..8, options)
      assert Enum.map(items, & &1.route) == [nil, :worse, nil]
    end

    test "{:retry, …} tries again with pauses, and says how often" do
      policy = {:retry, max_attempts: 3, base_ms: 1}
      assert {:ok, items} = Dispatch.run([1, 2], python("flaky", on_error: policy))
      assert Enum.map(items, & &1.meta) == [%{attempts: 3}, %{attempts: 3}]

      policy = {:retry, max_attempts: 2, base_ms: 1, then: :skip}
      assert {:ok, [item]} = Dispatch.run([1], python("flaky", on_error: policy))
      assert item.meta.error.attempts == 2

      policy = {:retry, max_attempts: 9, base_ms: 1, on: [:timeout]}
      assert {:error, error, []} = Dispatch.run([1], python("flaky", on_error: policy))
      assert error.attempts == 1
    end

    test "{:retry, …} mends worker deaths and timeouts as it does exceptions" do
      for function <- ["dies_at_first", "hangs_at_first"] do
        policy = {:retry, max_attempts: 2, base_ms: 1}
        options = python(function, on_error: policy, timeout: 300, receipt: true)
        assert {:ok, items, receipt} = Dispatch.run(1..4, options)
        assert payloads(items) == [1, 2, 3, 4]
        assert Enum.uniq(Enum.map(items, & &1.meta)) == [%{attempts: 2}]
        assert receipt.retries == 1
      end
    end

    test "a handler can fail single items" do
      assert {:ok, items} = Dispatch.run(1..4, python("fail_items", on_error: :skip))
      assert for(i <- items, i.meta[:skipped], do: i.payload) == [1, 3]
      assert hd(items).meta.error.reason == :handler_failure
      assert hd(items).meta.error.item == hd(items).id
    end

    test "a value that can't be sent, there or back, fails its item alone" do
      input = [1, %{"when" => [self()]}, 3]
      assert {:ok, items} = Dispatch.run(input, python("identity", on_error: :skip))
      assert [nil, %DispatchError{reason: :not_encodable} = error, nil] = errors(items)
      assert Exception.message(error) =~ ~s(payload["when"][0]: a pid can't be sent)

      assert {:ok, items} = Dispatch.run(1..4, python("unsendable_items", on_error: :skip))
      assert [nil, nil, %DispatchError{reason: :not_encodable} = error, nil] = errors(items)
      assert Exception.message(error) =~ "a range"
    end

    test "a result of another length, or no list, is an error with both counts" do
      assert {:error, error, []} = Dispatch.run([1, 2, 3], python("too_few"))
      assert Exception.message(error) =~ "2 results for 3 items"
      assert {:error, error, []} = Dispatch.run([1, 2, 3], python("not_a_list"))
      assert Exception.message(error) =~ "int, not a list"
    end

    test "isolate: true finds the poison, whichever way it kills" do
      for {function, reason} <- [
            {"fail_on_seven", :python_exception},
            {"die_on_seven", :worker_died},
            {"hang_on_seven", :timeout}
          ] do
        options = python(function, batch_size: 16, isolate: true, on_error: :skip, timeout: 500)
        assert {:ok, items} = Dispatch.run(1..32, options)
        assert payloads(items) == Enum.to_list(1..32)
        assert [{7, ^reason}] = for(i <- items, e = i.meta[:error], do: {i.payload, e.reason})
      end
    end

    test "a per-item handler's exception fails its item alone, with its traceback" do
      assert {:ok, items} = Dispatch.run([1, "two", 3], python("square", on_error: :skip))
      assert payloads(items) == [1, "two", 9]
      assert [nil, %DispatchError{reason: :python_exception} = error, nil] = errors(items)
      assert error.cause.python.type == "TypeError"
      assert error.cause.python.traceback =~ "in square"
    end

    test "of 2,000 items isolate loses the 52 poison ones, with few extra calls" do
      # 50 raise, one kills the interpreter, one never returns.
      options = [isolate: true, on_error: :skip, batch_size: 64, timeout: 400, receipt: true]
      assert {:ok, items, receipt} = Dispatch.run(1..2_000, python("poisoned", options))
      failed = for i <- items, e = i.meta[:error], do: {i.payload, e.reason}
      raised = for n <- 40..2_000//40, do: {n, :python_exception}
      assert Enum.sort(failed) == Enum.sort([{13, :worker_died}, {777, :timeout} | raised])
      assert payloads(items) == Enum.to_list(1..2_000)
      # Halving a batch of 64 down to one item takes 6 splits for each of them at most.
      assert receipt.splits <= 52 * 6
      assert {receipt.in, receipt.out, receipt.skipped} == {2_000, 1_948, 52}
    end

    test "and one poison item alone, in a logarithm of calls" do
      options = [isolate: true, on_error: :skip, batch_size: 64, receipt: true]
      assert {:ok, items, receipt} = Dispatch.run(1..2_000, python("fail_on_seven", options))
      assert for(i <- items, i.meta[:error], do: i.payload) == [7]
      assert receipt.splits == 6
    end

    test "the other batches are unaffected when a worker dies" do
      options = python("die_on_seven", batch_size: 4, on_error: :skip)
      assert {:ok, items} = Dispatch.run(1..400, options)
      assert payloads(items) == Enum.to_list(1..400)
      assert for(i <- items, i.meta[:skipped], do: i.payload) == [5, 6, 7, 8]
    end

    test "a stream yields what came before, then raises" do
      stream = Dispatch.stream(1..10, python("fail_on_seven", batch_size: 2))
      test = self()

      assert_raise DispatchError, ~r/seven is not welcome/, fn ->
        Enum.each(stream, &send(test, {:read, &1.payload}))
      end

      for n <- 1..6, do: assert_received({:read, ^n})
      refute_received {:read, _}
    end

    test "an exception of the input passes through, and frees the workers" do
      input = Stream.map(1..10, fn n -> if n == 5, do: raise("input broke"), else: n end)

      assert_raise RuntimeError, "input broke", fn ->
        Dispatch.run(input, python("identity", batch_size: 2))
      end

      assert {:ok, _} = Dispatch.run(1..10, python("identity", batch_size: 1))
    end

    for kind <- [:error, :throw, :exit] do
      test "what the caller's code ends with (#{kind}) leaves no lane taken while it lives" do
        fail = fn -> :erlang.raise(unquote(kind), :broke, []) end
        break = fn n, at -> if n == at, do: fail.(), else: n end
        pool = Pools.start_pool()
        assert Pool.await_ready(pool) == :ok

        options = [
          pool: pool,
          module: "slither_test_handlers",
          function: "identity",
          batch_size: 1
        ]

        runs = [
          fn -> Dispatch.run(Stream.map(1..10, &break.(&1, 6)), options) end,
          fn ->
            1..10 |> Stream.map(&break.(&1, 6)) |> Dispatch.stream(options) |> Enum.to_list()
          end
        ]

        for run <- runs, _ <- 1..2 do
          assert {unquote(kind), _} = catch_any(run)
          # The lanes of this process are taken by nobody: others get their turn.
          task = Task.async(fn -> Dispatch.run(1..4, options) end)
          assert {:ok, [_ | _]} = Task.await(task, Pools.patience())
        end

        refute_received {{_alias, _key}, _answer}
      end
    end
  end

  describe "a pool that stops while a run waits for it" do
    # The input ends the pool before its last batches.
    defp ending(count, fun),
      do: Stream.map(1..count, fn n -> if(n == count, do: fun.() && n, else: n) end)

    defp crash_scheduler(pool) do
      {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
      monitor = Process.monitor(scheduler)
      Process.exit(scheduler, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^scheduler, :killed}
      :crashed
    end

    test "is used again when its supervisor has started it again" do
      pool = Pools.ready_pool()
      options = [pool: pool, module: "slither_test_handlers", function: "identity"]
      retry = {:retry, max_attempts: 10, base_ms: 50, then: :skip}
      options = [batch_size: 1, max_in_flight: 2, on_error: retry] ++ options
      crash = fn -> crash_scheduler(pool) end
      assert {:ok, items} = Dispatch.run(ending(6, crash), options)
      assert payloads(items) == Enum.to_list(1..6)
      refute Enum.any?(items, & &1.meta[:skipped])
    end

    for policy <- [:skip, {:retry, max_attempts: 2, base_ms: 1, then: :skip}] do
      test "gives every item its outcome under #{inspect(policy)}" do
        pool = Pools.ready_pool()
        options = [pool: pool, module: "slither_test_handlers", function: "identity"]
        options = options ++ [batch_size: 1, max_in_flight: 2, on_error: unquote(policy)]
        stop = fn -> stop_supervised!(pool) end
        assert {:ok, items} = Dispatch.run(Stream.concat(ending(6, stop), 7..10), options)
        assert length(items) == 10
        assert %{error: %DispatchError{reason: :pool_unavailable}} = List.last(items).meta
      end
    end

    test "has lost the sessions it held" do
      pool = Pools.ready_pool()
      options = [pool: pool, module: "slither_test_handlers", function: "identity"]
      options = options ++ [batch_size: 1, max_in_flight: 1, on_error: :skip, session_id: "s"]
      crash = fn -> crash_scheduler(pool) end
      assert {:ok, items} = Dispatch.run(Stream.concat(ending(4, crash), 5..8), options)
      assert %{error: %DispatchError{reason: :pool_unavailable}} = List.last(items).meta
    end
  end

  defp catch_any(fun) do
    fun.()
  catch
    kind, reason -> {kind, reason}
  end

  describe "sessions" do
    test "pin a run to one worker, in order, and keep its state" do
      options = python("count_session", batch_size: 1, session_id: "s-#{inspect(make_ref())}")
      assert {:ok, first} = Dispatch.run(1..20, options)
      assert {:ok, second} = Dispatch.run(1..20, options)
      results = payloads(first) ++ payloads(second)
      assert results |> Enum.map(&hd/1) |> Enum.uniq() |> length() == 1
      assert Enum.map(results, &List.last/1) == Enum.to_list(1..40)
    end
  end

  describe "call_batch/2" do
    test "runs everything in one call" do
      assert {:ok, items} = Dispatch.call_batch(1..200, python("where"))
      assert items |> payloads() |> Enum.map(& &1["batch"]) |> Enum.uniq() == [0]
      assert Dispatch.call_batch([], python("where")) == {:ok, []}
    end
  end

  describe "options" do
    test "unknown ones name the nearest" do
      assert {:error, %Error{reason: :unknown_option} = error, []} =
               Dispatch.run([1], python("double", batchsize: 3))

      assert Exception.message(error) =~ "unknown option :batchsize. Did you mean :batch_size?"
    end

    test "of the wrong type say what they got and what they take" do
      for {option, value, words} <- [
            {:batch_size, 0, "takes an integer of 1 or more, or one of :auto, got 0"},
            {:max_in_flight, :many, "got :many"},
            {:ordering, :random, "one of :preserve, :as_completed"},
            {:on_error, :explode, ":halt, :skip, {:route, output_or_fun}"},
            {:on_error, {:retry, max_attempts: 0}, ":on_error"},
            {:timeout, -1, "milliseconds"},
            {:strategy, String, "a module with batch/2"},
            {:executor, String, "execute_batch/3"},
            {:session_id, 3, "a string (UTF-8)"}
          ] do
        options = python("double", [{option, value}])
        assert {:error, %Error{} = error, []} = Dispatch.run([1], options)
        assert Exception.message(error) =~ words
      end
    end

    test "that no timer takes, or that are no text, cost no worker" do
      for {name, value} <- [timeout: 0x100000000, module: <<255>>, session_id: <<255>>] do
        options = Keyword.put(python("double"), name, value)
        assert {:error, %Error{reason: :invalid_option} = error, []} = Dispatch.run([1], options)
        assert Exception.message(error) =~ "option #{inspect(name)} takes "
      end
    end

    test "and input are checked by call_batch/2 too" do
      for options <- [%{}, [:a], [bogus: 1]], items <- [[], [1]] do
        assert {:error, %Error{}, []} = Dispatch.call_batch(items, options)
      end

      for run <- [&Dispatch.call_batch/2, &Dispatch.run/2], items <- [5, [1 | 2]] do
        assert {:error, %Error{reason: :invalid_input}, []} = run.(items, python("double"))
      end

      assert {:ok, []} = Dispatch.call_batch([], python("double"))
    end

    test "that are missing are named" do
      assert {:error, error, []} = Dispatch.run([1], pool: @pool, function: "f")
      assert Exception.message(error) =~ "needs module:"
      assert {:error, error, []} = Dispatch.run([1], python("double", strategy: WeightedBatch))
      assert Exception.message(error) =~ "needs option :max_weight"
      assert {:error, error, []} = Dispatch.run([1], :nonsense)
      assert Exception.message(error) =~ "takes a keyword list, got :nonsense"
    end

    test "an unknown pool, a missing module or function, and no enumerable are clear" do
      assert {:error, %Error{reason: :unknown_pool} = error, []} =
               Dispatch.run([1], python("double", pool: :nowhere))

      assert Exception.message(error) =~ "no pool :nowhere is running"
      assert {:error, error, []} = Dispatch.run([1], python("duoble"))
      assert error.reason == :import_failed
      assert Exception.message(error) =~ "double"
      assert {:error, error, []} = Dispatch.run([1], python("f", module: "no_such_module"))
      assert Exception.message(error) =~ "no_such_module"
      assert {:error, error, []} = Dispatch.run(42, python("double"))
      assert Exception.message(error) =~ "takes an enumerable of items, got 42"
    end
  end

  describe "telemetry" do
    test "each batch has a start and a stop, with what it took" do
      Telemetry.listen_own([
        [:slither, :dispatch, :batch, :start],
        [:slither, :dispatch, :batch, :stop]
      ])

      assert {:ok, _} = Dispatch.run(1..10, python("double", batch_size: 5))

      for batch <- [0, 1] do
        assert_receive {:event, [_, _, _, :start], %{size: 5}, %{batch: ^batch, pool: @pool}}
        assert_receive {:event, [_, _, _, :stop], stop, %{batch: ^batch, worker: worker}}
        assert worker in [0, 1]
        assert %{size: 5, failed: 0, queue: _, encode: _, wire: _, decode: _, handler: _} = stop
        assert stop.duration >= stop.handler
      end
    end

    test "a failed batch has an exception, with its reason" do
      Telemetry.listen_own([[:slither, :dispatch, :batch, :exception]])
      assert {:error, _, _} = Dispatch.run([7], python("fail_on_seven"))
      assert_receive {:event, _, %{duration: _, size: 1}, %{pool: @pool} = metadata}
      assert metadata.reason == :python_exception
      assert %Error{} = metadata.error
    end
  end

  test "any input, size, window and failures: every item has one outcome, in order" do
    for round <- 1..60 do
      count = :rand.uniform(60) - 1
      poison = for n <- 0..count, :rand.uniform(6) == 1, do: n

      fun = fn payloads ->
        if Enum.any?(payloads, &(&1 in poison)), do: {:error, :poison}, else: {:ok, payloads}
      end

      options = [
        executor: FunExecutor,
        executor_options: [fun: fun],
        batch_size: :rand.uniform(9),
        max_in_flight: :rand.uniform(5),
        isolate: rem(round, 2) == 0,
        on_error:
          Enum.random([:skip, {:route, :bad}, {:retry, max_attempts: 2, base_ms: 0, then: :skip}])
      ]

      input = Enum.to_list(1..count//1)
      assert {:ok, items} = Dispatch.run(input, options)
      assert payloads(items) == input
      failed = for i <- items, i.meta[:error], do: i.payload

      if options[:isolate],
        do: assert(failed == Enum.filter(input, &(&1 in poison))),
        else: assert(Enum.filter(input, &(&1 in poison)) -- failed == [])
    end
  end

  ## Helpers

  defp errors(items), do: Enum.map(items, & &1.meta[:error])

  defp entered(payloads) do
    payloads = List.wrap(payloads)
    assert_receive {:entered, _stage, pid, ^payloads}, 1_000
    pid
  end

  defp release_and_await(pid) do
    monitor = Process.monitor(pid)
    send(pid, :release)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _}
  end

  defp batches(input, options) do
    test = self()
    fun = fn payloads -> send(test, {:batch, payloads}) && {:ok, payloads} end
    result = Dispatch.run(input, [executor: FunExecutor, executor_options: [fun: fun]] ++ options)
    {Enum.sort(seen([])), result}
  end

  defp seen(acc) do
    receive do
      {:batch, payloads} -> seen([payloads | acc])
    after
      0 -> acc
    end
  end
end
