defmodule Slither.Pipe.RunnerTest do
  use ExUnit.Case, async: true

  alias Slither.Dispatch.{Executors, Strategies}
  alias Slither.{DispatchError, Item, PipeError}
  alias Slither.Pipe.Runner
  alias Slither.Python.Pool
  alias Slither.Test.{FunExecutor, GateExecutor, Pools, Telemetry}

  @pool __MODULE__

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["flow_handlers"])}
  end

  # A definition from statements without their lines.
  defp pipe(statements) do
    lined = for s <- statements, do: s |> Tuple.insert_at(1, 1)
    definition = Slither.Pipe.build!(:sample, lined)
    definition
  end

  defp beam(name, fun), do: {:stage, name, :beam, [handler: fun]}

  defp python(name, function, options \\ []) do
    base = [module: "flow_handlers", function: function, pool: @pool]
    {:stage, name, :python, Keyword.merge(base, options)}
  end

  defp fake(name, fun, options) do
    base = [executor: FunExecutor, executor_options: [fun: fun]]
    {:stage, name, :python, Keyword.merge(base, options)}
  end

  defp payloads(items), do: Enum.map(items, & &1.payload)

  defp run!(statements, input, options \\ []) do
    {:ok, outputs} = Runner.run(pipe(statements), input, options)
    Map.new(outputs, fn {name, items} -> {name, payloads(items)} end)
  end

  # `{way, n}`: `:out` leaves at once, `:far` goes past the slow stage, `:near` into it.
  defp past_a_stage do
    way = fn way -> &(elem(&1.payload, 0) == way) end
    far = fn payloads -> {:ok, payloads} end
    gate = [executor: GateExecutor, executor_options: [test: self()], batch_size: 1]

    pipe([
      {:stage, :first, :router, [routes: [{way.(:out), :out}, {way.(:far), :far}]]},
      {:stage, :near, :python, [max_in_flight: 1] ++ gate},
      fake(:far, far, batch_size: 1, max_in_flight: 1),
      {:stage, :last, :router, [routes: [{fn _item -> true end, :out}]]},
      {:output, :out}
    ])
  end

  describe "the order of an output" do
    test "is the input's, whatever passed which stage by" do
      ways = [:far, :out, :far, :far, :near, :out, :far, :near, :out]
      input = Enum.with_index(ways, &{&1, &2})
      definition = past_a_stage()
      run = Task.async(fn -> Runner.run(definition, input) end)

      for {:near, n} <- input do
        assert_receive {:entered, :near, stage, [{:near, ^n}]}, Pools.patience()
        send(stage, :release)
      end

      assert {:ok, %{out: out, default: []}} = Task.await(run, Pools.patience())
      assert payloads(out) == input
    end

    test "holds in the partial result of a halt" do
      ways = [:far, :out, :far, :near, :out, :far, :near, :out, :far]
      input = Enum.with_index(ways, &{&1, &2})
      definition = past_a_stage()
      run = Task.async(fn -> Runner.run(definition, input) end)
      assert_receive {:entered, :near, stage, [{:near, 3}]}, Pools.patience()
      send(stage, :release)
      assert_receive {:entered, :near, stage, [{:near, 6}]}, Pools.patience()
      send(stage, {:release, {:error, :broken}})
      assert {:error, %{stage: :near}, partial} = Task.await(run, Pools.patience())
      assert payloads(partial.out) == Enum.take(input, 6)
    end
  end

  test "items behind a halt that reach a stage which halts too do not keep the run waiting" do
    test = self()
    # The first stage gives on all its items at once; the next halts at the third.
    statements = [
      fake(:all, fn payloads -> {:ok, payloads} end, batch_size: 1, max_in_flight: 3),
      beam(:halts, fn item, _ -> if item.payload == 3, do: raise("third"), else: item.payload end),
      {:stage, :beside, :beam,
       [
         concurrency: 3,
         handler: fn
           %{payload: 1} ->
             send(test, {:begun, self()})

             receive do
               :go -> :ok
             end

             1

           %{payload: 2} ->
             2

           %{payload: _behind} ->
             raise "halts too"
         end
       ]}
    ]

    run = Task.async(fn -> Runner.run(pipe(statements), 1..40) end)
    assert_receive {:begun, hand}, Pools.patience()
    send(hand, :go)
    assert {:error, error, %{default: out}} = Task.await(run, Pools.patience())
    assert {error.stage, payloads(out)} == {:halts, [1, 2]}
  end

  describe "run/3" do
    test "takes items through BEAM, Python and the router" do
      assert run!(
               [
                 beam(:add, fn item, _ -> item.payload + 1 end),
                 python(:double, "double", batch_size: 3),
                 {:stage, :route, :router, [routes: [{&(&1.payload > 10), :big}]]},
                 {:output, :big}
               ],
               1..6
             ) == %{big: [12, 14], default: [4, 6, 8, 10]}
    end

    test "gives every declared output, also for no input" do
      assert run!([python(:double, "double"), {:output, :never}], []) ==
               %{never: [], default: []}
    end

    test "keeps order per output when batches complete out of order" do
      router = {:stage, :r, :router, [routes: [{&(rem(&1.payload, 2) == 0), :even}]]}
      statements = [python(:slow, "slow_first", batch_size: 4), router, {:output, :even}]
      assert %{even: even, default: odd} = run!(statements, 1..100)
      assert even == Enum.to_list(2..100//2)
      assert odd == Enum.to_list(1..99//2)
    end

    test "keeps order per output when items reach it from different stages" do
      out = fn rem ->
        fn i, _ -> if rem(i.payload, 4) == rem, do: {:route, :out, i.payload}, else: i.payload end
      end

      statements = [
        beam(:early, out.(0)),
        python(:slow, "slow_first", batch_size: 3),
        beam(:middle, out.(1)),
        python(:again, "identity", batch_size: 5),
        beam(:late, out.(2)),
        {:output, :out}
      ]

      assert %{out: out, default: default} = run!(statements, 1..60)
      assert out == Enum.filter(1..60, &(rem(&1, 4) != 3))
      assert default == Enum.to_list(3..60//4)
    end

    test "expands items with cardinality: :many, in order" do
      statements = [
        {:stage, :split, :beam, [cardinality: :many, handler: &String.split(&1.payload)]},
        python(:shout, "identity", batch_size: 2)
      ]

      assert run!(statements, ["a b c", "", "d"]).default == ["a", "b", "c", "d"]
    end

    test "a batch_handler gets the items together" do
      handler = fn items, _ -> Enum.map(items, &(&1.payload + length(items) * 0)) end

      assert run!([{:stage, :b, :beam, [batch_handler: handler]}], 1..5).default == [
               1,
               2,
               3,
               4,
               5
             ]
    end

    test "a handler may answer in every documented way" do
      handler = fn
        %{payload: 1} -> {:ok, :one}
        %{payload: 2} -> {:skip, :boring}
        %{payload: 3} -> {:route, :aside, :three}
        %{payload: 4} -> {:many, [:four, :vier]}
        %{payload: 5} = item -> Item.put_meta(item, seen: true)
        %{payload: n} -> n
      end

      {:ok, outputs} = Runner.run(pipe([beam(:all, handler), {:output, :aside}]), 1..6)
      assert payloads(outputs.aside) == [:three]
      assert payloads(outputs.default) == [:one, :four, :vier, 5, 6]
      assert Enum.at(outputs.default, 3).meta == %{seen: true}
    end

    test "stages of the user's own start, run, and shut down" do
      defmodule Own do
        @behaviour Slither.Stage
        @impl true
        def init(options), do: {:ok, Map.new(options)}
        @impl true
        def handle_item(item, context, state), do: {item.payload, context.stage, state.tag}
        @impl true
        def shutdown(state), do: send(state.test, :shut_down)
      end

      statements = [{:stage, :own, Own, [tag: :t, test: self()]}]
      assert run!(statements, [1]).default == [{1, :own, :t}]
      assert_received :shut_down
    end

    test "handlers see the context of their run" do
      handler = fn _item, context ->
        {context.pipe, context.stage, context.session_id, context.stores, context.metadata}
      end

      statements = [beam(:look, handler), {:store, :features, MyApp.Features}]
      options = [session_id: "s", metadata: %{user: 7}]

      assert run!(statements, [0], options).default ==
               [{:sample, :look, "s", %{features: MyApp.Features}, %{user: 7}}]

      assert [%{"pipe" => "sample", "stage" => "where", "batch" => 0}] =
               run!([python(:where, "where")], [0]).default
    end

    test "leaves no message behind" do
      run!([python(:a, "double", batch_size: 2), python(:b, "double", batch_size: 3)], 1..50)
      assert Process.info(self(), :message_queue_len) == {:message_queue_len, 0}
    end
  end

  describe "stages overlap" do
    test "the second starts while the first still works" do
      events = for name <- [:start, :stop], do: [:slither, :pipe, :stage, name]
      Telemetry.listen(events)

      gate = fn name ->
        options = [executor: GateExecutor, executor_options: [test: self()]]
        {:stage, name, :python, [batch_size: 1, max_in_flight: 1] ++ options}
      end

      definition = pipe([gate.(:one), gate.(:two)])
      run = Task.async(fn -> Runner.run(definition, [1, 2]) end)

      assert_receive {:entered, :one, first, [1]}
      send(first, :release)
      # Item 1 is in the second stage and item 2 in the first, at the same time.
      assert_receive {:entered, :two, second, [1]}
      assert_receive {:entered, :one, other, [2]}
      assert_receive {:event, [_, _, _, :start], _, %{stage: :two, run: run_id, pipe: :sample}}
      refute_received {:event, [_, _, _, :stop], _, %{stage: :one, run: ^run_id}}
      send(other, :release)
      send(second, :release)
      assert_receive {:entered, :two, last, [2]}
      send(last, :release)
      assert {:ok, %{default: [_, _]}} = Task.await(run)
      assert_receive {:event, [_, _, _, :stop], _, %{stage: :one, run: ^run_id}}
    end

    test "a slow later stage holds up the input" do
      pulled = :counters.new(1, [])
      input = Stream.map(1..1000, fn n -> :counters.add(pulled, 1, 1) && n end)
      options = [executor: GateExecutor, executor_options: [test: self()]]

      definition =
        pipe([
          fake(:fast, &{:ok, &1}, batch_size: 1, max_in_flight: 2),
          {:stage, :stuck, :python, [batch_size: 1, max_in_flight: 1] ++ options}
        ])

      run = Task.async(fn -> Runner.run(definition, input) end)
      assert_receive {:entered, :stuck, pid, [1]}
      # One is stuck; at most a batch waits for it, and the first stage holds its own.
      assert :counters.get(pulled, 1) <= 8
      Task.shutdown(run, :brutal_kill)
      monitor = Process.monitor(pid)
      send(pid, :release)
      assert_receive {:DOWN, ^monitor, _, _, _}
    end
  end

  describe "stream/3" do
    test "yields {output, item}, lazily, and stops the input with its reader" do
      closed = self()

      input =
        Stream.resource(fn -> 1 end, &{[&1], &1 + 1}, fn _ -> send(closed, :input_closed) end)

      router = {:stage, :r, :router, [routes: [{&(rem(&1.payload, 2) == 0), :even}]]}
      definition = pipe([python(:id, "identity", batch_size: 3), router, {:output, :even}])

      assert [default: a, even: b, default: c] = Runner.stream(definition, input) |> Enum.take(3)
      assert payloads([a, b, c]) == [1, 2, 3]
      assert_received :input_closed
    end

    test "pulls nothing before it is read" do
      test = self()
      input = Stream.map([1], &send(test, {:pulled, &1}))
      stream = Runner.stream(pipe([beam(:id, fn item, _ -> item.payload end)]), input)
      refute_received {:pulled, _}
      assert [default: _] = Enum.to_list(stream)
      assert_received {:pulled, 1}
    end

    test "runs a pipe without Python one item at a time" do
      pulled = :counters.new(1, [])
      input = Stream.map(Stream.iterate(1, &(&1 + 1)), &(:counters.add(pulled, 1, 1) && &1))

      statements = [
        beam(:odd, fn i, _ -> if rem(i.payload, 2) == 1, do: i.payload, else: {:skip, :even} end)
      ]

      assert statements
             |> pipe()
             |> Runner.stream(input)
             |> Enum.take(3)
             |> Enum.map(&elem(&1, 1).payload) == [1, 3, 5]

      assert :counters.get(pulled, 1) == 5
    end
  end

  describe "error policies" do
    test ":halt stops with what came before, in order, naming stage and item" do
      statements = [
        python(:fine, "identity", batch_size: 4),
        python(:fails, "fail_on_seven", batch_size: 2)
      ]

      assert {:error, %PipeError{} = error, partial} = Runner.run(pipe(statements), 1..40)
      assert payloads(partial.default) == [1, 2, 3, 4, 5, 6]
      assert {error.pipe, error.stage, error.reason} == {:sample, :fails, :python_exception}
      assert %DispatchError{batch: 3} = error.cause
      assert Exception.message(error) =~ "pipe :sample, stage :fails: batch 3: ValueError: seven"
    end

    test "an exception on BEAM names stage and item, and carries the stacktrace" do
      statements = [
        python(:fine, "identity", batch_size: 2),
        beam(:risky, fn item, _ -> if item.payload == 5, do: raise("five"), else: item.payload end)
      ]

      input = for n <- 1..9, do: %Item{id: "item-#{n}", payload: n}
      assert {:error, error, partial} = Runner.run(pipe(statements), input)
      assert payloads(partial.default) == [1, 2, 3, 4]
      assert {error.stage, error.item, error.reason} == {:risky, "item-5", :handler_raised}
      assert Exception.message(error) =~ "five"
      assert Exception.message(error) =~ "runner_test.exs"
    end

    test "an early failure lets the items ahead of it finish" do
      statements = [
        beam(:risky, fn item, _ ->
          if item.payload == 20, do: {:error, :bad}, else: item.payload
        end),
        python(:slow, "slow_first", batch_size: 6)
      ]

      assert {:error, %PipeError{reason: :handler_error}, partial} =
               Runner.run(pipe(statements), 1..99)

      assert payloads(partial.default) == Enum.to_list(1..19)
    end

    test "a failure between stages lets what is behind it come late" do
      test = self()

      late = fn
        %Item{payload: 3}, _ ->
          send(test, {:late, self()})
          receive(do: (:go_on -> 3))

        item, _ ->
          item.payload
      end

      fails = fn item, _ -> if item.payload == 2, do: {:error, :bad}, else: item.payload end

      # Runs what is ahead of the failure, until what is behind it has come.
      wait = fn payloads ->
        send(test, {:running, payloads, self()})
        receive(do: (:go_on -> {:ok, payloads}))
      end

      stages = [
        {:stage, :first, :beam, [handler: late, concurrency: 3]},
        beam(:second, fails),
        fake(:third, wait, batch_size: 10)
      ]

      run = Task.async(fn -> Runner.run(pipe(stages), [1, 2, 3]) end)
      assert_receive {:late, handler}
      assert_receive {:running, [1], first}
      send(handler, :go_on)
      # The run may end before it has taken in what came late, or run that, too.
      monitor = Process.monitor(run.pid)
      send(first, :go_on)

      receive do
        {:running, [3], second} -> send(second, :go_on)
        {:DOWN, ^monitor, :process, _pid, :normal} -> :ok
      end

      assert {:error, %PipeError{stage: :second, reason: :handler_error}, partial} =
               Task.await(run)

      assert payloads(partial.default) == [1]
    end

    test ":skip drops the items, counted" do
      Telemetry.listen_own([[:slither, :pipe, :run, :stop], [:slither, :pipe, :stage, :stop]])
      statements = [python(:fails, "fail_on_seven", batch_size: 2), {:on_error, :*, :skip}]
      assert run!(statements, 1..10).default == [1, 2, 3, 4, 5, 6, 9, 10]

      assert_receive {:event, [_, _, :stage, _], %{in: 10, out: 8, skipped: 2, failed: 0},
                      %{stage: :fails, pipe: :sample, type: :python}}

      assert_receive {:event, [_, _, :run, _], %{in: 10, out: 8, skipped: 2, failed: 0}, _}
    end

    test "{:route, …} sends them to an output, with the error" do
      statements = [
        python(:fails, "fail_on_seven", batch_size: 2),
        {:output, :bad},
        {:on_error, :fails, {:route, :bad}}
      ]

      {:ok, outputs} = Runner.run(pipe(statements), 1..10)
      assert payloads(outputs.default) == [1, 2, 3, 4, 5, 6, 9, 10]
      assert payloads(outputs.bad) == [7, 8]
      assert Enum.all?(outputs.bad, &match?(%DispatchError{stage: :fails}, &1.meta.error))
    end

    test "{:retry, …} tries again, on Python and on BEAM" do
      retry = {:retry, max_attempts: 3, base_ms: 1}
      assert run!([python(:flaky, "flaky"), {:on_error, :flaky, retry}], [1]).default == [1]

      tries = :counters.new(1, [])

      handler = fn item, _ ->
        :counters.add(tries, 1, 1)
        if :counters.get(tries, 1) < 3, do: raise("not yet"), else: item.payload
      end

      assert run!([beam(:flaky, handler), {:on_error, :*, retry}], [1]).default == [1]
      assert :counters.get(tries, 1) == 3
    end

    test "a route to an output that is not declared is an error, not a loss" do
      statements = [beam(:astray, fn _, _ -> {:route, :nowhere, 1} end)]
      assert {:error, error, %{default: []}} = Runner.run(pipe(statements), [1])
      assert error.reason == :unknown_output
      assert Exception.message(error) =~ "declared outputs: :default"
    end

    test "a worker's death fails its batch alone" do
      statements = [python(:dies, "die_on_seven", batch_size: 5), {:on_error, :*, :skip}]
      assert run!(statements, 1..50).default == Enum.to_list(1..5) ++ Enum.to_list(11..50)
    end
  end

  describe "bad input" do
    test "is a clear error" do
      assert {:error, error, %{}} = Runner.run(String, [1])
      assert Exception.message(error) =~ "String is not a pipe"

      definition = pipe([python(:id, "identity")])
      assert {:error, error, %{default: []}} = Runner.run(definition, 7)
      assert Exception.message(error) =~ "takes an enumerable, got 7"

      assert {:error, error, %{default: []}} = Runner.run(definition, [1], sesion_id: "x")
      assert Exception.message(error) =~ "Did you mean :session_id?"

      nowhere = pipe([python(:id, "identity", pool: :nowhere)])
      assert {:error, %PipeError{stage: :id} = error, _} = Runner.run(nowhere, [1])
      assert Exception.message(error) =~ "no pool :nowhere is running"
      assert_raise PipeError, fn -> nowhere |> Runner.stream([1]) |> Enum.to_list() end
    end
  end

  test "any pipe, input and failures: in + expanded = out + skipped + routed + failed, in order" do
    Telemetry.listen_own([[:slither, :pipe, :run, :stop], [:slither, :pipe, :run, :exception]])

    for _round <- 1..80 do
      count = :rand.uniform(40) - 1
      outputs = [{:output, :a}, {:output, :b}]
      statements = random_stages() ++ outputs ++ random_policies()
      name = make_ref()
      result = Runner.run(%{pipe(statements) | name: name}, Enum.map(1..count//1, &{&1, 0}))
      assert_receive {:event, _, sums, %{pipe: ^name}}
      assert sums.in + sums.expanded == sums.out + sums.skipped + sums.routed + sums.failed

      case result do
        {:ok, outputs} ->
          assert sums.failed == 0
          assert total(outputs) == sums.out + sums.routed
          check_order(outputs)

        {:error, %PipeError{}, partial} ->
          assert sums.failed > 0
          check_order(partial)
      end
    end
  end

  defp random_stages do
    count = :rand.uniform(4)

    for n <- 1..count do
      name = :"stage#{n}"
      later = Enum.random([:b | for(k <- (n + 1)..count//1, do: :"stage#{k}")])
      bad = :rand.uniform(12)

      case :rand.uniform(7) do
        1 ->
          beam(name, fn item, _ ->
            case rem(key(item), 12) do
              ^bad -> {:error, :bad}
              r when r == bad - 1 -> {:route, :a, item.payload}
              r when r == bad - 2 -> {:skip, :dull}
              _ -> item.payload
            end
          end)

        2 ->
          many = fn item -> for _ <- 1..rem(key(item), 3)//1, do: item.payload end
          {:stage, name, :beam, [cardinality: :many, handler: many]}

        3 ->
          {:stage, name, :router, [routes: [{&(rem(key(&1), 5) == 0), later}]]}

        4 ->
          fun = fn payloads ->
            if Enum.any?(payloads, &(rem(key(&1), 12) == bad)),
              do: {:error, :bad},
              else: {:ok, payloads}
          end

          fake(name, fun,
            batch_size: :rand.uniform(5),
            max_in_flight: :rand.uniform(3),
            isolate: :rand.uniform(2) == 1,
            strategy: Enum.random([Strategies.FixedBatch, Strategies.KeyPartition]),
            key_fn: &rem(key(&1), 3),
            window: 7,
            max_in_flight_bytes: Enum.random([1, 100, 10_000])
          )

        5 ->
          {:stage, name, :batch, [size: :rand.uniform(4), timeout: Enum.random([1, :infinity])]}

        6 ->
          handler = fn item ->
            case rem(key(item), 12) do
              ^bad -> {:error, :bad}
              r when r == bad - 1 -> {:many, [item.payload, item.payload]}
              r when r == bad - 2 -> {:route, later, item.payload}
              _ -> item.payload
            end
          end

          {:stage, name, :beam, [handler: handler, concurrency: :rand.uniform(3)]}

        7 ->
          {:stage, name, :pipe, [pipe: Slither.Test.MixedPipe, outputs: [odd: :a]]}
      end
    end
  end

  # A group has the place of its last item.
  defp key(%Item{payload: payload}), do: key(payload)
  defp key(list) when is_list(list), do: key(List.last(list))
  defp key({n, _}), do: n

  defp random_policies do
    policy =
      Enum.random([
        :halt,
        :skip,
        :skip,
        {:route, :a},
        {:retry, max_attempts: 2, base_ms: 0, then: :skip},
        {:retry, max_attempts: 2, base_ms: 1, then: {:route, :b}}
      ])

    [{:on_error, :*, policy}]
  end

  defp total(outputs), do: outputs |> Map.values() |> Enum.map(&length/1) |> Enum.sum()

  defp check_order(outputs) do
    for {_name, items} <- outputs do
      sequence = Enum.map(items, &key/1)
      assert sequence == Enum.sort(sequence)
    end
  end

  test "what the input throws leaves no lane taken while its process lives" do
    name = Pools.start_pool()
    assert Pool.await_ready(name) == :ok
    options = [module: "slither_test_handlers", function: "identity", pool: name]
    stage = {:stage, :p, :python, [batch_size: 1, max_in_flight: 2] ++ options}
    input = Stream.map(1..10, fn n -> if n == 6, do: throw(:broke), else: n end)

    for _ <- 1..3 do
      assert catch_throw(Runner.run(pipe([stage]), input)) == :broke
      assert catch_throw(pipe([stage]) |> Runner.stream(input) |> Enum.to_list()) == :broke
      # The lanes of this process are taken by nobody: others get their turn.
      task = Task.async(fn -> Slither.dispatch([1], options) end)
      assert {:ok, [_]} = Task.await(task, Pools.patience())
    end

    refute_received {{_alias, _key}, _answer}
  end

  test "the SnakeBridge executor is a python stage's default" do
    [stage] = pipe([{:stage, :p, :python, [module: "m", function: "f"]}]).stages
    assert stage.options[:executor] == Executors.SnakeBridge
  end
end
