defmodule Slither.Pool.Requests do
  @moduledoc false
  # What becomes of requests for lanes, and of leases. Pure; called by the scheduler. `Ledger`
  # decides who gets a lane, and this module what each waiter is told.

  alias Slither.Error
  alias Slither.Pool.{Errors, Holdings, Ledger, Lifetimes, Line, Staff, State, Waiter}

  @doc "Somebody asks for a lane."
  @spec request(State.t(), Waiter.t()) :: State.t()
  def request(%State{settings: settings} = state, %Waiter{service: nil} = waiter) do
    waiting = Line.count(state.ledger.line)

    cond do
      state.error != nil and not Staff.serving?(state.staff) ->
        deny(state, waiter, Errors.unavailable(settings.name, state.error))

      waiting >= settings.max_queue and not waits?(waiter, settings) ->
        deny(state, waiter, Errors.saturated(settings.name, waiting, settings.max_queue))

      true ->
        state |> Lifetimes.note(waiter.session) |> queue(waiter)
    end
  end

  # A service to a session is taken even where the queue is full, or no worker can start.
  def request(%State{settings: settings} = state, waiter) do
    if waiter.session != nil and Holdings.uses?(state.ledger, waiter.owner, waiter.session),
      do: deny(state, waiter, Errors.session_in_use(settings.name, waiter.session)),
      else: queue(state, waiter)
  end

  defp waits?(%Waiter{admitted: admitted, run: run}, settings),
    do: admitted or (settings.runs_wait? and run != nil)

  defp queue(state, waiter) do
    state = State.watch(state, waiter.owner, :owner)
    {answers, ledger} = Ledger.request(state.ledger, waiter)
    settle(%{state | ledger: ledger}, answers)
  end

  @doc "A lane comes back, or a request is taken back."
  @spec release(State.t(), reference) :: State.t()
  def release(state, ref), do: back(state, Ledger.release(state.ledger, ref))

  @doc "A lane says by itself that it is idle: its lease is parked if the request said so."
  @spec idle(State.t(), reference) :: State.t()
  def idle(state, ref) do
    if match?(%{^ref => %{parks: true}}, state.ledger.leases),
      do: park(state, ref),
      else: release(state, ref)
  end

  @doc "A lane comes back whose worker keeps something for its holder."
  @spec park(State.t(), reference) :: State.t()
  def park(state, ref), do: back(state, Ledger.park(state.ledger, ref))

  defp back(state, {answers, orphan, ledger}) do
    state = if orphan, do: State.effect(state, {:stop_lane, orphan}), else: state
    settle(%{state | ledger: ledger}, answers)
  end

  @doc """
  Nobody waits for what these leases' lanes do: they are free once they have answered. A lane that
  is not idle has its call cancelled.
  """
  @spec abandon(State.t(), [reference]) :: State.t()
  def abandon(state, refs) do
    refs
    |> Enum.reduce(state, fn ref, state ->
      {lease, ledger} = Ledger.abandon(state.ledger, ref)
      state = %{state | ledger: ledger}
      if lease, do: State.effect(state, {:idle?, lease.lane, ref}), else: state
    end)
    |> settle([])
  end

  @doc "A process that asked for lanes is gone."
  @spec owner_gone(State.t(), pid) :: State.t()
  def owner_gone(state, owner) do
    {held, ledger} = Ledger.drop_owner(state.ledger, owner)
    %{state | ledger: ledger} |> abandon(held) |> Lifetimes.end_runs(owner)
  end

  @doc """
  A lane is gone. It ends by itself only when told to; anything else is a fault of ours, which costs
  its worker.
  """
  @spec lane_gone(State.t(), pid, term) :: State.t()
  def lane_gone(state, _lane, :normal), do: state

  def lane_gone(state, lane, reason) do
    {worker, held, ledger} = Ledger.lose_lane(state.ledger, lane)
    # The ledger knows only workers that serve; the lane may be a spare worker's.
    {spare, staff} = Staff.lose_lane(state.staff, lane)
    error = Errors.lane_lost(reason)
    state = %{state | ledger: ledger, staff: staff}
    worker = worker || spare
    state = if worker, do: State.effect(state, {:kill, worker, error}), else: state

    case held do
      {ref, lease} -> State.effect(state, {:tell, lease.inbox, {:lane_lost, ref, error}})
      nil -> state
    end
  end

  @doc "The session of a lease has ended."
  @spec end_session(State.t(), reference) :: State.t()
  def end_session(state, ref) do
    session = with %{session: session} <- state.ledger.leases[ref], do: session
    {answers, ledger} = Ledger.end_session(state.ledger, ref)
    %{state | ledger: ledger} |> Lifetimes.forget(session) |> settle(answers)
  end

  @doc "Denies those whose deadline is over."
  @spec expire(State.t(), integer) :: State.t()
  def expire(state, now) do
    {late, ledger} = Ledger.expire(state.ledger, now)

    %{state | ledger: ledger, timer: nil}
    |> deny_all(late, Errors.queue_timeout(state.settings.name))
    |> settle([])
  end

  @doc "Denies all who wait for a call."
  @spec refuse(State.t(), Error.t()) :: State.t()
  def refuse(state, error) do
    {waiters, ledger} = Ledger.refuse(state.ledger)
    %{state | ledger: ledger} |> deny_all(waiters, error) |> settle([])
  end

  @doc "Tells what the ledger answers; then how many wait, and when the next of them is late."
  @spec settle(State.t(), [Ledger.answer()]) :: State.t()
  def settle(state, answers) do
    waiting = Line.count(state.ledger.line)
    state = answers |> Enum.reduce(state, &answer/2) |> tell_waiting(waiting)

    case {Line.deadline(state.ledger.line), state.timer} do
      {nil, _timer} -> state
      # A timer that is set for an earlier time will do: it denies nobody, and is then set again.
      {at, {_ref, armed}} when armed <= at -> state
      {at, _later} -> State.effect(state, {:at, at, :expire})
    end
  end

  defp tell_waiting(%State{waiting: 0} = state, 0), do: state

  defp tell_waiting(state, waiting),
    do: State.effect(%{state | waiting: waiting}, {:waiting, waiting})

  defp answer({:grant, waiter, lane}, state),
    do: State.effect(state, {:grant, waiter, lane})

  defp answer({:lost_session, waiter}, state),
    do: deny(state, waiter, Errors.session_lost(state.settings.name, waiter.session))

  defp answer({:lost_rest, waiter}, state),
    do: deny(state, waiter, Errors.rest_lost(state.settings.name))

  defp answer({:unbound, waiter}, state) do
    state |> Lifetimes.forget(waiter.session) |> deny(waiter, Errors.unbound(waiter.session))
  end

  defp deny_all(state, waiters, error), do: Enum.reduce(waiters, state, &deny(&2, &1, error))

  defp deny(state, waiter, error),
    do: State.effect(state, {:tell, waiter.inbox, {:denied, waiter.ref, error}})
end
