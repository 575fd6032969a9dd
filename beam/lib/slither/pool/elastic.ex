defmodule Slither.Pool.Elastic do
  @moduledoc false
  # When a pool whose size is a range grows, and when it shrinks. Pure, of the scheduler, which calls
  # it with the time: `Slither.Pool.Upkeep` then starts and stops the workers.
  #
  # It grows while calls wait for a worker: once the oldest has waited for `grow_after` ms, by as many
  # workers as there are calls that have, or once there has been no pause for so long in which none
  # did. A run of many short calls is so, as it sends the next one when an answer comes. Workers that
  # are still starting count: who waits is about to be served. It shrinks by workers that had no
  # call for `idle` ms, and keep nothing: no session, no state of a run, no rest of a call's values.

  alias Slither.Pool.{Holdings, Ledger, Line, Sessions, Staff, State, Turns}
  alias Slither.Pool.Staff.{Backoff, Changes}

  # ms without a call that waits which end the time that calls have waited without a pause.
  @pause 50
  # Looks at who is idle, in the time after which a worker is.
  @looks 4
  # The least ms between two looks at who waits.
  @least 10

  @doc "After each event: notes whether calls wait, and has looks come while they may change the size."
  @spec watch(State.t(), integer) :: State.t()
  def watch(%State{elastic: %{last: %{at: nil} = last}} = state, now),
    do: state |> put(last: %{last | at: now}) |> watch(now)

  def watch(%State{staff: %{least: size, most: size}} = state, _now), do: state

  def watch(state, now),
    do:
      state
      |> note(Line.waits?(state.ledger.line, nil), now)
      |> look_at_need(now)
      |> look_at_idle()

  defp note(%State{elastic: elastic} = state, waits?, now) do
    elastic =
      case {waits?, elastic} do
        {true, %{since: nil}} ->
          %{elastic | since: now, until: nil}

        {true, %{until: at}} when at != nil and now - at > @pause ->
          %{elastic | since: now, until: nil}

        {true, _} ->
          %{elastic | until: nil}

        {false, %{since: since, until: nil}} when since != nil ->
          %{elastic | until: now}

        {false, _} ->
          elastic
      end

    %{state | elastic: elastic}
  end

  defp look_at_need(%State{elastic: %{looks?: true}} = state, _now), do: state

  defp look_at_need(%State{elastic: elastic, settings: settings, ledger: ledger} = state, now) do
    waits? = Line.waits?(ledger.line, nil) or Turns.any?(ledger.turns)

    if waits? and state.staff.size < state.staff.most do
      due = (elastic.since || now) + settings.grow_after - now
      wait = max(due, max(@least, div(settings.grow_after, @looks)))
      State.effect(%{state | elastic: %{elastic | looks?: true}}, {:after, wait, :grow})
    else
      state
    end
  end

  defp look_at_idle(%State{elastic: %{idles?: true}} = state), do: state
  defp look_at_idle(%State{settings: %{idle: :infinity}} = state), do: state

  defp look_at_idle(%State{elastic: elastic, settings: settings} = state) do
    if state.staff.size > state.staff.least do
      interval = max(1, div(settings.idle, @looks))
      State.effect(%{state | elastic: %{elastic | idles?: true}}, {:after, interval, :shrink})
    else
      %{state | elastic: %{elastic | seen: %{}}}
    end
  end

  ## Growing

  @doc "A look at who waits: the pool may be to have more workers."
  @spec grow(State.t(), integer) :: State.t()
  def grow(%State{} = state, now) do
    state = put(state, looks?: false)

    case if(grows?(state), do: need(state, now)) do
      {count, why} ->
        state |> put(since: nil, until: nil) |> to(state.staff.size + count, why, now)

      nil ->
        state
    end
  end

  # Where workers can't start, one more would not either.
  defp grows?(%State{staff: staff} = state) do
    staff.size < staff.most and Staff.serving?(staff) and not Changes.any?(state.changes) and
      Backoff.room(state.backoff) != 0
  end

  defp need(%State{ledger: ledger, staff: staff} = state, now) do
    before = System.convert_time_unit(now - state.settings.grow_after, :millisecond, :native)
    coming = Staff.coming(staff)
    late = Line.overdue(ledger.line, before) - coming

    cond do
      late > 0 -> {late, :waited}
      coming > 0 -> nil
      pressed?(state, now) -> {min(staff.size, Line.count(ledger.line)), :busy}
      sessions_wait?(ledger, before) -> {1, :sessions}
      true -> nil
    end
  end

  defp pressed?(%State{elastic: %{since: since, until: nil}, settings: settings}, now),
    do: since != nil and now - since >= settings.grow_after

  defp pressed?(_state, _now), do: false

  # The calls of a session wait for its own worker. Another takes new sessions off that one, unless
  # there is a worker already that has none.
  defp sessions_wait?(%Ledger{turns: turns, line: line} = ledger, before) do
    Turns.any?(turns) and
      Enum.all?(ledger.workers, fn {_slot, worker} ->
        worker.draining or Sessions.load(ledger.sessions, worker.pid) > 0
      end) and
      Enum.any?(Turns.sessions(turns), &(Line.first(line, &1).asked <= before))
  end

  ## Shrinking

  @doc "A look at who is idle: the pool may be to have fewer workers."
  @spec shrink(State.t(), integer) :: State.t()
  def shrink(%State{ledger: ledger, staff: staff} = state, now) do
    seen =
      for {slot, worker} <- ledger.workers, into: %{}, do: {slot, seen(state, slot, worker, now)}

    state = put(state, idles?: false, seen: seen)

    with true <- shrinks?(state),
         [_ | _] = idle <- idle(seen, now - state.settings.idle) do
      retire(state, Enum.take(idle, staff.size - staff.least), now)
    else
      _none -> state
    end
  end

  defp seen(state, slot, %{pid: pid, taken: taken} = worker, now) do
    case state.elastic.seen do
      %{^slot => {^pid, ^taken, _since} = known} ->
        if needed?(state, slot, worker), do: {pid, taken, now}, else: known

      _other ->
        {pid, taken, now}
    end
  end

  defp needed?(state, slot, worker) do
    worker.draining or worker.leased > 0 or Holdings.needed?(state.ledger, slot) or
      Enum.any?(state.runs, fn {_run, held} -> worker.pid in held.workers end)
  end

  defp shrinks?(%State{staff: staff} = state) do
    staff.size > staff.least and Staff.settled?(staff) and not Changes.any?(state.changes) and
      not Line.waits?(state.ledger.line, nil)
  end

  # Those of the highest numbers first: calls go to the lowest.
  defp idle(seen, before) do
    Enum.sort(for({slot, {_pid, _taken, since}} <- seen, since <= before, do: slot), :desc)
  end

  defp retire(state, slots, now) do
    %{state | staff: Staff.retire(state.staff, slots)}
    |> put(seen: Map.drop(state.elastic.seen, slots))
    |> changed(state.staff.size, :idle, now)
  end

  ## What else changes the size

  @doc "A worker could not start: the pool does without those that it has grown by and are not there."
  @spec failed(State.t(), integer) :: State.t()
  def failed(%State{staff: staff} = state, now) do
    if staff.size > staff.least and Staff.serving?(staff) and Staff.coming(staff) > 0,
      do: to(state, staff.size - 1, :start_failed, now),
      else: state
  end

  @doc "A user's change has begun, or is undone as a worker can't start; `from` was the size before."
  @spec resized(State.t(), pos_integer, :resize | :start_failed) :: State.t()
  def resized(%State{staff: %{size: size}} = state, size, _why), do: state

  # `watch/2` knows when that is.
  def resized(state, from, why),
    do: put(state, last: %{from: from, to: state.staff.size, why: why, at: nil})

  defp to(%State{staff: staff} = state, size, why, now) do
    size = size |> max(staff.least) |> min(staff.most)
    changed(%{state | staff: Staff.sized(staff, size)}, staff.size, why, now)
  end

  defp changed(%State{staff: %{size: size}} = state, from, why, now) do
    state
    |> put(last: %{from: from, to: size, why: why, at: now})
    |> State.effect({:resized, from, size, why})
  end

  defp put(state, fields), do: %{state | elastic: struct!(state.elastic, fields)}
end
