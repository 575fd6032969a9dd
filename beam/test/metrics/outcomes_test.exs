defmodule Slither.Metrics.OutcomesTest do
  # Whatever becomes of the items of a stage, each is counted once, and with the end of the run all
  # that came in: in = ok + failed + skipped + routed.
  use ExUnit.Case, async: true

  import Slither.Test.{Generators, Pools}

  alias Slither.{Dispatch, Gather, Pipe}
  alias Slither.Metrics.{Runs, Series}
  alias Slither.Pipe.Runner
  alias Slither.Test.PipeModel

  @moduletag timeout: :infinity
  @moduletag :capture_log
  @cases String.to_integer(System.get_env("RANDOM_PIPES", "60"))
  @outcomes [:ok, :failed, :skipped, :routed]

  setup_all do
    {:ok, pool: start!(__MODULE__, preload: ["flow_handlers"])}
  end

  defp outcomes(pipe, stage),
    do: Map.new(@outcomes, &{&1, Series.get(:items_total, {pipe, stage, &1})})

  defp decided(pipe, stage), do: pipe |> outcomes(stage) |> Map.values() |> Enum.sum()

  # What it counts goes with the test: other tests have room for theirs.
  defp named(definition) do
    name = unique(:outcomes)
    stages = for stage <- definition.stages, do: stage.name
    on_exit(fn -> for stage <- stages, do: Series.forget(:items_total, {name, stage}) end)
    %{definition | name: name}
  end

  test "in random pipes, halting ones among them", %{pool: pool} do
    check_all(@cases, fn -> {PipeModel.pipe(), Enum.to_list(1..:rand.uniform(40))} end, fn
      {stages, input} ->
        pipe = named(PipeModel.definition(stages, pool))
        receipt = pipe |> Runner.run(input, receipt: true) |> Tuple.to_list() |> List.last()

        for {stage, part} <- receipt.stages do
          seen = outcomes(pipe.name, stage)
          assert {stage, decided(pipe.name, stage)} == {stage, part.in}
          assert {stage, seen.skipped, seen.failed} == {stage, part.skipped, part.failed}

          # Those that a policy sends on to a later stage are none that a receipt counts as routed.
          assert seen.routed >= part.routed
        end
    end)
  end

  test "in pipes whose workers die and hang, under any policy", %{pool: pool} do
    check_all(div(@cases, 6), &deadly/0, fn {stage, input} ->
      options = [module: "flow_handlers", function: "poisoned", pool: pool, timeout: 300]

      statements = [
        {:output, 1, :away},
        {:stage, 1, :only, :python, options ++ stage.options},
        {:on_error, 1, :only, stage.policy}
      ]

      pipe = named(Pipe.build!(:deadly, statements))
      answer = Runner.run(pipe, input, receipt: true)
      [{:only, part}] = elem(answer, tuple_size(answer) - 1).stages
      assert decided(pipe.name, :only) == part.in
      seen = outcomes(pipe.name, :only)
      assert {seen.ok, seen.skipped} == {part.out, part.skipped}
      assert {seen.routed, seen.failed} == {part.routed, part.failed}
    end)
  end

  # Multiples of 40 raise, 13 kills its worker, and 777 hangs.
  defp deadly do
    policy = pick([:skip, :halt, {:route, :away}])
    policy = if one_in(2), do: {:retry, max_attempts: 2, base_ms: 1, then: policy}, else: policy
    options = [batch_size: pick([1, 3, 8]), isolate: one_in(2), max_in_flight: pick([1, 4])]
    some = for n <- 1..(5 + :rand.uniform(40)), do: n + pick([0, 100])
    {%{policy: policy, options: options}, if(one_in(4), do: [777 | some], else: [13 | some])}
  end

  test "a retry that mends an item counts it once, as ok", %{pool: pool} do
    flaky = [module: "flow_handlers", function: "flaky", pool: pool, batch_size: 2]
    policy = {:retry, max_attempts: 3, base_ms: 1, then: :skip}
    statements = [{:stage, 1, :flaky, :python, flaky}, {:on_error, 1, :flaky, policy}]
    pipe = named(Pipe.build!(:flaky, statements))
    {:ok, _outputs} = Runner.run(pipe, 1..6)
    assert outcomes(pipe.name, :flaky) == %{ok: 6, failed: 0, skipped: 0, routed: 0}
    assert Series.get(:retries_total, {pool, pipe.name, :flaky}) == 6
    reason = {pool, pipe.name, :flaky, :python_exception}
    assert Series.get(:batch_failures_total, reason) == 6
    assert Series.get(:item_errors_total, {pipe.name, :flaky, :python_exception}) == 0
  end

  test "of a run whose process is killed, what was inside has failed" do
    test = self()
    fun = fn payloads -> send(test, {:running, self()}) && await_go(payloads) end

    options =
      [executor: Slither.Test.FunExecutor, executor_options: [fun: fun]] ++
        [batch_size: 2, max_in_flight: 1]

    pipe = named(Pipe.build!(:killed, [{:stage, 1, :wait, :python, options}]))
    {run, monitor} = spawn_monitor(fn -> Runner.run(pipe, 1..10) end)
    assert_receive {:running, first}, patience()
    send(first, :go)
    assert_receive {:running, _second}, patience()
    assert [%{in: entered, decided: 2}] = for(%{pid: ^run, inside: [at]} <- Runs.all(), do: at)
    assert entered > 2
    Process.exit(run, :kill)
    assert_receive {:DOWN, ^monitor, :process, _run, :killed}, patience()

    assert Enum.all?(Runs.all(), &(&1.pid != run))
    failed = entered - 2
    assert outcomes(pipe.name, :wait) == %{ok: 2, failed: failed, skipped: 0, routed: 0}
  end

  defp await_go(payloads) do
    receive do
      :go -> {:ok, payloads}
    end
  end

  test "in dispatches and their streams, by the target" do
    functions = for n <- 1..3, do: "functions_#{unique(:t)}_#{n}"
    fails = fn payloads -> if 7 in payloads, do: raise("seven"), else: payloads end
    fake = unique(:outcomes_pool)
    targets = Map.new(functions, &{"m.#{&1}", fails})
    start_supervised!({Slither.Testing.Pool, name: fake, functions: targets}, id: fake)
    [skips, halts, stream] = functions
    run = &Dispatch.run(1..10, [module: "m", function: &1, pool: fake, batch_size: 1] ++ &2)

    {:ok, _items} = run.(skips, on_error: :skip)
    assert outcomes("", "m.#{skips}") == %{ok: 9, failed: 0, skipped: 1, routed: 0}
    assert Series.get(:item_errors_total, {"", "m.#{skips}", :python_exception}) == 1

    {:error, _error, partial, receipt} = run.(halts, receipt: true, max_in_flight: 1)
    assert outcomes("", "m.#{halts}").ok == length(partial)
    assert decided("", "m.#{halts}") == receipt.in

    options = [module: "m", function: stream, pool: fake, batch_size: 1, max_in_flight: 2]
    [_one] = 1..6 |> Dispatch.stream(options) |> Enum.take(1)
    assert %{ok: ok, failed: failed} = outcomes("", "m.#{stream}")
    assert ok >= 1 and ok + failed <= 6
  end

  test "in gathers, whose callers may have gone" do
    name = unique(:outcomes_gather)
    function = "function_#{unique(:t)}"
    {test, running} = {self(), make_ref()}

    holds = fn payloads ->
      send(test, {running, self()})

      receive do
        :go -> if 3 in payloads, do: raise("three"), else: payloads
      end
    end

    fake = unique(:outcomes_pool)
    functions = %{"m.#{function}" => holds}
    start_supervised!({Slither.Testing.Pool, name: fake, functions: functions}, id: fake)
    options = [name: name, module: "m", function: function, pool: fake, max_batch: 1]
    start_supervised!({Gather, options}, id: name)

    for n <- [1, 2, 3], answer <- [if(n == 3, do: :error, else: :ok)] do
      call = Task.async(fn -> Gather.call(name, n) end)
      assert_receive {^running, worker}, patience()
      send(worker, :go)
      assert {^answer, _value} = Task.await(call)
    end

    assert {:error, %{reason: :timeout}} = Gather.call(name, 4, 1)
    # Its server has heard of it before it tells its status.
    assert {:ok, %{timed_out: 1}} = Gather.status(name)
    assert outcomes("", "m.#{function}") == %{ok: 2, failed: 2, skipped: 0, routed: 0}
  end
end
