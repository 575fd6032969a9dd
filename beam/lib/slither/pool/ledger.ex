defmodule Slither.Pool.Ledger do
  @moduledoc false
  # Who waits for a lane, who holds one, and which worker is the least busy. Pure: each change
  # returns the grants that follow from it, for the scheduler to send.

  alias Slither.Pool.Sessions

  defmodule Waiter do
    @moduledoc false
    # Pinned by its session, or else by its worker. `rebind` gives a session that is lost another
    # worker. A `service` is about a session (or a worker) and no call of it: it never binds one,
    # and needs no place in the queue.
    @enforce_keys [:ref, :owner, :inbox]
    defstruct [:ref, :owner, :inbox, :session, :worker, :run, :deadline, :service] ++
                [rebind: false, seq: 0]

    @type t :: %__MODULE__{service: nil | :stop | :expire | :move}
  end

  # `quick?` says of a busy worker's slot whether so many calls are short enough to queue another
  # behind them. A worker takes `max_calls`, nil for as many as come; those that have taken them
  # and are idle stand in `spent`.
  defstruct workers: %{},
            max_calls: nil,
            spent: [],
            leases: %{},
            queue: :queue.new(),
            pinned: %{},
            sessions: %Sessions{},
            seq: 0,
            quick?: &__MODULE__.always/2

  @type slot :: non_neg_integer
  @type grant ::
          {:grant, %Waiter{}, lane :: pid} | {:lost_session, %Waiter{}} | {:unbound, %Waiter{}}
  @type t :: %__MODULE__{}

  @doc false
  @spec always(slot, pos_integer) :: true
  def always(_slot, _calls), do: true

  @doc "A ready worker with its free lanes."
  @spec add_worker(t, slot, pid, [pid]) :: {[grant], t}
  def add_worker(ledger, slot, pid, lanes) do
    left = ledger.max_calls || :infinity
    worker = %{pid: pid, lanes: lanes, free: lanes, leased: 0, left: left, draining: false}
    ledger = %{ledger | workers: Map.put(ledger.workers, slot, worker)}
    {pinned, ledger} = serve_pinned(ledger, &(bound(ledger, &1) == nil))
    {grants, ledger} = serve(ledger)
    {pinned ++ grants, ledger}
  end

  @doc """
  Takes a worker out; its leases stay until their holders give them back.

  Returns its free lanes too. Those who wait for a session of it learn that it is lost, as do
  those behind a call that is out, once that is given back.
  """
  @spec drop_worker(t, slot) :: {[pid], [grant], t}
  def drop_worker(ledger, slot) do
    case Map.pop(ledger.workers, slot) do
      {nil, _workers} ->
        {[], [], ledger}

      {worker, workers} ->
        {grants, ledger} = serve_held(%{ledger | workers: workers}, worker.pid)
        {worker.free, grants, ledger}
    end
  end

  @doc "A worker that gets no more calls."
  @spec drain(t, slot) :: t
  def drain(ledger, slot) do
    update_in(ledger.workers, fn workers ->
      Map.replace_lazy(workers, slot, &%{&1 | draining: true})
    end)
  end

  @doc "The workers that have taken all their calls, and are idle, since this was last asked."
  @spec take_spent(t) :: {[slot], t}
  def take_spent(ledger), do: {ledger.spent, %{ledger | spent: []}}

  @doc "Whether a worker has no lane out."
  @spec quiet?(t, slot) :: boolean
  def quiet?(ledger, slot), do: match?(%{leased: 0}, ledger.workers[slot])

  @doc "Whether sessions are bound to a worker: what it holds of them goes with it."
  @spec sessions?(t, slot) :: boolean
  def sessions?(ledger, slot) do
    case ledger.workers[slot] do
      nil -> false
      %{pid: pid} -> Sessions.load(ledger.sessions, pid) > 0
    end
  end

  @doc "Queues a waiter, and serves whom it can."
  @spec request(t, %Waiter{}) :: {[grant], t}
  def request(ledger, %Waiter{} = waiter) do
    waiter = %{waiter | seq: ledger.seq}
    ledger = %{ledger | seq: ledger.seq + 1}

    cond do
      waiter.session == nil and waiter.worker == nil ->
        serve(%{ledger | queue: :queue.in(waiter, ledger.queue)})

      waiter.service == :expire and not idle?(ledger, waiter.session) ->
        {[{:unbound, waiter}], ledger}

      true ->
        key = waiter.session || {:worker, waiter.worker}
        queue = Map.get(ledger.pinned, key, :queue.new())
        # A session moves before its next call; whatever else is asked waits its turn.
        put = if waiter.service == :move, do: &:queue.in_r/2, else: &:queue.in/2
        serve_key(put_queue(ledger, key, put.(waiter, queue)), key)
    end
  end

  @doc """
  Ends a lease, or takes a waiter out of the queue.

  Returns the lane when its worker is gone and nobody needs it any more.
  """
  @spec release(t, reference) :: {[grant], pid | nil, t}
  def release(ledger, ref) do
    case Map.pop(ledger.leases, ref) do
      {nil, _leases} ->
        {[], nil, forget(ledger, ref)}

      {lease, leases} ->
        give_back(%{ledger | leases: leases}, lease)
    end
  end

  @doc "Takes out a lane that crashed, with the lease on it; returns its worker and the lease."
  @spec lose_lane(t, pid) :: {pid | nil, {reference, map} | nil, t}
  def lose_lane(ledger, lane) do
    lease = Enum.find(ledger.leases, fn {_ref, lease} -> lease.lane == lane end)
    found = Enum.find(ledger.workers, fn {_slot, worker} -> lane in worker.lanes end)

    ledger =
      case lease do
        {ref, lease} ->
          idle_session(%{ledger | leases: Map.delete(ledger.leases, ref)}, lease)

        nil ->
          ledger
      end

    case found do
      {slot, worker} ->
        leased = if lease, do: worker.leased - 1, else: worker.leased
        lanes = List.delete(worker.lanes, lane)
        worker = %{worker | lanes: lanes, free: List.delete(worker.free, lane), leased: leased}
        {worker.pid, lease, %{ledger | workers: Map.put(ledger.workers, slot, worker)}}

      nil ->
        {nil, lease, ledger}
    end
  end

  @doc "Takes out every waiter for which `fun` is true."
  @spec reject(t, (%Waiter{} -> boolean)) :: {[%Waiter{}], t}
  def reject(ledger, fun) do
    {out, kept} = Enum.split_with(:queue.to_list(ledger.queue), fun)

    {out_pinned, pinned} =
      Enum.map_reduce(ledger.pinned, %{}, fn {session, queue}, acc ->
        {out, kept} = Enum.split_with(:queue.to_list(queue), fun)
        {out, if(kept == [], do: acc, else: Map.put(acc, session, :queue.from_list(kept)))}
      end)

    {out ++ Enum.concat(out_pinned), %{ledger | queue: :queue.from_list(kept), pinned: pinned}}
  end

  @doc "Whether a session is bound, or waits to be."
  @spec known?(t, String.t()) :: boolean
  def known?(ledger, session),
    do: bound(ledger, session) != nil or is_map_key(ledger.pinned, session)

  @doc "Whether a session has a call out, or waiting, of one owner."
  @spec uses?(t, pid, String.t()) :: boolean
  def uses?(ledger, owner, session) do
    waiting = ledger.pinned |> Map.get(session, :queue.new()) |> :queue.to_list()

    Enum.any?(ledger.leases, &match?({_, %{owner: ^owner, session: ^session}}, &1)) or
      Enum.any?(waiting, &match?(%Waiter{owner: ^owner}, &1))
  end

  @doc "The owner of the lease of a lane, if that is for a run; else `nil`."
  @spec owner(t, pid, String.t()) :: pid | nil
  def owner(ledger, lane, run) do
    Enum.find_value(ledger.leases, fn
      {_ref, %{lane: ^lane, run: ^run, owner: owner}} -> owner
      _other -> nil
    end)
  end

  @doc "The leases of one owner."
  @spec held_by(t, pid) :: [reference]
  def held_by(ledger, owner), do: for({ref, %{owner: ^owner}} <- ledger.leases, do: ref)

  @doc "Makes over a lease whose owner is gone, until its lane is idle; returns it."
  @spec adopt(t, reference, pid) :: {map | nil, t}
  def adopt(ledger, ref, owner) do
    case ledger.leases[ref] do
      nil -> {nil, forget(ledger, ref)}
      lease -> {lease, put_in(ledger.leases[ref], %{lease | owner: owner})}
    end
  end

  @doc "How many wait."
  @spec waiting(t) :: non_neg_integer
  def waiting(ledger) do
    pinned = Enum.reduce(ledger.pinned, 0, fn {_, queue}, sum -> sum + :queue.len(queue) end)
    :queue.len(ledger.queue) + pinned
  end

  @doc "The soonest deadline among those who wait."
  @spec next_deadline(t) :: integer | nil
  def next_deadline(ledger) do
    queues = [ledger.queue | Map.values(ledger.pinned)]
    deadlines = for q <- queues, %Waiter{deadline: at} when at != nil <- :queue.to_list(q), do: at
    Enum.min(deadlines, fn -> nil end)
  end

  @doc "Forgets the session of a lease; its next call is bound anew."
  @spec end_session(t, reference) :: {[grant], t}
  def end_session(ledger, ref) do
    case ledger.leases do
      %{^ref => %{session: session} = lease} when session != nil ->
        # What is bound under this name from here on is none of the lease's business.
        ledger = put_in(ledger.leases[ref], %{lease | session: nil})
        serve_key(%{ledger | sessions: Sessions.drop(ledger.sessions, session)}, session)

      _ ->
        {[], ledger}
    end
  end

  @doc "Moves the session of a lease to another worker; false where that can't be."
  @spec rebind(t, reference, pid) :: {boolean, t}
  def rebind(ledger, ref, worker) do
    with %{^ref => %{session: session, worker: from}} when session != nil <- ledger.leases,
         %{worker: ^from} <- Sessions.fetch(ledger.sessions, session),
         true <- slot(ledger, worker) != nil do
      {true, %{ledger | sessions: Sessions.bind(ledger.sessions, session, worker)}}
    else
      _ -> {false, ledger}
    end
  end

  @doc "The worker that takes the next session, `except` one; `nil` where there is none."
  @spec roomiest(t, pid | nil) :: pid | nil
  def roomiest(ledger, except \\ nil) do
    ledger.workers
    |> Enum.reject(fn {_slot, w} -> w.draining or w.left == 0 or w.pid == except end)
    |> Enum.min_by(
      fn {slot, worker} -> {Sessions.load(ledger.sessions, worker.pid), worker.leased, slot} end,
      fn -> {nil, %{pid: nil}} end
    )
    |> then(fn {_slot, worker} -> worker.pid end)
  end

  @doc "One look at who is idle; see `Sessions.age/2`."
  @spec age(t) :: {[String.t()], t}
  def age(ledger) do
    {idle, sessions} = Sessions.age(ledger.sessions, &is_map_key(ledger.pinned, &1))
    {idle, %{ledger | sessions: sessions}}
  end

  ## Unpinned waiters go to the least busy worker

  defp serve(ledger, grants \\ []) do
    with {{:value, waiter}, queue} <- :queue.out(ledger.queue),
         slot when slot != nil <- least_busy(ledger) do
      {grant, ledger} = lease(%{ledger | queue: queue}, slot, waiter)
      serve(ledger, [grant | grants])
    else
      _ -> {Enum.reverse(grants), ledger}
    end
  end

  defp least_busy(ledger) do
    ledger.workers
    |> Enum.filter(fn {slot, worker} -> open?(ledger, slot, worker) end)
    |> Enum.min_by(fn {slot, worker} -> {worker.leased, slot} end, fn -> {nil, nil} end)
    |> elem(0)
  end

  defp open?(_ledger, _slot, %{free: []}), do: false
  defp open?(_ledger, _slot, %{draining: true}), do: false
  defp open?(_ledger, _slot, %{left: 0}), do: false
  defp open?(_ledger, _slot, %{leased: 0}), do: true
  defp open?(ledger, slot, %{leased: leased}), do: ledger.quick?.(slot, leased)

  ## A session's calls go to one worker, one at a time, which keeps their order

  defp serve_key(ledger, key) do
    case {bound(ledger, key), ledger.pinned[key]} do
      {_bound, nil} -> {[], ledger}
      {nil, queue} -> unbound(ledger, key, queue)
      {%{busy: true}, _queue} -> {[], ledger}
      {%{worker: pid}, queue} -> serve_bound(ledger, key, {pid, slot(ledger, pid)}, queue)
    end
  end

  defp bound(_ledger, {:worker, pid}), do: %{worker: pid, busy: false}
  defp bound(ledger, session), do: Sessions.fetch(ledger.sessions, session)

  defp slot(ledger, pid) do
    Enum.find_value(ledger.workers, fn {slot, worker} -> if worker.pid == pid, do: slot end)
  end

  # Of a session that nobody holds there is nothing to stop, or to move.
  defp unbound(ledger, session, queue) do
    {first, calls} = queue |> :queue.to_list() |> Enum.split_while(&(&1.service != nil))
    ledger = put_queue(ledger, session, :queue.from_list(calls))
    worker = if calls != [], do: roomiest(ledger)

    {grants, ledger} =
      if worker do
        sessions = Sessions.bind(ledger.sessions, session, worker)
        serve_key(%{ledger | sessions: sessions}, session)
      else
        {[], ledger}
      end

    {Enum.map(first, &{:unbound, &1}) ++ grants, ledger}
  end

  defp serve_bound(ledger, key, {_gone, nil}, queue),
    do: lose(ledger, key, :queue.to_list(queue))

  defp serve_bound(ledger, key, {pid, slot}, queue) do
    {{:value, waiter}, rest} = :queue.out(queue)

    cond do
      waiter.worker not in [nil, pid] ->
        {grants, ledger} = ledger |> put_queue(key, rest) |> serve_key(key)
        {[{:unbound, waiter} | grants], ledger}

      ledger.workers[slot].free == [] ->
        {[], ledger}

      true ->
        {grant, ledger} = ledger |> put_queue(key, rest) |> lease(slot, waiter)
        {grants, ledger} = serve_key(ledger, key)
        {[grant | grants], ledger}
    end
  end

  defp lose(ledger, {:worker, _pid} = key, waiters),
    do: {Enum.map(waiters, &{:unbound, &1}), put_queue(ledger, key, :queue.new())}

  # Who asked for a new start gets one, and so does whoever comes after a stop.
  defp lose(ledger, session, waiters) do
    {anew, rest} = Enum.split_with(waiters, &(&1.rebind or &1.service in [:stop, :expire]))
    kind = fn waiter -> if waiter.service, do: :unbound, else: :lost_session end
    lost = Enum.map(rest, &{kind.(&1), &1})
    ledger = put_queue(ledger, session, :queue.from_list(anew))

    if anew == [] do
      {lost, ledger}
    else
      ledger = %{ledger | sessions: Sessions.drop(ledger.sessions, session)}
      {grants, ledger} = serve_key(ledger, session)
      {lost ++ grants, ledger}
    end
  end

  defp put_queue(ledger, key, queue) do
    if :queue.is_empty(queue),
      do: %{ledger | pinned: Map.delete(ledger.pinned, key)},
      else: %{ledger | pinned: Map.put(ledger.pinned, key, queue)}
  end

  defp lease(ledger, slot, waiter) do
    %{free: [lane | free], leased: leased, left: left} = worker = ledger.workers[slot]
    worker = %{worker | free: free, leased: leased + 1, left: left(left, waiter)}
    sessions = Sessions.busy(ledger.sessions, waiter.session, true)

    lease = %{
      lane: lane,
      slot: slot,
      worker: worker.pid,
      owner: waiter.owner,
      inbox: waiter.inbox,
      session: waiter.session,
      run: waiter.run
    }

    {{:grant, waiter, lane},
     %{
       ledger
       | workers: Map.put(ledger.workers, slot, worker),
         leases: Map.put(ledger.leases, waiter.ref, lease),
         sessions: sessions
     }}
  end

  # A lease is one call at most. What is asked about a session or of a worker is none, and a
  # session's calls go on where its state is.
  defp left(left, %Waiter{service: nil, worker: nil}) when is_integer(left), do: max(left - 1, 0)
  defp left(left, _waiter), do: left

  defp note_spent(ledger, slot) do
    case ledger.workers[slot] do
      %{left: 0, leased: 0, draining: false} -> %{ledger | spent: [slot | ledger.spent]}
      _ -> ledger
    end
  end

  defp give_back(ledger, %{slot: slot, worker: pid, lane: lane} = lease) do
    ledger = idle_session(ledger, lease)

    case ledger.workers[slot] do
      %{pid: ^pid} = worker ->
        worker = %{worker | free: [lane | worker.free], leased: worker.leased - 1}
        ledger = %{ledger | workers: Map.put(ledger.workers, slot, worker)}
        {pinned, ledger} = serve_held(ledger, pid)
        # It may have moved.
        {own, ledger} = serve_key(ledger, lease.session)
        {grants, ledger} = serve(ledger)
        {pinned ++ own ++ grants, nil, note_spent(ledger, slot)}

      _ ->
        {grants, ledger} = serve_key(ledger, lease.session)
        {grants, lane, ledger}
    end
  end

  defp idle_session(ledger, lease),
    do: %{ledger | sessions: Sessions.busy(ledger.sessions, lease.session, false)}

  defp idle?(ledger, session) do
    not is_map_key(ledger.pinned, session) and Sessions.idle?(ledger.sessions, session)
  end

  # Whoever waits for this worker comes before the common queue, as they can go nowhere else.
  defp serve_held(ledger, pid),
    do: serve_pinned(ledger, &match?(%{worker: ^pid, busy: false}, bound(ledger, &1)))

  defp serve_pinned(ledger, _which) when map_size(ledger.pinned) == 0, do: {[], ledger}

  # In the order in which they came.
  defp serve_pinned(ledger, which) do
    ledger.pinned
    |> Enum.filter(fn {key, _queue} -> which.(key) end)
    |> Enum.sort_by(fn {_key, queue} -> :queue.get(queue).seq end)
    |> Enum.reduce({[], ledger}, fn {key, _queue}, {grants, ledger} ->
      {more, ledger} = serve_key(ledger, key)
      {grants ++ more, ledger}
    end)
  end

  defp forget(ledger, ref) do
    {_out, ledger} = reject(ledger, &(&1.ref == ref))
    ledger
  end
end
