defmodule Slither.Python.Pool.LedgerTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Python.Pool.{Ledger, Ledger.Waiter}

  # Pids are only compared: these are names for workers and lanes.
  defp worker(n), do: :erlang.list_to_pid('<0.#{1_000 + n}.0>')

  defp lanes(n, count),
    do: for(i <- 1..count, do: :erlang.list_to_pid('<0.#{n * 100 + 5_000 + i}.0>'))

  defp waiter(ref, options) do
    struct!(%Waiter{ref: ref, owner: self(), reply_to: self(), tag: :tag}, options)
  end

  defp with_workers(count, lanes) do
    Enum.reduce(0..(count - 1), %Ledger{}, fn slot, ledger ->
      {[], ledger} = Ledger.add_worker(ledger, slot, worker(slot), lanes(slot, lanes))
      ledger
    end)
  end

  defp request(ledger, ref, options \\ []), do: Ledger.request(ledger, waiter(ref, options))

  # Requests that are all granted at once; the slots of their workers.
  defp granted(ledger, refs) do
    Enum.map_reduce(refs, ledger, fn ref, ledger ->
      {[{:grant, %Waiter{ref: ^ref}, _lane}], ledger} = request(ledger, ref)
      {ledger.leases[ref].slot, ledger}
    end)
  end

  describe "request/2" do
    test "grants a lane of the least busy worker" do
      {slots, ledger} = granted(with_workers(3, 2), 1..6)
      assert slots == [0, 1, 2, 0, 1, 2]
      assert {[], ledger} = request(ledger, 7)
      assert Ledger.waiting(ledger) == 1
    end

    test "grants what waits in the order in which it came" do
      {_slots, ledger} = granted(with_workers(1, 1), [0])
      ledger = Enum.reduce([:a, :b, :c], ledger, fn ref, l -> elem(request(l, ref), 1) end)

      Enum.reduce([a: 0, b: :a, c: :b], ledger, fn {next, done}, ledger ->
        assert {[{:grant, %Waiter{ref: ^next}, _lane}], nil, ledger} =
                 Ledger.release(ledger, done)

        ledger
      end)
    end

    test "waits while there is no worker, and is granted when one comes" do
      {[], ledger} = request(%Ledger{}, :a)
      {[], ledger} = request(ledger, :b)
      assert {grants, ledger} = Ledger.add_worker(ledger, 0, worker(0), lanes(0, 1))
      assert [{:grant, %Waiter{ref: :a}, _lane}] = grants
      assert Ledger.waiting(ledger) == 1
    end

    test "gives nothing of a worker that drains" do
      ledger = Ledger.drain(with_workers(2, 1), 0)
      assert {[1], ledger} = granted(ledger, [:a])
      assert {[], _ledger} = request(ledger, :b)
    end
  end

  describe "sessions" do
    test "stay with one worker, one call at a time" do
      ledger = with_workers(2, 2)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {[], ledger} = request(ledger, 2, session: "s")
      first = ledger.leases[1].worker
      assert {[{:grant, %Waiter{ref: 2}, _lane}], nil, ledger} = Ledger.release(ledger, 1)
      assert ledger.leases[2].worker == first
    end

    test "spread over the workers" do
      ledger = with_workers(2, 2)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "a")
      {[{:grant, _, _}], ledger} = request(ledger, 2, session: "b")
      assert ledger.leases[1].worker != ledger.leases[2].worker
    end

    test "come before the common queue on their worker" do
      ledger = with_workers(1, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {[], nil, ledger} = Ledger.release(ledger, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 2)
      {[], ledger} = request(ledger, 3)
      {[], ledger} = request(ledger, 4, session: "s")
      assert {[{:grant, %Waiter{ref: 4}, _lane}], nil, _ledger} = Ledger.release(ledger, 2)
    end

    test "whose worker is gone are lost, until they are ended" do
      ledger = with_workers(1, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {_lanes, ledger} = Ledger.drop_worker(ledger, 0)
      {[], _lane, ledger} = Ledger.release(ledger, 1)
      {[], ledger} = Ledger.add_worker(ledger, 0, worker(9), lanes(9, 1))
      assert {[{:lost_session, %Waiter{ref: 2}}], ledger} = request(ledger, 2, session: "s")
      ledger = Ledger.end_session(ledger, "s")
      assert {[{:grant, %Waiter{ref: 3}, _lane}], _ledger} = request(ledger, 3, session: "s")
    end

    test "that wait in a queue are lost with their worker when the lease comes back" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {[], ledger} = request(ledger, 2, session: "s")
      {_lanes, ledger} = Ledger.drop_worker(ledger, ledger.leases[1].slot)
      assert {[{:lost_session, %Waiter{ref: 2}}], lane, ledger} = Ledger.release(ledger, 1)
      assert is_pid(lane)
      assert Ledger.waiting(ledger) == 0
    end
  end

  describe "release/2" do
    test "takes a waiter out that was not granted yet" do
      {[], ledger} = request(%Ledger{}, :a)
      {[], ledger} = request(ledger, :b, session: "s")
      {[], nil, ledger} = Ledger.release(ledger, :a)
      {[], nil, ledger} = Ledger.release(ledger, :b)
      assert Ledger.waiting(ledger) == 0
      assert {[], nil, ^ledger} = Ledger.release(ledger, :unknown)
    end

    test "never grants a lane that crashed" do
      {_slots, ledger} = granted(with_workers(1, 2), [:a])
      [free] = ledger.workers[0].free
      worker = worker(0)
      lane = ledger.leases[:a].lane
      assert {[{:grant, %Waiter{ref: :b}, ^free}], ledger} = request(ledger, :b)
      {[], ledger} = request(ledger, :c)
      assert {^worker, {:a, %{lane: ^lane}}, ledger} = Ledger.lose_lane(ledger, lane)
      assert {[{:grant, %Waiter{ref: :c}, ^free}], nil, ledger} = Ledger.release(ledger, :b)
      assert {[], nil, ledger} = Ledger.release(ledger, :c)
      assert {^worker, nil, ledger} = Ledger.lose_lane(ledger, free)
      assert {[], ledger} = request(ledger, :d)
      assert %{free: [], lanes: [], leased: 0} = ledger.workers[0]
      assert {nil, nil, ^ledger} = Ledger.lose_lane(ledger, lane)
    end

    test "returns the lane of a worker that is gone" do
      {_slots, ledger} = granted(with_workers(1, 2), [:a])
      lane = ledger.leases[:a].lane
      assert {[idle], ledger} = Ledger.drop_worker(ledger, 0)
      assert idle != lane
      assert {[], ^lane, ledger} = Ledger.release(ledger, :a)
      assert ledger.leases == %{}
    end

    test "does not give a lane of an old worker to its successor" do
      {_slots, ledger} = granted(with_workers(1, 1), [:a])
      {[], ledger} = Ledger.drop_worker(ledger, 0)
      {[], ledger} = Ledger.add_worker(ledger, 0, worker(1), lanes(1, 1))
      old = ledger.leases[:a].lane
      assert {[], ^old, ledger} = Ledger.release(ledger, :a)
      assert ledger.workers[0].free == lanes(1, 1)
    end
  end

  describe "owners and deadlines" do
    test "leases of an owner are found and made over" do
      {_slots, ledger} = granted(with_workers(1, 2), [:a, :b])
      assert Enum.sort(Ledger.held_by(ledger, self())) == [:a, :b]
      lane = ledger.leases[:a].lane
      other = worker(50)
      assert {%{lane: ^lane}, ledger} = Ledger.adopt(ledger, :a, other)
      assert Ledger.held_by(ledger, other) == [:a]
      assert {nil, _ledger} = Ledger.adopt(ledger, :unknown, other)
    end

    test "the soonest deadline is found, in every queue" do
      assert Ledger.next_deadline(%Ledger{}) == nil
      {[], ledger} = request(%Ledger{}, :a)
      assert Ledger.next_deadline(ledger) == nil
      {[], ledger} = request(ledger, :b, deadline: 50)
      {[], ledger} = request(ledger, :c, deadline: 20, session: "s")
      assert Ledger.next_deadline(ledger) == 20
      {[%Waiter{ref: :c}], ledger} = Ledger.reject(ledger, &(&1.deadline == 20))
      assert Ledger.next_deadline(ledger) == 50
      assert Ledger.waiting(ledger) == 2
    end

    test "a worker with no lane out is quiet" do
      {_slots, ledger} = granted(with_workers(1, 2), [:a])
      refute Ledger.quiet?(ledger, 0)
      {[], nil, ledger} = Ledger.release(ledger, :a)
      assert Ledger.quiet?(ledger, 0)
      refute Ledger.quiet?(ledger, 7)
    end
  end

  test "whatever happens, no lane has two holders and nobody is forgotten" do
    check_all(300, fn -> many(80, &step/0) end, fn steps ->
      {ledger, waiting} = Enum.reduce(steps, {%Ledger{}, MapSet.new()}, &apply_step/2)
      assert Ledger.waiting(ledger) == MapSet.size(waiting)
    end)
  end

  defp step do
    pick([
      :request,
      :request,
      {:session, pick(["a", "b", "c"])},
      {:release, :rand.uniform(100)},
      {:release, :rand.uniform(100)},
      {:up, pick([0, 1, 2])},
      {:down, pick([0, 1, 2])}
    ])
  end

  defp apply_step(:request, {ledger, waiting}) do
    ref = make_ref()
    ledger |> request(ref) |> check(MapSet.put(waiting, ref))
  end

  defp apply_step({:session, session}, {ledger, waiting}) do
    ref = make_ref()
    ledger |> request(ref, session: session) |> check(MapSet.put(waiting, ref))
  end

  defp apply_step({:release, n}, {ledger, waiting}) do
    case Map.keys(ledger.leases) do
      [] ->
        {ledger, waiting}

      refs ->
        {grants, _lane, ledger} = Ledger.release(ledger, Enum.at(refs, rem(n, length(refs))))
        check({grants, ledger}, waiting)
    end
  end

  defp apply_step({:up, slot}, {ledger, waiting}) when is_map_key(ledger.workers, slot),
    do: {ledger, waiting}

  defp apply_step({:up, slot}, {ledger, waiting}) do
    [worker, one, two] = many(3, fn -> spawn(fn -> :ok end) end)
    ledger |> Ledger.add_worker(slot, worker, [one, two]) |> check(waiting)
  end

  # The scheduler takes out the sessions of a worker that is gone, as here.
  defp apply_step({:down, slot}, {ledger, waiting}) do
    {_lanes, ledger} = Ledger.drop_worker(ledger, slot)
    live = for {_slot, worker} <- ledger.workers, do: worker.pid

    {lost, ledger} =
      Ledger.reject(ledger, fn waiter ->
        bound = waiter.session && ledger.sessions[waiter.session]
        bound != nil and bound.worker not in live
      end)

    check({Enum.map(lost, &{:lost_session, &1}), ledger}, waiting)
  end

  defp check({grants, ledger}, waiting) do
    waiting =
      Enum.reduce(grants, waiting, fn grant, waiting ->
        ref = elem(grant, 1).ref
        assert ref in waiting
        MapSet.delete(waiting, ref)
      end)

    held = for {_ref, lease} <- ledger.leases, do: lease.lane
    assert held == Enum.uniq(held)

    for {slot, worker} <- ledger.workers do
      out = Enum.count(ledger.leases, fn {_ref, lease} -> lease.worker == worker.pid end)
      assert {slot, worker.leased, length(worker.free)} == {slot, out, 2 - out}
      assert worker.free -- held == worker.free
      # A free lane and somebody who could use it do not go together.
      assert worker.free == [] or :queue.is_empty(ledger.queue)
    end

    {ledger, waiting}
  end
end
