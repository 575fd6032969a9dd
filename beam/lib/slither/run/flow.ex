defmodule Slither.Run.Flow do
  @moduledoc false
  # The ledger of one dispatch: which of its batches wait, which are out, and which pause before they
  # are tried again. A value of the process that drives it: a dispatch, or a pipe's engine, which has
  # one for each stage that runs in batches. The driver feeds it groups of batches and what its inbox
  # is told, and takes chunks of outcomes out.
  #
  # `Verdict` says what becomes of a batch that was answered, `Order` when its outcomes may be taken,
  # and a `Carrier` runs batches.

  alias Slither.{Error, Receipt}
  alias Slither.Pool.Errors
  alias Slither.Python.{Inbox, Outcome, Part, Timing}
  alias Slither.Run.{AutoSize, Batch, Batcher, BytesHeld, Carrier, Fill, Mailbox, Order, Plan}
  alias Slither.Run.Verdict
  alias Slither.Telemetry.Events

  @enforce_keys [:plan, :inbox, :carrier, :order]
  defstruct [
    :plan,
    :inbox,
    :carrier,
    :order,
    :halted,
    number: 0,
    todo: :queue.new(),
    todo_count: 0,
    out: %{},
    pausing: %{},
    owed: %{},
    load: nil,
    auto: nil,
    whole?: false,
    abandoned: [],
    work: Receipt.no_work()
  ]

  @typedoc """
  `out` are batches by the reference of their run, `pausing` by their timer. `owed` are early results
  that wait to be taken, by the batch whose handler is to be told. Nothing of a group after `halted`
  is begun any more; `abandoned` were out when the run ended with a failure.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          inbox: Inbox.t(),
          carrier: Carrier.t(),
          order: Order.t(),
          halted: Order.id() | nil,
          number: non_neg_integer,
          todo: :queue.queue(Batch.t()),
          todo_count: non_neg_integer,
          out: %{optional(reference) => Batch.t()},
          pausing: %{optional(reference) => Batch.t()},
          owed: %{optional(reference) => pos_integer},
          load: BytesHeld.t(),
          auto: AutoSize.t() | nil,
          whole?: boolean,
          abandoned: [reference],
          work: map
        }

  @doc "An empty flow of a plan, which `message/2` gives what its inbox is told."
  @spec new(Plan.t(), Inbox.t()) :: t
  def new(%Plan{} = plan, inbox) do
    %__MODULE__{
      plan: plan,
      inbox: inbox,
      carrier: carrier(plan).open(plan, inbox),
      order: Order.new(plan.ordering),
      load: BytesHeld.new(plan),
      auto: if(plan.options[:batch_size] == :auto, do: AutoSize.new(plan.options))
    }
  end

  defp carrier(%Plan{mode: {:pool, _handle, _head, _context}}), do: Carrier.Pool
  defp carrier(%Plan{mode: {:local, _fun}}), do: Carrier.Hands
  defp carrier(%Plan{mode: :task}), do: Carrier.Task

  @doc """
  Has the flow give whole batches as they come, for who takes them at once and puts their values
  in the items. Elsewhere what waits to be taken would hold the payloads that were sent, too.
  """
  @spec give_whole(t) :: t
  def give_whole(flow), do: %{flow | whole?: true}

  ## What a driver asks

  @doc "How many more batches it takes now."
  @spec free(t) :: integer
  def free(%__MODULE__{} = flow) do
    if flow.halted != nil or BytesHeld.full?(flow.load),
      do: 0,
      else: flow.plan.max_in_flight - inside(flow) - held(flow)
  end

  defp inside(flow), do: flow.todo_count + map_size(flow.out) + map_size(flow.pausing)

  # A stream's results that wait to be taken count as in flight; a run keeps them all anyway.
  defp held(%__MODULE__{plan: %{bounded: true}, order: order}), do: order.complete
  defp held(_flow), do: 0

  @doc "The batch size it has found, if it looks for one."
  @spec batch_size(t) :: pos_integer | nil
  def batch_size(%__MODULE__{auto: nil}), do: nil
  def batch_size(%__MODULE__{auto: auto}), do: auto.size

  @doc "Whether nothing is waiting, out, or held."
  @spec idle?(t) :: boolean
  def idle?(%__MODULE__{order: order}), do: Order.idle?(order)

  @doc "Whether a monitor is that of the pool that the flow runs on."
  @spec pool?(t, reference) :: boolean
  def pool?(%__MODULE__{carrier: carrier}, monitor), do: match?(%{monitor: ^monitor}, carrier)

  @doc "How many items wait for a worker, are with one, and wait for their next attempt."
  @spec where(t) :: %{
          queued: non_neg_integer,
          running: non_neg_integer,
          retrying: non_neg_integer
        }
  def where(%__MODULE__{} = flow) do
    %{
      queued: items(:queue.to_list(flow.todo)),
      running: items(Map.values(flow.out)),
      retrying: items(Map.values(flow.pausing))
    }
  end

  defp items(batches), do: batches |> Enum.map(&length(&1.entries)) |> Enum.sum()

  @doc "What it did, for a receipt."
  @spec work(t) :: map
  def work(%__MODULE__{work: work, order: order}), do: %{work | reorder: order.waited}

  ## What a driver does

  @doc "Takes in a group of batches; one that its strategy gave up has failed already."
  @spec submit(t, Batcher.group()) :: t
  def submit(%__MODULE__{} = flow, group) do
    {id, order} = Order.open(flow.order, length(group))
    {given_up, batches} = Enum.split_with(group, &match?({:failed, _entries, _error}, &1))

    flow =
      Enum.reduce(batches, %{flow | order: order}, fn entries, flow ->
        {batch, flow} = admit(flow, %Batch{group: id, number: flow.number, entries: entries})
        enqueue(flow, batch)
      end)

    given_up
    |> Enum.reduce(flow, fn {:failed, entries, error}, flow ->
      batch = %Batch{group: id, number: flow.number, entries: entries}
      failed(%{flow | number: flow.number + 1}, batch, error)
    end)
    |> advance()
  end

  @doc "Everything that is ready, in order."
  @spec take(t) :: {[Order.chunk() | Order.full() | Order.halt()], t}
  def take(%__MODULE__{} = flow) do
    # Owed only for what is ready: a flow with nothing to take is as it was.
    for {ref, count} <- flow.owed, do: Carrier.taken(flow.carrier, ref, count)
    {chunks, bytes, order} = Order.take(flow.order)
    {chunks, %{flow | order: order, owed: %{}, load: BytesHeld.gone(flow.load, bytes)}}
  end

  @doc "Gives back lanes that are not needed at once; called before the driver waits."
  @spec rest(t) :: t
  def rest(flow), do: %{flow | carrier: Carrier.rest(flow.carrier)}

  @doc "Ends everything that is still out."
  @spec close(t) :: :ok
  def close(flow) do
    for {timer, _batch} <- flow.pausing, do: :erlang.cancel_timer(timer)
    flow.carrier |> Carrier.close(Map.keys(flow.out)) |> Carrier.end_run()
  end

  @doc "Ends the batch that begins with item `seq`, wherever it is."
  @spec kill(t, non_neg_integer) :: t
  def kill(flow, seq) do
    case Enum.find(flow.out, fn {_ref, batch} -> Batch.begins?(batch, seq) end) do
      {ref, _batch} ->
        Carrier.kill(flow.carrier, ref)
        flow

      nil ->
        {gone, todo} = flow.todo |> :queue.to_list() |> Enum.split_with(&Batch.begins?(&1, seq))
        left = flow.todo_count - length(gone)
        flow = %{flow | todo: :queue.from_list(todo), todo_count: left}
        error = %Error{reason: :killed, message: "the call was killed before it began"}
        gone |> Enum.reduce(flow, &failed(&2, &1, error)) |> advance()
    end
  end

  ## Messages

  @doc "Takes a message of the flow's inbox."
  @spec message(t, Mailbox.message()) :: t
  def message(flow, {:done, ref, outcome}) do
    # Its lane may have another job next.
    flow = %{flow | owed: Map.delete(flow.owed, ref)}

    case Map.pop(flow.out, ref) do
      {nil, _out} ->
        unexpected(flow, ref)

      {batch, out} ->
        # A lane that gave the batch back has lost its worker; another has given back itself.
        flow = %{flow | out: out, carrier: Carrier.done(flow.carrier, ref, served(outcome))}
        flow |> back(batch) |> done(batch, outcome) |> advance()
    end
  end

  def message(flow, {:part, ref, part}) do
    case flow.out do
      %{^ref => batch} -> flow |> part(ref, batch, part) |> advance()
      # Of a batch that was given up.
      _ -> flow
    end
  end

  def message(%__MODULE__{pausing: pausing} = flow, {:timer, timer})
      when is_map_key(pausing, timer) do
    {batch, pausing} = Map.pop(pausing, timer)
    %{flow | pausing: pausing} |> again(batch) |> advance()
  end

  def message(flow, message) do
    case Carrier.message(flow.carrier, message) do
      {:ok, carrier} -> advance(%{flow | carrier: carrier})
      {:denied, error, carrier} -> denied(%{flow | carrier: carrier}, error)
      {:lost, ref, error, carrier} -> lost(%{flow | carrier: carrier}, ref, error)
      {:pool_lost, error, carrier} -> all_failed(%{flow | carrier: carrier}, error)
    end
  end

  defp denied(flow, error) do
    case pop(flow) do
      {nil, flow} -> flow
      {batch, flow} -> flow |> failed(batch, error) |> advance()
    end
  end

  defp lost(flow, ref, error) do
    case Map.pop(flow.out, ref) do
      {nil, _out} -> flow
      {batch, out} -> %{flow | out: out} |> back(batch) |> failed(batch, error) |> advance()
    end
  end

  defp all_failed(flow, error) do
    batches = :queue.to_list(flow.todo) ++ Map.values(flow.out)
    flow = flow.out |> Map.values() |> Enum.reduce(flow, &back(&2, &1))
    flow = %{flow | todo: :queue.new(), todo_count: 0, out: %{}}
    Enum.reduce(batches, flow, &failed(&2, &1, error))
  end

  defp served(%Outcome{timing: %Timing{given_back?: true}}), do: nil

  defp served(%Outcome{kind: kind, timing: %Timing{worker: slot}}) when kind in [:ok, :error],
    do: slot

  defp served(_outcome), do: nil

  ## Sending

  # A batch gets its number, and its bytes are counted from here until it is settled.
  defp admit(flow, batch) do
    {bytes, load} = BytesHeld.admit(flow.load, batch.entries)
    batch = %{batch | number: flow.number, bytes: bytes}
    {batch, %{flow | load: load, number: flow.number + 1}}
  end

  defp back(flow, batch), do: %{flow | load: BytesHeld.back(flow.load, batch.bytes)}

  defp enqueue(flow, batch) do
    batch = %{batch | queued: System.monotonic_time()}
    %{flow | todo: :queue.in(batch, flow.todo), todo_count: flow.todo_count + 1}
  end

  # In a session, what is tried again comes before what has not been tried.
  defp again(%{plan: %{session: nil}} = flow, batch), do: enqueue(flow, batch)
  defp again(flow, batch), do: first(flow, %{batch | queued: System.monotonic_time()})

  defp first(flow, batch),
    do: %{flow | todo: :queue.in_r(batch, flow.todo), todo_count: flow.todo_count + 1}

  defp pop(%__MODULE__{} = flow) do
    case :queue.out(flow.todo) do
      {:empty, _todo} -> {nil, flow}
      {{:value, batch}, todo} -> {batch, %{flow | todo: todo, todo_count: flow.todo_count - 1}}
    end
  end

  defp advance(%__MODULE__{todo_count: 0} = flow), do: flow

  # A session keeps its order: nothing overtakes what will be tried again.
  defp advance(%__MODULE__{plan: %{session: session}, pausing: pausing} = flow)
       when session != nil and map_size(pausing) > 0,
       do: flow

  defp advance(%__MODULE__{load: nil} = flow), do: advance_next(flow)

  defp advance(flow) do
    {:value, batch} = :queue.peek(flow.todo)
    if BytesHeld.fits?(flow.load, batch.bytes), do: advance_next(flow), else: flow
  end

  defp advance_next(flow) do
    case Carrier.place(flow.carrier) do
      {:ok, place, carrier} ->
        {batch, flow} = pop(flow)
        flow |> send_out(batch, place, carrier) |> advance()

      {:none, carrier} ->
        %{flow | carrier: Carrier.want(carrier, flow.todo_count, map_size(flow.out))}

      {:gone, error} ->
        {batch, flow} = pop(flow)
        flow |> failed(batch, error) |> advance()
    end
  end

  defp send_out(flow, batch, place, carrier) do
    batch = %{batch | sent: System.monotonic_time()}
    {ref, carrier} = Carrier.run(carrier, place, batch)
    if Events.batch_heard?(:start), do: started(flow, batch)
    load = BytesHeld.sent(flow.load, batch.bytes)
    count(%{flow | out: Map.put(flow.out, ref, batch), carrier: carrier, load: load}, :batches)
  end

  ## Answers

  defp done(flow, batch, %Outcome{kind: :ok, errors: errors, values: values, timing: timing})
       when errors == %{} do
    flow = spent(flow, batch, timing)

    if length(values) == length(batch.entries) do
      stopped(flow, batch, timing, 0)
      flow = keep(flow, batch, timing)

      settle(
        %{flow | order: Order.add(flow.order, batch.group, whole(flow, batch, values))},
        batch
      )
    else
      failed(flow, batch, Verdict.wrong_length(batch, values))
    end
  end

  defp done(flow, batch, %Outcome{kind: :ok, values: values, errors: errors, timing: timing}) do
    flow = spent(flow, batch, timing)
    stopped(flow, batch, timing, map_size(errors))

    flow
    |> keep(batch, timing)
    |> carry_out(batch, Verdict.answered(flow.plan, batch, values, errors))
    |> settle(batch)
  end

  defp done(flow, batch, %Outcome{kind: :requeue, error: error}) do
    case Errors.given_back(error, batch.given_back) do
      {:again, count} -> flow |> first(%{batch | given_back: count}) |> count(:requeues)
      {:failed, error} -> failed(flow, batch, error)
    end
  end

  defp done(flow, batch, %Outcome{error: error, timing: timing}),
    do: flow |> spent(batch, timing) |> failed(batch, error)

  # A batch that waits for its turn keeps only result values, so that the payloads can be freed.
  defp whole(flow, batch, values) do
    if flow.whole? and Order.at_once?(flow.order, batch.group),
      do: {:full, batch.entries, values, batch.attempt},
      else: {:ok, Fill.entries(batch.entries, values, batch.attempt)}
  end

  # What a handler has yielded is decided: the batch goes on as what is left of it, so that
  # nothing that comes after can have an item run again, or give it a second outcome.
  defp part(flow, ref, batch, %Part{values: values, errors: errors, bytes: bytes}) do
    count = length(values)
    {rest, now} = Batch.decided(batch, count, map_size(errors))
    order = flow.order |> Order.early(batch.group) |> Order.hold(batch.group, bytes)
    load = BytesHeld.held(flow.load, bytes)
    batch = %{batch | entries: now}

    %{flow | out: Map.put(flow.out, ref, rest), order: order, load: load}
    |> carry_out(batch, Verdict.answered(flow.plan, batch, values, errors))
    |> pass_on(batch.group)
    |> owe(ref, batch.group, count)
  end

  # A handler is told that its results were taken when they are. Of those that are held it is
  # told at once: it must not wait for the turn of its batch, which may need its worker to come.
  defp owe(flow, ref, group, count) do
    if Order.out?(flow.order, group) do
      %{flow | owed: Map.update(flow.owed, ref, count, &(&1 + count))}
    else
      Carrier.taken(flow.carrier, ref, count)
      flow
    end
  end

  defp failed(flow, batch, error) do
    exception(flow, batch, error)
    flow = if Verdict.short?(error), do: count(flow, :short), else: flow

    case Verdict.failed(flow.plan, batch, error) do
      {:split, left, right} -> split(flow, batch, [left, right])
      verdicts -> flow |> carry_out(batch, verdicts) |> settle(batch)
    end
  end

  # Both halves are tried until what fails is alone.
  defp split(flow, batch, halves) do
    load = BytesHeld.gone(flow.load, batch.bytes)
    flow = %{flow | order: Order.grow(flow.order, batch.group), load: load}
    {halves, flow} = Enum.map_reduce(halves, count(flow, :splits), &admit(&2, &1))

    if flow.plan.session,
      do: List.foldr(halves, flow, &again(&2, &1)),
      else: Enum.reduce(halves, flow, &enqueue(&2, &1))
  end

  defp carry_out(flow, batch, verdicts), do: Enum.reduce(verdicts, flow, &verdict(&1, &2, batch))

  defp verdict({:settled, chunk}, flow, batch),
    do: %{flow | order: Order.add(flow.order, batch.group, chunk)}

  defp verdict({:retry, again, pause}, flow, batch) do
    {bytes, load} = BytesHeld.admit(flow.load, again.entries)
    timer = Mailbox.start_timer(flow.inbox, pause)
    pausing = Map.put(flow.pausing, timer, %{again | bytes: bytes})
    order = Order.grow(flow.order, batch.group)
    count(%{flow | order: order, pausing: pausing, load: load}, :retries)
  end

  # Nothing later is begun; what is earlier still finishes, so that partial results are whole.
  defp verdict({:halt, seq, error}, flow, %Batch{group: group}) do
    {later, todo} = Enum.split_with(:queue.to_list(flow.todo), &(&1.group > group))

    %{
      flow
      | order: Order.halt(flow.order, group, seq, error),
        halted: min(flow.halted || group, group),
        todo: :queue.from_list(todo),
        todo_count: flow.todo_count - length(later)
    }
  end

  # What came back is held until its turn.
  defp keep(%{load: nil} = flow, _batch, _timing), do: flow

  defp keep(flow, batch, %Timing{result_bytes: bytes}) do
    order = Order.hold(flow.order, batch.group, bytes)
    %{flow | order: order, load: BytesHeld.held(flow.load, bytes)}
  end

  defp settle(flow, batch) do
    order = Order.settle(flow.order, batch.group, System.monotonic_time())
    pass_on(%{flow | order: order, load: BytesHeld.gone(flow.load, batch.bytes)}, batch.group)
  end

  # Results of batches that are out go on before them.
  defp pass_on(flow, group) do
    case Order.passing(flow.order, group) do
      nil ->
        over(flow)

      id ->
        order = Order.pass(flow.order, id, first_open(flow, id), System.monotonic_time())
        over(%{flow | order: order})
    end
  end

  defp first_open(flow, id) do
    batches = Map.values(flow.out) ++ Map.values(flow.pausing) ++ :queue.to_list(flow.todo)
    batches |> Enum.filter(&(&1.group == id)) |> Batch.first()
  end

  # Once the run has ended with a failure, what is out is of no use to anyone.
  defp over(%__MODULE__{order: %{over?: false}} = flow), do: flow

  defp over(flow) do
    for {timer, _batch} <- flow.pausing, do: :erlang.cancel_timer(timer)
    out = Map.keys(flow.out)
    carrier = Carrier.close(flow.carrier, out)
    flow = %{flow | carrier: carrier, out: %{}, pausing: %{}, todo: :queue.new(), todo_count: 0}
    %{flow | abandoned: out ++ flow.abandoned}
  end

  ## The account

  defp count(flow, key), do: %{flow | work: Map.update!(flow.work, key, &(&1 + 1))}

  defp spent(flow, batch, timing) do
    flow = %{flow | work: Receipt.add_times(flow.work, batch.sent - batch.queued, timing)}
    if flow.auto != nil and timing != nil, do: measured(flow, batch, timing), else: flow
  end

  # Items that could not be sent take the handler no time, and say nothing.
  defp measured(flow, _batch, %Timing{handler: 0}), do: flow

  defp measured(flow, batch, timing),
    do: %{flow | auto: AutoSize.measured(flow.auto, timing.handler, Batch.size(batch))}

  # An answer that nobody waits for changes nothing but the count of such.
  defp unexpected(flow, ref),
    do: count(flow, if(ref in flow.abandoned, do: :late, else: :duplicate))

  ## Events

  defp metadata(flow, batch),
    do: %{flow.plan.metadata | batch: batch.number, attempt: batch.attempt}

  defp started(flow, batch),
    do: Events.batch_started(length(batch.entries), metadata(flow, batch))

  defp stopped(flow, batch, timing, failed) do
    if Events.batch_heard?(:stop), do: tell_stopped(flow, batch, timing, failed)
  end

  defp tell_stopped(flow, batch, timing, failed) do
    size = Batch.size(batch)

    measurements =
      timing
      |> Timing.measurements()
      |> Map.merge(%{
        held_bytes: BytesHeld.inside(flow.load),
        batch_size: batch_size(flow) || flow.plan.options[:batch_size] || size,
        duration: System.monotonic_time() - batch.sent,
        queue: batch.sent - batch.queued,
        size: size,
        failed: batch.early_failed + failed
      })

    Events.batch_stopped(measurements, Map.put(metadata(flow, batch), :worker, timing.worker))
  end

  defp exception(flow, batch, error),
    do: Events.batch_failed(batch.sent, length(batch.entries), metadata(flow, batch), error)
end
