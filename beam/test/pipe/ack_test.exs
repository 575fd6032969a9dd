defmodule Slither.Pipe.AckTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.{Item, Pipe, PipeError}
  alias Slither.Pipe.Names
  alias Slither.Test.{FunExecutor, GateExecutor, Pools, Telemetry}

  @pool __MODULE__

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["flow_handlers", "many_handlers"])}
  end

  defp start(statements, options \\ []) do
    name = Pools.unique(:acked)
    lined = for s <- statements, do: Tuple.insert_at(s, 1, 1)
    definition = Pipe.build!(:sample, lined)
    start_supervised!({Pipe, {definition, [name: name] ++ options}}, id: name)
    name
  end

  defp beam(fun, options \\ []), do: {:stage, :beam, :beam, [handler: fun] ++ options}

  defp fake(fun, options) do
    base = [executor: FunExecutor, executor_options: [fun: fun]]
    {:stage, :fake, :python, Keyword.merge(base, options)}
  end

  # Lets one batch of one item be out, which waits for the test.
  defp gate do
    executor = [executor: GateExecutor, executor_options: [test: self()]]
    {:stage, :gate, :python, [batch_size: 1, max_in_flight: 1] ++ executor}
  end

  # All that was told of a push of so many items: each index once, sorted.
  defp told(term, count, seen \\ [])
  defp told(_term, count, seen) when length(seen) == count, do: Enum.sort_by(seen, &elem(&1, 0))

  defp told(term, count, seen) do
    assert_receive {Pipe, :ack, ^term, [_ | _] = outcomes}, 20_000
    told(term, count, outcomes ++ seen)
  end

  describe "push/3 with ack:" do
    test "tells that items have reached their sinks, in groups, after the sinks ran" do
      test = self()
      sinks = [default: &send(test, {:sunk, &1.payload})]
      python = [module: "flow_handlers", function: "double", pool: @pool, batch_size: 4]
      name = start([{:stage, :python, :python, python}], sinks: sinks)

      assert Pipe.push(name, Enum.to_list(1..20), ack: :first) == :ok
      assert told(:first, 20) == for(n <- 0..19, do: {n, :ok})
      for n <- 1..20, double = 2 * n, do: assert_received({:sunk, ^double})
    end

    test "tells each outcome with its reason" do
      answers = fn
        %{payload: :drop} -> {:skip, :unwanted}
        %{payload: :none} -> {:many, []}
        %{payload: :aside} -> {:route, :aside, :aside}
        %{payload: :fail} -> {:error, :asked}
        %{payload: payload} -> payload
      end

      stages = [
        beam(answers),
        {:output, :aside},
        {:output, :bad},
        {:on_error, :*, {:route, :bad}}
      ]

      name = start(stages)
      assert Pipe.push(name, [:fine, :drop, :none, :aside, :fail], ack: {self(), 1}) == :ok

      assert [
               {0, :ok},
               {1, {:skipped, :unwanted}},
               {2, {:skipped, :no_items}},
               {3, :ok},
               {4, {:routed, :bad, %PipeError{reason: :handler_error, cause: :asked}}}
             ] = told(1, 5)
    end

    test "tells of an item that a policy drops, with the error" do
      name = start([beam(fn _item -> {:error, :asked} end), {:on_error, :*, :skip}])
      assert Pipe.push(name, [1], ack: :one) == :ok
      assert [{0, {:skipped, %PipeError{cause: :asked}}}] = told(:one, 1)
    end

    test "tells of an item of which several were made once, and the worst of what became of them" do
      many = {:stage, :many, :beam, [cardinality: :many, handler: & &1.payload]}

      answer = fn
        %{payload: :fail} -> {:error, :asked}
        %{payload: :drop} -> {:skip, :unwanted}
        %{payload: payload} -> payload
      end

      stages = [many, beam(answer), {:output, :bad}, {:on_error, :beam, {:route, :bad}}]
      name = start(stages)
      items = [[1, 2, 3], [1, :fail, 2], [:drop, 1], [:drop, :drop], []]
      assert Pipe.push(name, items, ack: :many) == :ok

      assert [
               {0, :ok},
               {1, {:routed, :bad, %PipeError{}}},
               {2, :ok},
               {3, {:skipped, :unwanted}},
               {4, {:skipped, :no_items}}
             ] = told(:many, 5)
    end

    test "tells of an item whose values Python gives one after the other once, at its end" do
      many = [module: "many_handlers", function: "scripted", cardinality: :many]
      many = [pool: @pool, timeout: Pools.patience()] ++ many
      stages = [{:stage, :many, :python, many}, beam(& &1.payload), {:on_error, :*, :skip}]
      name = start(stages)

      rows =
        for {count, n} <- Enum.with_index([0, 1, 2_500, 3]), do: %{"n" => n, "count" => count}

      assert Pipe.push(name, rows, ack: :rows) == :ok
      assert told(:rows, 4) == [{0, {:skipped, :no_items}}, {1, :ok}, {2, :ok}, {3, :ok}]
      assert Pipe.drain(name) == :ok
      assert {:ok, %{counts: %{out: 2_504, skipped: 1}}} = Pipe.status(name)
      refute_received {Pipe, :ack, _term, _outcomes}
    end

    test "tells items that a batch stage merged what became of the one" do
      stages = [
        {:stage, :pairs, :batch, [size: 2]},
        {:stage, :fours, :batch, [size: 2]},
        beam(fn %{payload: [[a | _] | _]} -> if a == 5, do: {:skip, :five}, else: a end)
      ]

      name = start(stages)
      # One of four is of a push that nobody asks about.
      assert Pipe.push(name, [1, 2], ack: :one) == :ok
      assert Pipe.push(name, [3]) == :ok
      assert Pipe.push(name, [4, 5, 6], ack: :two) == :ok
      assert told(:one, 2) == [{0, :ok}, {1, :ok}]
      assert Pipe.drain(name) == :ok
      assert told(:two, 3) == [{0, :ok}, {1, {:skipped, :five}}, {2, {:skipped, :five}}]
    end

    test "an item whose sink raises has failed, with the sink's error" do
      sink = fn item -> if item.payload == 2, do: raise("sink of two") end
      name = start([beam(& &1.payload)], sinks: [default: sink])

      capture_log(fn ->
        assert Pipe.push(name, [1, %Item{id: "two", payload: 2}, 3], ack: :sink) == :ok
        assert [{0, :ok}, {1, {:failed, error}}, {2, :ok}] = told(:sink, 3)
        assert %PipeError{pipe: :sample, reason: :sink_failed, item: "two"} = error
        assert Exception.message(error) =~ "the sink of :default failed with item \"two\""
        assert Exception.message(error) =~ "sink of two"
      end)
    end

    test "tells another process, and nobody where it is gone" do
      name = start([gate()])
      test = self()
      other = spawn(fn -> receive do: (message -> send(test, {:other, message})) end)
      gone = spawn(fn -> :ok end)
      monitor = Process.monitor(gone)
      assert_receive {:DOWN, ^monitor, _, _, _}

      assert Pipe.push(name, [1], ack: {gone, :gone}) == :ok
      assert Pipe.push(name, [2], ack: {other, [:any, :term]}) == :ok
      for n <- 1..2, do: release(n)
      assert_receive {:other, {Pipe, :ack, [:any, :term], [{0, :ok}]}}
      assert Pipe.drain(name) == :ok
    end

    test "tells nothing of a push that was refused, or of no items, or of nil" do
      name = start([gate()], max_waiting: 1)
      assert Pipe.push(name, [1, 2], ack: :refused) |> elem(0) == :error
      assert Pipe.push(name, [], ack: :none) == :ok
      assert Pipe.push(name, [1], ack: nil) == :ok
      release(1)
      assert Pipe.drain(name) == :ok
      refute_received {Pipe, :ack, _term, _outcomes}
    end

    test "pushes that wait for room are told of as the others" do
      name = start([gate()], max_waiting: 1)

      pushed =
        for n <- 1..6,
            do: Task.async(fn -> Pipe.push(name, [n], ack: {self(), n}) && told(n, 1) end)

      releases = for _ <- 1..6, do: release()
      assert Task.await_many(pushed) == List.duplicate([{0, :ok}], 6)
      assert Enum.sort(releases) == Enum.to_list(1..6)
    end
  end

  describe "where items are lost" do
    test ":halt: what was ahead is ok, what was in the stages has failed, the rest is lost" do
      fail = fn [n] -> if n == 3, do: {:error, :three}, else: {:ok, [n]} end
      name = start([fake(fail, batch_size: 1, max_in_flight: 1)])

      capture_log(fn ->
        assert Pipe.push(name, [1, 2, 3, 4, 5, 6, 7], ack: :halt) == :ok
        outcomes = told(:halt, 7)
        assert [{0, :ok}, {1, :ok}, {2, {:failed, error}} | rest] = outcomes
        assert %PipeError{stage: :fake} = error
        assert Enum.all?(rest, fn {_at, outcome} -> outcome in [:lost, {:failed, error}] end)
        counts = counts(name)
        failed = Enum.count(outcomes, &match?({_, {:failed, _}}, &1))
        assert %{out: 2, failed: ^failed} = counts
        assert counts.lost == 5 - failed
      end)
    end

    for role <- [:server, :sink, :heir] do
      test "the death of the pipe's #{role} tells it, and each item once" do
        Telemetry.listen([[:slither, :pipe, :restart]])
        name = start([gate()], max_waiting: 10)
        assert Pipe.push(name, [1, 2, 3, 4], ack: :before) == :ok
        release(1)
        assert_receive {Pipe, :ack, :before, [{0, :ok}]}
        assert_receive {:entered, :gate, _worker, [2]}

        {:ok, pid, _} = Names.find(unquote(role), name)
        capture_log(fn -> Process.exit(pid, :kill) && restarted(name) end)
        assert_receive {Pipe, :ack, :before, [{1, :lost}, {2, :lost}, {3, :lost}]}

        assert Pipe.push(name, [5], ack: :after) == :ok
        release(5)
        assert told(:after, 1) == [{0, :ok}]
        refute_received {Pipe, :ack, _term, _outcomes}
      end
    end

    test "the death of the pipe's supervisor tells it" do
      Process.flag(:trap_exit, true)
      {:stage, _, _, options} = gate()
      definition = Pipe.build!(:sample, [{:stage, 1, :gate, :python, options}])
      {:ok, pid} = Pipe.start_link(definition, name: Pools.unique(:killed))
      assert Pipe.push(pid, [1, 2], ack: :killed) == :ok
      assert_receive {:entered, :gate, _worker, [1]}
      Process.exit(pid, :kill)
      assert told(:killed, 2) == [{0, :lost}, {1, :lost}]
    end

    test "a pool's end tells it" do
      pool = Pools.start_pool(preload: ["flow_handlers"])
      python = [module: "flow_handlers", function: "double", pool: pool, batch_size: 1]
      name = start([{:stage, :python, :python, python}, gate()])
      assert Pipe.push(name, [1, 2, 3], ack: :pool) == :ok
      assert_receive {:entered, :gate, _worker, [2]}
      {:ok, %{scheduler: scheduler}} = Slither.Python.Pool.handle(pool)

      capture_log(fn ->
        Process.exit(scheduler, :kill)
        assert told(:pool, 3) == for(n <- 0..2, do: {n, :lost})
      end)
    end

    test "stop/2 tells it before it returns" do
      name = start([gate()])
      assert Pipe.push(name, [1, 2], ack: :stopped) == :ok
      assert_receive {:entered, :gate, _worker, [1]}
      assert {:ok, %{lost: 2}} = Pipe.stop(name, 10)
      assert_received {Pipe, :ack, :stopped, [{0, :lost}, {1, :lost}]}
    end

    test "a stop by its supervisor finishes what is in, and says so" do
      name = start([fake(&{:ok, &1}, batch_size: 50)], flush_after: :infinity)
      assert Pipe.push(name, [1, 2], ack: :stopped) == :ok
      stop_supervised!(name)
      assert_received {Pipe, :ack, :stopped, [{0, :ok}, {1, :ok}]}
    end

    test "kills at any moment: each accepted item is told of, and as delivered only where it was" do
      Telemetry.listen([[:slither, :pipe, :restart]])
      {:ok, sunk} = Agent.start_link(fn -> [] end)
      sink = fn item -> Agent.update(sunk, &[item.payload | &1]) end
      python = [module: "flow_handlers", function: "identity", pool: @pool, batch_size: 3]
      options = [max_restarts: 1_000, max_waiting: 20, flush_after: 1, sinks: [default: sink]]
      name = start([{:stage, :python, :python, python}, beam(& &1.payload)], options)

      pushers =
        for pusher <- 1..3 do
          Task.async(fn ->
            accepted = for n <- 1..100, Pipe.push(name, [[pusher, n]], ack: n) == :ok, do: n

            for n <- accepted, [{0, outcome}] = told(n, 1), do: {[pusher, n], outcome}
          end)
        end

      capture_log(fn ->
        for role <- [:server, :sink, :server, :heir, :server] do
          {:ok, pid, _} = Names.find(role, name)
          Process.exit(pid, :kill)
          restarted(name)
        end

        outcomes = pushers |> Task.await_many(60_000) |> Enum.concat()
        delivered = MapSet.new(Agent.get(sunk, & &1))
        assert outcomes != []
        assert Enum.all?(outcomes, fn {_item, outcome} -> outcome in [:ok, :lost] end)
        assert Enum.all?(for({item, :ok} <- outcomes, do: item), &(&1 in delivered))
      end)
    end
  end

  defp release(payload) do
    assert_receive {:entered, :gate, worker, [^payload]}, 20_000
    send(worker, :release)
  end

  defp release do
    assert_receive {:entered, :gate, worker, [payload]}, 20_000
    send(worker, :release)
    payload
  end

  defp restarted(name),
    do: assert_receive({:event, [:slither, :pipe, :restart], _, %{name: ^name}}, 20_000)

  defp counts(name) do
    case Pipe.status(name) do
      {:ok, %{counts: counts, restarts: 1}} -> counts
      _not_yet -> counts(name)
    end
  end
end
