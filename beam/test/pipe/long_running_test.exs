defmodule Slither.Pipe.LongRunningTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.{Error, Item, Pipe, PipeError}
  alias Slither.Pipe.Names
  alias Slither.Test.{FunExecutor, GateExecutor, Pools, Telemetry}

  @pool __MODULE__

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["flow_handlers"])}
  end

  defmodule Doubles do
    use Slither.Pipe

    pipe :doubles do
      stage(:double, :python,
        module: "flow_handlers",
        function: "double",
        pool: Slither.Pipe.LongRunningTest,
        batch_size: 4
      )

      stage(:route, :router, routes: [{&(&1.payload > 10), :big}])
      output(:big)
    end
  end

  defp definition(statements) do
    lined = for s <- statements, do: Tuple.insert_at(s, 1, 1)
    definition = Slither.Pipe.build!(:sample, lined)
    definition
  end

  defp python(function, options) do
    base = [module: "flow_handlers", function: function, pool: @pool]
    {:stage, :python, :python, Keyword.merge(base, options)}
  end

  defp fake(fun, options) do
    base = [executor: FunExecutor, executor_options: [fun: fun]]
    {:stage, :fake, :python, Keyword.merge(base, options)}
  end

  # Lets one batch of one item be out, which waits for the test.
  defp gate(name \\ :gate) do
    executor = [executor: GateExecutor, executor_options: [test: self()]]
    {:stage, name, :python, [batch_size: 1, max_in_flight: 1] ++ executor}
  end

  defp beam(fun), do: {:stage, :beam, :beam, [handler: fun]}

  defp start(statements, options \\ []) do
    test = self()
    name = Pools.unique(:pipe)
    sink = fn item -> send(test, {:default, name, item.payload}) end
    options = Keyword.merge([name: name, sinks: [default: sink]], options)
    pipe = if is_list(statements), do: definition(statements), else: statements
    start_supervised!({Pipe, {pipe, options}}, id: name)
    name
  end

  # What has reached the default output's sink so far, in order.
  defp delivered(name) do
    receive do
      {:default, ^name, payload} -> [payload | delivered(name)]
    after
      0 -> []
    end
  end

  defp status!(name) do
    {:ok, status} = Pipe.status(name)
    counts = status.counts
    ends = counts.out + counts.skipped + counts.routed + counts.failed + counts.lost
    assert counts.in + counts.expanded == ends + counts.inside
    status
  end

  # Kills the server of a pipe, and returns once its successor is there.
  defp kill(name) do
    {:ok, server, _counts} = Names.find(:server, name)
    Process.exit(server, :kill)
    restarted(name)
  end

  defp restarted(name) do
    assert_receive {:event, [:slither, :pipe, :restart], %{lost: lost}, %{name: ^name}}
    lost
  end

  # It may restart more than once while its pool does, and says so before it can be pushed to.
  defp push_when_up(name, items, until \\ System.monotonic_time(:millisecond) + 50_000) do
    case Pipe.push(name, items) do
      :ok ->
        :ok

      {:error, error} ->
        :erlang.yield()
        late? = System.monotonic_time(:millisecond) > until
        if late?, do: {:error, error}, else: push_when_up(name, items, until)
    end
  end

  describe "push/3 and drain/2" do
    test "take items to the sinks of their outputs, in order" do
      test = self()
      sinks = for output <- [:big, :default], do: {output, &send(test, {output, &1.payload})}
      start_supervised!({Pipe, {Doubles, sinks: sinks}})

      assert {:error, %Error{reason: :invalid_input}} = Pipe.push(Doubles, [1 | 2])
      assert Pipe.push(Doubles, [1, 2, 3]) == :ok
      assert Pipe.push(Doubles, [4, 5, 6, %Item{id: "seven", payload: 7}]) == :ok
      assert Pipe.drain(Doubles) == :ok

      for n <- [2, 4, 6, 8, 10], do: assert_received({:default, ^n})
      for n <- [12, 14], do: assert_received({:big, ^n})
      status = status!(Doubles)
      assert %{in: 7, out: 7, inside: 0, lost: 0} = status.counts
      assert status.outputs == %{big: 2, default: 5}
      # It goes on after a drain.
      assert Pipe.push(Doubles, [1]) == :ok
      assert_receive {:default, 2}
    end

    test "several pipes of one module run side by side, also addressed by pid" do
      one = start(Doubles)
      {:ok, pid} = Pipe.Supervisor.start_pipe(Doubles, name: Pools.unique(:other))
      assert Pipe.push(one, [1]) == :ok
      assert Pipe.push(pid, [1, 2]) == :ok
      assert Pipe.drain(pid) == :ok
      assert {:ok, %{in: 2, out: 2, lost: 0}} = Pipe.stop(pid)
      assert_receive {:default, ^one, 2}
      assert {:error, %Error{reason: :pipe_unavailable}} = Pipe.push(pid, [1])
      assert status!(one).counts.in == 1
    end

    test "many pushers: every item reaches its sink once, each pusher's in order" do
      name = start([python("identity", batch_size: 7), beam(& &1.payload)], max_waiting: 20)

      1..8
      |> Task.async_stream(
        fn pusher -> for n <- 1..50, do: :ok = Pipe.push(name, [[pusher, n]]) end,
        max_concurrency: 8,
        timeout: :infinity
      )
      |> Stream.run()

      assert Pipe.drain(name) == :ok
      by_pusher = name |> delivered() |> Enum.group_by(&hd/1, &List.last/1)
      assert by_pusher == Map.new(1..8, &{&1, Enum.to_list(1..50)})
    end

    test "push waits while the pipe is full, in turn" do
      name = start([gate()], max_waiting: 2)
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:entered, :gate, worker, [1]}
      # One waits to be the next batch; two are all that the entry holds.
      assert Pipe.push(name, [2]) == :ok
      fill(name)
      assert Pipe.push(name, [:more], timeout: 0) == {:error, :saturated}
      assert Pipe.push(name, [:more], timeout: 20) == {:error, :timeout}

      blocked = Task.async(fn -> Pipe.push(name, [:later]) end)
      send(worker, :release)
      assert release_until(blocked) == :ok
      assert drain_released(name) == :ok
      counts = status!(name).counts
      assert counts.in == counts.out
      assert List.last(delivered(name)) == :later
    end

    test "a pusher that dies while it waits takes its items along" do
      name = start([gate()], max_waiting: 1)
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:entered, :gate, worker, [1]}
      fill(name)
      pusher = spawn(fn -> Pipe.push(name, [:never]) end)
      wait_for(name, & &1.blocked, 1)
      Process.exit(pusher, :kill)
      wait_for(name, & &1.blocked, 0)
      send(worker, :release)
      assert drain_released(name) == :ok
      refute :never in delivered(name)
    end

    test "a push that can never fit, or is no list, is refused with the reason" do
      name = start([gate()], max_waiting: 3)
      assert {:error, %PipeError{reason: :too_many_items} = error} = Pipe.push(name, [1, 2, 3, 4])
      assert Exception.message(error) =~ "at most 3 items in one push, got 4"
      assert {:error, ^error} = Pipe.push(name, [1, 2, 3, 4], timeout: 0)
      assert {:error, %Error{reason: :invalid_input}} = Pipe.push(name, :one)
      assert {:error, error} = Pipe.push(name, [1], timeuot: 0)
      assert Exception.message(error) =~ "Did you mean :timeout?"
    end

    test "pushes are refused while it drains, and a drain may run out of time" do
      name = start([gate()])
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:entered, :gate, worker, [1]}
      drain = Task.async(fn -> Pipe.drain(name) end)
      wait_for(name, & &1.state, :draining)
      assert Pipe.push(name, [2]) == {:error, :draining}
      assert Pipe.drain(name, 10) == {:error, :timeout}
      assert status!(name).state == :draining
      send(worker, :release)
      assert Task.await(drain) == :ok
      assert status!(name).state == :running

      assert Pipe.push(name, [2]) == :ok
      assert_receive {:entered, :gate, worker, [2]}
      assert Pipe.drain(name, 10) == {:error, :timeout}
      assert Pipe.push(name, [3]) == :ok
      send(worker, :release)
      assert_receive {:entered, :gate, worker, [3]}
      send(worker, :release)
      assert Pipe.drain(name) == :ok
      assert delivered(name) == [1, 2, 3]
    end
  end

  describe "partial batches" do
    test "go after a while without new items, through all stages" do
      stages = [
        python("double", batch_size: 50),
        fake(&{:ok, &1}, batch_size: 50),
        beam(& &1.payload)
      ]

      name = start(stages, flush_after: 5)
      assert Pipe.push(name, [1, 2, 3]) == :ok
      for n <- [2, 4, 6], do: assert_receive({:default, ^name, ^n})
      assert Pipe.push(name, [4]) == :ok
      assert_receive {:default, ^name, 8}
    end

    test "wait for company where flush_after says so" do
      name = start([fake(&{:ok, &1}, batch_size: 3)], flush_after: :infinity)
      assert Pipe.push(name, [1, 2]) == :ok
      assert [%{waiting: %{batching: 2}}] = status!(name).stages
      assert Pipe.push(name, [3]) == :ok
      for n <- 1..3, do: assert_receive({:default, ^name, ^n})
      assert Pipe.push(name, [4]) == :ok
      assert Pipe.drain(name) == :ok
      assert delivered(name) == [4]
    end
  end

  describe "status/1" do
    test "tells counts, rates, and what waits where" do
      name = start([beam(& &1.payload), gate(:one), gate(:two)], max_waiting: 10)
      for n <- 1..8, do: assert(Pipe.push(name, [n]) == :ok)
      assert_receive {:entered, :one, one, [1]}
      send(one, :release)
      assert_receive {:entered, :two, two, [1]}
      assert_receive {:entered, :one, one, [2]}

      status = status!(name)
      assert %{name: ^name, pipe: :sample, state: :running, restarts: 0, blocked: 0} = status
      assert %{in: 8, out: 0, inside: 8} = status.counts
      assert [%{name: :beam}, %{name: :one} = first, %{name: :two} = second] = status.stages
      assert %{running: 1} = first.waiting
      assert %{in: 1, out: 0, waiting: %{running: 1, batching: 0, queued: 0}} = second
      inside = for s <- status.stages, {_where, n} <- s.waiting, do: n
      assert Enum.sum(inside) + status.waiting == 8
      assert status.rates.in > 0 and status.rates.out == 0

      for worker <- [one, two], do: send(worker, :release)
      assert drain_released(name) == :ok
      assert status!(name).rates.out > 0
    end
  end

  describe "sinks" do
    test "that raise, throw or exit are logged and counted, and the pipe goes on" do
      test = self()

      sink = fn
        %{payload: 1} -> raise "sink of one"
        %{payload: 2} -> throw(:two)
        %{payload: 3} -> exit(:three)
        item -> send(test, {:got, item.payload})
      end

      Telemetry.listen([[:slither, :pipe, :sink, :exception]])
      name = start([beam(& &1.payload)], sinks: [default: sink])

      log =
        capture_log(fn ->
          assert Pipe.push(name, [1, 2, 3, 4]) == :ok
          assert Pipe.drain(name) == :ok
        end)

      assert log =~ "the sink of :default failed with item"
      assert log =~ "sink of one"
      assert_received {:got, 4}
      assert_received {:event, _, %{count: 1}, %{output: :default, name: ^name}}
      assert %{out: 4, sink_errors: 3, lost: 0} = status!(name).counts
    end

    test "that are slow fill the pipe, which still answers" do
      test = self()

      sink = fn item ->
        send(test, {:sinking, self(), item.payload})
        receive do: (:release -> :ok)
      end

      name = start([beam(& &1.payload)], sinks: [default: sink], max_waiting: 1)
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:sinking, sink, 1}
      fill(name)
      status = status!(name)
      assert status.delivering >= 1 and status.counts.out == 0

      send(sink, :release)
      assert drain_released(name) == :ok
    end

    test "of outputs that are not declared, or that are no functions, are refused" do
      Process.flag(:trap_exit, true)
      assert {:error, error} = Pipe.start_link(Doubles, sinks: [bigg: & &1])

      assert Exception.message(error) =~
               "pipe :doubles has no output :bigg. Did you mean :big? Outputs: :big, :default"

      assert {:error, error} = Pipe.start_link(Doubles, sinks: [big: fn -> 1 end])
      assert Exception.message(error) =~ "the sink of :big is a function of arity 1"
    end
  end

  describe "start_link/2" do
    test "refuses what can't run, without starting anything" do
      assert {:error, error} = Pipe.start_link(String)
      assert Exception.message(error) =~ "Slither.Pipe.start_link/2: String is not a pipe"
      assert {:error, error} = Pipe.start_link(Doubles, sink: [])
      assert Exception.message(error) =~ "Did you mean :sinks?"

      nowhere = definition([python("double", pool: :nowhere)])
      assert {:error, %PipeError{stage: :python} = error} = Pipe.start_link(nowhere)
      assert Exception.message(error) =~ "no pool :nowhere is running"

      name = start(Doubles)
      assert {:error, {:already_started, _}} = Pipe.Supervisor.start_pipe(Doubles, name: name)
    end

    test "a name that is not running is named, with those that are" do
      name = start(Doubles)
      assert {:error, error} = Pipe.push(:nobody, [1])
      assert Exception.message(error) =~ "pipe :nobody: is not running (running pipes: "
      assert Exception.message(error) =~ inspect(name)
      assert {:error, %Error{}} = Pipe.drain(:nobody)
      assert {:error, %Error{}} = Pipe.status(:nobody)
      assert {:error, %Error{}} = Pipe.stop(:nobody)
    end
  end

  describe "failures" do
    test "a worker's death fails its batch, and the pipe goes on" do
      statements = [python("die_on_seven", batch_size: 1), {:on_error, :*, :skip}]
      name = start(statements)
      assert Pipe.push(name, Enum.to_list(1..20)) == :ok
      assert Pipe.drain(name) == :ok
      assert delivered(name) == Enum.to_list(1..20) -- [7]
      assert %{out: 19, skipped: 1, lost: 0} = status!(name).counts
      assert status!(name).restarts == 0
    end

    test "{:route, …} sends failed items to the sink of an output, counted apart" do
      test = self()
      output = [{:output, :bad}, {:on_error, :*, {:route, :bad}}]
      sinks = [bad: &send(test, {:bad, &1.payload, &1.meta.error})]
      name = start([python("fail_items", []) | output], sinks: sinks)
      assert Pipe.push(name, [1, 2, 3]) == :ok
      assert Pipe.drain(name) == :ok
      assert_received {:bad, 1, %Slither.DispatchError{}}
      assert_received {:bad, 3, %Slither.DispatchError{}}
      assert %{out: 1, routed: 2} = status!(name).counts
    end

    test ":halt delivers what was ahead, and the pipe starts again" do
      Telemetry.listen([[:slither, :pipe, :restart]])
      fail = fn [n] -> if n == 3, do: {:error, :three}, else: {:ok, [n]} end
      name = start([fake(fail, batch_size: 1, max_in_flight: 1)])

      log =
        capture_log(fn ->
          assert Pipe.push(name, [1, 2, 3, 4, 5]) == :ok
          restarted(name)
        end)

      assert log =~ "stops: pipe :sample, stage :fake"
      assert Pipe.push(name, [6]) == :ok
      assert Pipe.drain(name) == :ok
      assert delivered(name) == [1, 2, 6]
      status = status!(name)
      assert status.restarts == 1
      assert %{in: 6, out: 3, inside: 0} = status.counts
      assert status.counts.failed >= 1 and status.counts.failed + status.counts.lost == 3
    end

    test "a crash tells blocked pushers, and status tells what was lost" do
      Telemetry.listen([[:slither, :pipe, :restart]])
      name = start([gate()], max_waiting: 1)
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:entered, :gate, worker, [1]}
      fill(name)
      inside = status!(name).counts.inside
      blocked = Task.async(fn -> Pipe.push(name, [:blocked]) end)
      wait_for(name, & &1.blocked, 1)

      assert kill(name) == inside
      assert {:error, %PipeError{reason: :pipe_down} = error} = Task.await(blocked)
      assert Exception.message(error) =~ "Slither.Pipe.status/1 says what was lost"
      # The successor is there: nothing of before, and all of it accounted for.
      status = status!(name)
      assert %{lost: ^inside, inside: 0, out: 0} = status.counts
      assert status.restarts == 1

      send(worker, :release)
      assert Pipe.push(name, [2]) == :ok
      assert_receive {:entered, :gate, worker, [2]}
      send(worker, :release)
      assert Pipe.drain(name) == :ok
      assert delivered(name) == [2]
    end

    test "kills at any moment: every accepted item is delivered once or counted as lost" do
      Telemetry.listen([[:slither, :pipe, :restart]])
      stages = [python("identity", batch_size: 3), beam(& &1.payload)]
      name = start(stages, max_restarts: 1_000, max_waiting: 20, flush_after: 1)

      pushers =
        for pusher <- 1..4 do
          Task.async(fn ->
            for n <- 1..150, Pipe.push(name, [[pusher, n]]) == :ok, do: [pusher, n]
          end)
        end

      for n <- 1..10 do
        before = (n * 40) |> min(400)
        wait_for(name, &(&1.counts.in >= before or done?(pushers)), true)
        kill(name)
      end

      accepted = pushers |> Task.await_many(60_000) |> Enum.concat()
      assert Pipe.drain(name) == :ok
      counts = status!(name).counts
      got = delivered(name)
      assert got == Enum.uniq(got)
      # A push that was told nothing may have been accepted: it is counted then.
      assert counts.in >= length(accepted)
      assert got -- accepted == [] or counts.in > length(accepted)
      assert counts.inside == 0 and counts.in == counts.out + counts.lost
      # A sink that was killed in the middle has delivered its item, and counts as lost.
      assert length(got) in counts.out..(counts.out + 10)
    end

    test "a death of the process of its sinks restarts it at once, though it may take long to stop" do
      Telemetry.listen([[:slither, :pipe, :restart]])
      test = self()

      sink = fn item ->
        send(test, {:sinking, self(), item.payload})
        if item.payload == 1, do: Process.sleep(:infinity)
      end

      name = start([beam(& &1.payload)], sinks: [default: sink], shutdown: 2 * Pools.patience())
      assert Pipe.push(name, [1, 2]) == :ok
      assert_receive {:sinking, pid, 1}
      capture_log(fn -> Process.exit(pid, :kill) && restarted(name) end)
      assert push_when_up(name, [3]) == :ok
      assert_receive {:sinking, _another, 3}
      assert %{in: 3, lost: 2} = status!(name).counts
    end

    test "a pool that restarts restarts the pipe, which waits for it" do
      Telemetry.listen([[:slither, :pipe, :restart]])
      pool = Pools.start_pool(preload: ["flow_handlers"])
      name = start([python("double", pool: pool, batch_size: 1)])
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:default, ^name, 2}

      {:ok, %{scheduler: scheduler}} = Slither.Python.Pool.handle(pool)
      capture_log(fn -> Process.exit(scheduler, :kill) && restarted(name) end)
      assert push_when_up(name, [2]) == :ok
      assert_receive {:default, ^name, 4}
    end

    test "a pipe that fails too often ends alone" do
      stages = [beam(fn _item -> {:error, :always} end)]
      name = Pools.unique(:failing)
      {:ok, pid} = Pipe.Supervisor.start_pipe(definition(stages), name: name, max_restarts: 0)
      monitor = Process.monitor(pid)
      capture_log(fn -> Pipe.push(name, [1]) && assert_receive({:DOWN, ^monitor, _, _, _}) end)
      assert {:error, %Error{reason: :pipe_unavailable}} = Pipe.push(name, [2])
    end
  end

  describe "stopping" do
    test "by its supervisor, it finishes what is in" do
      name = start([python("double", batch_size: 50), beam(& &1.payload)], flush_after: :infinity)
      assert Pipe.push(name, [1, 2, 3]) == :ok
      stop_supervised!(name)
      assert delivered(name) == [2, 4, 6]
    end

    test "by its supervisor, it ends once its time is up" do
      name = start([gate()], shutdown: 10)
      assert Pipe.push(name, [1]) == :ok
      assert_receive {:entered, :gate, _worker, [1]}
      stop_supervised!(name)
      assert delivered(name) == []
    end

    test "with stop/2 it drains for so long, and returns the last counts" do
      name = start([gate()])
      assert Pipe.push(name, [1, 2]) == :ok
      assert_receive {:entered, :gate, _worker, [1]}
      assert {:ok, %{in: 2, out: 0, lost: 2, inside: 0}} = Pipe.stop(name, 10)

      name = start([python("double", [])])
      assert Pipe.push(name, [1, 2]) == :ok
      assert {:ok, %{in: 2, out: 2, lost: 0}} = Pipe.stop(name)
    end
  end

  # Pushes until the pipe is full.
  defp fill(name) do
    case Pipe.push(name, [:fill], timeout: 0) do
      :ok -> fill(name)
      {:error, :saturated} -> :ok
    end
  end

  # Lets whoever waits for the test go on, until the task has its answer.
  defp release_until(task) do
    ref = task.ref

    receive do
      {:entered, _stage, worker, _items} ->
        send(worker, :release)
        release_until(task)

      {:sinking, sink, _item} ->
        send(sink, :release)
        release_until(task)

      {^ref, answer} ->
        Process.demonitor(ref, [:flush])
        answer
    end
  end

  defp drain_released(name), do: release_until(Task.async(fn -> Pipe.drain(name) end))

  defp done?(tasks), do: Enum.all?(tasks, &(not Process.alive?(&1.pid)))

  # Asks until the status is so; it is the pipe that answers, so nothing spins while it works.
  defp wait_for(name, part, value) do
    case Pipe.status(name) do
      {:ok, status} -> if part.(status) != value, do: wait_for(name, part, value)
      {:error, _restarting} -> wait_for(name, part, value)
    end
  end
end
