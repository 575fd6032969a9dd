defmodule Slither.Pool.Leases do
  @moduledoc false
  # Carries out what the ledger says: tells those who wait for lanes, watches those who hold them.

  alias Slither.Error
  alias Slither.Pool.Errors
  alias Slither.Python.{Board, Inbox, Lane, Worker}
  alias Slither.Pool.{Keeper, Ledger, Roster, State, Waiter}

  @doc "Somebody asks for a lane."
  @spec request(State.t(), %Waiter{}) :: State.t()
  def request(%State{settings: settings} = state, %Waiter{service: nil} = waiter) do
    queue = Ledger.waiting(state.ledger)

    cond do
      state.error != nil and not Roster.serving?(state.roster) ->
        deny(state, waiter, Errors.unavailable(settings.name, state.error))

      queue >= settings.max_queue ->
        deny(state, waiter, Errors.saturated(settings.name, queue, settings.max_queue))

      true ->
        state |> Keeper.note(waiter.session) |> queue(waiter)
    end
  end

  # What is asked about sessions needs no place in the queue, and no worker to be answered.
  def request(%State{settings: settings} = state, waiter) do
    if waiter.session != nil and Ledger.uses?(state.ledger, waiter.owner, waiter.session),
      do: deny(state, waiter, Errors.session_in_use(settings.name, waiter.session)),
      else: queue(state, waiter)
  end

  defp queue(state, waiter) do
    state = watch(state, waiter.owner)
    {grants, ledger} = Ledger.request(state.ledger, waiter)
    settle(%{state | ledger: ledger}, grants)
  end

  @doc "The session of a lease has ended."
  @spec end_session(State.t(), reference) :: State.t()
  def end_session(state, ref) do
    session = with %{session: session} <- state.ledger.leases[ref], do: session
    {grants, ledger} = Ledger.end_session(state.ledger, ref)
    %{state | ledger: ledger} |> Keeper.forget(session) |> settle(grants)
  end

  @doc "A lane comes back, or a request is taken back."
  @spec release(State.t(), reference) :: State.t()
  def release(state, ref) do
    {grants, orphan, ledger} = Ledger.release(state.ledger, ref)
    if orphan, do: Lane.stop(orphan)
    settle(%{state | ledger: ledger}, grants)
  end

  @doc "Nobody waits for what these lanes do: they are free once they have answered."
  @spec orphan(State.t(), [reference]) :: State.t()
  def orphan(state, refs) do
    ledger =
      Enum.reduce(refs, state.ledger, fn ref, ledger ->
        {lease, ledger} = Ledger.adopt(ledger, ref, self())

        # A lane that is not idle has its call cancelled.
        if lease, do: Lane.idle?(lease.lane, self(), ref)
        ledger
      end)

    settle(%{state | ledger: ledger}, [])
  end

  @doc "An owner that is gone waits for nothing; its lanes are free once they have answered."
  @spec owner_down(State.t(), pid) :: State.t()
  def owner_down(state, owner) do
    {held, ledger} = Ledger.drop_owner(state.ledger, owner)
    state = %{state | ledger: ledger, owners: Map.delete(state.owners, owner)}
    state |> orphan(held) |> Keeper.end_runs(owner)
  end

  @doc """
  A lane ended. It ends only when told to; anything else is a fault of ours, which costs its
  worker.
  """
  @spec lane_down(State.t(), pid, term) :: State.t()
  def lane_down(state, _lane, :normal), do: state

  def lane_down(state, lane, reason) do
    {worker, holder, ledger} = Ledger.lose_lane(state.ledger, lane)
    # The ledger knows no lanes of a worker that has no place yet.
    {spare, roster} = Roster.lose_lane(state.roster, lane)
    error = Errors.lane_lost(reason)
    if worker = worker || spare, do: Worker.kill(worker, error)
    with {ref, lease} <- holder, do: Inbox.lane_lost(lease.inbox, ref, error)
    %{state | ledger: ledger, roster: roster}
  end

  @doc "Tells those whose time is over."
  @spec expire(State.t()) :: State.t()
  def expire(state) do
    now = System.monotonic_time(:millisecond)
    {expired, ledger} = Ledger.expire(state.ledger, now)
    deny_all(state, expired, Errors.queue_timeout(state.settings.name))
    settle(%{state | ledger: ledger, timer: nil}, [])
  end

  @doc "Tells all who wait that they wait in vain."
  @spec refuse(State.t(), Error.t()) :: State.t()
  def refuse(state, error) do
    {waiters, ledger} = Ledger.refuse(state.ledger)
    deny_all(state, waiters, error)
    settle(%{state | ledger: ledger}, [])
  end

  @doc "Sends grants, and notes how many wait and until when."
  @spec settle(State.t(), [Ledger.answer()]) :: State.t()
  def settle(state, grants) do
    Enum.each(grants, fn
      {:grant, waiter, lane} -> Inbox.granted(waiter.inbox, waiter.ref, lane)
      {:lost_session, waiter} -> deny(state, waiter, session_lost(state, waiter))
      {:unbound, waiter} -> unbound(state, waiter)
    end)

    waiting = Ledger.waiting(state.ledger)

    if Board.put_waiting(state.settings.board, waiting),
      do: for({_slot, member} <- state.roster.members, do: Worker.run_on(member.pid))

    if waiting > 0, do: arm(state), else: state
  end

  # A timer that is early finds nobody to deny; only one that would be late is replaced.
  defp arm(state) do
    case {Ledger.next_deadline(state.ledger), state.timer} do
      {nil, _timer} ->
        state

      {at, {_ref, armed}} when armed <= at ->
        state

      {at, timer} ->
        if timer, do: Process.cancel_timer(elem(timer, 0))
        %{state | timer: {Process.send_after(self(), :expire, at, abs: true), at}}
    end
  end

  defp watch(state, owner) when is_map_key(state.owners, owner), do: state

  defp watch(state, owner),
    do: %{state | owners: Map.put(state.owners, owner, Process.monitor(owner))}

  defp deny_all(state, waiters, error), do: Enum.each(waiters, &deny(state, &1, error))

  defp deny(state, waiter, error) do
    Inbox.denied(waiter.inbox, waiter.ref, error)
    state
  end

  defp unbound(state, waiter),
    do: state |> Keeper.forget(waiter.session) |> deny(waiter, Errors.unbound(waiter.session))

  defp session_lost(state, waiter),
    do: Errors.session_lost(state.settings.name, waiter.session)
end
