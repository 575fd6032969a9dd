defmodule Slither.Pool.ElasticTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]
  import Slither.Test.Pools

  alias Slither.{Error, Session, Telemetry}
  alias Slither.Pool.{Elastic, Holdings, Line, Requests, Sessions, Settings, Staff, State, Upkeep}
  alias Slither.Pool.Waiter
  alias Slither.Python.{Board, Pool}

  doctest Slither.Pool.Elastic.Need

  @moduletag :capture_log

  ## What is decided, as the scheduler does it, at times that a test says

  defp new(options) do
    {:ok, checked} = Settings.check([name: :p, window: 2, grow_after: 100, idle: 400] ++ options)
    sessions = :ets.new(__MODULE__, [])
    State.new(%{Settings.new(checked, nil) | sessions: sessions})
  end

  defp pid(n), do: :erlang.list_to_pid(~c"<0.#{n}.0>")
  # Another each time.
  defp new_pid do
    last = Process.get(:last_pid, 1_000)
    Process.put(:last_pid, last + 1)
    pid(last)
  end

  defp worker(state, slot), do: state.staff.members[slot].pid

  # The effects of an event, and the state for the next; a worker that is started has its process,
  # and one that is told to stop is gone.
  defp settle(state, now) do
    state = state |> Upkeep.finish() |> Elastic.watch(now)
    effects = Enum.reverse(state.effects)
    state = Enum.reduce(effects, %{state | effects: []}, &carry(&1, &2, now))
    {effects, state}
  end

  defp carry({:start, slot}, state, _now),
    do: %{state | staff: Staff.started(state.staff, slot, new_pid())}

  defp carry({:size, size, most}, state, _now) do
    Board.put_size(state.settings.board, size, most)
    state
  end

  defp carry({:stop, slot, _why}, state, now) do
    state = Upkeep.down(state, slot, state.staff.members[slot], :worker_stopped, now)
    state |> settle(now) |> elem(1)
  end

  defp carry(_other, state, _now), do: state

  defp begin(options, now \\ 0) do
    {_starts, state} = options |> new() |> Upkeep.reconcile() |> settle(now)
    all_ready(state, now)
  end

  defp all_ready(state, now) do
    case for {slot, %{status: :starting}} <- state.staff.members, do: slot do
      [] -> state
      [slot | _] -> state |> ready(slot, now) |> elem(1) |> all_ready(now)
    end
  end

  defp ready(state, slot, now),
    do: state |> Upkeep.ready(slot, [new_pid(), new_pid()], 100 + slot, now) |> settle(now)

  defp ask(state, ref, now, options \\ []) do
    asked = System.convert_time_unit(now, :millisecond, :native)
    waiter = %Waiter{ref: ref, owner: pid(1), inbox: {pid(1), :key}, asked: asked}
    state |> Requests.request(struct!(waiter, options)) |> settle(now) |> elem(1)
  end

  defp give_back(state, ref, now), do: state |> Requests.release(ref) |> settle(now) |> elem(1)
  defp grow(state, now), do: state |> Elastic.grow(now) |> Upkeep.reconcile() |> settle(now)
  defp shrink(state, now), do: state |> Elastic.shrink(now) |> Upkeep.reconcile() |> settle(now)
  defp resized(effects), do: for({:resized, from, to, why} <- effects, do: {from, to, why})
  defp size(state), do: state.staff.size

  defp grown(count, now \\ 0) do
    state = begin([size: 1..4], now)
    state = Enum.reduce(0..count, state, &ask(&2, &1, now))
    {_effects, state} = grow(state, now + 100)
    state = all_ready(state, now + 100)
    Enum.reduce(0..count, state, &give_back(&2, &1, now + 100))
  end

  describe "a pool whose size is a range" do
    test "begins with the least, and has a look at who waits once somebody does" do
      {effects, state} = [size: 2..4] |> new() |> Upkeep.reconcile() |> settle(0)
      assert effects == [{:start, 0}, {:start, 1}]
      state = all_ready(state, 0)
      state = state |> ask(:a, 0) |> ask(:b, 0)
      {effects, _state} = state |> Requests.request(waiter(:c)) |> settle(0)
      assert {:after, 100, :grow} in effects
    end

    defp waiter(ref), do: %Waiter{ref: ref, owner: pid(1), inbox: {pid(1), :key}, asked: 0}

    test "grows by as many as have waited for too long, and no further than the most" do
      state = begin(size: 1..4)
      state = Enum.reduce([:a, :b, :c], state, &ask(&2, &1, 0)) |> ask(:d, 50)
      # Each has a worker's lane to itself: nobody waits behind a call while the pool may grow.
      assert Line.count(state.ledger.line) == 3

      assert {[], state} =
               state |> grow(99) |> then(fn {effects, state} -> {resized(effects), state} end)

      {effects, state} = grow(state, 100)
      assert resized(effects) == [{1, 3, :waited}]
      assert for({:start, slot} <- effects, do: slot) == [1, 2]
      # Who waits is about to be served; but the fourth has waited for too long by now.
      {effects, state} = grow(state, 150)
      assert resized(effects) == [{3, 4, :waited}]
      {effects, state} = state |> ask(:e, 150) |> grow(400)
      assert resized(effects) == []
      assert size(all_ready(state, 400)) == 4
    end

    test "does not grow for who is served by one that starts" do
      state = begin(size: 1..4) |> ask(:a, 0) |> ask(:b, 0)
      {_effects, state} = grow(state, 100)
      assert size(state) == 2
      {effects, state} = grow(state, 5_000)
      assert resized(effects) == []
      {effects, _state} = ready(state, 1, 5_000)
      assert [%Waiter{ref: :b}] = for({:grant, waiter, _lane} <- effects, do: waiter)
    end

    test "grows for calls that wait without a pause, though each waits a short time only" do
      state = begin(size: 1..4) |> ask(0, 0) |> ask(1, 0)

      # A run of short calls: as one is answered, the next is asked for.
      state =
        Enum.reduce(1..20, state, fn n, state ->
          state |> give_back(n - 1, 10 * n) |> ask(n + 1, 10 * n)
        end)

      assert {[{1, 2, :busy}], state} = grow(state, 205) |> then(fn {e, s} -> {resized(e), s} end)
      assert size(state) == 2
    end

    test "does not grow where there are pauses" do
      state = begin(size: 1..4) |> ask(0, 0) |> ask(1, 0)
      state = state |> give_back(0, 50) |> ask(2, 130)
      {effects, state} = grow(state, 180)
      assert resized(effects) == []
      # The pause of 80 ms counts, this of 10 does not.
      state = state |> give_back(1, 185) |> ask(3, 195)
      {effects, _state} = grow(state, 229)
      assert resized(effects) == []
      {effects, _state} = grow(state, 231)
      assert resized(effects) == [{1, 2, :busy}]
    end

    test "grows for sessions that wait for a worker, while all have some" do
      state = begin(size: 1..4)
      state = Enum.reduce(["a", "b", "c"], state, &ask(&2, &1, 0, session: &1))
      {effects, state} = grow(state, 100)
      assert resized(effects) == [{1, 2, :sessions}]
      state = all_ready(state, 100)
      # The new one has none yet: another would take no more off the first.
      {effects, state} = grow(state, 300)
      assert resized(effects) == []
      state = ask(state, "d", 300, session: "d")
      {effects, _state} = grow(state, 301)
      assert resized(effects) == [{2, 3, :sessions}]
    end

    test "does not grow for the calls of one session, which go one at a time" do
      state = begin(size: 1..4)
      state = Enum.reduce([:a, :b, :c], state, &ask(&2, &1, 0, session: "s"))
      {effects, _state} = grow(state, 500)
      assert resized(effects) == []
    end

    test "gives growing up where a worker can't start, until the pause is over" do
      state = begin(size: 1..4) |> ask(:a, 0) |> ask(:b, 0) |> ask(:c, 0)
      {_effects, state} = grow(state, 100)
      error = %Error{reason: :start_failed, message: "no module x"}
      failed = Upkeep.failed(state, 1, state.staff.members[1], error, 110)
      {effects, state} = settle(failed, 110)
      assert resized(effects) == [{3, 2, :start_failed}]
      failed = Upkeep.failed(state, 2, state.staff.members[2], error, 120)
      {effects, state} = settle(failed, 120)
      assert resized(effects) == [{2, 1, :start_failed}]
      {effects, state} = grow(state, 400)
      assert resized(effects) == []
      {effects, _state} = state |> Upkeep.retry() |> grow(500)
      assert [{1, _to, :waited}] = resized(effects)
    end

    test "lets go of workers that have had nothing to do, down to the least" do
      state = grown(3)
      assert size(state) == 4
      {effects, state} = shrink(state, 200)
      assert resized(effects) == []
      state = state |> ask(:x, 300) |> give_back(:x, 300)
      {effects, state} = shrink(state, 599)
      assert resized(effects) == []
      {effects, state} = shrink(state, 600)
      assert resized(effects) == [{4, 1, :idle}]

      assert [{:drain, _}, {:drain, _}, {:drain, _}] =
               for({:leaves, slot, :idle} <- effects, do: {:drain, slot})

      # The lowest has had a call since.
      assert Map.keys(state.staff.members) == [0]
      assert size(state) == 1
    end

    test "keeps those that have sessions, calls, or state of a run" do
      state = grown(3)
      # Sessions go to the workers that have the fewest.
      state = Enum.reduce(["a", "b"], state, &ask(&2, &1, 110, session: &1))
      state = Enum.reduce(["a", "b"], state, &give_back(&2, &1, 110))
      state = ask(state, :call, 110)
      state = put_in(state.runs["run"], %{owner: pid(1), workers: [worker(state, 2)]})
      {_effects, state} = shrink(state, 200)
      {effects, state} = shrink(state, 10_000)
      assert [{4, to, :idle}] = resized(effects)
      kept = for {_id, %{worker: worker}} <- state.ledger.sessions.bound, do: worker
      there = for {_slot, member} <- state.staff.members, do: member.pid
      assert kept -- there == []
      assert is_map_key(state.staff.members, 2)
      assert is_map_key(state.ledger.leases, :call)
      assert to >= 3
    end

    test "does not shrink while it changes, or somebody waits" do
      state = grown(3)
      {_effects, state} = shrink(state, 200)
      changing = Upkeep.change(state, :restart, {pid(9), :tag})
      {effects, _state} = changing |> settle(300) |> elem(1) |> shrink(900)
      assert resized(effects) == []
    end

    test "has a number of workers from then on when it is resized to one, or another range" do
      state = grown(3)
      {_effects, state} = state |> Upkeep.change({:resize, 2}, {pid(9), :tag}) |> settle(200)
      assert {2, 2, 2} = {state.staff.least, size(state), state.staff.most}
      state = Enum.reduce([:a, :b, :c], state, &ask(&2, &1, 300))
      {effects, state} = grow(state, 1_000)
      assert resized(effects) == []
      {_effects, state} = state |> Upkeep.change({:resize, 1..3}, {pid(9), :tag}) |> settle(1_100)
      assert {1, 2, 3} = {state.staff.least, size(state), state.staff.most}
      {effects, _state} = grow(state, 1_200)
      assert resized(effects) == [{2, 3, :waited}]
    end

    test "has its range back where a change of it fails" do
      state = begin(size: 1..2)
      {_effects, state} = state |> Upkeep.change({:resize, 3..5}, {pid(9), :tag}) |> settle(0)
      error = %Error{reason: :start_failed, message: "no module x"}
      {effects, state} = state |> Upkeep.failed(1, state.staff.members[1], error, 0) |> settle(0)
      assert {:reply, {pid(9), :tag}, {:error, error}} in effects
      assert {1, 1, 2} = {state.staff.least, size(state), state.staff.most}
    end
  end

  # Never below the least or above the most; no worker leaves that is needed, and who waits is served.
  test "the laws of growing and shrinking hold whatever happens" do
    check_all(300, fn -> {pick([1..2, 1..4, 2..3]), many(80, &event/0)} end, fn {range, events} ->
      state = begin(size: range, spare: pick([0, 1]))
      {state, now} = Enum.reduce(events, {state, 0}, &happen/2)
      # All give back what they have; then the pool is as small as it may be.
      {state, now} = rest(state, now)
      assert Line.count(state.ledger.line) == 0
      assert state.staff.size == state.staff.least + kept(state), inspect({state.staff, now})
    end)
  end

  defp event do
    n = :rand.uniform(1_000)

    pick([
      {:ask, n, []},
      {:ask, n, []},
      {:ask, n, [session: pick(["a", "b", "c"])]},
      {:give_back, n},
      {:give_back, n},
      {:ready, n},
      {:die, n},
      {:grow, n},
      {:grow, n},
      {:shrink, n},
      {:due, n},
      pick([{:fail, n}, {:resize, pick([1, 3, 1..3, 2..4])}, :restart, :retry])
    ])
  end

  defp happen(event, {state, now}) do
    now = now + :rand.uniform(150)
    {effects, next} = apply_event(event, state, now)
    check(state, next, effects, now)
    {next, now}
  end

  defp check(before, state, effects, _now) do
    %{least: least, most: most, size: size} = state.staff
    assert size in least..most
    assert Board.size(state.settings.board) == size
    ready = Enum.count(state.staff.members, &match?({_, %{status: :ready}}, &1))
    assert ready <= most

    for {:leaves, slot, :idle} <- effects do
      worker = before.ledger.workers[slot]
      assert worker.leased == 0
      assert Sessions.load(before.ledger.sessions, worker.pid) == 0
    end

    # A session is lost by a death alone: whoever is told to stop keeps none.
    for {:stop, slot, _why} <- effects,
        do: refute(Holdings.needed?(before.ledger, slot) and slot not in leaving(before))
  end

  defp leaving(state), do: state.staff.leaving

  defp apply_event({:ask, _n, options}, state, now),
    do: {[], ask(state, make_ref(), now, options)}

  defp apply_event({:give_back, n}, state, now) do
    one(Map.keys(state.ledger.leases), n, {[], state}, &{[], give_back(state, &1, now)})
  end

  defp apply_event({:ready, n}, state, now),
    do: one(slots(state, :starting), n, {[], state}, &ready(state, &1, now))

  defp apply_event({:die, n}, state, now) do
    one(slots(state, :ready), n, {[], state}, fn slot ->
      state
      |> Upkeep.down(slot, state.staff.members[slot], :worker_died, now + 5_000)
      |> settle(now)
    end)
  end

  defp apply_event({:fail, n}, state, now) do
    one(slots(state, :starting), n, {[], state}, fn slot ->
      error = %Error{reason: :start_failed, message: "no module x"}
      state |> Upkeep.failed(slot, state.staff.members[slot], error, now) |> settle(now)
    end)
  end

  defp apply_event({:due, n}, state, now) do
    one(slots(state, :ready), n, {[], state}, fn slot ->
      state |> Upkeep.due(slot, state.staff.members[slot], :max_age, 1) |> settle(now)
    end)
  end

  defp apply_event({:grow, _n}, state, now), do: grow(state, now)
  defp apply_event({:shrink, _n}, state, now), do: shrink(state, now)
  defp apply_event(:retry, state, now), do: state |> Upkeep.retry() |> settle(now)

  defp apply_event(change, state, now),
    do: state |> Upkeep.change(change, {pid(9), :tag}) |> settle(now)

  defp slots(state, status), do: for({slot, %{status: ^status}} <- state.staff.members, do: slot)

  defp one([], _n, none, _fun), do: none
  defp one(list, n, _none, fun), do: fun.(Enum.at(Enum.sort(list), rem(n, length(list))))

  defp rest(state, now, rounds \\ 60)
  defp rest(state, now, 0), do: {state, now}

  defp rest(state, now, rounds) do
    now = now + 500
    state = state |> Upkeep.retry() |> settle(now) |> elem(1) |> all_ready(now)
    state = Enum.reduce(Map.keys(state.ledger.leases), state, &give_back(&2, &1, now))
    {_effects, state} = shrink(state, now)
    rest(state, now, rounds - 1)
  end

  # Workers beyond the least that sessions keep.
  defp kept(state) do
    with =
      state.staff
      |> Map.get(:members)
      |> Map.keys()
      |> Enum.count(&Holdings.needed?(state.ledger, &1))

    max(0, min(state.staff.size, with) - state.staff.least)
  end

  ## Of a pool with workers

  defp elastic_pool(options) do
    pool = unique(:elastic)
    events = [[:slither, :pool, :grow], [:slither, :pool, :shrink]]
    :ok = Telemetry.attach({__MODULE__, pool}, events, &__MODULE__.event/4, {self(), pool})
    on_exit(fn -> Telemetry.detach({__MODULE__, pool}) end)
    start_pool([name: pool, size: 1..3, grow_after: 20, idle: 100] ++ options)
    assert Pool.await_ready(pool) == :ok
    pool
  end

  @doc false
  def event([:slither, :pool, kind], measured, %{pool: pool, why: why}, {test, pool}),
    do: send(test, {kind, pool, measured.from, measured.to, why})

  def event(_event, _measured, _facts, _config), do: :ok

  defp status(pool) do
    {:ok, status} = Pool.status(pool)
    status
  end

  test "calls that wait have a pool grow, and the end of them has it shrink" do
    pool = elastic_pool(idle: 200)
    assert %{size: 1, range: 1..3, changed: nil} = status(pool)
    path = path("go")
    calls = for _ <- 1..3, do: Task.async(fn -> call(pool, "hold", path) end)
    os_pids = for _ <- 1..3, do: await_running(pool)
    assert length(Enum.uniq(os_pids)) == 3
    assert %{size: 3, range: 1..3, changed: %{to: 3, why: :waited}} = status(pool)
    assert_received {:grow, ^pool, 1, _to, :waited}
    File.touch!(path)
    for {:ok, os_pid} <- Task.await_many(calls, patience()), do: assert(os_pid in os_pids)
    await_size(pool, 1)
    assert %{size: 1, changed: %{why: :idle, ago: ago}} = status(pool)
    assert ago >= 0
    # Which two leave is up to which were the first to be idle.
    assert_receive {:down, ^pool, %{reason: :idle}}, patience()
    assert_receive {:down, ^pool, %{reason: :idle}}, patience()
    assert %{died: 0} = status(pool)
  end

  defp await_size(pool, size) do
    assert_receive {:shrink, ^pool, _from, to, :idle}, patience()
    if to > size, do: await_size(pool, size)
  end

  test "a dispatch of short batches has it grow, though the dispatch itself is what bounds them" do
    pool = elastic_pool(idle: :infinity)
    options = options(pool, "sleep_a_little", batch_size: 1, max_in_flight: 3)
    stop = self()

    # It goes on until the pool has grown to the most.
    numbers =
      Stream.repeatedly(fn -> if grown?(pool), do: :halt, else: 1 end)
      |> Stream.take_while(&(&1 != :halt))

    items = Slither.Dispatch.stream(numbers, options)
    assert Enum.all?(items, &(&1.payload == 1))
    assert stop == self()
    assert %{size: 3} = status(pool)
  end

  defp grown?(pool) do
    {:ok, handle} = Pool.handle(pool)
    Slither.Pool.Handle.workers(handle) == 3
  end

  test "a worker with a session stays, and its state with it" do
    pool = elastic_pool([])
    path = path("go")
    sessions = for n <- 1..2, do: "#{pool} #{n}"
    calls = for _ <- 1..2, do: Task.async(fn -> call(pool, "hold", path) end)
    for _ <- 1..2, do: await_running(pool)
    bound = for id <- sessions, do: Task.async(fn -> call(pool, "pid", 1, session_id: id) end)
    File.touch!(path)
    Task.await_many(calls, patience())
    os_pids = for {:ok, os_pid} <- Task.await_many(bound, patience()), do: os_pid
    # A worker without one may leave meanwhile.
    kept = length(Enum.uniq(os_pids))
    assert {:ok, _} = call(pool, "sleep_a_little", 1)

    for {id, os_pid} <- Enum.zip(sessions, os_pids),
        do: assert(call(pool, "pid", 1, session_id: id) == {:ok, os_pid})

    assert status(pool).size >= kept
    Enum.each(sessions, &Session.stop/1)
    await_size(pool, 1)
  end

  test "resize/2 has it keep a number, or take another range" do
    pool = elastic_pool(idle: :infinity)
    assert Pool.resize(pool, 2) == :ok
    assert %{size: 2, range: 2..2, changed: %{from: 1, to: 2, why: :resize}} = status(pool)
    assert Pool.resize(pool, 1..1_000) == :ok
    assert %{size: 2, range: 1..1_000} = status(pool)
    assert {:error, %Error{reason: :invalid_option}} = Pool.resize(pool, 1..1_001)
    assert {:error, %Error{reason: :invalid_option}} = Pool.resize(pool, 3..1//-1)
  end

  test "options say what they take" do
    for {options, text} <- [
          {[size: 0..2],
           "option :size takes an integer of 1 or more, or a range such as 1..8, got 0..2"},
          {[size: 1..1_001], "options :size and :spare come to 1001 workers"},
          {[grow_after: 0], "option :grow_after takes milliseconds"},
          {[idle: 0], "option :idle takes milliseconds"}
        ] do
      assert {:error, error} = Pool.check([name: :p] ++ options)
      assert Exception.message(error) =~ text
    end
  end
end
