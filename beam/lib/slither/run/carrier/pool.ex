defmodule Slither.Run.Carrier.Pool do
  @moduledoc false
  # Runs batches on leased lanes of a pool's workers. A lane is kept from batch to batch while nobody
  # else waits for one, and known by the reference with which it was asked for.
  #
  # A pool's queue may be too short for all lanes that a run could use. Its first request is refused
  # then, as any call is; but a run that has a lane, or waits for one, goes on with that, and asks for
  # more once it has got it or given it back.

  @behaviour Slither.Run.Carrier

  alias Slither.Error
  alias Slither.Pool.{Call, Errors, Handle, Scheduler}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Inbox, Job, Lane, Pool}
  alias Slither.Run.{Batch, Mailbox, Plan, Traced}

  @enforce_keys [:plan, :inbox, :handle, :head, :context]
  defstruct [:plan, :inbox, :handle, :head, :context, :monitor, :gone] ++
              [idle: [], requested: MapSet.new(), asked: MapSet.new(), lanes: %{}] ++
              [admitted?: false, full?: false]

  @typedoc """
  `head` begins each call, and `context` is the run's, encoded. `requested` are the references of what
  was asked for, `asked` those of requests to go on with a batch, `lanes` what was granted, and
  `idle` those of them that have no batch. `monitor` is
  that of the pool's scheduler; once it has ended, `gone` says so. `admitted?` says that a lane was
  granted before, and `full?` that the queue had no room for as many requests as there could be.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          inbox: Inbox.t(),
          handle: Handle.t(),
          head: binary,
          context: binary,
          monitor: reference | nil,
          gone: Slither.Error.t() | nil,
          idle: [reference],
          requested: MapSet.t(reference),
          asked: MapSet.t(reference),
          lanes: %{optional(reference) => pid},
          admitted?: boolean,
          full?: boolean
        }

  @impl true
  def open(%{mode: {:pool, handle, head, context}} = plan, inbox) do
    watch(%__MODULE__{plan: plan, inbox: inbox, handle: handle, head: head, context: context})
  end

  defp watch(%__MODULE__{inbox: inbox, handle: %{scheduler: scheduler}} = pool) do
    monitor = Mailbox.monitor(inbox, scheduler)
    %{pool | monitor: monitor, gone: nil, admitted?: false, full?: false}
  end

  @impl true
  def place(%__MODULE__{idle: [ref | idle]} = pool), do: {:ok, ref, %{pool | idle: idle}}
  def place(%__MODULE__{gone: nil} = pool), do: {:none, pool}

  # A pool that has stopped may have been started again. Its sessions are lost then, so that a run
  # with a session goes on only if that may be bound anew.
  def place(%__MODULE__{plan: plan} = pool)
      when plan.session == nil or plan.on_session_lost == :rebind do
    case Pool.handle(plan.options[:pool]) do
      {:ok, handle} -> {:none, watch(%{pool | handle: handle})}
      {:error, _unknown} -> {:gone, pool.gone}
    end
  end

  def place(pool), do: {:gone, pool.gone}

  # Reads the number of lanes each time, as the pool may be resized while the run goes on.
  @impl true
  def want(%__MODULE__{plan: plan, handle: handle} = pool, todo, out) do
    capacity = min(plan.capacity, Handle.lanes(handle))
    missing = min(todo, capacity - out) - MapSet.size(pool.requested)

    cond do
      missing <= 0 -> pool
      pool.full? -> if alone?(pool), do: request(pool), else: pool
      true -> Enum.reduce(1..missing, pool, fn _, pool -> request(pool) end)
    end
  end

  # Whether nothing that the run has, or has asked for, would have it go on.
  defp alone?(%__MODULE__{requested: requested, lanes: lanes}),
    do: lanes == %{} and MapSet.size(requested) == 0

  @impl true
  def workers(%__MODULE__{plan: plan, handle: handle}),
    do: min(plan.capacity, Handle.most(handle))

  @impl true
  def serving(%__MODULE__{plan: plan, handle: handle}),
    do: min(plan.capacity, Handle.workers(handle))

  defp request(%__MODULE__{plan: plan} = pool) do
    ref = make_ref()

    Scheduler.request(pool.handle, pool.inbox, ref,
      session: plan.session,
      rebind: plan.on_session_lost == :rebind,
      run: plan.context.runtime[:run],
      parks: plan.many,
      admitted: pool.admitted? and alone?(pool),
      deadline: deadline(plan.queue_timeout),
      priority: plan.priority
    )

    %{pool | requested: MapSet.put(pool.requested, ref)}
  end

  defp deadline(:infinity), do: nil
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  # The lane of a call with many values has parked its lease by itself: whoever reads the run may
  # rest between a part and the answer.
  @impl true
  def park(pool, ref), do: %{pool | lanes: Map.delete(pool.lanes, ref)}

  # A session's calls go in their order, so that this is one of them.
  @impl true
  def more(%__MODULE__{plan: plan} = pool, ref, %Batch{cursor: {worker, _call}}) do
    Scheduler.request(pool.handle, pool.inbox, ref,
      session: plan.session,
      worker: worker,
      service: if(plan.session == nil, do: :more),
      run: plan.context.runtime[:run],
      parks: true
    )

    %{pool | asked: MapSet.put(pool.asked, ref)}
  end

  @impl true
  def leave(pool, ref) do
    Scheduler.release(pool.handle, ref)
    %{pool | asked: MapSet.delete(pool.asked, ref)}
  end

  @impl true
  def forget(%__MODULE__{plan: plan, handle: handle}, batch) do
    {worker, what} = left_by(batch)
    request = [session: plan.session, worker: worker]
    context = %{"session" => plan.session, "run" => plan.context.runtime[:run]}
    drop = &Call.once(&1, ["drop", what], context, [nil])
    # Whoever ends a run need not wait for it.
    spawn(fn -> Call.hold(handle, request, drop) end)
  end

  defp left_by(%Batch{cursor: {worker, call}}), do: {worker, Integer.to_string(call)}

  # Its answer may be on its way, with the number by which the worker keeps the rest: the session's next call
  # comes behind it.
  defp left_by(%Batch{cursor: nil}), do: {nil, "run"}

  @impl true
  def run(%__MODULE__{plan: plan} = pool, ref, batch) do
    Lane.run(pool.lanes[ref], %Job{
      inbox: pool.inbox,
      ref: ref,
      head: head(pool, batch),
      context: pool.context,
      batch: batch.number,
      attempt: batch.attempt,
      timeout: plan.timeout,
      item_timeout: plan.item_timeout,
      raw: plan.raw,
      capture: plan.capture,
      many: many(plan, batch),
      trace: Traced.batch(plan.trace, batch),
      returns: returns?(plan),
      payloads: payloads(batch)
    })

    {ref, pool}
  end

  # Whoever reads the run may rest before it takes an answer: the lane then returns its lease itself.
  defp returns?(%Plan{many: many, rests: rests}), do: many or rests

  defp head(pool, %Batch{cursor: nil}), do: pool.head

  defp head(pool, %Batch{cursor: {_worker, call}}),
    do: Frame.call_head(["more", Integer.to_string(call)], pool.plan.wire)

  defp many(%Plan{many: false}, _batch), do: nil
  defp many(_plan, %Batch{cursor: nil}), do: :first
  defp many(_plan, _batch), do: :more

  # The worker has the items already.
  defp payloads(%Batch{cursor: nil} = batch),
    do: for({_seq, item} <- batch.entries, do: item.payload)

  defp payloads(_open), do: [nil]

  @impl true
  def taken(pool, ref, count) do
    if lane = pool.lanes[ref], do: Lane.taken(lane, ref, count)
  end

  @impl true
  def done(%__MODULE__{handle: handle, plan: plan} = pool, ref, slot) do
    pool = %{pool | full?: false}

    if slot != nil and not returns?(plan) and Handle.keep?(handle, slot) do
      %{pool | idle: [ref | pool.idle]}
    else
      Scheduler.release(handle, ref)
      %{pool | lanes: Map.delete(pool.lanes, ref)}
    end
  end

  @impl true
  def message(pool, {:granted, ref, lane}) do
    cond do
      MapSet.member?(pool.requested, ref) ->
        pool = had(pool, ref, lane)
        {:ok, %{pool | idle: [ref | pool.idle]}}

      MapSet.member?(pool.asked, ref) ->
        {:place, ref, had(pool, ref, lane)}

      true ->
        {:ok, pool}
    end
  end

  def message(pool, {:denied, ref, error}) do
    asked? = MapSet.member?(pool.asked, ref)
    pool = answered(pool, ref)

    cond do
      asked? -> {:lost, ref, rest_lost(pool, error), leave(pool, ref)}
      error.reason == :saturated and not alone?(pool) -> {:ok, %{pool | full?: true}}
      true -> {:denied, error, pool}
    end
  end

  def message(pool, {:lane_lost, ref, error}) do
    idle = List.delete(pool.idle, ref)
    lanes = Map.delete(pool.lanes, ref)
    {:lost, ref, error, %{pool | idle: idle, lanes: lanes, full?: false}}
  end

  def message(%__MODULE__{monitor: monitor} = pool, {:down, monitor, reason}) do
    error = Errors.stopped(pool.plan.options[:pool], reason)
    {:pool_lost, error, %{emptied(pool) | monitor: nil, gone: error}}
  end

  def message(pool, _late), do: {:ok, pool}

  @impl true
  def rest(%__MODULE__{idle: []} = pool), do: pool

  def rest(%__MODULE__{idle: idle} = pool) do
    Enum.each(idle, &Scheduler.release(pool.handle, &1))
    %{pool | idle: [], lanes: Map.drop(pool.lanes, idle)}
  end

  @impl true
  def leave_queue(pool) do
    pool = rest(pool)
    Enum.each(pool.requested, &Scheduler.release(pool.handle, &1))
    %{pool | requested: MapSet.new(), full?: false}
  end

  @impl true
  def kill(pool, ref) do
    if lane = pool.lanes[ref], do: Lane.kill(lane, ref)
  end

  @doc "Gives up one batch, whose answer nobody waits for."
  @spec abandon(t, reference) :: t
  def abandon(pool, ref) do
    Scheduler.abandon(pool.handle, ref)
    %{pool | lanes: Map.delete(pool.lanes, ref)}
  end

  @impl true
  def close(%__MODULE__{handle: handle} = pool, out) do
    if pool.monitor, do: Process.demonitor(pool.monitor, [:flush])
    Enum.each(pool.idle, &Scheduler.release(handle, &1))
    Enum.each(pool.requested, &Scheduler.release(handle, &1))
    Enum.each(out, &Scheduler.abandon(handle, &1))
    emptied(pool)
  end

  @impl true
  def end_run(%__MODULE__{plan: %{session: nil} = plan} = pool),
    do: Scheduler.end_run(pool.handle, plan.context.runtime[:run])

  def end_run(_pool), do: :ok

  defp had(pool, ref, lane) do
    lanes = Map.put(pool.lanes, ref, lane)
    %{answered(pool, ref) | lanes: lanes, admitted?: true, full?: false}
  end

  defp answered(pool, ref) do
    %{
      pool
      | requested: MapSet.delete(pool.requested, ref),
        asked: MapSet.delete(pool.asked, ref)
    }
  end

  # The session has no worker, or another one.
  defp rest_lost(pool, %Error{reason: reason}) when reason in [:session_lost, :session_unbound],
    do: Errors.rest_lost(pool.handle.name)

  defp rest_lost(_pool, error), do: error

  defp emptied(pool),
    do: %{pool | idle: [], requested: MapSet.new(), asked: MapSet.new(), lanes: %{}}
end
