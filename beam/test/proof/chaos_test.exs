defmodule Slither.Proof.ChaosTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  alias Slither.Proof
  alias Slither.Proof.Chaos
  alias Slither.Proof.Chaos.Account

  test "a run whose workers are struck gives what an undisturbed one gives, each item once" do
    report = Chaos.run(items: 12_000, every: 30, blows: 6, workers: 2, spare: 1, seed: 3)
    assert Proof.held?(report), Proof.text(report)
  end

  describe "report/3" do
    @options %{items: 3, workers: 1, spare: 0, timeout: 500, everything: false}

    test "holds where both runs are the same and the receipt adds up" do
      assert broken(pass(), struck(pass())) == []
    end

    test "tells of what is lost, doubled and changed" do
      lost = struck(%{pass() | results: [[1, "a"], [3, "c"]]})
      assert broken(pass(), lost) == ["nothing is lost", same()]

      twice = struck(%{pass() | results: [[1, "a"], [2, "b"], [2, "b"], [3, "c"]]})
      assert broken(pass(), twice) == ["nothing comes twice", same()]

      changed = struck(%{pass() | results: [[1, "a"], [2, "x"], [3, "c"]]})
      assert broken(pass(), changed) == [same()]
    end

    test "tells of an account that does not add up, and of a run that ended by an error" do
      short = struck(pass(out: 2))
      assert broken(pass(), short) == ["the receipt adds up"]

      failed = struck(%{pass() | error: %RuntimeError{message: "no"}})
      assert broken(pass(), failed) == ["the disturbed run ends well"]
    end

    test "tells of deaths that nothing struck, and of processes that are left" do
      down = {:down, 5, %{}, %{os_pid: 99, reason: :worker_died}}
      odd = struck(pass())
      odd = %{odd | events: [down | odd.events]}
      assert broken(pass(), odd) == ["nobody died without a cause"]
      assert broken(pass(), %{struck(pass()) | left: [7]}) == ["no worker is left"]
    end

    test "does not hold where nothing was struck" do
      assert broken(pass(), pass()) == ["workers were struck"]
    end
  end

  test "a trap's blow is of the worker that told of it, and of nobody where none did" do
    blows = [blow(1, "spin", nil), blow(2, "SIGKILL", 20), blow(3, "sleep", nil)]
    events = [{:progress, 15, %{done: 1}, %{os_pid: 10}}]

    assert [%{cause: "spin", os_pid: 10, at: 15}, %{cause: "SIGKILL", os_pid: 20}] =
             Account.struck(%{blows: blows, events: events})
  end

  test "a death is of the last blow before it" do
    blows = [%{blow(1, "SIGSTOP", 10) | at: 1}, %{blow(2, "SIGKILL", 10) | at: 200}]
    down = {:down, 210, %{}, %{os_pid: 10, reason: :worker_died}}
    assert [%{cause: "SIGKILL", reason: :worker_died}] = Account.deaths([down], blows)
  end

  test "a death is of the blow to what the worker was forked from" do
    blows = [%{blow(1, "SIGKILL", 10) | with: [11, 12]}]
    downs = for os_pid <- [12, 13], do: {:down, 9, %{}, %{os_pid: os_pid, reason: :worker_died}}
    assert [%{cause: "SIGKILL"}, %{cause: "none"}] = Account.deaths(downs, blows)
  end

  defp broken(plain, disturbed) do
    report = Account.report(plain, disturbed, @options)
    assert is_binary(Proof.text(report))
    for {label, false, _detail} <- report.checks, do: label
  end

  defp same, do: "the results are the same, item for item"

  defp blow(number, cause, os_pid),
    do: %{number: number, at: 1, cause: cause, os_pid: os_pid, with: []}

  defp struck(pass), do: %{pass | blows: [blow(1, "SIGKILL", 10)]}

  defp pass(changes \\ []) do
    receipt =
      Map.merge(
        %{in: 3, expanded: 0, out: 3, skipped: 0, routed: 0, failed: 0, short: 0, duplicate: 0},
        Map.new([batches: 1, late: 0, retries: 0, requeues: 0] ++ changes)
      )

    %{
      results: [[1, "a"], [2, "b"], [3, "c"]],
      error: nil,
      ms: 10,
      blows: [],
      events: [{:stop, 9, receipt, %{run: "r", pool: :p}}],
      peak: %{beam: 1, workers: 1},
      left: [],
      gone_ms: 1
    }
  end
end
