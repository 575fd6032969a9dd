defmodule Slither.Pool.RosterTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Error
  alias Slither.Pool.{Changes, Roster}

  # Carries steps out as the scheduler does; the process of a worker does not matter here.
  defp run(roster, room \\ :infinity) do
    {steps, roster} = Roster.steps(roster, room)

    roster =
      for {:start, slot} <- steps, reduce: roster do
        roster -> Roster.started(roster, slot, self())
      end

    {steps, roster}
  end

  defp ready(roster, slot), do: roster |> Roster.ready(slot, 1_000 + slot, [], 0) |> run()
  defp gone(roster, slot), do: roster |> Roster.gone(slot) |> run()
  defp due(roster, slot, reason), do: roster |> Roster.due(slot, reason) |> run()

  defp full(size, spare) do
    {steps, roster} = run(Roster.new(size, spare))

    Enum.reduce(steps, roster, fn {:start, slot}, roster ->
      {_steps, roster} = ready(roster, slot)
      roster
    end)
  end

  defp statuses(roster), do: Map.new(roster.members, fn {slot, m} -> {slot, m.status} end)

  describe "a new pool" do
    test "starts all its workers at once, and its spares" do
      {steps, roster} = run(Roster.new(2, 1))
      assert steps == [{:start, 0}, {:start, 1}, {:start, 2}]
      assert {[], ^roster} = run(roster)
    end

    test "gives places to those that are ready first, and keeps the rest as spares" do
      {_steps, roster} = run(Roster.new(2, 1))
      assert {[{:serve, 2}], roster} = ready(roster, 2)
      assert {[{:serve, 0}], roster} = ready(roster, 0)
      assert {[], roster} = ready(roster, 1)
      assert statuses(roster) == %{0 => :ready, 1 => :spare, 2 => :ready}
      assert Roster.settled?(roster)
    end

    test "starts no more at once than there is room for" do
      assert {[], roster} = run(Roster.new(3, 0), 0)
      assert {[{:start, 0}], roster} = run(roster, 1)
      assert {[], roster} = run(roster, 1)
      assert {[{:start, 1}, {:start, 2}], _roster} = run(roster)
    end
  end

  describe "a worker that dies" do
    test "is replaced by a start in its slot" do
      assert {[{:start, 1}], _roster} = gone(full(2, 0), 1)
    end

    test "is replaced by a spare at once, with a new spare behind it" do
      assert {[{:serve, 2}, {:start, 0}], roster} = gone(full(2, 1), 0)
      assert {[], roster} = ready(roster, 0)
      assert statuses(roster) == %{0 => :spare, 1 => :ready, 2 => :ready}
    end

    test "is replaced by none while it was only on its way out" do
      {[{:start, 2}], roster} = due(full(2, 0), 0, :max_age)
      {_steps, roster} = ready(roster, 2)
      assert {[], _roster} = gone(roster, 0)
    end
  end

  describe "a worker that is spent" do
    test "leaves at once, and another starts in its place" do
      {steps, roster} = full(2, 0) |> Roster.spent(0) |> run()
      assert steps == [{:drain, 0, :max_calls}, {:start, 2}]
      assert {[{:serve, 2}], _roster} = ready(roster, 2)
    end

    test "gives its place to a spare" do
      {steps, _roster} = full(2, 1) |> Roster.spent(1) |> run()
      assert steps == [{:drain, 1, :max_calls}, {:serve, 2}, {:start, 3}]
    end

    test "is replaced together with others" do
      {steps, _roster} = full(2, 0) |> Roster.spent(0) |> Roster.spent(1) |> run()
      assert for({:start, slot} <- steps, do: slot) == [2, 3]
    end
  end

  describe "a pool whose workers are spent again and again" do
    test "is settled all the same" do
      {_steps, roster} = full(2, 0) |> Roster.spent(0) |> Roster.spent(1) |> run()
      roster = roster |> Roster.quiet(0) |> Roster.quiet(1)
      assert Roster.settled?(roster)
    end

    test "is settled in a new size once so many have served" do
      {_steps, roster} = full(1, 0) |> Roster.spent(0) |> run()
      {_steps, roster} = roster |> Roster.quiet(0) |> Roster.resize(2) |> run()
      refute Roster.settled?(roster)
      {[{:serve, 1}], roster} = ready(roster, 1)
      assert Roster.settled?(roster)
      {_steps, roster} = roster |> Roster.resize(1) |> run()
      assert Roster.settled?(roster)
    end

    test "is restarted once so many new ones have served" do
      {_steps, roster} =
        full(2, 0) |> Roster.renew() |> Roster.spent(0) |> Roster.spent(1) |> run()

      roster = roster |> Roster.quiet(0) |> Roster.quiet(1)
      refute Roster.settled?(roster)
      {_steps, roster} = ready(roster, 2)
      {_steps, roster} = roster |> Roster.spent(2) |> run()
      roster = Roster.quiet(roster, 2)
      refute Roster.settled?(roster)
      {_steps, roster} = ready(roster, 3)
      assert Roster.settled?(roster)
    end
  end

  describe "a worker that is due" do
    test "serves until its replacement is ready" do
      assert {[{:start, 2}], roster} = due(full(2, 0), 1, :max_requests)
      assert statuses(roster)[1] == :ready
      assert {[{:serve, 2}, {:drain, 1, :max_requests}], roster} = ready(roster, 2)
      assert roster.leaving == [1]
    end

    test "takes a spare, behind which another starts" do
      assert {steps, _roster} = due(full(1, 1), 0, :max_rss)
      assert steps == [{:serve, 1}, {:drain, 0, :max_rss}, {:start, 2}]
    end

    test "waits for the one before it to have no call out" do
      {[{:start, 2}], roster} = due(full(2, 0), 0, :max_age)
      assert {[], roster} = due(roster, 1, :max_age)
      {_steps, roster} = ready(roster, 2)
      assert {[], roster} = run(roster)
      assert {[{:start, 3}], roster} = roster |> Roster.quiet(0) |> run()
      assert {[{:serve, 3}, {:drain, 1, :max_age}], _roster} = ready(roster, 3)
    end

    test "keeps its place where its replacement can't start, until one does" do
      {[{:start, 1}], roster} = due(full(1, 0), 0, :max_age)
      {[], roster} = roster |> Roster.gone(1) |> run(0)
      assert statuses(roster) == %{0 => :ready}
      assert {[{:start, 1}], _roster} = run(roster, 1)
    end

    test "and dies makes way for the one that was to replace it" do
      {[{:start, 1}], roster} = due(full(1, 0), 0, :max_age)
      assert {[], roster} = gone(roster, 0)
      assert {[{:serve, 1}], _roster} = ready(roster, 1)
    end

    test "and is a spare is stopped once there is another" do
      {[{:start, 2}], roster} = due(full(1, 1), 1, :max_age)
      assert {[{:stop, 1, :max_age}], roster} = ready(roster, 2)
      assert statuses(roster) == %{0 => :ready, 1 => :stopping, 2 => :spare}
    end
  end

  describe "renew/1" do
    test "replaces one worker after the other, then the spares" do
      roster = Roster.renew(full(2, 1))
      refute Roster.settled?(roster)
      assert {[{:start, 3}], roster} = run(roster)
      assert {[{:serve, 3}, {:drain, 0, :restart}], roster} = ready(roster, 3)
      assert {[{:start, 0}], roster} = roster |> Roster.stop(0) |> gone(0)
      assert {[{:serve, 0}, {:drain, 1, :restart}], roster} = ready(roster, 0)
      assert {[{:start, 1}], roster} = roster |> Roster.stop(1) |> gone(1)
      refute Roster.settled?(roster)
      assert {[{:stop, 2, :restart}], roster} = ready(roster, 1)
      assert Roster.settled?(roster)
      assert statuses(roster) == %{0 => :ready, 1 => :spare, 2 => :stopping, 3 => :ready}
    end

    test "lets a spare from before take the place of a worker that dies, for a while" do
      {[{:start, 2}], roster} = run(Roster.renew(full(1, 1)))
      assert {[{:serve, 1} | _], roster} = gone(roster, 0)
      refute Roster.settled?(roster)
      assert {[{:serve, 2}, {:drain, 1, :restart}], _roster} = ready(roster, 2)
    end

    test "replaces those that were starting, too" do
      {_steps, roster} = run(Roster.new(1, 0))
      assert {[{:start, 1}], roster} = run(Roster.renew(roster))
      assert {[{:serve, 0}], roster} = ready(roster, 0)
      assert {[{:serve, 1}, {:drain, 0, :restart}], _roster} = ready(roster, 1)
    end

    test "is taken back by keep/2" do
      roster = full(2, 0)
      {[{:start, 2}], renewed} = run(Roster.renew(roster))
      assert {[], kept} = renewed |> Roster.gone(2) |> Roster.keep(roster.oldest) |> run()
      assert Roster.settled?(kept)
      # The next one is for all that there are, those that started meanwhile included.
      assert {[{:start, 2}], again} = run(Roster.renew(kept))
      assert {[{:serve, 2}, {:drain, 0, :restart}], _roster} = ready(again, 2)
    end

    test "goes on past a worker that waits only for its sessions" do
      {[{:start, 2}], roster} = run(Roster.renew(full(2, 0)))
      {_steps, roster} = ready(roster, 2)
      assert {[{:start, 3}], roster} = roster |> Roster.quiet(0) |> run()
      {_steps, roster} = ready(roster, 3)
      refute Roster.settled?(roster)
      {[], roster} = roster |> Roster.quiet(1) |> run()
      assert Roster.settled?(roster)
      assert Enum.sort(roster.leaving) == [0, 1]
    end
  end

  describe "resize/2" do
    test "starts what is missing" do
      {steps, roster} = run(Roster.resize(full(1, 0), 3))
      assert steps == [{:start, 1}, {:start, 2}]
      {[{:serve, 1}], roster} = ready(roster, 1)
      refute Roster.settled?(roster)
      {[{:serve, 2}], roster} = ready(roster, 2)
      assert Roster.settled?(roster)
    end

    test "drains the last ones, and stops those that start" do
      {steps, roster} = run(Roster.resize(full(3, 0), 1))
      assert steps == [{:drain, 2, :resize}, {:drain, 1, :resize}]
      refute Roster.shrunk?(roster)
      assert roster |> Roster.quiet(1) |> Roster.quiet(2) |> Roster.shrunk?()

      {_steps, roster} = run(Roster.new(2, 0))
      assert {[{:stop, 1, :resize}], _roster} = run(Roster.resize(roster, 1))
    end

    test "drains one that is due rather than the last" do
      {_steps, roster} = due(full(2, 0), 0, :max_age)
      assert {steps, _roster} = run(Roster.resize(roster, 1))
      assert {:drain, 0, :resize} in steps
    end
  end

  describe "changes" do
    test "are made one at a time, and each is answered" do
      changes = %Changes{} |> Changes.add(:restart, :a) |> Changes.add({:resize, 2}, :b)
      {nil, :restart, changes, roster} = Changes.advance(changes, full(1, 0))
      {[{:start, 1}], roster} = run(roster)
      assert {nil, nil, ^changes, ^roster} = Changes.advance(changes, roster)
      {_steps, roster} = ready(roster, 1)
      {_steps, roster} = roster |> Roster.stop(0) |> gone(0)
      assert {{:a, :ok}, {:resize, 2}, changes, roster} = Changes.advance(changes, roster)
      {[{:start, 0}], roster} = run(roster)
      {_steps, roster} = ready(roster, 0)
      assert {{:b, :ok}, nil, _changes, _roster} = Changes.advance(changes, roster)
    end

    test "that fail are undone" do
      error = %Error{reason: :start_failed, message: "m"}
      changes = Changes.add(%Changes{}, {:resize, 3}, :a)
      {nil, {:resize, 3}, changes, roster} = Changes.advance(changes, full(1, 0))
      {_steps, roster} = run(roster)
      {_steps, roster} = ready(roster, 1)
      {answer, changes, roster} = Changes.fail(changes, Roster.gone(roster, 2), error)
      assert answer == {:a, {:error, error}}
      assert {[{:drain, 1, :resize}], _roster} = run(roster)
      assert {nil, nil, _changes, _roster} = Changes.advance(changes, roster)
    end

    test "to fewer workers don't fail" do
      error = %Error{reason: :start_failed, message: "m"}
      changes = Changes.add(%Changes{}, {:resize, 1}, :a)
      {nil, {:resize, 1}, changes, roster} = Changes.advance(changes, full(2, 0))
      assert {nil, ^changes, ^roster} = Changes.fail(changes, roster, error)
    end
  end

  test "whatever happens, a worker leaves only once its place is taken, and all come to rest" do
    check_all(300, fn -> many(60, &event/0) end, fn events ->
      {_steps, roster} = run(Roster.new(3, 1))
      roster = Enum.reduce(events, roster, &happen/2)
      roster = rest(roster, 200)
      assert Roster.settled?(roster)
      statuses = Enum.frequencies(Map.values(statuses(roster)))
      assert statuses == Map.reject(%{ready: roster.size, spare: 1}, fn {_, n} -> n == 0 end)
    end)
  end

  defp event do
    n = :rand.uniform(20) - 1

    pick([
      {:ready, n},
      {:ready, n},
      {:gone, n},
      {:finished, n},
      {:due, n},
      {:spent, n},
      :renew,
      {:resize, :rand.uniform(4)}
    ])
  end

  defp happen(event, roster) do
    before = statuses(roster)
    {steps, roster} = apply_event(event, roster)
    drained = for {:drain, slot, why} <- steps, why not in [:resize, :max_calls], do: slot
    served = for {:serve, slot} <- steps, do: slot
    # Each that leaves by itself is replaced in the same breath.
    assert length(served) >= length(drained)
    for slot <- drained, do: assert(before[slot] == :ready or slot in served)
    assert Enum.count(statuses(roster), fn {_slot, s} -> s == :ready end) <= roster.size
    roster
  end

  defp apply_event({:ready, n}, roster), do: with_one(roster, n, [:starting], &ready/2)

  defp apply_event({:gone, n}, roster),
    do: with_one(roster, n, [:starting, :spare, :ready, :draining, :stopping], &gone/2)

  defp apply_event({:finished, n}, roster) do
    with_one(roster, n, [:draining], fn roster, slot -> roster |> Roster.stop(slot) |> run() end)
  end

  defp apply_event({:due, n}, roster),
    do: with_one(roster, n, [:ready, :spare], &due(&1, &2, :max_age))

  defp apply_event({:spent, n}, roster),
    do:
      with_one(roster, n, [:ready], fn roster, slot -> roster |> Roster.spent(slot) |> run() end)

  defp apply_event(:renew, roster), do: run(Roster.renew(roster))
  defp apply_event({:resize, size}, roster), do: run(Roster.resize(roster, size))

  defp with_one(roster, n, statuses, fun) do
    case for({slot, m} <- Enum.sort(roster.members), m.status in statuses, do: slot) do
      [] -> {[], roster}
      slots -> fun.(roster, Enum.at(slots, rem(n, length(slots))))
    end
  end

  # All that starts gets ready, all that leaves is gone.
  defp rest(roster, 0), do: roster

  defp rest(roster, left) do
    event =
      Enum.find_value(Enum.sort(roster.members), fn
        {slot, %{status: :starting}} -> &ready(&1, slot)
        {slot, %{status: :draining}} -> &(&1 |> Roster.stop(slot) |> run())
        {slot, %{status: :stopping}} -> &gone(&1, slot)
        _ -> nil
      end)

    if event, do: roster |> event.() |> elem(1) |> rest(left - 1), else: roster
  end
end
