defmodule Slither.Pool.UpkeepTest do
  use ExUnit.Case, async: true

  # What the pure half of a scheduler decides, by the effects that it records. Workers and lanes are
  # pids that are only compared.

  alias Slither.Error

  alias Slither.Pool.{
    Lifetimes,
    Line,
    Requests,
    Settings,
    Staff,
    State,
    Upkeep,
    Waiter
  }

  defp pid(n), do: :erlang.list_to_pid(~c"<0.#{n}.0>")
  defp lanes(slot), do: [pid(5_000 + 10 * slot), pid(5_001 + 10 * slot)]
  defp worker(slot), do: pid(4_000 + slot)

  defp new(options) do
    {:ok, checked} = Settings.check([name: :p, window: 2] ++ options)
    sessions = :ets.new(__MODULE__, [])
    State.new(%{Settings.new(checked, nil) | sessions: sessions})
  end

  # The effects of an event, and the state for the next; a worker that is started has its process.
  defp after_event(state) do
    state = Upkeep.finish(state)
    effects = Enum.reverse(state.effects)

    staff =
      for {:start, slot} <- effects, reduce: state.staff do
        staff -> Staff.started(staff, slot, worker(slot))
      end

    {effects -- [{:waiting, 0}], %{state | effects: [], staff: staff}}
  end

  defp begin(options), do: options |> new() |> Upkeep.reconcile() |> after_event()

  defp ready(state, slot),
    do: state |> Upkeep.ready(slot, lanes(slot), 100 + slot, 0) |> after_event()

  defp full(options) do
    {starts, state} = begin(options)

    for {:start, slot} <- starts, reduce: state do
      state -> elem(ready(state, slot), 1)
    end
  end

  defp member(state, slot), do: state.staff.members[slot]

  defp request(state, ref, options \\ []) do
    waiter = struct!(%Waiter{ref: ref, owner: pid(1), inbox: {pid(1), :key}}, options)
    state |> Requests.request(waiter) |> after_event()
  end

  defp down(state, slot, reason, now \\ 60_000),
    do: state |> Upkeep.down(slot, member(state, slot), reason, now) |> after_event()

  defp failed(state, slot) do
    error = %Error{reason: :start_failed, message: "no module x"}
    state |> Upkeep.failed(slot, member(state, slot), error, 0) |> after_event()
  end

  test "a pool starts its workers, watches their lanes, and tells who waits for them" do
    {effects, state} = begin(size: 2)
    assert effects == [{:start, 0}, {:start, 1}]
    {effects, state} = state |> Upkeep.await_ready({pid(1), :tag}, 50) |> after_event()
    assert effects == [{:watch, pid(1)}, {:after, 50, {:not_ready, {pid(1), :tag}}}]
    {effects, state} = ready(state, 1)
    [one, two] = lanes(1)
    assert effects == [{:watch, one}, {:watch, two}, {:reply, {pid(1), :tag}, :ok}]
    assert {[], _state} = state |> Upkeep.not_ready({pid(1), :tag}) |> after_event()
  end

  test "whoever waits for a worker is told when his time is over, and forgotten when he is gone" do
    {_effects, state} = begin(size: 1)
    state = for n <- 1..3, reduce: state, do: (s -> Upkeep.await_ready(s, {pid(n), :tag}, 50))
    {_effects, state} = after_event(state)
    {effects, state} = state |> Upkeep.not_ready({pid(1), :tag}) |> after_event()
    assert [{:reply, {_pid, :tag}, {:error, %Error{reason: :start_timeout}}}] = effects
    state = Upkeep.forget(state, pid(2))
    assert Map.keys(state.awaiting) == [{pid(3), :tag}]
  end

  test "a worker that dies is followed by another, and its free lanes are stopped" do
    state = full(size: 1)
    {[{:watch, _}, {:grant, %{ref: :a}, lane}], state} = request(state, :a)
    [free] = lanes(0) -- [lane]
    assert {[{:stop_lane, ^free}, {:start, 0}], state} = down(state, 0, :worker_died)
    assert state.died == 1
    assert {[{:stop_lane, ^lane}], _state} = state |> Requests.release(:a) |> after_event()
  end

  test "workers that end as soon as they are ready are followed after a pause" do
    state = full(size: 1)

    state =
      for _ <- 1..2, reduce: state do
        state ->
          {[_lane, _other, {:start, 0}], state} = down(state, 0, :worker_died, 10)
          elem(ready(state, 0), 1)
      end

    assert {[_lane, _other, {:after, delay, :retry}], state} = down(state, 0, :worker_died, 10)
    assert delay in 50..100
    assert {[{:start, 0}], _state} = state |> Upkeep.retry() |> after_event()
  end

  test "a pool that can't start its workers refuses who waits, and says why once" do
    {_effects, state} = begin(size: 1)
    {_effects, state} = request(state, :a)
    state = fail_and_retry(state, 2)
    {effects, state} = failed(state, 0)

    assert [{:after, _, :retry}, {:log, :error, text}, {:tell, _, {:denied, :a, error}} | _] =
             effects

    assert text =~ "has no worker: no module x"
    assert error.reason == :pool_unavailable
    assert {[{:tell, _, {:denied, :b, ^error}}], state} = request(state, :b)

    assert {[{:reply, _, {:error, ^error}}], _state} =
             state |> Upkeep.await_ready({pid(1), :tag}, 50) |> after_event()
  end

  test "a session that waits for a worker to come takes another where that one does not" do
    granted = fn effects -> for {:grant, %{ref: ref}, _lane} <- effects, do: ref end

    for ends <- [
          &failed(&1, 1),
          &after_event(Upkeep.change(&1, {:resize, 1}, {pid(1), :tag}))
        ] do
      {[{:start, 0}, {:start, 1}], state} = begin(size: 2)
      {_effects, state} = ready(state, 0)
      {effects, state} = request(state, :a, session: "upkeep a")
      assert granted.(effects) == [:a]
      {effects, state} = request(state, :b, session: "upkeep b")
      assert granted.(effects) == []
      {effects, _state} = ends.(state)
      assert granted.(effects) == [:b]
    end
  end

  defp fail_and_retry(state, 0), do: state

  defp fail_and_retry(state, times) do
    {[{:after, _, :retry}], state} = failed(state, 0)
    {[{:start, 0}], state} = state |> Upkeep.retry() |> after_event()
    fail_and_retry(state, times - 1)
  end

  test "a worker that is due leaves once another has its place and its calls are over" do
    state = full(size: 1)
    {_effects, state} = request(state, :a)
    due = &Upkeep.due(&1, 0, member(&1, 0), :max_age, 5)
    assert {[{:start, 1}], state} = state |> due.() |> after_event()
    assert {[], state} = state |> due.() |> after_event()
    {effects, state} = ready(state, 1)
    assert [{:leaves, 0, :max_age}, {:after, 1_000, {:look, 0, pid}}] = Enum.drop(effects, 2)
    assert pid == worker(0)
    assert {[{:stop_idle, 0, :max_age}], state} = look(state)
    assert {[{:stop, 0, :max_age}], state} = state |> Requests.release(:a) |> after_event()
    assert {[_lane, _other], _state} = down(state, 0, :worker_stopped)
  end

  defp look(state) do
    {effects, state} = state |> Upkeep.look(0, worker(0)) |> after_event()
    {effects -- [{:after, 1_000, {:look, 0, worker(0)}}], state}
  end

  test "max_rss does not apply any more after three workers that went beyond it at once" do
    state = full(size: 1, max_rss: 10)
    over = fn state, slot -> Upkeep.due(state, slot, member(state, slot), :max_rss, 20) end
    state = for slot <- 0..1, reduce: state, do: (state -> over_and_replaced(state, slot, over))
    assert {[{:log, :warning, text}], state} = state |> over.(2) |> after_event()
    assert text =~ "max_rss is 10 bytes, and one worker after another is beyond it"
    assert {[], state} = state |> over.(2) |> after_event()
    state = state |> Upkeep.change(:restart, {pid(1), :tag})
    assert state.settings.max_rss == 10
  end

  defp over_and_replaced(state, slot, over) do
    {[{:start, next}], state} = state |> over.(slot) |> after_event()
    assert next == slot + 1
    state |> ready(next) |> elem(1)
  end

  test "a change is answered once it is done, and undone where a worker can't start" do
    {effects, state} = [size: 1] |> full() |> Upkeep.change({:resize, 2}, :one) |> after_event()
    assert effects == [{:size, 2, 2}, {:start, 1}]
    {effects, state} = ready(state, 1)
    assert {:reply, :one, :ok} in effects
    {_effects, state} = state |> Upkeep.change({:resize, 3}, :two) |> after_event()
    {effects, state} = failed(state, 2)
    assert [{:reply, :two, {:error, %Error{reason: :start_failed}}} | _] = effects
    assert {:size, 2, 2} in effects
    assert state.settings.size == 2
  end

  test "a lane that fails costs its worker, a spare's as well" do
    state = full(size: 1, spare: 1)
    {_effects, state} = request(state, :a)
    [%{lane: lane}] = Map.values(state.ledger.leases)
    kill = worker(0)
    {effects, state} = state |> Requests.lane_gone(lane, :oops) |> after_event()
    assert [{:kill, ^kill, error}, {:tell, _inbox, {:lane_lost, :a, error}}] = effects
    spare = worker(1)
    {effects, state} = state |> Requests.lane_gone(hd(lanes(1)), :oops) |> after_event()
    assert [{:kill, ^spare, %Error{reason: :worker_died}}] = effects
    assert {[], _state} = state |> Requests.lane_gone(hd(lanes(1)), :normal) |> after_event()
  end

  test "leases of a process that is gone come back once their lanes are idle" do
    state = full(size: 1)
    {_effects, state} = request(state, :a)
    {_effects, state} = request(state, :b)
    [%{lane: lane}] = Map.values(state.ledger.leases)
    assert {[{:idle?, ^lane, :a}], state} = state |> Requests.owner_gone(pid(1)) |> after_event()
    assert Line.count(state.ledger.line) == 0
    # Its runs are over, so what the call keeps of one is dropped at once.
    {effects, state} = state |> Lifetimes.hold(worker(0), lane, "run-1") |> after_event()
    assert effects == [{:chore, :end_run, ["run-1", worker(0)]}]
    assert {[], state} = state |> Requests.release(:a) |> after_event()
    assert state.ledger.leases == %{}
  end

  test "a soon deadline has its timer, and a later one waits for that" do
    state = full(size: 1)
    {_effects, state} = request(state, :a)
    assert {[{:waiting, 1}, {:at, 50, :expire}], state} = request(state, :b, deadline: 50)
    state = %{state | timer: {make_ref(), 50}}
    assert {[{:waiting, 2}], state} = request(state, :c, deadline: 70)
    assert {[{:waiting, 3}, {:at, 20, :expire}], state} = request(state, :d, deadline: 20)
    {effects, _state} = state |> Requests.expire(60) |> after_event()
    assert [{:tell, _, {:denied, :d, error}}, {:tell, _, {:denied, :b, error}} | rest] = effects
    assert {error.reason, rest} == {:queue_timeout, [{:waiting, 1}, {:at, 70, :expire}]}
  end

  test "sessions are noted, looked at, and move from a worker that leaves" do
    state = full(size: 1, session_idle: 1_000)
    {effects, state} = request(state, :a, session: "s")

    assert [{:note, "s"}, {:after, 100, :age}, {:watch, _}, {:grant, %{ref: :a}, _}] = effects

    {_effects, state} = state |> Requests.release(:a) |> after_event()
    {looks, state} = Enum.map_reduce(1..11, state, fn _, s -> after_event(Lifetimes.age(s)) end)
    assert List.last(looks) == [{:chore, :expire, ["s"]}, {:after, 100, :age}]
    {_effects, state} = state |> Upkeep.due(0, member(state, 0), :max_age, 1) |> after_event()
    {effects, state} = ready(state, 1)
    assert {:chore, :leave, [worker(0), ["s"]]} in effects
    {_effects, state} = request(state, :b, session: "s", service: :stop)
    {effects, _state} = state |> Requests.end_session(:b) |> after_event()
    assert effects == [{:forget, "s"}]
  end
end
