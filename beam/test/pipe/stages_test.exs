defmodule Slither.Pipe.StagesTest do
  use ExUnit.Case, async: true

  alias Slither.Pipe.Runner
  alias Slither.{PipeError, Receipt}
  alias Slither.Test.{FunExecutor, GateExecutor, InnerPipe, Pools}

  defp pipe(statements) do
    definition = Slither.Pipe.build!(:sample, Enum.map(statements, &Tuple.insert_at(&1, 1, 1)))

    definition
  end

  defp beam(name, fun, options \\ []), do: {:stage, name, :beam, [handler: fun] ++ options}

  defp fake(name, fun, options) do
    base = [executor: FunExecutor, executor_options: [fun: fun]]
    {:stage, name, :python, base ++ options}
  end

  defp gate(name, options) do
    base = [executor: GateExecutor, executor_options: [test: self()]]
    {:stage, name, :python, base ++ options}
  end

  defp entered(stage) do
    assert_receive {:entered, ^stage, pid, payloads}, Pools.patience()
    {pid, payloads}
  end

  defp payloads(items), do: Enum.map(items, & &1.payload)

  defp run!(statements, input) do
    {:ok, outputs} = Runner.run(pipe(statements), input)
    Map.new(outputs, fn {name, items} -> {name, payloads(items)} end)
  end

  describe "a route to a later stage" do
    test "passes the stages between by, and keeps its place in the order" do
      statements = [
        {:stage, :ways, :router, [routes: [{&(rem(&1.payload, 3) == 0), :last}]]},
        fake(:work, &{:ok, Enum.map(&1, fn n -> n + 1000 end)}, batch_size: 4),
        beam(:more, &(&1.payload + 5000)),
        beam(:last, &{:seen, &1.payload})
      ]

      expected = for n <- 1..30, do: {:seen, if(rem(n, 3) == 0, do: n, else: n + 6000)}
      assert run!(statements, 1..30).default == expected
    end

    test "may lead into a Python stage, whose batches then hold both in order" do
      test = self()
      seen = &(send(test, {:batch, &1}) && {:ok, &1})

      statements = [
        {:stage, :ways, :router, [routes: [{&(rem(&1.payload, 2) == 0), :second}]]},
        fake(:first, &{:ok, Enum.map(&1, fn n -> -n end)}, batch_size: 2),
        fake(:second, seen, batch_size: 3)
      ]

      assert run!(statements, 1..6).default == [-1, 2, -3, 4, -5, 6]
      assert_received {:batch, [-1, 2, -3]}
      assert_received {:batch, [4, -5, 6]}
    end

    test "does not let items pile up beside a batch that never fills" do
      pulled = :counters.new(1, [])
      input = Stream.map(Stream.iterate(0, &(&1 + 1)), &(:counters.add(pulled, 1, 1) && &1))

      statements = [
        {:stage, :ways, :router, [routes: [{&(&1.payload > 0), :last}]]},
        fake(:rare, &{:ok, &1}, batch_size: 5000),
        beam(:last, & &1.payload)
      ]

      assert [default: item] = pipe(statements) |> Runner.stream(input) |> Enum.take(1)
      assert item.payload == 0
      assert :counters.get(pulled, 1) <= 15_000
    end

    test "from a handler is the same" do
      handler = &if(&1.payload == 2, do: {:route, :end, :two}, else: &1.payload)
      statements = [beam(:a, handler), beam(:b, &(&1.payload * 10)), beam(:end, & &1.payload)]
      assert run!(statements, 1..3).default == [10, :two, 30]
    end
  end

  describe "a pipe as a stage" do
    test "lets its :default flow on, and its outputs out" do
      statements = [
        {:stage, :inner, :pipe, [pipe: InnerPipe, outputs: [odd: :strange]]},
        beam(:after, &{:after, &1.payload}),
        {:output, :strange},
        {:on_error, :inner, :skip}
      ]

      assert run!(statements, [1, 2, 7, 9, 13, 14]) == %{
               strange: [101, 13],
               default: [after: 102, after: 109, after: 114]
             }
    end

    test "at the end of a pipe ends in its :default, and nests" do
      name = Module.concat(__MODULE__, "Middle")

      Code.compile_string("""
      defmodule #{inspect(name)} do
        use Slither.Pipe
        pipe :middle do
          stage :deep, :pipe, pipe: #{inspect(InnerPipe)}
          output :odd
          on_error :*, :skip
        end
      end
      """)

      statements = [
        {:stage, :outer, :pipe, [pipe: name, outputs: [odd: :odd]]},
        {:output, :odd}
      ]

      assert run!(statements, [1, 2, 7, 9]) == %{odd: [101], default: [102, 109]}
      names = Enum.map(pipe(statements).stages, & &1.name)
      assert names == [:"outer.deep.check", :"outer.deep.split"]
    end

    test "names the inner stage in an error" do
      statements = [{:stage, :inner, :pipe, [pipe: InnerPipe]}, {:output, :odd}]
      assert {:error, %PipeError{stage: :"inner.split"}, _} = Runner.run(pipe(statements), [7])
    end
  end

  describe "a :batch stage" do
    test "makes one item of many, and of the rest at the end" do
      statements = [{:stage, :group, :batch, [size: 3]}, beam(:sum, &Enum.sum(&1.payload))]
      assert run!(statements, 1..8).default == [6, 15, 15]
      assert run!(statements, []).default == []
    end

    test "stands anywhere, and counts as fewer items in the account" do
      statements = [
        fake(:one, &{:ok, &1}, batch_size: 4),
        {:stage, :group, :batch, [size: 3]},
        fake(:two, &{:ok, Enum.map(&1, fn list -> length(list) end)}, batch_size: 2),
        {:stage, :pairs, :window, [size: 2]}
      ]

      assert {:ok, %{default: items}, receipt} =
               Runner.run(pipe(statements), 1..10, receipt: true)

      assert payloads(items) == [[3, 3], [3, 1]]
      assert %Receipt{in: 10, expanded: -8, out: 2, failed: 0} = receipt
      assert %{in: 10, expanded: -6, out: 4} = receipt.stages[:group]
    end

    test "gives a group on when its time is over, while the input is still waited for" do
      test = self()

      # The first item goes on though nothing follows it; the second is only given then.
      statements = [
        {:stage, :group, :batch, [size: 100, timeout: 1]},
        gate(:work, batch_size: 1, max_in_flight: 1),
        beam(:tell, &(send(test, {:out, &1.payload}) && &1.payload))
      ]

      input =
        Stream.map(1..2, fn n ->
          if n == 2, do: wait_until_due()
          n
        end)

      run = Task.async(fn -> Runner.run(pipe(statements), input) end)
      {pid, [group]} = entered(:work)
      send(pid, :release)
      assert_receive {:out, ^group}, Pools.patience()

      if group == [1] do
        {pid, [[2]]} = entered(:work)
        send(pid, :release)
      end

      assert {:ok, _} = Task.await(run)
    end

    # A millisecond of the clock that the stage looks at.
    defp wait_until_due do
      due = System.monotonic_time(:millisecond) + 2
      Stream.repeatedly(fn -> System.monotonic_time(:millisecond) end) |> Enum.find(&(&1 > due))
    end

    test "lets what is ahead of a failed item finish" do
      risky = &if(&1.payload == 6, do: {:error, :six}, else: &1.payload)
      statements = [beam(:risky, risky), {:stage, :group, :batch, [size: 4]}]
      assert {:error, %PipeError{stage: :risky}, partial} = Runner.run(pipe(statements), 1..9)
      assert payloads(partial.default) == [[1, 2, 3, 4], [5]]
    end

    test "leaves no timer behind when its reader stops" do
      statements = [{:stage, :group, :batch, [size: 2, timeout: 1]}]
      assert [_] = pipe(statements) |> Runner.stream(Stream.cycle([1])) |> Enum.take(1)
      refute_receive {:timeout, _, _}, 20
    end
  end

  describe "concurrency:" do
    test "runs handlers side by side, in as many processes, and keeps the order" do
      test = self()

      handler = fn item, _ ->
        send(test, {:handling, item.payload, self()})
        receive do: (:go -> item.payload)
      end

      statements = [beam(:slow, handler, concurrency: 3)]
      run = Task.async(fn -> Runner.run(pipe(statements), 1..9) end)

      pids =
        for _ <- 1..3, into: %{} do
          assert_receive {:handling, n, pid}, Pools.patience()
          {n, pid}
        end

      refute_received {:handling, _, _}
      assert Enum.sort(Map.keys(pids)) == [1, 2, 3]
      # The last is answered first.
      for n <- [3, 2, 1], do: send(pids[n], :go)

      others =
        for _ <- 4..9 do
          assert_receive {:handling, _n, pid}, Pools.patience()
          send(pid, :go)
          pid
        end

      assert {:ok, %{default: items}} = Task.await(run)
      assert payloads(items) == Enum.to_list(1..9)
      assert others |> Enum.uniq() |> Enum.all?(&(&1 in Map.values(pids)))
    end

    test "takes every answer a handler may give" do
      handler = fn
        %{payload: 1}, _ -> {:skip, :dull}
        %{payload: 2}, _ -> {:many, [:a, :b]}
        %{payload: 3}, _ -> {:route, :aside, 3}
        %{payload: 4}, _ -> raise "four"
        %{payload: n}, _ -> n
      end

      statements = [
        beam(:all, handler, concurrency: 2),
        {:output, :aside},
        {:output, :bad},
        {:on_error, :all, {:route, :bad}}
      ]

      assert {:ok, outputs, receipt} = Runner.run(pipe(statements), 1..6, receipt: true)
      assert payloads(outputs.default) == [:a, :b, 5, 6]
      assert payloads(outputs.aside) == [3]
      assert [%{payload: 4, meta: %{error: %PipeError{stage: :all} = error}}] = outputs.bad
      assert Exception.message(error) =~ "four"
      assert %{in: 6, expanded: 1, out: 5, skipped: 1, routed: 1, failed: 0} = receipt
    end

    test "survives a handler that ends its process, and fails its item" do
      handler = fn item, _ ->
        if item.payload == 3, do: Process.exit(self(), :kill), else: item.payload
      end

      statements = [beam(:dies, handler, concurrency: 2), {:on_error, :*, :skip}]
      assert run!(statements, 1..6).default == [1, 2, 4, 5, 6]
    end

    test "leaves no process and no message behind" do
      test = self()
      handler = fn item, _ -> send(test, {:hand, self()}) && item.payload end
      statements = [beam(:a, handler, concurrency: 4)]
      assert [_] = pipe(statements) |> Runner.stream(Stream.cycle([1])) |> Enum.take(1)
      assert_received {:hand, pid}
      monitor = Process.monitor(pid)
      assert_receive {:DOWN, ^monitor, _, _, _}, Pools.patience()
    end
  end

  describe "a BEAM stage that retries" do
    test "pauses between attempts while the other stages go on" do
      test = self()
      {:ok, tries} = Agent.start_link(fn -> 0 end)

      flaky = fn item, _ ->
        case item.payload == 3 and Agent.get_and_update(tries, &{&1, &1 + 1}) do
          0 -> {:error, :not_yet}
          _ -> item.payload
        end
      end

      statements = [
        gate(:first, batch_size: 1, max_in_flight: 1),
        beam(:flaky, flaky),
        beam(:tell, &(send(test, {:out, &1.payload}) && &1)),
        {:on_error, :flaky, {:retry, max_attempts: 2, base_ms: 60_000, jitter: false}}
      ]

      {run, monitor} = spawn_monitor(fn -> Runner.run(pipe(statements), [3, 4, 5]) end)

      # While the first item pauses for a minute, the stage before it takes the others.
      for n <- [3, 4, 5] do
        {pid, [^n]} = entered(:first)
        send(pid, :release)
      end

      refute_received {:out, _}
      Process.exit(run, :kill)
      assert_receive {:DOWN, ^monitor, _, _, _}
    end

    test "says in meta how often it tried, and follows then:" do
      statements = [
        beam(:bad, fn _ -> {:error, :always} end),
        {:output, :bin},
        {:on_error, :bad, {:retry, max_attempts: 3, base_ms: 1, then: {:route, :bin}}}
      ]

      assert {:ok, %{bin: [item]}, receipt} = Runner.run(pipe(statements), [1], receipt: true)
      assert %{attempts: 3, error: %PipeError{stage: :bad}} = item.meta
      assert %{retries: 2, routed: 1} = receipt
    end
  end
end
