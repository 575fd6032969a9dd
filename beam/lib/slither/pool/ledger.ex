defmodule Slither.Pool.Ledger do
  @moduledoc false
  # Who holds a lane, and who gets the next one. Pure; the scheduler tells it what happens to
  # requests, lanes and workers, and sends the answers that it returns.
  #
  # `Line` has the waiters, `Turns` the sessions that could have their next call, `Lanes` the lanes,
  # and `Sessions` the worker of each session.

  alias Slither.Pool.{Lanes, Lease, Line, Sessions, Turns, Waiter}

  defstruct workers: %{},
            max_calls: nil,
            coming: 0,
            quick?: &Lanes.always/2,
            leases: %{},
            line: %Line{},
            turns: %Turns{},
            sessions: %Sessions{},
            parked: %{},
            answers: []

  @typedoc """
  What a waiter is told: a lane, that its session is lost, that nobody holds it, or that the worker
  of what it has parked is gone.
  """
  @type answer ::
          {:grant, Waiter.t(), lane :: pid}
          | {:lost_session, Waiter.t()}
          | {:unbound, Waiter.t()}
          | {:lost_rest, Waiter.t()}

  @typedoc """
  A worker takes `max_calls`, or with nil as many as come. While a pool starts, `coming` workers are
  not there yet, and sessions leave room for them. `quick?` is as in `Lanes.least_busy/2`. `parked`
  are leases whose lane is back, and whose worker keeps something for their next: its worker and its
  owner. `answers`, the last one first, is what waiters are to be told; between calls it is empty.
  """
  @type t :: %__MODULE__{
          workers: Lanes.t(),
          max_calls: pos_integer | nil,
          coming: non_neg_integer,
          quick?: (Lanes.slot(), pos_integer -> boolean),
          leases: %{optional(reference) => Lease.t()},
          line: Line.t(),
          turns: Turns.t(),
          sessions: Sessions.t(),
          parked: %{optional(reference) => {worker :: pid, owner :: pid}},
          answers: [answer]
        }

  ## Workers

  @doc "A ready worker with its free lanes."
  @spec add_worker(t, Lanes.slot(), pid, [pid]) :: {[answer], t}
  def add_worker(ledger, slot, pid, lanes) do
    workers = Lanes.put(ledger.workers, slot, pid, lanes, ledger.max_calls)
    ledger = %{ledger | workers: workers, coming: max(ledger.coming - 1, 0)}
    ledger |> serve_unbound() |> serve() |> answered()
  end

  @doc "Which calls are short enough to wait behind is said by `quick?` now."
  @spec quick(t, (Lanes.slot(), pos_integer -> boolean)) :: {[answer], t}
  def quick(ledger, quick?), do: answered(serve(%{ledger | quick?: quick?}))

  @doc "No more workers come than there are, or not soon: sessions wait for none."
  @spec wait_for_none(t) :: {[answer], t}
  def wait_for_none(ledger), do: answered(serve_unbound(%{ledger | coming: 0}))

  defp serve_unbound(%__MODULE__{turns: turns} = ledger),
    do: Enum.reduce(Turns.all(turns, :none), ledger, &serve_key(&2, &1))

  @doc """
  Takes a worker out; its leases stay until their holders give them back.

  Returns its free lanes too. Those who wait for a session of it learn that it is lost, as do
  those behind a call that is out, once that is given back.
  """
  @spec drop_worker(t, Lanes.slot()) :: {[pid], [answer], t}
  def drop_worker(ledger, slot) do
    case Map.pop(ledger.workers, slot) do
      {nil, _workers} ->
        {[], [], ledger}

      {worker, workers} ->
        {answers, ledger} = answered(serve_held(%{ledger | workers: workers}, worker.pid))
        {worker.free, answers, ledger}
    end
  end

  @doc "A worker that gets no more calls."
  @spec drain(t, Lanes.slot()) :: t
  def drain(ledger, slot) do
    workers = Map.replace_lazy(ledger.workers, slot, &%{&1 | draining: true})
    %{ledger | workers: workers}
  end

  @doc "The worker that takes the next session, `except` one; `nil` where there is none."
  @spec roomiest(t, pid | nil) :: pid | nil
  def roomiest(ledger, except \\ nil),
    do: Lanes.roomiest(ledger.workers, &Sessions.load(ledger.sessions, &1), except)

  ## Requests

  @doc "Somebody asks for a lane; serves whom it can."
  @spec request(t, Waiter.t()) :: {[answer], t}
  def request(ledger, %Waiter{service: :expire, session: session} = waiter) do
    if not Line.waits?(ledger.line, session) and Sessions.idle?(ledger.sessions, session),
      do: queue(ledger, waiter),
      else: {[{:unbound, waiter}], ledger}
  end

  def request(ledger, waiter), do: queue(ledger, waiter)

  defp queue(ledger, waiter) do
    key = Line.key(waiter)
    slot = if key == nil and not Line.waits?(ledger.line, nil), do: least_busy(ledger, waiter)

    if slot do
      answered(lease(ledger, slot, waiter))
    else
      ledger = %{ledger | line: Line.put(ledger.line, waiter)}
      answered(if(key == nil, do: serve(ledger), else: serve_key(ledger, key)))
    end
  end

  @doc "Takes those out whose deadline is over."
  @spec expire(t, integer) :: {[Waiter.t()], t}
  def expire(ledger, now) do
    case Line.late(ledger.line, now) do
      nil ->
        {[], ledger}

      waiter ->
        {more, ledger} = ledger |> withdraw([waiter.ref]) |> expire(now)
        {[waiter | more], ledger}
    end
  end

  @doc "Takes out all who wait for a call."
  @spec refuse(t) :: {[Waiter.t()], t}
  def refuse(ledger) do
    waiters = Line.calls(ledger.line)
    {waiters, withdraw(ledger, Enum.map(waiters, & &1.ref))}
  end

  @doc "An owner is gone: he waits for nothing. Returns the leases that he holds."
  @spec drop_owner(t, pid) :: {[reference], t}
  def drop_owner(ledger, owner) do
    held = for {ref, %{owner: ^owner}} <- ledger.leases, do: ref
    parked = Map.reject(ledger.parked, &match?({_ref, {_worker, ^owner}}, &1))
    {held, withdraw(%{ledger | parked: parked}, Line.of(ledger.line, owner))}
  end

  defp withdraw(ledger, refs) do
    Enum.reduce(refs, ledger, fn ref, ledger ->
      case Line.take(ledger.line, ref) do
        {nil, _line} -> ledger
        {waiter, line} -> place(%{ledger | line: line}, Line.key(waiter))
      end
    end)
  end

  ## Leases

  @doc """
  Ends a lease, or takes a waiter out of the queue.

  Returns the lane when its worker is gone and nobody needs it any more.
  """
  @spec release(t, reference) :: {[answer], pid | nil, t}
  def release(ledger, ref) do
    case Map.pop(ledger.leases, ref) do
      {nil, _leases} -> {[], nil, withdraw(leave(ledger, ref), [ref])}
      {lease, leases} -> give_back(%{ledger | leases: leases}, lease)
    end
  end

  @doc """
  Ends a lease as `release/2` does, but its worker keeps something for its holder, and does not stop
  before the lease is released in its turn, or its owner is gone, or its reference is leased anew.
  """
  @spec park(t, reference) :: {[answer], pid | nil, t}
  def park(ledger, ref) do
    case ledger.leases do
      %{^ref => %Lease{owner: owner, worker: worker}} when owner != nil ->
        release(put_in(ledger.parked[ref], {worker, owner}), ref)

      _nobodys ->
        release(ledger, ref)
    end
  end

  defp leave(ledger, ref), do: %{ledger | parked: Map.delete(ledger.parked, ref)}

  @doc "Leaves a lease to nobody, until its lane is idle, and returns it; or forgets a waiter."
  @spec abandon(t, reference) :: {Lease.t() | nil, t}
  def abandon(ledger, ref) do
    case ledger.leases do
      %{^ref => lease} -> {lease, put_in(ledger.leases[ref], %{lease | owner: nil})}
      _none -> {nil, withdraw(leave(ledger, ref), [ref])}
    end
  end

  @doc "Takes out a lane that crashed, with the lease on it; returns its worker and the lease."
  @spec lose_lane(t, pid) :: {pid | nil, {reference, Lease.t()} | nil, t}
  def lose_lane(ledger, lane) do
    {worker, workers} = Lanes.lose(ledger.workers, lane)
    ledger = %{ledger | workers: workers}

    case Lease.of(ledger.leases, lane) do
      nil ->
        {worker, nil, ledger}

      {ref, lease} = held ->
        leases = Map.delete(ledger.leases, ref)
        {worker, held, idle_session(%{ledger | leases: leases}, lease)}
    end
  end

  ## Sessions

  @doc "Forgets the session of a lease; its next call is bound anew."
  @spec end_session(t, reference) :: {[answer], t}
  def end_session(ledger, ref) do
    case ledger.leases do
      %{^ref => %{session: session} = lease} when session != nil ->
        # Another session may be bound under this name before the lease comes back.
        ledger = put_in(ledger.leases[ref], %{lease | session: nil})
        sessions = Sessions.drop(ledger.sessions, session)
        answered(serve_key(%{ledger | sessions: sessions}, session))

      _none ->
        {[], ledger}
    end
  end

  @doc "Moves the session of a lease to another worker; false where that can't be."
  @spec rebind(t, reference, pid) :: {boolean, t}
  def rebind(ledger, ref, worker) do
    with %{^ref => %{session: session, worker: from}} when session != nil <- ledger.leases,
         %{worker: ^from} <- Sessions.fetch(ledger.sessions, session),
         true <- Lanes.slot(ledger.workers, worker) != nil do
      {true, %{ledger | sessions: Sessions.bind(ledger.sessions, session, worker)}}
    else
      _ -> {false, ledger}
    end
  end

  @doc "One look at who is idle; see `Slither.Pool.Sessions.age/2`."
  @spec age(t) :: {[String.t()], t}
  def age(ledger) do
    {idle, sessions} = Sessions.age(ledger.sessions, &Line.waits?(ledger.line, &1))
    {idle, %{ledger | sessions: sessions}}
  end

  ## Who is next

  # Gives the least busy worker to the first waiter in the common queue, as long as there is one.
  defp serve(ledger) do
    with %Waiter{} = waiter <- Line.first(ledger.line, nil),
         slot when slot != nil <- least_busy(ledger, waiter) do
      ledger |> take(waiter) |> lease(slot, waiter) |> serve()
    else
      nil -> ledger
    end
  end

  # Who has a deadline takes no place behind a call that runs: nothing would end the wait there.
  defp least_busy(ledger, %Waiter{deadline: nil}),
    do: Lanes.least_busy(ledger.workers, ledger.quick?)

  defp least_busy(ledger, _waiter), do: Lanes.least_busy(ledger.workers, &Lanes.never/2)

  # Waiters for this very worker come before the common queue: no other worker can serve them.
  defp serve_held(ledger, pid) do
    with {:ok, key} <- Turns.next(ledger.turns, pid),
         slot = Lanes.slot(ledger.workers, pid),
         true <- slot == nil or ledger.workers[slot].free != [] do
      ledger |> serve_key(key) |> serve_held(pid)
    else
      _nobody_or_no_lane -> ledger
    end
  end

  # A session's calls go to one worker, one at a time, which keeps their order.
  defp serve_key(ledger, key) do
    case Turns.first(key, ledger.line, ledger.sessions) do
      nil -> place(ledger, key)
      {first, :none} -> bind(ledger, key, first)
      {first, pid} -> serve_bound(ledger, key, first, pid)
    end
  end

  # A session that no worker holds can't be stopped or moved: such a service is answered at once.
  defp bind(ledger, key, %Waiter{service: nil}) do
    worker = roomiest(ledger)

    if worker != nil and (ledger.coming == 0 or room?(ledger, worker, key)),
      do: serve_key(%{ledger | sessions: Sessions.bind(ledger.sessions, key, worker)}, key),
      else: place(ledger, key)
  end

  defp bind(ledger, key, service), do: ledger |> answer(service, :unbound) |> serve_key(key)

  # Sessions that come while a pool starts would all go to the worker that is ready first, and stay
  # with it. So it takes one more than each worker to come will get of those that wait, at most.
  defp room?(ledger, worker, key) do
    waiting = length([key | Turns.all(ledger.turns, :none) -- [key]])
    Sessions.load(ledger.sessions, worker) * ledger.coming < waiting
  end

  defp serve_bound(ledger, key, first, pid) do
    slot = Lanes.slot(ledger.workers, pid)

    cond do
      slot == nil -> lose(ledger, key)
      first.worker not in [nil, pid] -> ledger |> answer(first, :unbound) |> serve_key(key)
      ledger.workers[slot].free == [] -> place(ledger, key)
      true -> ledger |> take(first) |> lease(slot, first) |> serve_key(key)
    end
  end

  # The session's worker is gone. Waiters that asked to rebind begin the session anew. To those
  # that would end it, it has ended, so that later calls begin it anew, too. All others are told
  # that the session is lost.
  defp lose(ledger, key) do
    {anew, rest} =
      Enum.split_with(Line.all(ledger.line, key), fn waiter ->
        is_binary(key) and (waiter.rebind or waiter.service in [:stop, :expire])
      end)

    ledger = Enum.reduce(rest, ledger, &answer(&2, &1, lost(&1)))

    if anew == [],
      do: place(ledger, key),
      else: serve_key(%{ledger | sessions: Sessions.drop(ledger.sessions, key)}, key)
  end

  defp lost(%Waiter{service: :more}), do: :lost_rest
  defp lost(%Waiter{service: nil}), do: :lost_session
  defp lost(_service), do: :unbound

  # Puts a session in its place among `Turns`, after a change to its queue or to its worker.
  defp place(ledger, key),
    do: %{ledger | turns: Turns.place(ledger.turns, key, ledger.line, ledger.sessions)}

  defp lease(ledger, slot, waiter) do
    # A lease counts toward its worker's `max_calls` unless it serves the pool itself (a question
    # about a session) or is for one worker.
    counts? = waiter.service == nil and waiter.worker == nil
    {lane, workers} = Lanes.lease(ledger.workers, slot, counts?)

    lease = Lease.new(waiter, lane, slot, workers[slot].pid)

    %{
      leave(ledger, waiter.ref)
      | workers: workers,
        leases: Map.put(ledger.leases, waiter.ref, lease),
        sessions: Sessions.busy(ledger.sessions, waiter.session, true),
        answers: [{:grant, waiter, lane} | ledger.answers]
    }
  end

  defp give_back(ledger, %Lease{slot: slot, worker: pid, lane: lane} = lease) do
    ledger = idle_session(ledger, lease)

    case ledger.workers do
      %{^slot => %{pid: ^pid}} ->
        {answers, ledger} =
          %{ledger | workers: Lanes.give_back(ledger.workers, slot, lane)}
          |> serve_held(pid)
          |> serve_own(lease)
          |> serve()
          |> answered()

        {answers, nil, ledger}

      _gone ->
        {answers, ledger} = answered(serve_own(ledger, lease))
        {answers, lane, ledger}
    end
  end

  # By now the session may have moved to another worker than the lease's, or be lost.
  defp serve_own(ledger, %Lease{session: nil}), do: ledger
  defp serve_own(ledger, %Lease{session: session}), do: serve_key(ledger, session)

  defp idle_session(ledger, %Lease{session: nil}), do: ledger

  defp idle_session(ledger, %Lease{session: session}),
    do: place(%{ledger | sessions: Sessions.busy(ledger.sessions, session, false)}, session)

  defp answer(ledger, waiter, kind),
    do: take(%{ledger | answers: [{kind, waiter} | ledger.answers]}, waiter)

  defp take(ledger, waiter), do: %{ledger | line: elem(Line.take(ledger.line, waiter.ref), 1)}

  defp answered(ledger), do: {Enum.reverse(ledger.answers), %{ledger | answers: []}}
end
