defmodule Slither.Python.Pool.Ledger do
  @moduledoc false
  # Who waits for a lane, who holds one, and which worker is the least busy. Pure: each change
  # returns the grants that follow from it, for the scheduler to send.

  defmodule Waiter do
    @moduledoc false
    @enforce_keys [:ref, :owner, :reply_to, :tag]
    defstruct [:ref, :owner, :reply_to, :tag, :session, :deadline]
  end

  # `quick?` says of a busy worker's slot whether its calls are short enough to queue another
  # behind them.
  defstruct workers: %{},
            leases: %{},
            queue: :queue.new(),
            pinned: %{},
            sessions: %{},
            quick?: &__MODULE__.always/1

  @type slot :: non_neg_integer
  @type grant :: {:grant, %Waiter{}, lane :: pid} | {:lost_session, %Waiter{}}
  @type t :: %__MODULE__{}

  @doc false
  @spec always(slot) :: true
  def always(_slot), do: true

  @doc "A ready worker with its free lanes."
  @spec add_worker(t, slot, pid, [pid]) :: {[grant], t}
  def add_worker(ledger, slot, pid, lanes) do
    worker = %{pid: pid, lanes: lanes, free: lanes, leased: 0, draining: false}
    serve(%{ledger | workers: Map.put(ledger.workers, slot, worker)})
  end

  @doc "Takes a worker out; its leases stay until their holders give them back."
  @spec drop_worker(t, slot) :: {[pid], t}
  def drop_worker(ledger, slot) do
    case Map.pop(ledger.workers, slot) do
      {nil, _workers} -> {[], ledger}
      {worker, workers} -> {worker.free, %{ledger | workers: workers}}
    end
  end

  @doc "A worker that gets no more calls."
  @spec drain(t, slot) :: t
  def drain(ledger, slot) do
    update_in(ledger.workers, fn workers ->
      Map.replace_lazy(workers, slot, &%{&1 | draining: true})
    end)
  end

  @doc "Whether a worker has no lane out."
  @spec quiet?(t, slot) :: boolean
  def quiet?(ledger, slot), do: match?(%{leased: 0}, ledger.workers[slot])

  @doc "Whether sessions are bound to a worker: what it holds of them goes with it."
  @spec sessions?(t, slot) :: boolean
  def sessions?(ledger, slot) do
    case ledger.workers[slot] do
      nil -> false
      %{pid: pid} -> Enum.any?(ledger.sessions, fn {_id, bound} -> bound.worker == pid end)
    end
  end

  @doc "Queues a waiter, and serves whom it can."
  @spec request(t, %Waiter{}) :: {[grant], t}
  def request(ledger, %Waiter{session: nil} = waiter),
    do: serve(%{ledger | queue: :queue.in(waiter, ledger.queue)})

  def request(ledger, %Waiter{session: session} = waiter) do
    pinned =
      Map.update(ledger.pinned, session, :queue.from_list([waiter]), &:queue.in(waiter, &1))

    serve_session(%{ledger | pinned: pinned}, session)
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
        {ref, %{session: session}} ->
          idle_session(%{ledger | leases: Map.delete(ledger.leases, ref)}, session)

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

  @doc "Forgets a session; its next call is bound anew."
  @spec end_session(t, String.t()) :: t
  def end_session(ledger, session),
    do: %{ledger | sessions: Map.delete(ledger.sessions, session)}

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
  defp open?(_ledger, _slot, %{leased: 0}), do: true
  defp open?(ledger, slot, _worker), do: ledger.quick?.(slot)

  ## A session's calls go to one worker, one at a time, which keeps their order

  defp serve_session(ledger, session) do
    case {ledger.sessions[session], ledger.pinned[session]} do
      {_bound, nil} -> {[], ledger}
      {nil, _queue} -> bind(ledger, session)
      {%{busy: true}, _queue} -> {[], ledger}
      {%{worker: pid}, queue} -> serve_bound(ledger, session, pid, queue)
    end
  end

  defp bind(ledger, session) do
    load = Enum.frequencies_by(ledger.sessions, fn {_id, bound} -> bound.worker end)

    ledger.workers
    |> Enum.reject(fn {_slot, worker} -> worker.draining end)
    |> Enum.min_by(fn {slot, w} -> {Map.get(load, w.pid, 0), w.leased, slot} end, fn -> nil end)
    |> case do
      nil ->
        {[], ledger}

      {_slot, worker} ->
        bound = %{worker: worker.pid, busy: false}
        serve_session(put_in(ledger.sessions[session], bound), session)
    end
  end

  defp serve_bound(ledger, session, pid, queue) do
    case Enum.find(ledger.workers, fn {_slot, worker} -> worker.pid == pid end) do
      nil ->
        lost = for waiter <- :queue.to_list(queue), do: {:lost_session, waiter}
        {lost, %{ledger | pinned: Map.delete(ledger.pinned, session)}}

      {_slot, %{free: []}} ->
        {[], ledger}

      {slot, _worker} ->
        {{:value, waiter}, rest} = :queue.out(queue)
        pinned = put_queue(ledger.pinned, session, rest)
        ledger = put_in(ledger.sessions[session].busy, true)
        {grant, ledger} = lease(%{ledger | pinned: pinned}, slot, waiter)
        {[grant], ledger}
    end
  end

  defp put_queue(pinned, session, queue) do
    if :queue.is_empty(queue),
      do: Map.delete(pinned, session),
      else: Map.put(pinned, session, queue)
  end

  defp lease(ledger, slot, waiter) do
    %{free: [lane | free], leased: leased} = worker = ledger.workers[slot]
    worker = %{worker | free: free, leased: leased + 1}

    lease = %{
      lane: lane,
      slot: slot,
      worker: worker.pid,
      owner: waiter.owner,
      reply_to: waiter.reply_to,
      tag: waiter.tag,
      session: waiter.session
    }

    {{:grant, waiter, lane},
     %{
       ledger
       | workers: Map.put(ledger.workers, slot, worker),
         leases: Map.put(ledger.leases, waiter.ref, lease)
     }}
  end

  defp give_back(ledger, %{slot: slot, worker: pid, lane: lane} = lease) do
    ledger = idle_session(ledger, lease.session)

    case ledger.workers[slot] do
      %{pid: ^pid} = worker ->
        worker = %{worker | free: [lane | worker.free], leased: worker.leased - 1}
        ledger = %{ledger | workers: Map.put(ledger.workers, slot, worker)}
        {pinned, ledger} = serve_pinned(ledger, pid)
        {grants, ledger} = serve(ledger)
        {pinned ++ grants, nil, ledger}

      _ ->
        {grants, ledger} =
          if lease.session, do: serve_session(ledger, lease.session), else: {[], ledger}

        {grants, lane, ledger}
    end
  end

  defp idle_session(ledger, nil), do: ledger

  defp idle_session(ledger, session) do
    update_in(ledger.sessions, fn sessions ->
      Map.replace_lazy(sessions, session, &%{&1 | busy: false})
    end)
  end

  # Sessions of this worker that wait for one of its lanes come before the common queue, as
  # they can go nowhere else.
  defp serve_pinned(ledger, pid) do
    ledger.pinned
    |> Map.keys()
    |> Enum.filter(&match?(%{worker: ^pid, busy: false}, ledger.sessions[&1]))
    |> Enum.reduce({[], ledger}, fn session, {grants, ledger} ->
      {more, ledger} = serve_session(ledger, session)
      {grants ++ more, ledger}
    end)
  end

  defp forget(ledger, ref) do
    {_out, ledger} = reject(ledger, &(&1.ref == ref))
    ledger
  end
end
