defmodule Slither.Pool.LedgerTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Pool.{Holdings, Ledger, Line, Sessions, Waiter}

  # Pids are only compared: these are names for workers and lanes.
  defp worker(n), do: :erlang.list_to_pid(~c"<0.#{1_000 + n}.0>")

  defp lanes(n, count),
    do: for(i <- 1..count, do: :erlang.list_to_pid(~c"<0.#{n * 100 + 5_000 + i}.0>"))

  defp waiter(ref, options) do
    struct!(%Waiter{ref: ref, owner: self(), inbox: {self(), :key}}, options)
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
      assert Line.count(ledger.line) == 1
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
      assert Line.count(ledger.line) == 1
    end

    test "with a session waits while there is no worker, and is granted when one comes" do
      {[], ledger} = request(%Ledger{}, :a, session: "s")
      {[], ledger} = request(ledger, :b, session: "t")
      assert {grants, _ledger} = Ledger.add_worker(ledger, 0, worker(0), lanes(0, 2))
      assert [{:grant, %Waiter{ref: :a}, _}, {:grant, %Waiter{ref: :b}, _}] = grants
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

    test "leave room for workers to come, while a pool starts" do
      {[], ledger} = request(%Ledger{coming: 3}, 1, session: "a")

      {[{:grant, %Waiter{ref: 1}, _}], ledger} =
        Ledger.add_worker(ledger, 0, worker(0), lanes(0, 2))

      assert {[], ledger} = request(ledger, 2, session: "b")
      # What needs no session waits for nothing, and neither does a session that is bound.
      assert {[{:grant, %Waiter{ref: 3}, _}], ledger} = request(ledger, 3)
      {_answers, nil, ledger} = Ledger.release(ledger, 1)
      assert {[{:grant, %Waiter{ref: 4}, _}], ledger} = request(ledger, 4, session: "a")
      # A worker can't start: the session takes what there is.
      {_answers, nil, ledger} = Ledger.release(ledger, 3)
      assert {[{:grant, %Waiter{ref: 2}, _}], _ledger} = Ledger.wait_for_none(ledger)
    end

    test "spread evenly, in whatever order they and a pool's first workers come" do
      check_all(
        300,
        fn -> {1..:rand.uniform(5), Enum.to_list(1..:rand.uniform(12)), make_ref()} end,
        fn {workers, sessions, _ref} ->
          count = Enum.count(workers)
          {first, last} = Enum.split(sessions, :rand.uniform(length(sessions)))

          events =
            Enum.shuffle(Enum.map(workers, &{:worker, &1}) ++ Enum.map(first, &{:session, &1}))

          ledger =
            for event <- events ++ Enum.map(last, &{:session, &1}),
                reduce: %Ledger{coming: count} do
              ledger ->
                case event do
                  {:worker, n} -> elem(Ledger.add_worker(ledger, n, worker(n), lanes(n, 20)), 1)
                  {:session, n} -> elem(request(ledger, {:s, n}, session: "#{n}"), 1)
                end
            end

          loads = for n <- workers, do: Sessions.load(ledger.sessions, worker(n))
          assert Enum.sum(loads) == length(sessions)
          assert Enum.max(loads) - Enum.min(loads) <= 1
        end
      )
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
      {_lanes, [], ledger} = Ledger.drop_worker(ledger, 0)
      {[], _lane, ledger} = Ledger.release(ledger, 1)
      {[], ledger} = Ledger.add_worker(ledger, 0, worker(9), lanes(9, 1))
      assert {[{:lost_session, %Waiter{ref: 2}}], ledger} = request(ledger, 2, session: "s")
      stop = [session: "s", service: :stop]
      assert {[{:unbound, %Waiter{ref: 3}}], ledger} = request(ledger, 3, stop)
      assert {[{:grant, %Waiter{ref: 4}, _lane}], _ledger} = request(ledger, 4, session: "s")
    end

    test "that wait in a queue are lost with their worker when the lease comes back" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {[], ledger} = request(ledger, 2, session: "s")
      {_lanes, [], ledger} = Ledger.drop_worker(ledger, ledger.leases[1].slot)
      assert {[{:lost_session, %Waiter{ref: 2}}], lane, ledger} = Ledger.release(ledger, 1)
      assert is_pid(lane)
      assert Line.count(ledger.line) == 0
    end
  end

  describe "sessions that end" do
    test "begin anew for whoever waits behind the stop" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, :call, session: "s")
      {[], ledger} = request(ledger, :before, session: "s")
      {[], ledger} = request(ledger, :stop, session: "s", service: :stop)
      {[], ledger} = request(ledger, :after, session: "s")
      {[{:grant, %Waiter{ref: :before}, _}], nil, ledger} = Ledger.release(ledger, :call)
      {[{:grant, %Waiter{ref: :stop}, _}], nil, ledger} = Ledger.release(ledger, :before)
      first = ledger.leases.stop.worker
      assert {[{:grant, %Waiter{ref: :after}, _}], ledger} = Ledger.end_session(ledger, :stop)
      # The stop still holds its lane, and has no more to say about the session.
      assert ledger.leases.after.worker != first
      {[], nil, ledger} = Ledger.release(ledger, :stop)
      assert {[], _ledger} = request(ledger, :more, session: "s")
    end

    test "are of no worker's load" do
      ledger = with_workers(2, 2)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "a")
      {[{:grant, _, _}], ledger} = request(ledger, 2, session: "b")
      worker = ledger.leases[1].worker
      {[], ledger} = Ledger.end_session(ledger, 1)
      {[], nil, ledger} = Ledger.release(ledger, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 3, session: "c")
      assert ledger.leases[3].worker == worker
    end

    test "by a stop of what nobody holds are none" do
      ledger = with_workers(1, 1)

      for service <- [:stop, :expire, :move] do
        assert {[{:unbound, %Waiter{ref: 1}}], ledger} =
                 request(ledger, 1, session: "s", service: service)

        refute Holdings.known?(ledger, "s")
      end
    end

    test "for being idle have been so at each of eleven looks" do
      ledger = with_workers(1, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      ledger = Enum.reduce(1..20, ledger, fn _, ledger -> young(ledger) end)
      {[], nil, ledger} = Ledger.release(ledger, 1)
      ledger = Enum.reduce(1..10, ledger, fn _, ledger -> young(ledger) end)
      expire = [session: "s", service: :expire]
      assert {[{:unbound, %Waiter{ref: 2}}], ledger} = request(ledger, 2, expire)
      assert {["s"], ledger} = Ledger.age(ledger)
      assert {[{:grant, %Waiter{ref: 3}, _lane}], _ledger} = request(ledger, 3, expire)
    end

    test "for being idle are not, once they have a call again" do
      ledger = with_workers(1, 2)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {[], nil, ledger} = Ledger.release(ledger, 1)
      ledger = Enum.reduce(1..11, ledger, fn _, ledger -> elem(Ledger.age(ledger), 1) end)
      {[{:grant, _, _}], ledger} = request(ledger, 2, session: "s")
      expire = [session: "s", service: :expire]
      assert {[{:unbound, %Waiter{ref: 3}}], ledger} = request(ledger, 3, expire)
      {[], nil, ledger} = Ledger.release(ledger, 2)
      assert {[{:unbound, %Waiter{ref: 4}}], _ledger} = request(ledger, 4, expire)
    end
  end

  describe "rebind:" do
    test "gives a lost session another worker, and those who did not ask learn that it was lost" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      gone = ledger.leases[1]
      {[], ledger} = request(ledger, 2, session: "s")
      {[], ledger} = request(ledger, 3, session: "s", rebind: true)
      {[], [], ledger} = Ledger.drop_worker(ledger, gone.slot)
      assert {grants, _lane, ledger} = Ledger.release(ledger, 1)
      assert [{:lost_session, %Waiter{ref: 2}}, {:grant, %Waiter{ref: 3}, _lane}] = grants
      assert ledger.leases[3].worker != gone.worker
    end

    test "does nothing to a session that is not lost" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s", rebind: true)
      {[], nil, ledger} = Ledger.release(ledger, 1)
      {[{:grant, _, _}], after_} = request(ledger, 2, session: "s", rebind: true)
      assert after_.leases[2].worker == elem(request(ledger, 2, session: "s"), 1).leases[2].worker
    end
  end

  describe "rebind/3" do
    test "moves a session with those who wait for it, once its lease is released" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, :call, session: "s")
      from = ledger.leases.call.worker
      {[], ledger} = request(ledger, :next, session: "s")
      move = [session: "s", worker: from, service: :move]
      {[], ledger} = request(ledger, :move, move)
      {[{:grant, %Waiter{ref: :move}, _}], nil, ledger} = Ledger.release(ledger, :call)
      to = Ledger.roomiest(ledger, from)
      assert to not in [nil, from]
      assert {true, ledger} = Ledger.rebind(ledger, :move, to)
      assert {[{:grant, %Waiter{ref: :next}, _}], nil, ledger} = Ledger.release(ledger, :move)
      assert ledger.leases.next.worker == to
    end

    test "refuses a worker that is gone, and a lease of no session" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      assert {false, ^ledger} = Ledger.rebind(ledger, 1, worker(9))
      {[{:grant, _, _}], ledger} = request(ledger, 2)
      assert {false, ^ledger} = Ledger.rebind(ledger, 2, worker(0))
      assert {false, ^ledger} = Ledger.rebind(ledger, 3, worker(0))
    end

    test "is not asked of a worker that has the session no more" do
      ledger = with_workers(2, 1)
      {[{:grant, _, _}], ledger} = request(ledger, 1, session: "s")
      {[], nil, ledger} = Ledger.release(ledger, 1)
      move = [session: "s", worker: worker(9), service: :move]
      assert {[{:unbound, %Waiter{ref: 2}}], ledger} = request(ledger, 2, move)
      assert {[{:grant, _, _}], _ledger} = request(ledger, 3, session: "s")
    end
  end

  describe "a waiter for one worker" do
    test "gets a lane of that worker, before others, or learns that it is gone" do
      ledger = with_workers(2, 1)
      {_slots, ledger} = granted(ledger, [:a, :b])
      {[], ledger} = request(ledger, :c)
      {[], ledger} = request(ledger, :d, worker: worker(1), service: :stop)
      assert {[{:grant, %Waiter{ref: :c}, _}], nil, ledger} = Ledger.release(ledger, :a)
      assert {[{:grant, %Waiter{ref: :d}, _}], nil, ledger} = Ledger.release(ledger, :b)
      {[], ledger} = request(ledger, :e, worker: worker(1), service: :stop)
      assert {[], [{:unbound, %Waiter{ref: :e}}], ledger} = Ledger.drop_worker(ledger, 1)
      assert {[{:unbound, _}], _ledger} = request(ledger, :f, worker: worker(1), service: :stop)
    end
  end

  defp young(ledger) do
    assert {[], ledger} = Ledger.age(ledger)
    ledger
  end

  describe "release/2" do
    test "takes a waiter out that was not granted yet" do
      {[], ledger} = request(%Ledger{}, :a)
      {[], ledger} = request(ledger, :b, session: "s")
      {[], nil, ledger} = Ledger.release(ledger, :a)
      {[], nil, ledger} = Ledger.release(ledger, :b)
      assert Line.count(ledger.line) == 0
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
      assert {[idle], [], ledger} = Ledger.drop_worker(ledger, 0)
      assert idle != lane
      assert {[], ^lane, ledger} = Ledger.release(ledger, :a)
      assert ledger.leases == %{}
    end

    test "does not give a lane of an old worker to its successor" do
      {_slots, ledger} = granted(with_workers(1, 1), [:a])
      {[], [], ledger} = Ledger.drop_worker(ledger, 0)
      {[], ledger} = Ledger.add_worker(ledger, 0, worker(1), lanes(1, 1))
      old = ledger.leases[:a].lane
      assert {[], ^old, ledger} = Ledger.release(ledger, :a)
      assert ledger.workers[0].free == lanes(1, 1)
    end
  end

  describe "owners and deadlines" do
    test "leases of an owner are found and made over" do
      {_slots, ledger} = granted(with_workers(1, 2), [:a, :b])
      assert Enum.sort(elem(Ledger.drop_owner(ledger, self()), 0)) == [:a, :b]
      lane = ledger.leases[:a].lane
      assert {%{lane: ^lane}, ledger} = Ledger.abandon(ledger, :a)
      assert elem(Ledger.drop_owner(ledger, self()), 0) == [:b]
      assert {nil, _ledger} = Ledger.abandon(ledger, :unknown)
    end

    test "the soonest deadline is found, in every queue" do
      assert Line.deadline(%Ledger{}.line) == nil
      {[], ledger} = request(%Ledger{}, :a)
      assert Line.deadline(ledger.line) == nil
      {[], ledger} = request(ledger, :b, deadline: 50)
      {[], ledger} = request(ledger, :c, deadline: 20, session: "s")
      assert Line.deadline(ledger.line) == 20
      {[%Waiter{ref: :c}], ledger} = Ledger.expire(ledger, 20)
      assert Line.deadline(ledger.line) == 50
      assert Line.count(ledger.line) == 2
    end

    test "a worker with no lane out is quiet" do
      {_slots, ledger} = granted(with_workers(1, 2), [:a])
      refute Holdings.quiet?(ledger, 0)
      {[], nil, ledger} = Ledger.release(ledger, :a)
      assert Holdings.quiet?(ledger, 0)
      refute Holdings.quiet?(ledger, 7)
    end
  end

  describe "a lease that is parked" do
    setup do
      {_slots, ledger} = granted(with_workers(2, 1), [:a, :b])
      {[], nil, ledger} = Ledger.park(ledger, :a)
      {:ok, ledger: ledger}
    end

    defp more(n), do: [worker: worker(n), service: :more]

    test "gives its lane back, and its worker is needed until it is released", %{ledger: ledger} do
      assert Holdings.quiet?(ledger, 0)
      assert Holdings.needed?(ledger, 0)
      refute Holdings.needed?(ledger, 1)
      {[], nil, ledger} = Ledger.release(ledger, :a)
      refute Holdings.needed?(ledger, 0)
    end

    test "goes on at its worker, ahead of those whom any worker can serve", %{ledger: ledger} do
      {[{:grant, %{ref: :c}, lane}], ledger} = request(ledger, :c)
      {[], ledger} = request(ledger, :d)
      {[], ledger} = request(ledger, :a, more(0))
      assert {[{:grant, %{ref: :a}, ^lane}], nil, ledger} = Ledger.release(ledger, :c)
      refute Holdings.needed?(ledger, 0)
      assert {[{:grant, %{ref: :d}, ^lane}], nil, _ledger} = Ledger.release(ledger, :a)
    end

    test "can be parked again, on a worker that drains as well", %{ledger: ledger} do
      ledger = Ledger.drain(ledger, 0)
      {[{:grant, %{ref: :a}, _lane}], ledger} = request(ledger, :a, more(0))
      {[], nil, ledger} = Ledger.park(ledger, :a)
      assert Holdings.needed?(ledger, 0)
    end

    test "does not go on where its worker is gone", %{ledger: ledger} do
      {[_free], [], ledger} = Ledger.drop_worker(ledger, 0)
      {[], ledger} = Ledger.add_worker(ledger, 0, worker(7), lanes(7, 1))
      refute Holdings.needed?(ledger, 0)
      assert {[{:lost_rest, %{ref: :a}}], _ledger} = request(ledger, :a, more(0))
    end

    test "does not go on where its worker goes while it waits", %{ledger: ledger} do
      {[{:grant, %{ref: :c}, _lane}], ledger} = request(ledger, :c)
      {[], ledger} = request(ledger, :a, more(0))
      assert {[], [{:lost_rest, %{ref: :a}}], ledger} = Ledger.drop_worker(ledger, 0)
      assert Line.count(ledger.line) == 0
    end

    test "is over with its owner, and once it is abandoned", %{ledger: ledger} do
      {[:b], gone} = Ledger.drop_owner(ledger, self())
      {nil, abandoned} = Ledger.abandon(ledger, :a)

      refute Holdings.needed?(gone, 0)
      refute Holdings.needed?(abandoned, 0)
    end

    test "is just given back where nobody waits for it any more", %{ledger: ledger} do
      {%{}, ledger} = Ledger.abandon(ledger, :b)
      assert {[], nil, ledger} = Ledger.park(ledger, :b)
      assert Holdings.quiet?(ledger, 1)
      refute Holdings.needed?(ledger, 1)
      assert {[], nil, ^ledger} = Ledger.park(ledger, :nobody)
    end
  end

  describe "a worker that takes so many calls" do
    test "takes no more, and is spent when the last is answered" do
      {[], ledger} = Ledger.add_worker(%Ledger{max_calls: 2}, 0, worker(0), lanes(0, 3))
      {_slots, ledger} = granted(ledger, [:a, :b])
      assert {[], ledger} = request(ledger, :c)
      assert {[], nil, ledger} = Ledger.release(ledger, :a)
      assert {Holdings.spent(ledger), Line.count(ledger.line)} == {[], 1}
      assert {[], nil, ledger} = Ledger.release(ledger, :b)
      assert {Holdings.spent(ledger), Line.count(ledger.line)} == {[0], 1}

      assert {[{:grant, %Waiter{ref: :c}, _lane}], _ledger} =
               Ledger.add_worker(ledger, 1, worker(1), lanes(1, 3))
    end

    test "gets no new session, and goes on with those that it has" do
      {[], ledger} = Ledger.add_worker(%Ledger{max_calls: 1}, 0, worker(0), lanes(0, 2))
      {[{:grant, _waiter, _lane}], ledger} = request(ledger, :a, session: "s")
      assert {[], ledger} = request(ledger, :b, session: "t")
      assert {[], nil, ledger} = Ledger.release(ledger, :a)
      assert Holdings.spent(ledger) == [0]
      ledger = Ledger.drain(ledger, 0)
      assert {[{:grant, %Waiter{ref: :c}, _lane}], ledger} = request(ledger, :c, session: "s")
      assert {[], nil, ledger} = Ledger.release(ledger, :c)
      assert Holdings.spent(ledger) == []

      assert {[{:grant, %Waiter{ref: :b}, _lane}], _ledger} =
               Ledger.add_worker(ledger, 1, worker(1), lanes(1, 2))
    end

    test "does not count what is asked about sessions" do
      {[], ledger} = Ledger.add_worker(%Ledger{max_calls: 1}, 0, worker(0), lanes(0, 2))
      {[_grant], ledger} = request(ledger, :a, worker: worker(0), service: :stop)
      {[], nil, ledger} = Ledger.release(ledger, :a)
      assert Holdings.spent(ledger) == []
      assert {[0], _ledger} = granted(ledger, [:b])
    end
  end

  test "whatever happens, no lane has two holders and nobody is forgotten" do
    check_all(300, fn -> {pick([nil, 3]), many(80, &step/0)} end, fn {max_calls, steps} ->
      ledger = %Ledger{max_calls: max_calls}
      {ledger, waiting} = Enum.reduce(steps, {ledger, MapSet.new()}, &apply_step/2)
      assert Line.count(ledger.line) == MapSet.size(waiting)
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
      {:down, pick([0, 1, 2])},
      {:pinned, pick([0, 1, 2])},
      {:service, pick([:stop, :expire, :move]), pick(["a", "b", "c"])},
      {:rebinding, pick(["a", "b", "c"])},
      {:end, pick(["a", "b", "c"])},
      {:move, pick(["a", "b", "c"])},
      :age
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

  defp apply_step({:down, slot}, {ledger, waiting}) do
    {_lanes, grants, ledger} = Ledger.drop_worker(ledger, slot)
    check({grants, ledger}, waiting)
  end

  defp apply_step({:pinned, slot}, {ledger, waiting}) do
    ref = make_ref()
    pid = if worker = ledger.workers[slot], do: worker.pid, else: worker(99)
    ledger |> request(ref, worker: pid, service: :stop) |> check(MapSet.put(waiting, ref))
  end

  defp apply_step({:service, service, session}, {ledger, waiting}) do
    ref = make_ref()

    ledger
    |> request(ref, session: session, service: service)
    |> check(MapSet.put(waiting, ref))
  end

  defp apply_step({:rebinding, session}, {ledger, waiting}) do
    ref = make_ref()
    ledger |> request(ref, session: session, rebind: true) |> check(MapSet.put(waiting, ref))
  end

  # Whoever holds a session's lease may end it, or move it.
  defp apply_step({:end, session}, {ledger, waiting}) do
    case Enum.find(ledger.leases, &match?({_ref, %{session: ^session}}, &1)) do
      nil -> {ledger, waiting}
      {ref, _lease} -> ledger |> Ledger.end_session(ref) |> check(waiting)
    end
  end

  defp apply_step({:move, session}, {ledger, waiting}) do
    with {ref, lease} <- Enum.find(ledger.leases, &match?({_, %{session: ^session}}, &1)),
         to when to != nil <- Ledger.roomiest(ledger, lease.worker) do
      {_moved?, ledger} = Ledger.rebind(ledger, ref, to)
      check({[], ledger}, waiting)
    else
      nil -> {ledger, waiting}
    end
  end

  defp apply_step(:age, {ledger, waiting}) do
    {idle, ledger} = Ledger.age(ledger)
    for session <- idle, do: refute(Holdings.uses?(ledger, self(), session))
    {ledger, waiting}
  end

  defp waits_rightly?(ledger, _session, nil),
    do: Enum.all?(ledger.workers, &match?({_slot, %{left: 0}}, &1))

  defp waits_rightly?(_ledger, _session, %{busy: true}), do: true

  defp waits_rightly?(ledger, _session, %{worker: pid}),
    do: Enum.any?(ledger.workers, &match?({_slot, %{pid: ^pid, free: []}}, &1))

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
      assert worker.free == [] or worker.left == 0 or not Line.waits?(ledger.line, nil)
      assert worker.free == [] or not Line.waits?(ledger.line, {:worker, worker.pid})
    end

    busy = for {_ref, %{session: session}} <- ledger.leases, session != nil, do: session
    assert busy == Enum.uniq(busy)

    # Whoever has taken its calls and has none out is told of, once, and then drains.
    spent = for {slot, %{left: 0, leased: 0, draining: false}} <- ledger.workers, do: slot

    assert ledger.max_calls == nil or Holdings.spent(ledger) == spent
    ledger = Enum.reduce(spent, ledger, &Ledger.drain(&2, &1))

    for session <- ["a", "b", "c"] do
      bound = Sessions.fetch(ledger.sessions, session)
      assert session not in busy or bound == nil or bound.busy
      if Line.waits?(ledger.line, session), do: assert(waits_rightly?(ledger, session, bound))
    end

    {ledger, waiting}
  end
end
