defmodule Slither.Python.Worker.CallsTest do
  use ExUnit.Case, async: true

  alias Slither.Python.Call
  alias Slither.Python.Worker.Calls

  defp call(id, options \\ []) do
    struct!(%Call{id: id, timeout: :infinity, batch: 0, head: <<>>, context: "run"}, options)
  end

  # Calls that were sent at 0, all of one run unless they say otherwise.
  defp out(calls) do
    Enum.reduce(calls, %Calls{}, fn call, calls ->
      {_effects, calls} = Calls.sent(calls, call, 0)
      calls
    end)
  end

  describe "the deadline" do
    test "is that of the call that runs, from when it begins" do
      {effects, calls} = Calls.sent(%Calls{}, call(1, timeout: 100), 1_000)
      assert effects == [{:arm, 1_100}]
      assert {[], calls} = Calls.sent(calls, call(2, timeout: 100), 1_050)
      assert {[], calls} = Calls.answered(calls, 1, 1_080)
      assert calls.deadline == 1_180
    end

    test "keeps a timer that fires before it, and replaces one that would be late" do
      {[{:arm, 1_000}], calls} = Calls.sent(%Calls{}, call(1, timeout: 1_000), 0)
      {[], calls} = Calls.answered(calls, 1, 10)
      assert {[{:arm, 110}], calls} = Calls.sent(calls, call(2, timeout: 100), 10)
      {[], calls} = Calls.answered(calls, 2, 20)
      assert {[], calls} = Calls.sent(calls, call(3, timeout: 1_000), 30)
      # The timer comes too early, and is set again.
      assert {[{:arm, 1_030}], calls} = Calls.due(calls, 110)
      assert {:over, %{id: 3}, %{armed: nil}} = Calls.due(calls, 1_030)
    end

    test "is none without a timeout, without a call, and once the process is killed" do
      assert {[], %{deadline: nil}} = Calls.sent(%Calls{}, call(1), 0)
      calls = out([call(1, timeout: 100)])
      assert {[], _calls} = Calls.due(Calls.halt(calls), 1_000)
      {[], calls} = Calls.answered(calls, 1, 10)
      assert {[], %{armed: nil}} = Calls.due(calls, 1_000)
    end
  end

  describe "answers" do
    test "may come out of order; only that of the first begins the next" do
      calls = out([call(1), call(2), call(3, timeout: 50)])
      assert {[], calls} = Calls.answered(calls, 2, 0)
      assert Enum.map(calls.queue, & &1.id) == [1, 3]
      assert {[{:arm, 60}], _calls} = Calls.answered(calls, 1, 10)
    end

    test "of no call are unknown, as are parts" do
      calls = out([call(1)])
      assert Calls.answered(calls, 2, 0) == :unknown
      assert Calls.part(calls, 2, 0) == :unknown
      assert Calls.cancel(calls, 2) == :unknown
    end
  end

  test "results of a call behind say that it runs" do
    calls = out([call(1), call(2, timeout: 50)])
    assert {[{:arm, 60}], calls} = Calls.part(calls, 2, 10)
    assert Calls.running?(calls, 2)
    assert {[], ^calls} = Calls.part(calls, 2, 20)
  end

  describe "a handler that waits for its reader" do
    test "uses up none of its time" do
      calls = out([call(1, timeout: 100)])
      assert {[:stalled], calls} = Calls.stalled(calls, 1, 30)
      assert {[], calls} = Calls.due(calls, 100)
      assert {[:going_on, {:arm, 570}], calls} = Calls.resumed(calls, 1, 500)
      assert {:over, %{id: 1}, %{armed: nil}} = Calls.due(calls, 570)
    end

    test "goes on when a call of another run is behind it, or somebody says so" do
      calls = out([call(1)])
      assert Calls.run_on(calls) == []
      {[:stalled], calls} = Calls.stalled(calls, 1, 0)
      assert Calls.run_on(calls) == [{:run_on, 1}]
      assert {[], calls} = Calls.sent(calls, call(2), 0)
      refute Calls.others?(calls)
      assert {[{:run_on, 1}], calls} = Calls.sent(calls, call(3, context: "other"), 0)
      assert Calls.others?(calls)
    end

    test "is counted once, and no more when it is answered" do
      {[:stalled], calls} = [call(1)] |> out() |> Calls.stalled(1, 0)
      assert {[], calls} = Calls.stalled(calls, 1, 0)
      assert {[:going_on], %{stall: nil}} = Calls.answered(calls, 1, 0)
      assert {[], _calls} = Calls.resumed(out([call(1)]), 1, 0)
    end
  end

  describe "a call whose items have a time each" do
    defp limited(options \\ []),
      do: out([call(1, [item_timeout: 100, items: 3] ++ options), call(2)])

    test "is looked at when an item may be over its time, and then when the one it is at may be" do
      assert {[{:arm, 100}], _calls} = Calls.sent(%Calls{}, call(1, item_timeout: 100), 0)
      calls = limited()
      assert {:look, %{id: 1}, calls} = Calls.due(calls, 100)
      assert {[{:arm, 170}], calls} = Calls.looked(calls, {:item, 4, 30}, 100)
      assert {:look, _call, calls} = Calls.due(calls, 170)
      assert {[{:arm, 270}], calls} = Calls.looked(calls, :none, 170)
      assert Calls.looked(calls, {:item, 7, 100}, 270) == {:over, {:item, 7}}
      # One on an event loop notes a time that is to come.
      {:look, _call, calls} = Calls.due(calls, 270)
      assert {[{:arm, 380}], _calls} = Calls.looked(calls, {:item, 7, -10}, 270)
    end

    test "has their times together for a list, and where nobody can tell what it is at" do
      {:look, _call, calls} = Calls.due(limited(), 100)
      assert {[{:arm, 300}], _calls} = Calls.looked(calls, :error, 100)
      assert {[{:arm, 350}], _calls} = Calls.looked(calls, {:list, 50}, 100)
      assert Calls.looked(calls, :error, 300) == {:over, :list}
      assert Calls.looked(calls, {:list, 300}, 320) == {:over, :list}
    end

    test "is not looked at while it waits for its reader, which uses up none of a list's time" do
      {:look, _call, calls} = Calls.due(limited(timeout: 1_000), 100)
      {[{:arm, 300}], calls} = Calls.looked(calls, {:list, 100}, 100)
      {[:stalled], calls} = Calls.stalled(calls, 1, 120)
      assert {[], calls} = Calls.due(calls, 5_000)
      assert {[:going_on, {:arm, 9_120}], calls} = Calls.resumed(calls, 1, 9_120)
      assert {:look, _call, calls} = Calls.due(calls, 9_120)
      assert {[{:arm, 9_300}], calls} = Calls.looked(calls, {:list, 9_120}, 9_120)
      assert Calls.looked(calls, {:list, 9_300}, 9_300) == {:over, :list}
    end

    test "is over the time of the whole, too" do
      calls = limited(timeout: 150)
      assert {:look, _call, calls} = Calls.due(calls, 100)
      assert {[{:arm, 150}], calls} = Calls.looked(calls, {:item, 0, 10}, 100)
      assert {:over, %{id: 1}, _calls} = Calls.due(calls, 150)
    end

    test "gives way to the next, which may have no such time" do
      assert {[], calls} = Calls.answered(limited(), 1, 50)
      assert {[], _calls} = Calls.due(calls, 100)
    end
  end

  describe "a call that is cancelled" do
    test "has its grace from when it runs, and no views of its session any more" do
      calls = out([call(1), call(2)])
      assert {[], calls} = Calls.cancel(calls, 2)
      assert %{context: nil} = Calls.fetch(calls, 2)
      assert {[{:grace, 2}], calls} = Calls.answered(calls, 1, 0)
      assert {[], %{cancelled: []}} = Calls.answered(calls, 2, 0)
      assert {[{:grace, 1}], _calls} = Calls.cancel(out([call(1)]), 1)
    end
  end
end
