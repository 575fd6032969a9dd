defmodule Slither.Pool.LawsTest do
  use ExUnit.Case, async: true

  @moduletag :capture_log

  # The laws of a pool, of its scheduler as a whole: a random history of requests, releases, deaths,
  # limits, restarts and resizes is played to it, and a model of who holds and who waits is kept
  # beside it, of nothing but what the scheduler sent.
  #
  #   * no lane is granted while it is out, nor one of a worker that is gone;
  #   * who waits for any worker is served in the order of asking, and so is who waits for a session;
  #   * nobody waits while a lane is free that could serve him;
  #   * whoever waits is answered once, unless he is gone or takes his request back;
  #   * no worker is told to stop while a lane of it is held, and each lane of one that is gone is
  #     told to stop, once;
  #   * each change is answered, and in the end the pool has the workers that it should;
  #   * one that grows and shrinks by itself stays in its range, and is as small as it may be in the
  #     end.

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Error
  alias Slither.Pool.Scheduler
  alias Slither.Test.{Pools, ScriptedPool}

  # Of this test alone: a session is stopped in whatever pool has it.
  @sessions ["laws a", "laws b", "laws c"]

  test "hold whatever happens" do
    check_all(150, fn -> {options(), many(60, &event/0)} end, &play/1)
  end

  test "hold of a pool whose workers take but so many calls" do
    check_all(40, fn -> {[max_calls: 2] ++ options(), many(40, &event/0)} end, &play/1)
  end

  test "hold of a pool that grows and shrinks by itself" do
    check_all(60, fn -> {elastic(), many(50, &event/0)} end, &play/1)
  end

  test "hold of one whose workers take but so many calls" do
    check_all(30, fn -> {[max_calls: 2] ++ elastic(), many(40, &event/0)} end, &play/1)
  end

  defp elastic, do: Keyword.put(options(), :size, pick([1..2, 1..4, 2..3]))

  # A resize to a range has any pool grow and shrink.
  defp options do
    [size: pick([1, 2, 3]), spare: pick([0, 1]), window: pick([1, 2])] ++
      [grow_after: pick([1, 5]), idle: pick([1, 5])]
  end

  defp event do
    n = :rand.uniform(1_000)

    pick([
      :ask,
      :ask,
      :ask,
      {:ask, session: pick(@sessions)},
      {:ask, session: pick(@sessions), rebind: true},
      {:owned, n},
      :ask_too_late,
      {:give_back, n},
      {:give_back, n},
      {:give_back, n},
      {:take_back, n},
      {:abandon, n},
      {:end_owner, n},
      {:idle, n},
      {:ready, n},
      {:ready, n},
      {:stopped, n},
      {:die, n},
      {:crash, n},
      {:due, n},
      pick([:restart, {:resize, pick([1, 2, 3, 1..3])}, {:fail, n}])
    ])
  end

  defp play({options, events}) do
    pool = ScriptedPool.start(options)

    world = %{
      pool: pool,
      options: options,
      # Of each worker that was started: its slot, and what is known of it.
      workers: %{},
      lanes: %{},
      held: %{},
      waiting: [],
      # Those who waited and do no more: `:taken_back`, or `:ended` with their owner. What they are
      # told may have been on its way, as the pool's own processes move sessions at any time.
      gone: %{},
      # Lanes that were asked whether they are idle, with the reference.
      asked: [],
      owners: %{},
      changes: [],
      # The process that stops sessions in the end.
      stops: nil,
      size: options[:size]
    }

    world = Enum.reduce(events, observe(world), &(&1 |> happen(&2) |> observe()))
    world = come_to_rest(world, now() + 20_000)
    check_rest(world)
    ScriptedPool.stop(pool, relays(world))
  end

  ## Events

  defp happen(:ask, world), do: ask(world, self(), [])
  defp happen({:ask, options}, world), do: ask(world, self(), options)

  defp happen(:ask_too_late, world) do
    world = ask(world, self(), deadline: now() - 1)
    await_answer(world, List.last(world.waiting).ref)
  end

  defp happen({:owned, _n}, world) do
    owner = spawn(&own/0)
    ask(put_in(world.owners[owner], true), owner, [])
  end

  defp happen({:give_back, n}, world) do
    with_one(mine(world.held), n, world, fn {ref, _lease} ->
      Scheduler.release(world.pool.handle, ref)
      %{world | held: Map.delete(world.held, ref)}
    end)
  end

  defp happen({:take_back, n}, world) do
    with_one(world.waiting, n, world, fn %{ref: ref} ->
      Scheduler.release(world.pool.handle, ref)
      waiting = Enum.reject(world.waiting, &(&1.ref == ref))
      %{world | waiting: waiting, gone: Map.put(world.gone, ref, :taken_back)}
    end)
  end

  # The lane is held until it says that it is idle.
  defp happen({:abandon, n}, world) do
    with_one(mine(world.held), n, world, fn {ref, lease} ->
      Scheduler.abandon(world.pool.handle, ref)
      put_in(world.held[ref], %{lease | mine: false})
    end)
  end

  defp happen({:end_owner, n}, world) do
    with_one(Map.keys(world.owners), n, world, fn owner ->
      ScriptedPool.kill(world.pool, owner)

      held =
        Map.new(world.held, fn {ref, lease} ->
          {ref, %{lease | mine: lease.mine and lease.owner != owner}}
        end)

      {ended, waiting} = Enum.split_with(world.waiting, &(&1.owner == owner))
      gone = Enum.reduce(ended, world.gone, &Map.put(&2, &1.ref, :ended))
      owners = Map.delete(world.owners, owner)
      %{world | held: held, waiting: waiting, gone: gone, owners: owners}
    end)
  end

  defp happen({:idle, n}, world), do: with_one(world.asked, n, world, &idle(world, &1))

  defp happen({:ready, n}, world),
    do: with_worker(world, n, :starting, &come_up(world, &1))

  defp happen({:stopped, n}, world),
    do: with_worker(world, n, :told, &go(world, &1, :worker_stopped))

  defp happen({:die, n}, world), do: with_worker(world, n, :up, &go(world, &1, :worker_died))

  defp happen({:fail, n}, world) do
    with_worker(world, n, :starting, fn {pid, %{slot: slot}} ->
      ScriptedPool.failed(world.pool, pid, slot)
      put_in(world.workers[pid].state, :gone)
    end)
  end

  # A lane ends by itself: its worker is killed for that.
  defp happen({:crash, n}, world) do
    up = for {lane, %{state: :there} = facts} <- sorted(world.lanes), up?(world, facts), do: lane

    with_one(up, n, world, fn lane ->
      ScriptedPool.kill(world.pool, lane)
      put_in(world.lanes[lane].state, :crashed)
    end)
  end

  defp happen({:due, n}, world) do
    with_worker(world, n, :up, fn {pid, %{slot: slot}} ->
      ScriptedPool.due(world.pool, pid, slot)
      world
    end)
  end

  defp happen(:restart, world), do: change(world, :restart)
  defp happen({:resize, size}, world), do: change(world, {:resize, size})

  defp change(world, kind) do
    request = :gen_server.send_request(world.pool.handle.scheduler, {:change, kind})
    %{world | changes: world.changes ++ [{request, kind}]}
  end

  defp ask(world, owner, options) do
    ref = make_ref()
    handle = world.pool.handle
    inbox = {self(), :laws}

    if owner == self() do
      :ok = Scheduler.request(handle, inbox, ref, options)
    else
      send(owner, {:ask, self(), handle, inbox, ref, options})
      assert_receive {^ref, :asked}, Pools.patience()
    end

    waiter = %{ref: ref, owner: owner, session: options[:session], deadline: options[:deadline]}
    %{world | waiting: world.waiting ++ [waiter]}
  end

  defp own do
    receive do
      {:ask, test, handle, inbox, ref, options} ->
        :ok = Scheduler.request(handle, inbox, ref, options)
        send(test, {ref, :asked})
        own()
    end
  end

  defp come_up(world, {pid, %{slot: slot}}) do
    lanes = ScriptedPool.ready(world.pool, pid, slot)
    world = put_in(world.workers[pid].state, :up)
    facts = %{worker: pid, state: :there}
    %{world | lanes: Map.merge(world.lanes, Map.new(lanes, &{&1, facts}))}
  end

  defp go(world, {pid, %{slot: slot}}, reason) do
    ScriptedPool.down(world.pool, pid, slot, reason)
    put_in(world.workers[pid].state, :gone)
  end

  defp idle(world, {lane, ref}) do
    ScriptedPool.idle(world.pool, lane, ref)
    %{world | asked: world.asked -- [{lane, ref}], held: Map.delete(world.held, ref)}
  end

  # A deadline that is over: the answer comes by a timer.
  defp await_answer(world, ref) do
    receive do
      {{_test, :laws}, {_kind, ^ref, _what}} = answer -> hear(answer, world)
    after
      Pools.patience() -> flunk("whoever waits for too long is not told")
    end
  end

  ## What the scheduler does, and the laws

  # All that it and its workers have to say of the last event, and then whether the laws hold.
  defp observe(world) do
    status = status(world)
    # Who waits is known by the first of them.
    assert status.queue == 0 == (status.asked == nil)
    assert status.size in status.range and status.ready <= status.range.last
    ScriptedPool.sync(relays(world))
    world |> hear_all() |> check(now() + Pools.patience())
  end

  # As the scheduler knows it: its scripted workers would not say what they run.
  defp status(world) do
    {:ok, status} = Scheduler.status(world.pool.handle)
    status
  end

  defp hear_all(world) do
    receive do
      {{_test, :laws}, _message} = message -> message |> hear(world) |> hear_all()
      {:told, _pid, _what} = message -> message |> hear(world) |> hear_all()
    after
      0 -> world
    end
  end

  defp hear({{_test, :laws}, {:granted, ref, lane}}, world) do
    waiter = Enum.find(world.waiting, &(&1.ref == ref))

    cond do
      waiter != nil ->
        first = Enum.find(world.waiting, &(&1.session == waiter.session))
        # One that is too late may be told so any time.
        assert first == waiter or first.deadline != nil

        # The pool's own processes give lanes back, too: one may be granted as it crashes, unseen yet.
        assert world.lanes[lane].state in [:there, :crashed]
        assert lane not in for({_ref, lease} <- world.held, do: lease.lane)
        assert waiter.session == nil or waiter.session not in busy(world)
        lease = %{lane: lane, owner: waiter.owner, session: waiter.session, mine: true}
        waiting = List.delete(world.waiting, waiter)
        %{world | waiting: waiting, held: Map.put(world.held, ref, lease)}

      # It goes back as soon as the scheduler hears that nobody wants it.
      world.gone[ref] == :taken_back ->
        world

      # The lane is asked whether it is idle.
      world.gone[ref] == :ended ->
        put_in(world.held[ref], %{lane: lane, owner: nil, session: nil, mine: false})

      true ->
        flunk("a grant that nobody waits for")
    end
  end

  defp hear({{_test, :laws}, {_kind, ref, %Error{}}}, %{gone: gone} = world)
       when is_map_key(gone, ref) and not is_map_key(world.held, ref),
       do: world

  defp hear({{_test, :laws}, {:denied, ref, %Error{reason: reason}}}, world) do
    assert %{} = waiter = Enum.find(world.waiting, &(&1.ref == ref))
    assert reason in [:queue_timeout, :session_lost, :pool_unavailable]
    assert reason != :queue_timeout or waiter.deadline != nil
    assert reason != :session_lost or waiter.session != nil
    %{world | waiting: List.delete(world.waiting, waiter)}
  end

  defp hear({{_test, :laws}, {:lane_lost, ref, %Error{reason: :worker_died}}}, world) do
    assert %{lane: lane} = world.held[ref]
    assert world.lanes[lane].state == :crashed
    asked = Enum.reject(world.asked, &match?({_lane, ^ref}, &1))
    %{world | held: Map.delete(world.held, ref), asked: asked}
  end

  defp hear({:told, worker, {:started, slot}}, world) do
    refute Enum.any?(world.workers, &match?({_, %{slot: ^slot, state: s}} when s != :gone, &1))
    put_in(world.workers[worker], %{slot: slot, state: :starting})
  end

  defp hear({:told, pid, {stop, _why}}, world) when stop in [:stop, :stop_idle] do
    out = for {_ref, %{lane: lane}} <- world.held, world.lanes[lane].worker == pid, do: lane
    if stop == :stop, do: assert(out == [])
    stops? = out == [] and world.workers[pid].state in [:starting, :up]
    if stops?, do: put_in(world.workers[pid].state, :told), else: world
  end

  defp hear({:told, pid, {:kill, %Error{reason: :worker_died}}}, world) do
    assert Enum.any?(world.lanes, &match?({_lane, %{worker: ^pid, state: :crashed}}, &1))

    if world.workers[pid].state == :gone,
      do: world,
      else: go(world, worker(world, pid), :worker_died)
  end

  defp hear({:told, _pid, :run_on}, world), do: world

  # Another test looks at all pools that there are.
  defp hear({:told, _pid, {:"$gen_call", _from, :runs}}, world), do: world

  defp hear({:told, lane, {:idle?, _from, ref}}, world) do
    assert %{lane: ^lane, mine: false} = world.held[ref]
    %{world | asked: world.asked ++ [{lane, ref}]}
  end

  defp hear({:told, lane, :stop}, world) do
    assert %{worker: pid, state: :there} = world.lanes[lane]
    assert world.workers[pid].state == :gone
    put_in(world.lanes[lane].state, :stopped)
  end

  # The pool's own processes move sessions meanwhile: what looks wrong is looked at again, for as
  # long as they may take on a busy machine.
  defp check(world, deadline) do
    status = status(world)
    {:ok, sessions} = Slither.Session.list(world.pool.name)
    late = hear_all(world)
    room = for %{status: :ready, calls: n, worker: w} <- status.workers, n < window(world), do: w
    idle = for %{status: :idle, id: id, worker: worker} <- sessions, worker in room, do: id
    lost = for(%{status: :lost, id: id} <- sessions, do: id) -- busy(late)

    # While a pool may grow, nobody waits behind a call: so a lane that is free may be one of those.
    room =
      if status.size < status.range.last,
        do: for(%{status: :ready, calls: 0, worker: w} <- status.workers, do: w),
        else: room

    wrong =
      Enum.filter(late.waiting, fn
        %{session: nil} -> room != [] and world.options[:max_calls] == nil
        %{session: session} -> session in idle or session in lost
      end)

    cond do
      wrong == [] -> late
      now() < deadline -> check(late, deadline)
      true -> flunk("#{inspect(wrong)} wait while they could be served: #{inspect(status)}")
    end
  end

  defp relays(world), do: Map.keys(world.workers) ++ Map.keys(world.lanes)
  defp window(world), do: world.options[:window]
  defp busy(world), do: for({_ref, %{session: s}} <- world.held, s != nil, do: s)

  ## The end

  defp come_to_rest(%{pool: pool} = world, deadline) do
    world = %{world | changes: Enum.reject(world.changes, &answered?/1)}
    before = {Map.keys(world.workers), states(world), map_size(world.held), world.asked}
    world = Enum.reduce(sorted(world.workers), world, &further/2)

    world =
      Enum.reduce(mine(world.held), world, fn _lease, world -> happen({:give_back, 0}, world) end)

    world = observe(world)
    world = Enum.reduce(world.asked, world, &idle(&2, &1))
    world = observe(world)

    cond do
      {Map.keys(world.workers), states(world), map_size(world.held), world.asked} != before ->
        come_to_rest(world, deadline)

      settled?(world) or now() > deadline ->
        world

      # A start waits after a failure, or the pool's own processes move sessions.
      true ->
        ScriptedPool.hurry(pool)
        world |> stop_sessions() |> observe() |> come_to_rest(deadline)
    end
  end

  # One that could not move stays with a worker that is to leave. To stop it takes a lane, for which
  # those may have to give theirs back whom this process plays: another one waits.
  defp stop_sessions(%{held: held, stops: stops} = world) do
    if held == %{} and (stops == nil or not Process.alive?(stops)) do
      %{world | stops: spawn(fn -> Enum.each(@sessions, &Slither.Session.stop/1) end)}
    else
      world
    end
  end

  defp answered?({request, _kind}) do
    case :gen_server.wait_response(request, 0) do
      :timeout -> false
      {:reply, :ok} -> true
      {:reply, {:error, %Error{reason: :start_failed}}} -> true
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp states(world), do: for({pid, worker} <- sorted(world.workers), do: {pid, worker.state})

  defp further({pid, %{state: :starting}}, world), do: come_up(world, worker(world, pid))
  defp further({pid, %{state: :told}}, world), do: go(world, worker(world, pid), :worker_stopped)
  defp further(_worker, world), do: world

  defp settled?(world) do
    status = status(world)
    by = Enum.frequencies(for worker <- status.workers, do: worker.status)

    world.changes == [] and world.waiting == [] and world.held == %{} and
      by[:ready] == status.size and status.size == status.range.first and
      Map.get(by, :spare, 0) == status.spare and Map.drop(by, [:ready, :spare]) == %{}
  end

  defp check_rest(world) do
    assert settled?(world), inspect({status(world), world.waiting, world.held})

    assert world.changes == []
    world = lanes_stopped(world, now() + Pools.patience())
    assert left(world) == []
    refute_received {{_test, :laws}, _message}
  end

  # The pool's own processes, which end sessions, may hold a lane of a worker that is gone.
  defp lanes_stopped(world, deadline) do
    ScriptedPool.sync(relays(world))
    world = hear_all(world)

    if left(world) == [] or now() > deadline,
      do: world,
      else: lanes_stopped(world, deadline)
  end

  # Lanes of workers that are gone, and were not told to stop.
  defp left(world) do
    for {lane, %{worker: pid, state: state}} <- world.lanes,
        world.workers[pid].state == :gone,
        state not in [:stopped, :crashed],
        do: lane
  end

  ## Choices

  defp mine(held), do: for({ref, %{mine: true} = lease} <- sorted(held), do: {ref, lease})
  defp sorted(map), do: Enum.sort(map)
  defp worker(world, pid), do: {pid, world.workers[pid]}
  defp up?(world, %{worker: pid}), do: world.workers[pid].state == :up

  defp with_worker(world, n, state, fun) do
    workers = for {pid, %{state: ^state} = worker} <- sorted(world.workers), do: {pid, worker}
    with_one(workers, n, world, fun)
  end

  defp with_one([], _n, world, _fun), do: world
  defp with_one(list, n, _world, fun), do: fun.(Enum.at(list, rem(n, length(list))))
end
