defmodule Slither.Pool.Upkeep do
  @moduledoc false
  # Keeps a pool's workers: what follows when one is ready, gone or due, and who is told. Pure, of
  # the scheduler; `Slither.Pool.Staff` says which workers there should be.

  alias Slither.Error
  alias Slither.Pool.{Elastic, Errors, Holdings, Ledger, Lifetimes, Requests, Staff, State}
  alias Slither.Pool.Staff.{Backoff, Changes}
  alias Slither.Python.Board
  alias Slither.Python.Worker.Life

  # A worker that ends within so many ms of its start, without a call, counts as a failed start.
  @early 1_000
  # ms between looks at a draining worker, whose lanes may have idle holders.
  @look 1_000
  # After `@vain` workers in a row that were beyond max_rss by their `@soon`-th call, the pool
  # drops the limit: the next worker would do the same.
  @vain 3
  @soon 2

  ## What a worker tells

  @doc "A worker is ready; `now` is in monotonic ms."
  @spec ready(State.t(), Staff.slot(), [pid], pos_integer, integer) :: State.t()
  def ready(state, slot, lanes, os_pid, now) do
    state = Enum.reduce(lanes, state, &State.watch(&2, &1, :lane))

    %{
      state
      | staff: Staff.ready(state.staff, slot, os_pid, lanes, now),
        backoff: Backoff.ready(state.backoff),
        error: nil,
        started: state.started + 1
    }
    |> reconcile()
    |> answer_awaiting(:ok)
  end

  @doc "A worker that was ready is gone."
  @spec down(State.t(), Staff.slot(), Staff.Member.t(), atom, integer) :: State.t()
  def down(state, slot, member, reason, now) do
    expected? = member.status == :stopping or reason == :worker_stopped
    early? = not expected? and early?(state, slot, member, now)
    served? = is_map_key(state.ledger.workers, slot)
    {free, answers, ledger} = Ledger.drop_worker(state.ledger, slot)
    {delay, backoff} = Backoff.ended(state.backoff, early?)

    # Stops the lanes that nobody holds; the others are stopped when their holders return them.
    if(served?, do: free, else: member.lanes)
    |> Enum.reduce(state, &State.effect(&2, {:stop_lane, &1}))
    |> Map.merge(%{
      ledger: ledger,
      backoff: backoff,
      died: if(expected?, do: state.died, else: state.died + 1),
      staff: Staff.gone(state.staff, slot)
    })
    |> Lifetimes.worker_gone(member.pid)
    |> Requests.settle(answers)
    |> wait_for_none()
    |> retry_after(delay)
    |> reconcile()
  end

  defp early?(state, slot, %{status: status, since: since}, now)
       when status in [:spare, :ready] do
    now - since < @early and Board.served(state.settings.board, slot) == 0 and
      (status == :spare or Holdings.quiet?(state.ledger, slot))
  end

  defp early?(_state, _slot, _member, _now), do: false

  @doc "A worker that was starting is gone."
  @spec failed(State.t(), Staff.slot(), Staff.Member.t(), Error.t(), integer) :: State.t()
  def failed(state, slot, %{status: :stopping}, _error, _now),
    do: reconcile(%{state | staff: Staff.gone(state.staff, slot)})

  def failed(state, slot, _member, error, now) do
    {delay, backoff} = Backoff.failed(state.backoff)
    {answer, changes, staff} = Changes.fail(state.changes, Staff.gone(state.staff, slot), error)

    %{state | backoff: backoff, staff: staff, changes: changes}
    |> Elastic.resized(state.staff.size, :start_failed)
    |> wait_for_none()
    |> reply(answer)
    |> retry_after(delay)
    |> tell_failed(error)
    |> Elastic.failed(now)
    |> reconcile()
  end

  defp tell_failed(state, error) do
    cond do
      Staff.serving?(state.staff) -> warn(state, "a worker can't start: #{error.message}")
      Backoff.hopeless?(state.backoff) -> give_up(state, error)
      true -> state
    end
  end

  defp give_up(%State{settings: %{name: name}} = state, error) do
    unavailable = Errors.unavailable(name, error)

    %{state | error: error}
    |> State.effect({:log, :error, " has no worker: #{Exception.message(error)}"})
    |> Requests.refuse(unavailable)
    |> answer_awaiting({:error, unavailable})
  end

  @doc "The owner of a worker is gone. It tells of its worker's end before, unless it crashed."
  @spec owner_gone(State.t(), Staff.slot(), pid, term, integer) :: State.t()
  def owner_gone(state, slot, pid, reason, now) do
    case Staff.member(state.staff, slot, pid) do
      nil -> state
      %{since: nil} = member -> failed(state, slot, member, Errors.crashed(reason), now)
      member -> state |> State.effect({:left, slot}) |> down(slot, member, :crashed, now)
    end
  end

  @doc "A worker has met a limit of its own: `amount` calls, bytes or ms. It may say so again."
  @spec due(State.t(), Staff.slot(), Staff.Member.t(), Life.limit(), non_neg_integer) ::
          State.t()
  def due(%State{settings: %{max_rss: nil}} = state, _slot, _member, :max_rss, _amount), do: state

  def due(state, slot, %{due: nil, status: status}, reason, amount)
      when status in [:spare, :ready] do
    vain = vain(state.vain, reason, Board.served(state.settings.board, slot))

    # Another worker would soon be beyond max_rss, too, so the pool gives the limit up.
    if vain >= @vain do
      warn(
        %{state | vain: 0, settings: %{state.settings | max_rss: nil}},
        Errors.max_rss_in_vain(state.settings.max_rss, amount)
      )
    else
      reconcile(%{state | vain: vain, staff: Staff.due(state.staff, slot, reason)})
    end
  end

  def due(state, _slot, _leaves, _reason, _amount), do: state

  defp vain(count, :max_rss, served), do: if(served <= @soon, do: count + 1, else: 0)
  defp vain(count, _reason, _served), do: count

  @doc "A worker takes more than `max_rss` from the start: the log is told, once."
  @spec too_low(State.t(), non_neg_integer) :: State.t()
  def too_low(%State{low: true} = state, _rss), do: state

  def too_low(state, rss),
    do: warn(%{state | low: true}, Errors.max_rss_too_low(state.max_rss, rss))

  ## What callers ask

  @doc "The pause after a failed start is over."
  @spec retry(State.t()) :: State.t()
  def retry(state), do: reconcile(%{state | backoff: Backoff.retry(state.backoff)})

  @doc "Somebody waits for a change."
  @spec change(State.t(), Changes.kind(), GenServer.from()) :: State.t()
  def change(state, kind, from),
    do: reconcile(%{state | changes: Changes.add(state.changes, kind, from)})

  @doc "Somebody waits for a worker, for `timeout` ms, or until he is gone."
  @spec await_ready(State.t(), GenServer.from(), timeout) :: State.t()
  def await_ready(state, {pid, _tag} = from, timeout) do
    cond do
      Staff.serving?(state.staff) ->
        State.effect(state, {:reply, from, :ok})

      state.error != nil ->
        error = Errors.unavailable(state.settings.name, state.error)
        State.effect(state, {:reply, from, {:error, error}})

      true ->
        state = State.watch(state, pid, :owner)
        state = %{state | awaiting: Map.put(state.awaiting, from, timeout)}

        if timeout == :infinity,
          do: state,
          else: State.effect(state, {:after, timeout, {:not_ready, from}})
    end
  end

  @doc "The time of one who waits for a worker is over."
  @spec not_ready(State.t(), GenServer.from()) :: State.t()
  def not_ready(state, from) do
    case Map.pop(state.awaiting, from) do
      {nil, _awaiting} ->
        state

      {timeout, awaiting} ->
        error = Errors.start_timeout(state.settings.name, timeout)
        State.effect(%{state | awaiting: awaiting}, {:reply, from, {:error, error}})
    end
  end

  @doc "A process is gone that may have waited for a worker."
  @spec forget(State.t(), pid) :: State.t()
  def forget(%State{awaiting: awaiting} = state, _pid) when awaiting == %{}, do: state

  def forget(state, pid) do
    %{state | awaiting: Map.reject(state.awaiting, &match?({{^pid, _tag}, _timeout}, &1))}
  end

  defp answer_awaiting(state, answer) do
    state.awaiting
    |> Map.keys()
    |> Enum.reduce(%{state | awaiting: %{}}, &State.effect(&2, {:reply, &1, answer}))
  end

  ## Workers that leave

  @doc "Has workers leave that drain, and whose lanes are back, with nothing kept for anybody."
  @spec finish(State.t()) :: State.t()
  def finish(state) do
    case Holdings.spent(state.ledger) do
      [] ->
        finish_leaving(state)

      spent ->
        staff = Enum.reduce(spent, state.staff, &Staff.spent(&2, &1))
        %{state | staff: staff} |> reconcile() |> finish()
    end
  end

  defp finish_leaving(%State{staff: %{leaving: []}} = state), do: state

  defp finish_leaving(%State{staff: staff} = state) do
    case Enum.reduce(staff.leaving, state, &finish_one/2) do
      %State{staff: ^staff} = state -> state
      state -> state |> reconcile() |> finish()
    end
  end

  defp finish_one(slot, %State{ledger: ledger, staff: staff} = state) do
    cond do
      not Holdings.quiet?(ledger, slot) ->
        state

      Holdings.needed?(ledger, slot) ->
        %{state | staff: Staff.quiet(staff, slot)}

      true ->
        State.effect(
          %{state | staff: Staff.stop(staff, slot)},
          {:stop, slot, staff.members[slot].due}
        )
    end
  end

  @doc "Looks at a worker that drains: one whose lanes are held, but not used, need not wait."
  @spec look(State.t(), Staff.slot(), pid) :: State.t()
  def look(state, slot, pid) do
    case Staff.member(state.staff, slot, pid) do
      %{status: :draining, due: reason} ->
        state = look_later(state, slot, pid)
        holders = &Map.get(state.runs, &1, %{workers: []}).workers

        if Holdings.needed?(state.ledger, slot) or Holdings.used?(state.ledger, slot, holders),
          do: state,
          else: State.effect(state, {:stop_idle, slot, reason})

      _gone ->
        state
    end
  end

  defp look_later(state, slot, pid),
    do: State.effect(state, {:after, @look, {:look, slot, pid}})

  ## Which workers there should be

  @doc "Does what is to be done for the pool to have the workers it should."
  @spec reconcile(State.t()) :: State.t()
  def reconcile(state) do
    state = resized(state)
    {steps, staff} = Staff.steps(state.staff, Backoff.room(state.backoff))
    state = Enum.reduce(steps, %{state | staff: staff}, &take/2)
    size = state.staff.size
    {answer, begun, changes, staff} = Changes.advance(state.changes, state.staff)

    state =
      %{state | changes: changes, staff: staff} |> Elastic.resized(size, :resize) |> reply(answer)

    if begun, do: state |> begin(begun) |> reconcile(), else: state
  end

  # A user who resizes or restarts the pool wants to see at once
  # whether workers start, so both try without back-off. New code may
  # also use less or more memory, so a restart begins to count anew.
  defp begin(state, {:resize, _size}), do: %{state | backoff: Backoff.retry(state.backoff)}

  defp begin(state, :restart) do
    settings = %{state.settings | max_rss: state.max_rss}
    state = State.effect(state, :renew_templates)
    %{state | settings: settings, vain: 0, low: false, backoff: Backoff.retry(state.backoff)}
  end

  defp resized(%State{staff: %{size: size, most: most}, settings: settings} = state) do
    if size == settings.size and most == settings.most do
      state
    else
      {answers, ledger} = Ledger.quick(state.ledger, State.quick(settings.board, size == most))

      %{state | settings: %{settings | size: size, most: most}, ledger: ledger}
      |> State.effect({:size, size, most})
      |> Requests.settle(answers)
      |> wait_for_none()
    end
  end

  # The pool does not just start, as it did when its sessions left room for workers to come.
  defp wait_for_none(state) do
    case Ledger.wait_for_none(state.ledger) do
      {[], ledger} -> %{state | ledger: ledger}
      {answers, ledger} -> Requests.settle(%{state | ledger: ledger}, answers)
    end
  end

  defp take({:serve, slot}, state) do
    %{pid: pid, lanes: lanes} = state.staff.members[slot]
    {answers, ledger} = Ledger.add_worker(state.ledger, slot, pid, lanes)
    Requests.settle(%{state | ledger: ledger}, answers)
  end

  defp take({:drain, slot, reason}, state) do
    %{pid: pid} = state.staff.members[slot]

    %{state | ledger: Ledger.drain(state.ledger, slot)}
    |> State.effect({:leaves, slot, reason})
    |> look_later(slot, pid)
    |> Lifetimes.leave(pid)
  end

  defp take(start_or_stop, state), do: State.effect(state, start_or_stop)

  defp retry_after(state, nil), do: state
  defp retry_after(state, delay), do: State.effect(state, {:after, delay, :retry})

  defp reply(state, nil), do: state
  defp reply(state, {from, answer}), do: State.effect(state, {:reply, from, answer})

  defp warn(state, text), do: State.effect(state, {:log, :warning, ": " <> text})
end
