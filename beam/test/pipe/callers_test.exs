defmodule Slither.Pipe.CallersTest do
  use ExUnit.Case, async: true

  alias Slither.{Dispatch, Error, PipeError}
  alias Slither.Pipe.Runner
  alias Slither.Test.{FunExecutor, GateExecutor, Pools}

  # What a run owes the process that calls it: an answer, its memory back, and an end of all that
  # was started for it.

  setup_all do
    {:ok, pool: Pools.start!(__MODULE__, preload: ["flow_handlers"])}
  end

  defp pipe(statements) do
    lined = for s <- statements, do: Tuple.insert_at(s, 1, 1)
    definition = Slither.Pipe.build!(:called, lined)
    definition
  end

  defp gate(options \\ []) do
    executor = [executor: GateExecutor, executor_options: [test: self()]]
    [batch_size: 1, max_in_flight: 2] ++ executor ++ options
  end

  defp hands do
    test = self()

    handler = fn item ->
      send(test, {:entered, :hands, self(), item.payload})
      receive(do: (:release -> item.payload))
    end

    pipe([{:stage, :hands, :beam, [handler: handler, concurrency: 2]}])
  end

  describe "a stream that was suspended" do
    defp suspended(stream) do
      reducer = fn
        item, [one] -> {:suspend, [item, one]}
        item, items -> {:cont, [item | items]}
      end

      {:suspended, [_, _] = items, continue} = Enumerable.reduce(stream, {:cont, []}, reducer)
      {items, continue}
    end

    defp streams(pool) do
      options = [module: "flow_handlers", function: "identity", pool: pool, batch_size: 2]
      definition = pipe([{:stage, :calls, :python, options}])
      [Dispatch.stream(1..100, options), Runner.stream(definition, 1..100)]
    end

    test "tells another process that goes on with it why it can't, and frees its workers",
         context do
      for stream <- streams(context.pool) do
        {items, continue} = suspended(stream)

        task = Task.async(fn -> assert_raise(Error, fn -> continue.({:cont, items}) end) end)

        assert %{reason: :other_process} = error = Task.await(task, Pools.patience())
        assert Exception.message(error) =~ "was begun by #{inspect(self())}"
        assert Exception.message(error) =~ "in one process"
        # This process lives, and holds no worker.
        options = [module: "flow_handlers", function: "identity", pool: context.pool]
        others = Task.async(fn -> Dispatch.run(1..4, [batch_size: 1] ++ options) end)
        assert {:ok, [_, _, _, _]} = Task.await(others, Pools.patience())
      end
    end

    test "can be ended by another process", context do
      for stream <- streams(context.pool) do
        {items, continue} = suspended(stream)
        task = Task.async(fn -> continue.({:halt, items}) end)
        assert {:halted, ^items} = Task.await(task, Pools.patience())
      end
    end

    test "goes on in the process that began it, and may begin in any", context do
      for stream <- streams(context.pool) do
        {items, continue} = suspended(stream)
        assert {_done_or_halted, all} = continue.({:cont, items})
        assert length(all) == 100
        task = Task.async(fn -> Enum.count(stream) end)
        assert Task.await(task, Pools.patience()) == 100
      end
    end
  end

  describe "processes that run batches on BEAM end with their caller" do
    # However it ends, and also where it traps exits; what they are at is never done.
    defp ends_with_its_caller(run, how) do
      {caller, _} =
        spawn_monitor(fn ->
          Process.flag(:trap_exit, true)
          {_some, continue} = run.()
          receive(do: ({:end, reason} -> exit({continue, reason} && reason)))
        end)

      assert_receive {:entered, _stage, worker, _payload}, Pools.patience()
      monitor = Process.monitor(worker)
      if how == :kill, do: Process.exit(caller, :kill), else: send(caller, {:end, how})
      assert_receive {:DOWN, ^monitor, :process, ^worker, :killed}, Pools.patience()
    end

    test "executors, killed" do
      options = gate()
      ends_with_its_caller(fn -> {Dispatch.run(1..2, options), nil} end, :kill)
    end

    test "handlers beside a run, killed" do
      definition = hands()
      ends_with_its_caller(fn -> {Runner.run(definition, 1..2), nil} end, :kill)
    end

    test "executors of a suspended stream whose process ends as it should" do
      test = self()

      fun = fn
        [1] -> {:ok, [1]}
        [n] -> send(test, {:entered, :fake, self(), n}) && receive(do: (:never -> {:ok, [n]}))
      end

      executor = [executor: FunExecutor, executor_options: [fun: fun]]
      stream = Dispatch.stream(1..9, [batch_size: 1, max_in_flight: 2] ++ executor)

      first = fn ->
        {:suspended, one, continue} =
          Enumerable.reduce(stream, {:cont, nil}, &{:suspend, {&1, &2}})

        {one, continue}
      end

      ends_with_its_caller(first, :normal)
    end
  end

  test "a run of a few items leaves its caller no large heap" do
    definition = pipe([{:stage, :one, :beam, [handler: & &1.payload]}])

    task =
      Task.async(fn ->
        {:ok, _} = Runner.run(definition, [1])
        Process.info(self(), :total_heap_size)
      end)

    assert {:total_heap_size, words} = Task.await(task, Pools.patience())
    assert words < 100_000
  end

  test "errors name a payload by its place in the input" do
    failing = fn item -> if item.payload == "c", do: raise("no c"), else: item.payload end
    definition = pipe([{:stage, :one, :beam, [handler: failing]}])
    assert {:error, error, _} = Runner.run(definition, ["a", "b", "c"])
    assert Exception.message(error) =~ "stage :one, item 2: "

    executor = [executor: FunExecutor, executor_options: [fun: fn _ -> {:error, :no} end]]
    input = Stream.map(["a", "b"], & &1)
    assert {:error, error, _} = Dispatch.run(input, [batch_size: 1] ++ executor)
    assert Exception.message(error) =~ "item 0"
  end

  test "a long-running pipe tells its state while it is stopped" do
    name = {__MODULE__, make_ref()}
    definition = pipe([{:stage, :gate, :python, gate()}])
    {:ok, pid} = Slither.Pipe.start_link(definition, name: name, shutdown: Pools.patience())
    :ok = Slither.Pipe.push(name, [1])
    assert_receive {:entered, :gate, worker, [1]}, Pools.patience()
    stop = Task.async(fn -> Supervisor.stop(pid) end)
    status = status_once(name, :draining)
    assert %{counts: %{in: 1, inside: 1}, restarts: 0} = status
    assert {:error, :draining} = Slither.Pipe.push(name, [2])
    assert {:error, %PipeError{reason: :pipe_down}} = Slither.Pipe.drain(name)
    # It is as any process meanwhile.
    {:ok, server, _counts} = Slither.Pipe.Names.find(:server, name)
    assert %{engine: %{}} = :sys.get_state(server)
    send(worker, :release)
    assert :ok = Task.await(stop, Pools.patience())
  end

  # Each answer is a call of the server: there is nothing else to wait for.
  defp status_once(name, state) do
    case Slither.Pipe.status(name) do
      {:ok, %{state: ^state} = status} -> status
      {:ok, %{state: :running}} -> status_once(name, state)
    end
  end
end
