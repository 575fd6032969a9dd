defmodule Slither.Watch.ScreenTest do
  use ExUnit.Case, async: true

  alias Slither.Watch.{Diagnosis, Screen, Terminal, Verdict}

  doctest Diagnosis
  doctest Screen
  doctest Terminal

  defp worker(slot, facts \\ []) do
    worker = %{worker: slot, status: "ready", os_pid: 4_000 + slot, rss: 48_300_000, served: 12}
    worker |> Map.merge(%{runs: nil, said: []}) |> Map.merge(Map.new(facts))
  end

  defp snapshot(workers \\ [worker(0)]) do
    pool = %{name: "gpu", size: length(workers), ready: length(workers), busy: 1, busy_share: 0.5}

    waits = %{
      queue: 3,
      max_queue: 64,
      oldest_wait: 41_000,
      since_free: 42_000,
      died: 0,
      error: nil
    }

    stage = %{
      name: "predict",
      rate: 12_432.0,
      spark: List.duplicate(5, 60),
      waiting: 3,
      queued: 8,
      running: 16,
      retrying: 0,
      bound: 32,
      p50: 12.0,
      p95: 80.0,
      failed_share: 0.031,
      last_failed: 4_000,
      shares: %{handler: 0.8, queue: 0.2},
      narrowest: true
    }

    pipe = %{name: "score", state: "running", runs: 1, in_rate: 12_432.0, out_rate: 900.0}
    pipe = Map.merge(pipe, %{delivering: 0, blocked: 2, held: nil, stages: [stage]})

    failure = %{place: "score.predict", pipe: "score", stage: "predict", exception: "ValueError"}

    told = %{
      reason: "python_exception",
      frame: "m.py:4 in f",
      count: 12,
      last: 4_000,
      message: "no"
    }

    snapshot = %{
      at: 1_800_000_000_000,
      name: "app",
      os_pid: 4711,
      program_pid: nil,
      uptime: 200_000,
      totals: %{rate: 900.0, oldest_wait: 41_000, workers: 1, busy: 1, failed_share: 0.031},
      pipes: [pipe],
      stages: [],
      pools: [Map.merge(Map.put(pool, :workers, workers), waits)],
      failures: [Map.merge(failure, told)],
      stores: [%{store: "S", tables: [%{name: "t", rows: 3}], writes_rate: 0.5}],
      events: [%{at: 1_799_999_990_000, kind: "start", pool: "gpu", text: "worker 0 is ready"}]
    }

    Map.put(snapshot, :verdict, Verdict.of(snapshot))
  end

  defp text(snapshot, size), do: snapshot |> Screen.lines(size) |> Enum.join("\n")

  test "a screen has all parts, the verdict first" do
    runs = %{call: "m.predict", pipe: "score", stage: "predict", items: 16, since: 41_000}
    runs = Map.put(runs, :deadline, 19_000)
    said = [%{level: "info", text: "batch 3"}]
    text = text(snapshot([worker(0), worker(1, runs: runs, said: said)]), {120, 50, false})
    assert [title, verdict | _] = String.split(text, "\n")
    assert title =~ ~r/^slither top - app \(process 4711\), up 3 min +\d\d:\d\d:\d\d$/

    assert verdict ==
             "✖ Failing: 3.1 % of stage predict of pipe score, ValueError, last 4 s ago"

    assert text =~ "PIPE score: running, 12.4 k items/s in, 900 out, 2 callers waiting to push"

    assert text =~
             ~r/^> predict +12.4 k +█{15} +27 +████· 24 of 32 +12 ms +80 ms +3.1 % +handler 80 %$/mu

    assert text =~ ~r/^  gpu +2 of 2 +1 +50 % +3 of 64 +41 s +42 s +0$/m
    # The worker that runs for longest is the first.
    assert text =~
             ~r/served +says\n  gpu 1 +4001 +runs +score.predict m.predict \(16\) +41 s of 60 s +46 MiB +12 +batch 3\n  gpu 0 /

    assert text =~ ~r/^  score.predict +ValueError +m.py:4 in f +12 times +4 s ago +no$/m
    assert text =~ "  store S: t 3 rows; 0.5 writes/s"
    assert text =~ "  10 s ago: worker 0 is ready"
  end

  test "it fits, whatever its size" do
    many = for slot <- 0..99, do: worker(slot)

    for columns <- [1, 10, 40, 80, 200], rows <- [1, 2, 5, 24, 60] do
      lines = Screen.lines(snapshot(many), {columns, rows, false})
      assert length(lines) <= rows
      assert Enum.all?(lines, &(String.length(&1) <= columns))
    end

    text = text(snapshot(many), {100, 40, false})
    assert text =~ ~r/and \d+ more/
    # What is below has its rows as well.
    assert text =~ "FAILING" and text =~ "EVENTS"
  end

  test "colours are left out where nobody wants them" do
    refute text(snapshot(), {80, 24, false}) =~ "\e"
    assert text(snapshot(), {80, 24, true}) =~ "\e[1;31m✖ Failing"
  end

  test "nothing that a program says reaches the terminal as an order" do
    said = [%{level: "info", text: "\e]0;title\a\e[2J\u202Eabc\u009B2J\r\n"}]
    runs = %{call: "m.\e[31m", pipe: nil, stage: nil, items: 1, since: 5, deadline: nil}
    text = text(snapshot([worker(0, runs: runs, said: said)]), {200, 50, false})
    refute text =~ ~r/[\x{00}-\x{09}\x{0B}-\x{1F}\x{7F}-\x{9F}\x{202E}]/u
    assert text =~ "abc"
    refute Screen.line(put_in(snapshot().verdict.text, "a\e[2Jb")) =~ "\e"
  end

  test "a line has the verdict and the figures" do
    assert Screen.line(snapshot()) =~
             ~r/^\d\d:\d\d:\d\d Failing: 3.1 % .* ago \[900 items\/s, 1 of 1 worker busy, 3 calls in line, 3.1 % failed\]$/
  end

  test "an argument that is no process is refused" do
    assert {:error, %{message: message}} = Terminal.os_pid(["x1"])
    assert message == ~s(a program is named by the number of one process, not by "x1")
    assert {:error, _} = Terminal.os_pid(["1", "2"])
    assert Terminal.os_pid([]) == {:ok, nil}
  end
end
