defmodule Slither.Watch.VerdictTest do
  use ExUnit.Case, async: true

  alias Slither.Watch.Verdict

  doctest Slither.Watch.Words

  @at 1_800_000_000_000

  defp snapshot(parts) do
    totals = %{rate: 0, oldest_wait: nil, workers: 0, busy: 0, failed_share: 0}
    empty = %{at: @at, totals: totals, pipes: [], stages: [], pools: [], failures: [], events: []}
    Map.merge(empty, Map.new(parts))
  end

  defp pool(name, workers, facts \\ []) do
    ready = Enum.count(workers, &(&1.status == "ready"))

    pool = %{
      name: name,
      error: nil,
      queue: 0,
      max_queue: 1_000,
      oldest_wait: nil,
      since_free: nil
    }

    pool |> Map.merge(%{ready: ready, workers: workers}) |> Map.merge(Map.new(facts))
  end

  defp starting, do: %{status: "starting", runs: nil, calls: 0}
  defp idle, do: %{status: "ready", runs: nil, calls: 0}

  defp busy(call, since, place \\ []),
    do: %{status: "ready", runs: Map.merge(%{call: call, since: since}, Map.new(place)), calls: 1}

  defp stage(name, facts),
    do: Map.merge(%{name: name, running: 0, p95: nil, failed_share: 0}, Map.new(facts))

  defp pipe(name, facts) do
    pipe = %{
      name: name,
      state: "running",
      stages: [],
      blocked: 0,
      delivering: 0,
      last_output: nil
    }

    Map.merge(pipe, Map.new(facts))
  end

  defp death(pool, ago, reason \\ "worker_died"),
    do: %{kind: "death", pool: pool, worker: 0, reason: reason, at: @at - ago}

  defp told(parts), do: parts |> snapshot() |> Verdict.of() |> Map.take([:state, :text, :exit])

  defp text(parts), do: Verdict.of(snapshot(parts)).text

  describe "nothing to tell" do
    test "nothing runs" do
      assert told([]) == %{state: "idle", text: "Nothing runs", exit: 0}

      assert text(pools: [pool("default", [idle(), idle()])]) ==
               "Nothing runs; 2 workers are ready"
    end

    test "items flow, however long the oldest call waits" do
      totals = %{rate: 12_432.0, oldest_wait: 80}
      flow = [totals: totals, pools: [pool("default", [busy("m.f", 12)], oldest_wait: 80)]]
      text = "Flowing: 12.4 k items/s, oldest waits 80 ms"
      assert told(flow) == %{state: "flowing", text: text, exit: 0}

      line = pool("default", [busy("m.f", 200), busy("m.f", 90)], oldest_wait: 9_000, queue: 40)
      flow = [totals: %{rate: 31.2, oldest_wait: 9_000}, pools: [line]]
      assert text(flow) == "Flowing: 31.2 items/s, oldest waits 9 s"
    end

    test "items flow, and one call may hang" do
      totals = %{rate: 240.0, oldest_wait: nil}
      hung = busy("m.hang", 200_000)
      flow = [totals: totals, pools: [pool("default", [hung, busy("m.f", 20)])]]
      text = "Flowing: 240 items/s; m.hang runs since 3 min"
      assert told(flow) == %{state: "flowing", text: text, exit: 0}

      two = pool("default", [busy("m.hang", 31_000), hung, busy("m.f", 29_000)])

      assert text(totals: totals, pools: [two]) ==
               "Flowing: 240 items/s; 2 calls run for long: m.hang since 3 min"

      # As long as its kind is.
      usual = [stages: [stage("m.hang", p95: 100_000.0)]]
      assert text(flow ++ usual) == "Flowing: 240 items/s"
    end

    test "long calls run, and nobody waits for their workers" do
      workers = [busy("train.fit", 50_000), busy("train.fit", 600_000)]

      assert told(pools: [pool("gpu", workers)]) ==
               %{
                 state: "working",
                 text: "Working: 2 calls run: the longest, train.fit, since 10 min",
                 exit: 0
               }

      assert text(pools: [pool("gpu", [busy("train.fit", 50_000)])]) ==
               "Working: 1 call runs: train.fit since 50 s"
    end

    test "calls wait for workers that start" do
      starting = pool("default", [starting(), starting()], queue: 3, oldest_wait: 6_000)

      assert told(pools: [starting]) ==
               %{
                 state: "working",
                 text: "Working: pool default starts its workers; 3 calls wait",
                 exit: 0
               }
    end

    test "calls wait behind others that take as long as they do" do
      scoring = [pipe("score", stages: [stage("predict", p95: 20_000.0)])]
      at = [pipe: "score", stage: "predict"]
      workers = [busy("m.predict", 15_000, at), busy("m.predict", 19_000, at)]
      pools = [pool("gpu", workers, queue: 6, oldest_wait: 15_000, since_free: 40_000)]
      assert %{state: "working", exit: 0} = told(pools: pools, pipes: scoring)
      # As they do without a pipe, where the stage is what they call.
      workers = [busy("m.predict", 15_000)]
      pools = [pool("gpu", workers, queue: 6, oldest_wait: 15_000)]
      plain = [stage("m.predict", p95: 20_000.0)]
      assert %{state: "working"} = told(pools: pools, stages: plain)
      assert %{state: "waiting"} = told(pools: pools, stages: [stage("m.other", p95: 20_000.0)])
    end

    test "one item failed among many, or long ago" do
      one = stage("score", failed_share: 0.004, last_failed: 2_000)
      old = stage("score", failed_share: 1.0, last_failed: 31_000)
      flow = %{rate: 100, oldest_wait: nil}
      assert %{state: "flowing"} = told(totals: flow, pipes: [pipe("p", stages: [one])])
      assert %{state: "idle"} = told(pipes: [pipe("p", stages: [old])])
    end

    test "a worker died, or several did some time ago" do
      assert %{state: "idle"} = told(events: [death("gpu", 1_000), death("gpu", 2_000)])
      assert %{state: "idle"} = told(events: for(ago <- 1..5, do: death("gpu", 31_000 + ago)))
      recycled = for ago <- 1..9, do: %{death("gpu", ago) | kind: "recycle"}
      assert %{state: "idle"} = told(events: recycled)
    end

    test "a pool that serves could not start one more worker" do
      pools = [pool("default", [busy("m.f", 100)], error: "no memory")]
      assert %{state: "working", exit: 0} = told(pools: pools)
    end

    test "a run waits for its input, or for its reader" do
      run = %{pipe("clean", []) | state: "running"} |> Map.merge(%{kind: "run", runs: 1})

      assert told(pipes: [run]) == %{
               state: "working",
               text:
                 "Working: the run of pipe clean waits for its input, or for who reads its results",
               exit: 0
             }

      assert text(pipes: [run, %{run | name: "score", runs: 2}]) ==
               "Working: 3 runs, as of pipe clean, wait for their input, or for who reads their results"

      # One that is over, and a pipe that runs for as long as the application does.
      over = [%{run | runs: 0}, %{run | kind: "server"}]
      assert text(pipes: over) == "Nothing runs"
    end

    test "handlers on BEAM are at work" do
      pipes = [pipe("clean", stages: [stage("split", running: 12)])]
      assert text(pipes: pipes) == "Working: 12 items in stage split of pipe clean"
    end
  end

  describe "waiting" do
    test "for a call that hangs" do
      workers = [
        busy("score.predict", 41_200),
        busy("score.predict", 41_000),
        busy("score.load", 30_000),
        busy("score.predict", 40_000)
      ]

      gpu = pool("gpu", workers, queue: 2, oldest_wait: 40_000, since_free: 42_100)

      text =
        "Waiting: pool gpu has had no free worker for 42 s; 3 of 4 run score.predict since 41 s"

      # Even if items flow elsewhere.
      flow = %{rate: 500, oldest_wait: 40_000}
      assert told(pools: [gpu], totals: flow) == %{state: "waiting", text: text, exit: 1}

      verdict = Verdict.of(snapshot(pools: [gpu], totals: flow))
      assert [%{rule: "stuck", pool: "gpu", since: 40_000}] = verdict.evidence
    end

    test "is told four seconds after it began, and of one worker" do
      hung =
        pool("default", [busy("m.f", 4_000)], queue: 1, oldest_wait: 4_000, since_free: 4_100)

      text = "pool default has had no free worker for 4.1 s; 1 of 1 runs m.f since 4 s"
      assert text(pools: [hung]) == "Waiting: " <> text
      assert %{state: "working"} = told(pools: [%{hung | oldest_wait: 3_900}])
      assert %{state: "working"} = told(pools: [pool("default", [busy("m.f", 3_900)], queue: 1)])
    end

    test "is told of calls that wait at the worker itself" do
      behind = pool("default", [%{busy("m.f", 5_000) | calls: 2}], since_free: 5_000)
      text = "pool default has had no free worker for 5 s; 1 of 1 runs m.f since 5 s"
      assert text(pools: [behind]) == "Waiting: " <> text

      assert %{state: "working"} =
               told(pools: [pool("default", [%{busy("m.f", 3_000) | calls: 2}])])

      other = [%{busy("m.f", 50_000) | calls: 2}, busy("m.f", 20)]
      assert %{state: "working"} = told(pools: [pool("default", other)])
    end

    test "is not told of a call whose reader makes it wait" do
      reader = pool("default", [busy("m.f", 9_000, stalled: true)], queue: 1, oldest_wait: 9_000)
      assert %{state: "working"} = told(pools: [reader])
    end

    test "is not told while another worker goes on" do
      workers = [busy("m.f", 60_000), busy("m.f", 20)]

      assert %{state: "working"} =
               told(pools: [pool("p", workers, queue: 5, oldest_wait: 50_000)])
    end

    test "is told where a call takes far longer than its kind does" do
      at = [pipe: "score", stage: "predict"]
      scoring = [pipe("score", stages: [stage("predict", p95: 2_000.0)])]
      hung = pool("gpu", [busy("m.predict", 6_100, at)], queue: 1, oldest_wait: 6_000)
      assert %{state: "waiting"} = told(pools: [hung], pipes: scoring)
    end

    test "in a queue that is full" do
      full = pool("default", [busy("m.f", 20)], queue: 64, max_queue: 64, oldest_wait: 2_000)

      assert text(pools: [full]) ==
               "Waiting: pool default is full: 64 calls wait, the oldest for 2 s"

      one = pool("default", [busy("m.f", 20)], queue: 1, max_queue: 1)
      assert text(pools: [one]) == "Waiting: pool default is full: 1 call waits"

      unbounded = pool("default", [busy("m.f", 20)], queue: 64, max_queue: nil)
      assert %{state: "working"} = told(pools: [unbounded])
    end

    test "for a sink" do
      blocked = pipe("score", delivering: 5, blocked: 2, held: 6_000)

      assert told(pipes: [blocked]) ==
               %{
                 state: "waiting",
                 text:
                   "Waiting: pipe score is held up by its sink: 5 items to be taken, " <>
                     "none taken for 6 s; 2 callers wait to push",
                 exit: 1
               }

      assert %{state: "idle"} = told(pipes: [%{blocked | held: 900}])
      assert %{state: "idle"} = told(pipes: [%{blocked | held: nil}])
    end

    test "for a pool that is not there" do
      pipe = pipe("score", state: "waiting_for_pool", error: "no pool :gpu is running")
      assert text(pipes: [pipe]) == "Waiting: pipe score can't begin: no pool :gpu is running"
    end
  end

  describe "failing" do
    test "a pool none of whose workers starts is told of once" do
      gpu = pool("gpu", [starting()], error: "no module is named 'torch'")
      events = for ago <- 1..9, do: death("gpu", ago, "start_failed")
      verdict = Verdict.of(snapshot(pools: [gpu], events: events))

      assert verdict.text ==
               "Failing: pool gpu can't start its workers: no module is named 'torch'"

      assert [%{rule: "cant_start"}] = verdict.evidence

      # Others of its workers can.
      gpu = %{gpu | ready: 1}
      assert [%{rule: "dying"} | _] = Verdict.of(snapshot(pools: [gpu], events: events)).evidence
    end

    test "a share of a stage's items" do
      stage = stage("score", failed_share: 0.0312, last_failed: 4_000)

      failures = [
        %{pipe: "other", stage: "score", exception: "KeyError", reason: "python_exception"},
        %{pipe: "rank", stage: "score", exception: "ValueError", reason: "python_exception"}
      ]

      flow = [totals: %{rate: 100, oldest_wait: nil}, pipes: [pipe("rank", stages: [stage])]]

      assert told([failures: failures] ++ flow) ==
               %{
                 state: "failing",
                 text: "Failing: 3.1 % of stage score of pipe rank, ValueError, last 4 s ago",
                 exit: 2
               }

      plain = stage("m.f", failed_share: 1.0, last_failed: 200)
      failures = [%{pipe: nil, stage: "m.f", exception: nil, reason: "timeout"}]

      assert text(stages: [plain], failures: failures) ==
               "Failing: 100 % of m.f, timeout, last just now"
    end

    test "workers that can't start" do
      error = "pool :default: no module named torch\n  File \"x.py\", line 1"
      down = pool("default", [starting()], error: error, queue: 3, oldest_wait: 12_000)

      assert told(pools: [down]) ==
               %{
                 state: "failing",
                 text:
                   "Failing: pool default can't start its workers: " <>
                     "pool :default: no module named torch; 3 calls wait",
                 exit: 2
               }
    end

    test "workers that die again and again" do
      deaths = [death("gpu", 3_000), death("gpu", 9_000, "timeout"), death("gpu", 55_000)]

      assert text(events: deaths) ==
               "Failing: 3 workers of pool gpu ended within a minute (worker_died), the last 3 s ago"
    end

    test "comes before waiting, which is evidence too" do
      down = pool("cpu", [], error: "no memory", queue: 0)
      hung = pool("gpu", [busy("m.f", 9_000)], queue: 1, oldest_wait: 9_000, since_free: 9_000)
      verdict = Verdict.of(snapshot(pools: [hung, down]))
      assert %{state: "failing", exit: 2} = verdict

      assert [%{rule: "cant_start", pool: "cpu"}, %{rule: "stuck", pool: "gpu"}] =
               verdict.evidence
    end
  end

  test "rules are in an order, each once" do
    rules = Verdict.rules()
    assert rules == Enum.uniq(rules)
    assert List.last(rules) == :idle
  end
end
