defmodule Slither.Pipe.BrokenFunctionsTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.Dispatch
  alias Slither.Dispatch.Strategies.{KeyPartition, WeightedBatch}
  alias Slither.Pipe.Runner
  alias Slither.Test.{FunExecutor, Pools}

  # A function of the user's own that does not do its job costs its own items, in a run, in a
  # stream and in a pipe that runs for long, which goes on with all the others.

  defmodule Raising do
    @behaviour Slither.Dispatch.Strategy
    @impl true
    def batch(items, _options) do
      if Enum.any?(items, &(&1.payload == :bad)), do: raise("no batch"), else: [items]
    end
  end

  defmodule Shapeless do
    @behaviour Slither.Dispatch.Strategy
    @impl true
    def batch(items, _options),
      do: if(Enum.any?(items, &(&1.payload == :bad)), do: :no_list, else: [items])
  end

  defmodule PushRaising do
    @behaviour Slither.Dispatch.Strategy
    @impl true
    def batch(items, _options), do: [items]
    @impl true
    def init(_options), do: []
    @impl true
    def want(_state), do: :many
    @impl true
    def add([{_seq, %{payload: :bad}}], _state), do: exit(:add)
    def add(entries, state), do: {[[entries]], state}
    @impl true
    def flush(_state), do: throw(:flush)
  end

  defmodule Endless do
    @behaviour Slither.Stage
    @impl true
    def init(_options), do: exit(:no_init)
    @impl true
    def handle_item(item, _context, _state), do: item.payload
  end

  defp pipe(statements) do
    lined = for s <- statements, do: Tuple.insert_at(s, 1, 1)
    definition = Slither.Pipe.build!(:broken, lined)
    definition
  end

  defp stage(options) do
    echo = [executor: FunExecutor, executor_options: [fun: &{:ok, &1}]]
    {:stage, :calls, :python, Keyword.merge(echo, options)}
  end

  defp beam(options), do: {:stage, :handles, :beam, options}

  defp fails(kind), do: fn _item -> :erlang.raise(kind, :broke, []) end
  defp unless_bad(fun, good), do: &if(&1.payload == :bad, do: fun.(&1), else: good)

  # What fails by itself, and what takes its whole window with it, here of one item.
  defp broken_stages do
    for kind <- [:error, :throw, :exit] do
      weigh = unless_bad(fails(kind), 1)
      key = unless_bad(fails(kind), :key)
      many = Stream.map([1, 2], fn _ -> :erlang.raise(kind, :broke, []) end)

      [
        {"weight_fn", stage(strategy: WeightedBatch, max_weight: 3, weight_fn: weigh)},
        {"key_fn", stage(strategy: KeyPartition, key_fn: key, window: 2)},
        {"{:many, …}", beam(handler: unless_bad(fn _ -> {:many, many} end, :good))}
      ]
    end
    |> Enum.concat()
    |> Enum.concat([
      {"a weight that is none",
       stage(strategy: WeightedBatch, max_weight: 3, weight_fn: unless_bad(fn _ -> "2" end, 1))},
      {"a strategy that raises", stage(strategy: Raising, batch_size: 1, max_in_flight: 1)},
      {"a strategy's shape", stage(strategy: Shapeless, batch_size: 1, max_in_flight: 1)},
      {"a strategy's add", stage(strategy: PushRaising)},
      {"a number for many", beam(handler: unless_bad(fn _ -> {:many, 5} end, :good))},
      {"an improper list for many",
       beam(handler: unless_bad(fn _ -> {:many, [1 | 2]} end, :good), concurrency: 2)},
      {"a route to nowhere",
       beam(handler: unless_bad(fn _ -> {:route, :nowhere, 1} end, :good), concurrency: 2)},
      {"an item without meta", beam(handler: unless_bad(&%{&1 | meta: nil}, :good))},
      {"an improper list of results",
       stage(
         batch_size: 1,
         executor_options: [
           fun: fn [one] -> {:ok, if(one == :bad, do: [1 | 2], else: [one])} end
         ]
       )}
    ])
  end

  @input [:a, :bad, :b, :c, :bad, :d]

  for policy <- [:skip, {:route, :failed}] do
    test "only its own items fail under #{inspect(policy)}: run, stream and long-running pipes" do
      for {what, stage} <- broken_stages() do
        definition =
          pipe([stage, {:output, :failed}, {:on_error, :*, unquote(Macro.escape(policy))}])

        failed = if unquote(policy == :skip), do: 0, else: 2

        assert {:ok, outputs, receipt} = Runner.run(definition, @input, receipt: true)
        assert {what, length(outputs.default), length(outputs.failed)} == {what, 4, failed}
        assert receipt.in + receipt.expanded == receipt.out + receipt.skipped + receipt.routed

        streamed = definition |> Runner.stream(@input) |> Enum.frequencies_by(&elem(&1, 0))
        assert {what, streamed[:default], streamed[:failed] || 0} == {what, 4, failed}

        assert {what, live(definition)} == {what, {4, failed, 0}}
      end
    end
  end

  test "under :halt the run ends at it, with what was ahead" do
    for {what, stage} <- broken_stages() do
      assert {:error, error, partial} = Runner.run(pipe([stage]), @input)
      assert {what, length(partial.default), error.item in [1, nil]} == {what, 1, true}
    end
  end

  test "a dispatch keeps such items in their places" do
    options = [executor: FunExecutor, executor_options: [fun: &{:ok, &1}], on_error: :skip]
    weigh = unless_bad(fails(:throw), 1)
    weights = [strategy: WeightedBatch, max_weight: 2, weight_fn: weigh]

    for options <- [
          options ++ weights,
          options ++ [strategy: Raising, batch_size: 1, max_in_flight: 1]
        ] do
      assert {:ok, items} = Dispatch.run(@input, options)
      assert Enum.map(items, & &1.payload) == @input
      assert Enum.map(items, & &1.meta[:skipped]) == [nil, true, nil, nil, true, nil]
      assert [error, error2] = for(%{meta: %{error: error}} <- items, do: error)
      assert {error.reason, error2.item} == {:invalid_strategy, 4}
    end
  end

  describe "a route function of on_error that fails" do
    defp unroutable(kind) do
      route = fn _item, _error ->
        if kind == :nowhere, do: :nowhere, else: :erlang.raise(kind, :broke, [])
      end

      handler = unless_bad(fn _ -> raise "bad" end, :good)
      many = [beam(handler: handler), stage(executor_options: [fun: &bad_fails/1], batch_size: 1)]
      for stage <- many, do: pipe([stage, {:on_error, :*, {:route, route}}])
    end

    defp bad_fails(payloads), do: if(:bad in payloads, do: {:error, :bad}, else: {:ok, payloads})

    test "ends a run at its item, with an error that says so" do
      for kind <- [:error, :throw, :exit], definition <- unroutable(kind) do
        assert {:error, %{reason: :policy_failed} = error, partial} =
                 Runner.run(definition, @input)

        assert Exception.message(error) =~ "the route function of on_error failed"
        assert {error.item, length(partial.default)} == {1, 1}
      end

      for definition <- unroutable(:nowhere) do
        assert {:error, %{reason: :unknown_output}, %{default: [_]}} =
                 Runner.run(definition, @input)
      end
    end

    test "is logged by a pipe that runs for long, which skips the item and goes on" do
      for kind <- [:error, :throw, :exit, :nowhere], definition <- unroutable(kind) do
        log = capture_log(fn -> assert live(definition) == {4, 0, 0} end)
        assert log =~ "item 1 has failed, and is skipped, as its policy failed too"
      end
    end
  end

  test "a batch handler that answers an improper list fails its batch, and the pipe goes on" do
    definition = pipe([beam(batch_handler: fn _items -> [1 | 2] end), {:on_error, :*, :skip}])
    assert {:ok, %{default: []}, %{skipped: 6}} = Runner.run(definition, @input, receipt: true)
    assert live(definition) == {0, 0, 0}
  end

  test "a stage that can't begin says so, in place of a crash" do
    definition = pipe([{:stage, :endless, Endless, []}])

    assert {:error, %{stage: :endless, reason: :invalid_stage} = error, _} =
             Runner.run(definition, [1])

    assert Exception.message(error) =~ "init/1 failed: ** (exit) :no_init"
  end

  # What a pipe that runs for long delivers of the input: good, failed, and how often it restarted.
  defp live(definition) do
    test = self()
    name = {__MODULE__, make_ref()}
    sinks = for output <- definition.outputs, do: {output, fn _ -> send(test, {name, output}) end}
    {:ok, pid} = Slither.Pipe.start_link(definition, name: name, sinks: sinks)
    :ok = Slither.Pipe.push(name, @input)
    :ok = Slither.Pipe.drain(name, Pools.patience())
    {:ok, status} = Slither.Pipe.status(name)
    Supervisor.stop(pid)
    counts = Enum.frequencies(received(name))
    {counts[:default] || 0, counts[:failed] || 0, status.restarts}
  end

  defp received(name) do
    receive do
      {^name, output} -> [output | received(name)]
    after
      0 -> []
    end
  end
end
