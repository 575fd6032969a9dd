defmodule Slither.Pool.StaffTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Error
  alias Slither.Pool.Staff
  alias Slither.Pool.Staff.Changes
  alias Slither.Python.Placement

  # Carries steps out as the scheduler does; the process of a worker does not matter here.
  defp run(staff, room \\ :infinity) do
    {steps, staff} = Staff.steps(staff, room)

    staff =
      for {:start, slot} <- steps, reduce: staff do
        staff -> Staff.started(staff, slot, self())
      end

    {steps, staff}
  end

  defp ready(staff, slot), do: staff |> Staff.ready(slot, 1_000 + slot, [], 0) |> run()
  defp gone(staff, slot), do: staff |> Staff.gone(slot) |> run()
  defp due(staff, slot, reason), do: staff |> Staff.due(slot, reason) |> run()

  defp full(size, spare) do
    {steps, staff} = run(Staff.new(size, spare))

    Enum.reduce(steps, staff, fn {:start, slot}, staff ->
      {_steps, staff} = ready(staff, slot)
      staff
    end)
  end

  defp statuses(staff), do: Map.new(staff.members, fn {slot, m} -> {slot, m.status} end)

  describe "a new pool" do
    test "starts all its workers at once, and its spares" do
      {steps, staff} = run(Staff.new(2, 1))
      assert steps == [{:start, 0}, {:start, 1}, {:start, 2}]
      assert {[], ^staff} = run(staff)
    end

    test "gives places to those that are ready first, and keeps the rest as spares" do
      {_steps, staff} = run(Staff.new(2, 1))
      assert {[{:serve, 2}], staff} = ready(staff, 2)
      assert {[{:serve, 0}], staff} = ready(staff, 0)
      assert {[], staff} = ready(staff, 1)
      assert statuses(staff) == %{0 => :ready, 1 => :spare, 2 => :ready}
      assert Staff.settled?(staff)
    end

    test "starts no more at once than there is room for" do
      assert {[], staff} = run(Staff.new(3, 0), 0)
      assert {[{:start, 0}], staff} = run(staff, 1)
      assert {[], staff} = run(staff, 1)
      assert {[{:start, 1}, {:start, 2}], _roster} = run(staff)
    end
  end

  describe "a worker that dies" do
    test "is replaced by a start in its slot" do
      assert {[{:start, 1}], _roster} = gone(full(2, 0), 1)
    end

    test "is replaced by a spare at once, with a new spare behind it" do
      assert {[{:serve, 2}, {:start, 0}], staff} = gone(full(2, 1), 0)
      assert {[], staff} = ready(staff, 0)
      assert statuses(staff) == %{0 => :spare, 1 => :ready, 2 => :ready}
    end

    test "is replaced by none while it was only on its way out" do
      {[{:start, 2}], staff} = due(full(2, 0), 0, :max_age)
      {_steps, staff} = ready(staff, 2)
      assert {[], _roster} = gone(staff, 0)
    end
  end

  describe "the place of a worker" do
    @gpus %Placement{gpus: [["0"], ["1"], ["2"]]}

    defp gpu(staff, slot), do: hd(staff.members[slot].place.gpus)

    test "is one that no other has, and that of a dead one for who comes next" do
      {_steps, staff} = run(Staff.new(3, 0, @gpus))
      assert Enum.map(0..2, &gpu(staff, &1)) == ["0", "1", "2"]
      assert {[{:start, 1}], staff} = gone(staff, 1)
      assert gpu(staff, 1) == "1"
    end

    test "is another than that of one that drains, while one is free" do
      {_steps, staff} = run(Staff.new(2, 0, @gpus))
      {_steps, staff} = ready(staff, 0)
      {_steps, staff} = ready(staff, 1)
      {[{:start, 2}], staff} = due(staff, 0, :max_age)
      assert gpu(staff, 2) == "2"
      # That of the one that is gone is free for the next.
      {_steps, staff} = ready(staff, 2)
      {_steps, staff} = gone(staff, 0)
      {[{:start, 0}], staff} = due(staff, 2, :max_age)
      assert gpu(staff, 0) == "0"
    end

    test "is that of one that is due, where all have one" do
      {_steps, staff} = run(Staff.new(3, 0, @gpus))
      staff = Enum.reduce(0..2, staff, fn slot, staff -> elem(ready(staff, slot), 1) end)
      {[{:start, 3}], staff} = due(staff, 1, :max_rss)
      assert gpu(staff, 3) == "1"
    end
  end

  describe "a worker that is spent" do
    test "leaves at once, and another starts in its place" do
      {steps, staff} = full(2, 0) |> Staff.spent(0) |> run()
      assert steps == [{:drain, 0, :max_calls}, {:start, 2}]
      assert {[{:serve, 2}], _roster} = ready(staff, 2)
    end

    test "gives its place to a spare" do
      {steps, _roster} = full(2, 1) |> Staff.spent(1) |> run()
      assert steps == [{:drain, 1, :max_calls}, {:serve, 2}, {:start, 3}]
    end

    test "is replaced together with others" do
      {steps, _roster} = full(2, 0) |> Staff.spent(0) |> Staff.spent(1) |> run()
      assert for({:start, slot} <- steps, do: slot) == [2, 3]
    end
  end

  describe "a pool whose workers are spent again and again" do
    test "is settled all the same" do
      {_steps, staff} = full(2, 0) |> Staff.spent(0) |> Staff.spent(1) |> run()
      staff = staff |> Staff.quiet(0) |> Staff.quiet(1)
      assert Staff.settled?(staff)
    end

    test "is settled in a new size once so many have served" do
      {_steps, staff} = full(1, 0) |> Staff.spent(0) |> run()
      {_steps, staff} = staff |> Staff.quiet(0) |> Staff.resize(2) |> run()
      refute Staff.settled?(staff)
      {[{:serve, 1}], staff} = ready(staff, 1)
      assert Staff.settled?(staff)
      {_steps, staff} = staff |> Staff.resize(1) |> run()
      assert Staff.settled?(staff)
    end

    test "is restarted once so many new ones have served" do
      {_steps, staff} = full(2, 0) |> Staff.renew() |> Staff.spent(0) |> Staff.spent(1) |> run()

      staff = staff |> Staff.quiet(0) |> Staff.quiet(1)
      refute Staff.settled?(staff)
      {_steps, staff} = ready(staff, 2)
      {_steps, staff} = staff |> Staff.spent(2) |> run()
      staff = Staff.quiet(staff, 2)
      refute Staff.settled?(staff)
      {_steps, staff} = ready(staff, 3)
      assert Staff.settled?(staff)
    end
  end

  describe "a worker that is due" do
    test "serves until its replacement is ready" do
      assert {[{:start, 2}], staff} = due(full(2, 0), 1, :max_requests)
      assert statuses(staff)[1] == :ready
      assert {[{:serve, 2}, {:drain, 1, :max_requests}], staff} = ready(staff, 2)
      assert staff.leaving == [1]
    end

    test "takes a spare, behind which another starts" do
      assert {steps, _roster} = due(full(1, 1), 0, :max_rss)
      assert steps == [{:serve, 1}, {:drain, 0, :max_rss}, {:start, 2}]
    end

    test "waits for the one before it to have no call out" do
      {[{:start, 2}], staff} = due(full(2, 0), 0, :max_age)
      assert {[], staff} = due(staff, 1, :max_age)
      {_steps, staff} = ready(staff, 2)
      assert {[], staff} = run(staff)
      assert {[{:start, 3}], staff} = staff |> Staff.quiet(0) |> run()
      assert {[{:serve, 3}, {:drain, 1, :max_age}], _roster} = ready(staff, 3)
    end

    test "keeps its place where its replacement can't start, until one does" do
      {[{:start, 1}], staff} = due(full(1, 0), 0, :max_age)
      {[], staff} = staff |> Staff.gone(1) |> run(0)
      assert statuses(staff) == %{0 => :ready}
      assert {[{:start, 1}], _roster} = run(staff, 1)
    end

    test "and dies makes way for the one that was to replace it" do
      {[{:start, 1}], staff} = due(full(1, 0), 0, :max_age)
      assert {[], staff} = gone(staff, 0)
      assert {[{:serve, 1}], _roster} = ready(staff, 1)
    end

    test "and is a spare is stopped once there is another" do
      {[{:start, 2}], staff} = due(full(1, 1), 1, :max_age)
      assert {[{:stop, 1, :max_age}], staff} = ready(staff, 2)
      assert statuses(staff) == %{0 => :ready, 1 => :stopping, 2 => :spare}
    end
  end

  describe "renew/1" do
    test "replaces one worker after the other, then the spares" do
      staff = Staff.renew(full(2, 1))
      refute Staff.settled?(staff)
      assert {[{:start, 3}], staff} = run(staff)
      assert {[{:serve, 3}, {:drain, 0, :restart}], staff} = ready(staff, 3)
      assert {[{:start, 0}], staff} = staff |> Staff.stop(0) |> gone(0)
      assert {[{:serve, 0}, {:drain, 1, :restart}], staff} = ready(staff, 0)
      assert {[{:start, 1}], staff} = staff |> Staff.stop(1) |> gone(1)
      refute Staff.settled?(staff)
      assert {[{:stop, 2, :restart}], staff} = ready(staff, 1)
      assert Staff.settled?(staff)
      assert statuses(staff) == %{0 => :ready, 1 => :spare, 2 => :stopping, 3 => :ready}
    end

    test "lets a spare from before take the place of a worker that dies, for a while" do
      {[{:start, 2}], staff} = run(Staff.renew(full(1, 1)))
      assert {[{:serve, 1} | _], staff} = gone(staff, 0)
      refute Staff.settled?(staff)
      assert {[{:serve, 2}, {:drain, 1, :restart}], _roster} = ready(staff, 2)
    end

    test "replaces those that were starting, too" do
      {_steps, staff} = run(Staff.new(1, 0))
      assert {[{:start, 1}], staff} = run(Staff.renew(staff))
      assert {[{:serve, 0}], staff} = ready(staff, 0)
      assert {[{:serve, 1}, {:drain, 0, :restart}], _roster} = ready(staff, 1)
    end

    test "is taken back by keep/2" do
      staff = full(2, 0)
      {[{:start, 2}], renewed} = run(Staff.renew(staff))
      assert {[], kept} = renewed |> Staff.gone(2) |> Staff.keep(staff.oldest) |> run()
      assert Staff.settled?(kept)
      # The next one is for all that there are, those that started meanwhile included.
      assert {[{:start, 2}], again} = run(Staff.renew(kept))
      assert {[{:serve, 2}, {:drain, 0, :restart}], _roster} = ready(again, 2)
    end

    test "goes on past a worker that waits only for its sessions" do
      {[{:start, 2}], staff} = run(Staff.renew(full(2, 0)))
      {_steps, staff} = ready(staff, 2)
      assert {[{:start, 3}], staff} = staff |> Staff.quiet(0) |> run()
      {_steps, staff} = ready(staff, 3)
      refute Staff.settled?(staff)
      {[], staff} = staff |> Staff.quiet(1) |> run()
      assert Staff.settled?(staff)
      assert Enum.sort(staff.leaving) == [0, 1]
    end
  end

  describe "resize/2" do
    test "starts what is missing" do
      {steps, staff} = run(Staff.resize(full(1, 0), 3))
      assert steps == [{:start, 1}, {:start, 2}]
      {[{:serve, 1}], staff} = ready(staff, 1)
      refute Staff.settled?(staff)
      {[{:serve, 2}], staff} = ready(staff, 2)
      assert Staff.settled?(staff)
    end

    test "drains the last ones, and stops those that start" do
      {steps, staff} = run(Staff.resize(full(3, 0), 1))
      assert steps == [{:drain, 2, :resize}, {:drain, 1, :resize}]
      refute Staff.shrunk?(staff)
      assert staff |> Staff.quiet(1) |> Staff.quiet(2) |> Staff.shrunk?()

      {_steps, staff} = run(Staff.new(2, 0))
      assert {[{:stop, 1, :resize}], _roster} = run(Staff.resize(staff, 1))
    end

    test "drains one that is due rather than the last" do
      {_steps, staff} = due(full(2, 0), 0, :max_age)
      assert {steps, _roster} = run(Staff.resize(staff, 1))
      assert {:drain, 0, :resize} in steps
    end
  end

  describe "changes" do
    test "are made one at a time, and each is answered" do
      changes = %Changes{} |> Changes.add(:restart, :a) |> Changes.add({:resize, 2}, :b)
      {nil, :restart, changes, staff} = Changes.advance(changes, full(1, 0))
      {[{:start, 1}], staff} = run(staff)
      assert {nil, nil, ^changes, ^staff} = Changes.advance(changes, staff)
      {_steps, staff} = ready(staff, 1)
      {_steps, staff} = staff |> Staff.stop(0) |> gone(0)
      assert {{:a, :ok}, {:resize, 2}, changes, staff} = Changes.advance(changes, staff)
      {[{:start, 0}], staff} = run(staff)
      {_steps, staff} = ready(staff, 0)
      assert {{:b, :ok}, nil, _changes, _roster} = Changes.advance(changes, staff)
    end

    test "that fail are undone" do
      error = %Error{reason: :start_failed, message: "m"}
      changes = Changes.add(%Changes{}, {:resize, 3}, :a)
      {nil, {:resize, 3}, changes, staff} = Changes.advance(changes, full(1, 0))
      {_steps, staff} = run(staff)
      {_steps, staff} = ready(staff, 1)
      {answer, changes, staff} = Changes.fail(changes, Staff.gone(staff, 2), error)
      assert answer == {:a, {:error, error}}
      assert {[{:drain, 1, :resize}], _roster} = run(staff)
      assert {nil, nil, _changes, _roster} = Changes.advance(changes, staff)
    end

    test "to fewer workers don't fail" do
      error = %Error{reason: :start_failed, message: "m"}
      changes = Changes.add(%Changes{}, {:resize, 1}, :a)
      {nil, {:resize, 1}, changes, staff} = Changes.advance(changes, full(2, 0))
      assert {nil, ^changes, ^staff} = Changes.fail(changes, staff, error)
    end
  end

  test "whatever happens, a worker leaves only once its place is taken, and all come to rest" do
    check_all(300, fn -> many(60, &event/0) end, fn events ->
      {_steps, staff} = run(Staff.new(3, 1))
      staff = Enum.reduce(events, staff, &happen/2)
      staff = rest(staff, 200)
      assert Staff.settled?(staff)
      statuses = Enum.frequencies(Map.values(statuses(staff)))
      assert statuses == Map.reject(%{ready: staff.size, spare: 1}, fn {_, n} -> n == 0 end)
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

  defp happen(event, staff) do
    before = statuses(staff)
    {steps, staff} = apply_event(event, staff)
    drained = for {:drain, slot, why} <- steps, why not in [:resize, :max_calls], do: slot
    served = for {:serve, slot} <- steps, do: slot
    # Each that leaves by itself is replaced in the same breath.
    assert length(served) >= length(drained)
    for slot <- drained, do: assert(before[slot] == :ready or slot in served)
    assert Enum.count(statuses(staff), fn {_slot, s} -> s == :ready end) <= staff.size
    staff
  end

  defp apply_event({:ready, n}, staff), do: with_one(staff, n, [:starting], &ready/2)

  defp apply_event({:gone, n}, staff),
    do: with_one(staff, n, [:starting, :spare, :ready, :draining, :stopping], &gone/2)

  defp apply_event({:finished, n}, staff) do
    with_one(staff, n, [:draining], fn staff, slot -> staff |> Staff.stop(slot) |> run() end)
  end

  defp apply_event({:due, n}, staff),
    do: with_one(staff, n, [:ready, :spare], &due(&1, &2, :max_age))

  defp apply_event({:spent, n}, staff),
    do: with_one(staff, n, [:ready], fn staff, slot -> staff |> Staff.spent(slot) |> run() end)

  defp apply_event(:renew, staff), do: run(Staff.renew(staff))
  defp apply_event({:resize, size}, staff), do: run(Staff.resize(staff, size))

  defp with_one(staff, n, statuses, fun) do
    case for({slot, m} <- Enum.sort(staff.members), m.status in statuses, do: slot) do
      [] -> {[], staff}
      slots -> fun.(staff, Enum.at(slots, rem(n, length(slots))))
    end
  end

  # All that starts gets ready, all that leaves is gone.
  defp rest(staff, 0), do: staff

  defp rest(staff, left) do
    event =
      Enum.find_value(Enum.sort(staff.members), fn
        {slot, %{status: :starting}} -> &ready(&1, slot)
        {slot, %{status: :draining}} -> &(&1 |> Staff.stop(slot) |> run())
        {slot, %{status: :stopping}} -> &gone(&1, slot)
        _ -> nil
      end)

    if event, do: staff |> event.() |> elem(1) |> rest(left - 1), else: staff
  end
end
