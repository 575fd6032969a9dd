defmodule Slither.Watch.LiveTest do
  # What is really so, as snapshots tell it. They are of the whole VM, as are the rings of what failed and
  # what happened: other tests, beside these, would fill them.
  use ExUnit.Case, async: false

  import Slither.Test.Pools

  alias Slither.{Pipe, Watch}
  alias Slither.Store.Server
  alias Slither.Test.Stores
  alias Slither.Watch.Words

  defmodule Scores do
    use Slither.Pipe

    pipe :watch_live_scores do
      stage(:prepare, :beam, handler: fn item, _context -> item.payload end)

      stage(:double, :python,
        module: "slither_test_handlers",
        function: "double",
        pool: :watch_live
      )

      output(:accept)
    end
  end

  @uuid "12345678-1234-5678-1234-567812345678"

  # The first snapshot of which `fun` makes something.
  defp seen(fun), do: seen(fun, System.monotonic_time(:millisecond) + patience())

  defp seen(fun, until) do
    snapshot = Watch.snapshot()
    found = fun.(snapshot)

    cond do
      found -> found
      System.monotonic_time(:millisecond) > until -> flunk(inspect(snapshot, limit: :infinity))
      true -> look_again(fun, until)
    end
  end

  # A snapshot is made once a second at most, and nothing says that there is a new one.
  defp look_again(fun, until) do
    receive do
    after
      100 -> seen(fun, until)
    end
  end

  defp told(snapshot, rule, key, name) do
    Enum.find(snapshot.verdict.evidence, &(&1.rule == rule and &1[key] == Words.name(name)))
  end

  defp pool(snapshot, name), do: Enum.find(snapshot.pools, &(&1.name == Words.name(name)))
  defp alarms(snapshot, pool), do: Enum.filter(snapshot.verdict.evidence, &(&1[:pool] == pool))

  defp hang(pool), do: spawn(fn -> Slither.call("time", "sleep", [600], pool: pool) end)

  test "a stream of no pipe is a stage of its own, and no pipe" do
    pool = ready_pool(size: 1)
    options = [module: "slither_test_handlers", function: "double", pool: pool, batch_size: 1]

    look = fn _item ->
      now = System.system_time(:millisecond)
      seen(&(&1.at > now && &1))
    end

    assert [snapshot] =
             1..50 |> Slither.Dispatch.stream(options) |> Stream.map(look) |> Enum.take(1)

    assert Enum.all?(snapshot.pipes, &(&1.name != nil))
    assert Enum.any?(snapshot.stages, &(&1.name == "slither_test_handlers.double"))
  end

  test "a pipe whose run has ended is drawn as the run was" do
    name = :watch_live_ended
    stage = &{:stage, 1, &1, :beam, handler: fn item, _context -> item.payload end}
    pipe = Pipe.build!(name, [stage.(:first), stage.(:second)])
    {:ok, _outputs} = Slither.run_pipe(pipe, 1..20)
    shown = seen(fn snapshot -> Enum.find(snapshot.pipes, &(&1.name == Words.name(name))) end)
    assert %{state: "ended", stages: [%{type: "beam"}, %{type: "beam", running: 0}]} = shown
    assert ["in", "first", "second"] == Enum.map(shown.edges, & &1.from)
    assert %{to: "default", output: true} = List.last(shown.edges)
  end

  test "a call that hangs, with others waiting" do
    pool = ready_pool(size: 2)
    for _ <- 1..3, do: hang(pool)
    finding = seen(&told(&1, "stuck", :pool, pool))

    assert finding.text =~
             ~r/^pool #{pool} has had no free worker for \d+(\.\d)? s; 2 of 2 run time.sleep since \d/

    # The call that hangs is shown with its worker.
    assert %{busy: 2, queue: 1, oldest_wait: wait, workers: [%{runs: runs}, _]} =
             pool(Watch.snapshot(), pool)

    assert wait >= 4_000
    assert %{call: "time.sleep", items: 1, deadline: left} = runs
    assert left > 0
  end

  test "long calls that nobody waits for are none" do
    pool = ready_pool(size: 1)
    hang(pool)

    snapshot =
      seen(fn snapshot ->
        with %{workers: [%{runs: %{since: since}}]} when since > 6_000 <- pool(snapshot, pool),
             do: snapshot,
             else: (_not_yet -> nil)
      end)

    assert for(%{rule: rule} <- alarms(snapshot, "#{pool}"), rule != "working", do: rule) == []
  end

  test "workers that can't start" do
    pool = start_pool(preload: ["slither_raises"])
    finding = seen(&told(&1, "cant_start", :pool, pool))
    assert finding.text =~ "pool #{pool} can't start its workers: "
    assert pool(Watch.snapshot(), pool).ready == 0
  end

  test "a batch that ends its run has failed, however many items it had" do
    pool = ready_pool(size: 1)
    options = [module: "fractions", function: "Fraction", pool: pool, batch_size: 200]
    {:error, _error, []} = Slither.dispatch(Enum.to_list(1..400), options)
    finding = seen(&told(&1, "failing", :stage, "fractions.Fraction"))
    assert finding.text =~ ~r/^100 % of fractions.Fraction, TypeError, last /
  end

  test "a few items in a hundred that fail" do
    pool = ready_pool(size: 1)
    # Each test's calls are of a target of their own: others fail, too.
    inputs = for n <- 1..100, do: if(rem(n, 33) == 0, do: "x", else: @uuid)
    options = [pool: pool, module: "uuid", function: "UUID", each: true, on_error: :skip]
    {:ok, _items} = Slither.dispatch(inputs, options)

    finding = seen(&told(&1, "failing", :stage, "uuid.UUID"))
    assert finding.text =~ ~r/^3 % of uuid.UUID, ValueError, last (just now|\d+ s ago)$/

    snapshot = Watch.snapshot()
    assert stage = Enum.find(snapshot.stages, &(&1.name == "uuid.UUID"))
    assert %{items: 100, failed: 3, failed_share: 0.03, p50: p50, p95: p95} = stage
    assert p50 > 0 and p95 >= p50
    assert_in_delta stage.shares |> Map.values() |> Enum.sum(), 1.0, 0.01

    assert failure = Enum.find(snapshot.failures, &(&1.stage == "uuid.UUID"))
    assert %{count: 3, exception: "ValueError", reason: "python_exception", share: 0.03} = failure
    assert failure.frame =~ ~r/^uuid\.py:\d+ in __init__$/
    assert failure.traceback =~ "badly formed hexadecimal UUID string"
    assert Enum.sum(failure.spark) == 3
  end

  test "a pipe that flows, and then waits for its sink" do
    ready_pool(name: :watch_live)
    test = self()

    sink = fn item ->
      send(test, {:taken, item.payload})
      if item.payload == 2_000, do: receive(do: (:go_on -> :ok))
    end

    sinks = [accept: fn _item -> :ok end, default: sink]
    start_supervised!({Pipe, {Scores, name: :watch_live_pipe, sinks: sinks}})

    pushes =
      spawn_link(fn ->
        for n <- 1..3, do: Pipe.push(:watch_live_pipe, Enum.to_list((n * 500)..(n * 500 + 499)))
      end)

    flows = seen(&scores(&1, fn pipe -> pipe.in_rate > 0 end))
    assert %{kind: "server", state: "running", stages: [prepare, double]} = flows
    assert %{name: "prepare", type: "beam", pool: nil} = prepare
    assert %{name: "double", type: "python", pool: "watch_live"} = double
    assert %{from: "in", to: "prepare"} = hd(flows.edges)
    assert Enum.any?(flows.edges, &match?(%{from: "double", to: "default", output: true}, &1))

    assert_receive {:taken, 2_000}, patience()
    finding = seen(&told(&1, "blocked", :pipe, "watch_live_scores"))

    assert finding.text =~
             ~r/^pipe watch_live_scores is held up by its sink: \d+ items? to be taken, none taken for /

    blocked = seen(&scores(&1, fn pipe -> pipe.held >= 3_000 end))
    assert blocked.delivering > 0

    {:ok, sink, _value} = Slither.Pipe.Names.find(:sink, :watch_live_pipe)
    send(sink, :go_on)
    # It is over within a look or two.
    assert seen(fn snapshot -> told(snapshot, "blocked", :pipe, "watch_live_scores") == nil end)
    Process.exit(pushes, :kill)
  end

  defp scores(snapshot, fun),
    do: Enum.find(snapshot.pipes, &(&1.name == "watch_live_scores" and fun.(&1)))

  test "a worker that dies, and its replacement" do
    pool = ready_pool(size: 1)
    {:ok, %{workers: [%{os_pid: os_pid}]}} = Slither.Python.Pool.status(pool)
    signal(os_pid, "KILL")
    assert await_down(pool, os_pid) == :worker_died

    events =
      seen(fn snapshot ->
        events = Enum.filter(snapshot.events, &(&1.pool == "#{pool}"))
        length(events) == 3 && events
      end)

    assert [
             %{kind: "start"},
             %{kind: "death", reason: "worker_died", text: text},
             %{kind: "start"}
           ] = events

    assert text == "worker 0 of pool #{pool} (pid #{os_pid}) died: killed by signal 9 (SIGKILL)"
  end

  test "stores, their rows and their writes" do
    store = Stores.start(tables: [%{name: :items}, %{name: :ranks, type: :ordered_set}])
    for n <- 1..5, do: Server.put(store, :items, n, n)
    name = Words.name(store)

    found =
      seen(fn snapshot ->
        Enum.find(snapshot.stores, &(&1.store == name and &1.writes_rate > 0))
      end)

    assert %{durable: false, tables: [items, ranks]} = found
    assert %{name: "items", rows: 5, memory: memory} = items
    assert memory > 0
    assert ranks.rows == 0
  end
end
