defmodule Slither.ReceiptTest do
  use ExUnit.Case, async: true

  alias Slither.Dispatch.Settings
  alias Slither.Python.Outcome
  alias Slither.Run.{Flow, Plan}
  alias Slither.{Context, Item, Receipt}
  alias Slither.Test.{FunExecutor, Pools, Telemetry}

  @pool __MODULE__

  doctest Slither.Receipt

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["flow_handlers"])}
  end

  defp python(function, options),
    do: Keyword.merge([module: "flow_handlers", function: function, pool: @pool], options)

  defp fake(fun, options),
    do: Keyword.merge([executor: FunExecutor, executor_options: [fun: fun]], options)

  defp dispatch(input, options), do: Slither.dispatch(input, [receipt: true] ++ options)

  describe "a dispatch with receipt: true" do
    test "accounts for every item and every batch" do
      assert {:ok, items, %Receipt{} = receipt} =
               dispatch(1..100, python("double", batch_size: 10))

      assert length(items) == 100
      assert %{in: 100, out: 100, skipped: 0, routed: 0, failed: 0, batches: 10} = receipt
      assert %{retries: 0, splits: 0, requeues: 0, late: 0, duplicate: 0, short: 0} = receipt
    end

    test "splits the time into parts that add up to no more than the batches took" do
      Telemetry.listen([[:slither, :dispatch, :batch, :stop]])
      assert {:ok, _items, receipt} = dispatch(1..200, python("double", batch_size: 50))

      took =
        for _ <- 1..4 do
          assert_receive {:event, _, %{duration: duration, queue: queue}, %{pool: @pool}}
          duration + queue
        end

      parts = Map.take(receipt.times, [:queue, :encode, :wire, :handler, :decode])
      assert Enum.all?(Map.values(receipt.times), &(&1 >= 0))
      assert parts.handler > 0 and parts.wire > 0
      assert parts |> Map.values() |> Enum.sum() <= Enum.sum(took)
    end

    test "counts what a policy did with failures" do
      options = python("fail_on_seven", batch_size: 2, on_error: :skip)

      assert {:ok, _items, %{in: 10, out: 8, skipped: 2, failed: 0} = receipt} =
               dispatch(1..10, options)

      assert receipt.errors == %{"ValueError" => 2}
      options = Keyword.put(options, :on_error, {:route, :bad})
      assert {:ok, _items, %{out: 8, routed: 2, failed: 0} = receipt} = dispatch(1..10, options)
      assert receipt.errors == %{"ValueError" => 2}
    end

    test "follows the partial results of a run that stopped" do
      options = python("fail_on_seven", batch_size: 2, max_in_flight: 1)
      assert {:error, %Slither.DispatchError{}, partial, receipt} = dispatch(1..10, options)
      assert length(partial) == 6
      assert %{out: 6, failed: failed} = receipt
      assert receipt.in == 6 + failed and failed >= 2
      assert receipt.errors == %{"ValueError" => 1}
    end

    test "is there for options that can't be used, with nothing in it" do
      assert {:error, %Slither.Error{}, [], %Receipt{in: 0}} =
               dispatch([1], python("double", batch_size: 0))
    end

    test "counts retries and splits" do
      flaky = python("flaky", on_error: {:retry, max_attempts: 3, base_ms: 1})
      assert {:ok, [_], %{retries: 2, batches: 3, out: 1}} = dispatch([1], flaky)

      poison = python("fail_on_seven", batch_size: 8, isolate: true, on_error: :skip)
      assert {:ok, _, %{splits: 3, batches: 7, out: 7, skipped: 1}} = dispatch(1..8, poison)
    end

    test "counts short results, which are mixed into nothing" do
      short = fake(&{:ok, tl(&1)}, batch_size: 4, on_error: :skip)
      assert {:ok, items, %{short: 2, skipped: 8, out: 0}} = dispatch(1..8, short)
      assert Enum.map(items, & &1.payload) == Enum.to_list(1..8)
    end

    test "shows how long answers waited for the turn of their batch" do
      options = python("slow_first", batch_size: 5, max_in_flight: 4)
      assert {:ok, _items, receipt} = dispatch(Enum.concat(1..5, 10..64), options)
      assert receipt.times.reorder > 0
    end

    test "has a name, what half of its calls took, and prints as a table" do
      assert {:ok, _items, receipt} = dispatch(1..100, python("double", batch_size: 10))
      assert %{name: "flow_handlers.double", p50: p50, p95: p95} = receipt
      assert 0 < p50 and p50 <= p95
      assert Enum.sum(Map.values(Receipt.shares(receipt.times))) |> round() == 1
      text = to_string(receipt)
      assert text =~ ~r/^flow_handlers.double: 100 items in .*, 100 out\n/
      assert text =~ ~r/^flow_handlers.double +100 +0 +10 /m
      assert text =~ ~r/\nbottleneck: .*; try .*\z/
    end

    test "is what the run's stop event says" do
      Telemetry.listen([[:slither, :dispatch, :run, :stop]])
      assert {:ok, _, receipt} = dispatch(1..10, python("double", batch_size: 5))
      assert_receive {:event, _, %{duration: duration} = numbers, %{pool: @pool}}
      assert duration == receipt.duration
      assert Map.take(numbers, [:in, :out, :batches]) == %{in: 10, out: 10, batches: 2}
      assert numbers.handler == receipt.times.handler
    end
  end

  describe "an answer that nobody waits for" do
    setup do
      options = fake(&{:ok, &1}, batch_size: 1, max_in_flight: 2, on_error: :halt)
      {:ok, options} = Settings.check(options, "test")
      {:ok, plan} = Plan.new(options, %Context{runtime: %{run: "run"}}, false)
      alias = :erlang.alias()
      flow = Flow.new(plan, {alias, :test})
      flow = Enum.reduce(0..1, flow, &Flow.submit(&2, [[{&1, Item.wrap(&1)}]]))
      [first, second] = Enum.map(0..1, fn _ -> receive do: ({_tag, {:done, _, _} = m} -> m) end)
      {:ok, flow: flow, first: first, second: second}
    end

    test "is a duplicate once its batch was answered", %{flow: flow, first: first} do
      flow = flow |> Flow.message(first) |> Flow.message(first)
      assert flow.work.duplicate == 1
      assert {[{:ok, [_]}], _flow} = Flow.take(flow)
    end

    test "is late once its batch was given up", %{flow: flow, first: first, second: second} do
      {:done, ref, _} =
        Enum.min_by([first, second], fn {:done, ref, _} -> flow.flight.out[ref].number end)

      {:done, other, _} = late = if elem(first, 1) == ref, do: second, else: first
      error = %Slither.Error{reason: :executor_failed, message: "no"}
      flow = Flow.message(flow, {:done, ref, Outcome.error(error, nil)})
      assert {[{:halt, 0, _}], flow} = Flow.take(flow)
      flow = Flow.message(flow, late)
      assert flow.work.late == 1 and flow.flight.out == %{} and is_reference(other)
      assert {[], _flow} = Flow.take(flow)
    end
  end

  describe "a pipe with receipt: true" do
    defp pipe(statements) do
      definition = Slither.Pipe.build!(:sample, Enum.map(statements, &Tuple.insert_at(&1, 1, 1)))

      definition
    end

    test "accounts for the run and for each of its stages, in order" do
      statements = [
        {:stage, :split, :beam, [cardinality: :many, handler: &[&1.payload, &1.payload + 100]]},
        {:stage, :double, :python, python("double", batch_size: 4)},
        {:stage, :route, :router, [routes: [{&(&1.payload > 200), :big}]]},
        {:output, :big}
      ]

      assert {:ok, outputs, receipt} = Slither.run_pipe(pipe(statements), 1..8, receipt: true)
      assert length(outputs.big) == 8
      assert %{in: 8, expanded: 8, out: 16, failed: 0, batches: 4} = receipt

      assert [split: split, double: double, route: route] = receipt.stages
      assert %{in: 8, expanded: 8, out: 16} = split
      assert %{in: 16, out: 16, batches: 4} = double
      assert %{in: 16, out: 16} = route
      assert double.times.handler > 0 and split.times.handler > 0
      assert receipt.times.handler >= double.times.handler + split.times.handler
    end

    test "counts errors by kind, for the run and for the stage whose policy they met" do
      statements = [
        {:stage, :divide, :beam,
         [handler: &if(&1.payload > 8, do: div(&1.payload, 0), else: {:ok, &1.payload})]},
        {:stage, :fails, :python, python("fail_on_seven", batch_size: 1)},
        {:output, :bad},
        {:on_error, :divide, {:route, :bad}},
        {:on_error, :fails, :skip}
      ]

      assert {:ok, %{bad: [_, _]}, receipt} =
               Slither.run_pipe(pipe(statements), 1..10, receipt: true)

      assert receipt.errors == %{"ArithmeticError" => 2, "ValueError" => 1}
      assert receipt.stages[:divide].errors == %{"ArithmeticError" => 2}
      assert receipt.stages[:fails].errors == %{"ValueError" => 1}
    end

    test "follows the partial outputs of a run that stopped" do
      statements = [{:stage, :fails, :python, python("fail_on_seven", batch_size: 2)}]

      assert {:error, _, %{default: partial}, receipt} =
               Slither.run_pipe(pipe(statements), 1..10, receipt: true)

      assert length(partial) == 6
      assert receipt.in == receipt.out + receipt.failed
      assert receipt.stages[:fails].failed >= 2
      assert receipt.errors == %{"ValueError" => 1}
      assert receipt.stages[:fails].errors == %{"ValueError" => 1}
    end
  end
end
