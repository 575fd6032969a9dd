defmodule Slither.Run.Flow do
  @moduledoc false
  # The batches of one dispatch, from when the flow takes them in until the driver takes their
  # outcomes. A value of the process that drives it: a dispatch, the map of a Python program, or a
  # pipe's engine, which has one flow for each stage that runs in batches. The driver feeds the
  # flow groups of batches and the messages of its inbox, and takes chunks of outcomes.
  #
  # `InFlight` holds the batches and sends them, `Verdict` decides what becomes of an answered
  # batch, and `Order` decides when its outcomes may be taken. The flow ties the three together,
  # and keeps the account; `Enact` does with it what was decided.

  alias Slither.Error
  alias Slither.Pool.Errors
  alias Slither.Python.{Inbox, Outcome, Part, Timing}
  alias Slither.Run.{Account, AutoSize, Batch, Batcher, Enact, Fill, InFlight, Mailbox}
  alias Slither.Run.{Order, Plan, Verdict}
  alias Slither.Telemetry.Events

  @enforce_keys [:plan, :flight, :order]
  defstruct [:plan, :flight, :order, :halted, :auto] ++
              [number: 0, bytes: 0, owed: %{}, whole?: false, work: Account.no_work()]

  @typedoc """
  `number` is that of the next batch. `bytes` counts what the flow holds, where the plan limits
  that: batches, as `Batch.bytes/2` measures them, until they are settled, and results, as they
  came off the wire, until they are taken out. The flow begins no batch of a group after `halted`.
  `owed` counts early results that wait to be taken, by the reference under which the lane runs
  their batch.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          flight: InFlight.t(),
          order: Order.t(),
          halted: Order.id() | nil,
          auto: AutoSize.t() | nil,
          number: non_neg_integer,
          bytes: non_neg_integer,
          owed: %{optional(reference) => pos_integer},
          whole?: boolean,
          work: map
        }

  @doc "An empty flow of a plan, which `message/2` gives what its inbox is told."
  @spec new(Plan.t(), Inbox.t()) :: t
  def new(%Plan{} = plan, inbox) do
    %__MODULE__{
      plan: plan,
      flight: InFlight.new(plan, inbox),
      order: Order.new(plan.ordering),
      auto: if(plan.options[:batch_size] == :auto, do: AutoSize.new(plan.options))
    }
  end

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
    if flow.halted != nil or full?(flow),
      do: 0,
      else: queue(flow, flow.plan.max_in_flight - InFlight.count(flow.flight) - held(flow))
  end

  # A batch whose size is found is made late: by then more is known of its items.
  defp queue(%__MODULE__{auto: nil}, free), do: free
  defp queue(flow, free), do: min(free, InFlight.workers(flow.flight) - flow.flight.waiting)

  defp full?(%__MODULE__{plan: %{max_bytes: limit}, bytes: bytes}),
    do: limit != nil and bytes >= limit

  # A stream's results that wait to be taken count as in flight; a run keeps them all anyway.
  defp held(%__MODULE__{plan: %{bounded: true}, order: order}), do: order.complete
  defp held(_flow), do: 0

  @doc "What it knows of the size of batches, if it looks for one, and its workers."
  @spec found(t) :: {AutoSize.t(), pos_integer} | nil
  def found(%__MODULE__{auto: nil}), do: nil
  def found(%__MODULE__{auto: auto, flight: flight}), do: {auto, InFlight.workers(flight)}

  @doc "Whether a worker has nothing to do, and it takes another batch."
  @spec spare?(t) :: boolean
  def spare?(flow), do: InFlight.spare?(flow.flight) and free(flow) > 0

  @doc "Whether nothing is waiting, out, or held."
  @spec idle?(t) :: boolean
  def idle?(%__MODULE__{order: order}), do: Order.idle?(order)

  @doc "Whether a monitor is that of the pool that the flow runs on."
  @spec pool?(t, reference) :: boolean
  def pool?(flow, monitor), do: InFlight.pool?(flow.flight, monitor)

  @doc "How many items wait for a worker, are with one, and wait for their next attempt."
  @spec where(t) :: %{
          queued: non_neg_integer,
          running: non_neg_integer,
          retrying: non_neg_integer
        }
  def where(flow), do: InFlight.items(flow.flight)

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
        {batch, flow} = admit(%Batch{group: id, number: flow.number, entries: entries}, flow)
        %{flow | flight: InFlight.add(flow.flight, batch)}
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
    # `owed` counts only results that are ready, and this call takes all of those.
    if flow.owed != %{}, do: InFlight.taken(flow.flight, flow.owed)
    {chunks, bytes, order} = Order.take(flow.order)
    {chunks, %{flow | order: order, owed: %{}, bytes: flow.bytes - bytes}}
  end

  @doc "Gives back lanes that are not needed at once; called before the driver waits."
  @spec rest(t) :: t
  def rest(flow), do: %{flow | flight: InFlight.rest(flow.flight)}

  @doc "Ends everything that is still out."
  @spec close(t) :: :ok
  def close(flow), do: InFlight.close(flow.flight)

  @doc "Ends the batch that begins with item `seq`, wherever it is."
  @spec kill(t, seq :: term) :: t
  def kill(flow, seq) do
    {batches, flight} = InFlight.kill(flow.flight, seq)
    error = %Error{reason: :killed, message: "the call was killed before it began"}
    batches |> Enum.reduce(%{flow | flight: flight}, &failed(&2, &1, error)) |> advance()
  end

  @doc "Takes a message of the flow's inbox."
  @spec message(t, Mailbox.message()) :: t
  def message(flow, message) do
    case InFlight.message(flow.flight, message) do
      {:ok, flight} ->
        advance(%{flow | flight: flight})

      {:answered, ref, batch, outcome, flight} ->
        # The lane keeps its reference for its next job: `InFlight.taken/2` would credit that job
        # with what the flow still owes this batch's handler.
        owed = if flow.owed == %{}, do: flow.owed, else: Map.delete(flow.owed, ref)
        %{flow | flight: flight, owed: owed} |> answered(batch, outcome) |> advance()

      {:yielded, ref, batch, part, flight} ->
        %{flow | flight: flight} |> yielded(ref, batch, part) |> advance()

      {:failed, batches, error, flight} ->
        batches |> Enum.reduce(%{flow | flight: flight}, &failed(&2, &1, error)) |> advance()

      # Nobody waits for this answer. It is counted; the flow stays as it was.
      {:unexpected, late_or_duplicate, flight} ->
        Enact.count(%{flow | flight: flight}, late_or_duplicate)
    end
  end

  ## Sending

  # A batch gets its number, and its bytes are counted from here until it is settled.
  defp admit(batch, flow) do
    bytes = Batch.bytes(batch.entries, flow.plan.max_bytes)
    batch = %{batch | number: flow.number, bytes: bytes}
    {batch, %{flow | bytes: flow.bytes + bytes, number: flow.number + 1}}
  end

  defp advance(flow) do
    case InFlight.send_next(flow.flight) do
      {:none, flight} ->
        %{flow | flight: flight}

      {:sent, batch, flight} ->
        if Events.batch_heard?(:start),
          do: Events.batch_started(length(batch.entries), facts(flow, batch))

        advance(Enact.count(%{flow | flight: flight}, :batches))

      {:failed, batch, error, flight} ->
        %{flow | flight: flight} |> failed(batch, error) |> advance()
    end
  end

  ## Answers

  defp answered(flow, batch, %Outcome{kind: :ok, errors: none, values: values, timing: timing})
       when none == %{} do
    {batch, values} = returned(flow, batch, values)
    flow = spent(flow, batch, timing)

    if length(values) == length(batch.entries) do
      stopped(flow, batch, timing, 0)
      flow = Enact.keep(flow, batch, timing.result_bytes)

      Enact.settle(
        %{flow | order: Order.add(flow.order, batch.group, whole(flow, batch, values))},
        batch
      )
    else
      failed(flow, batch, Verdict.wrong_length(batch, values))
    end
  end

  defp answered(flow, batch, %Outcome{kind: :ok} = outcome) do
    %Outcome{values: values, errors: errors, timing: timing} = outcome
    flow = spent(flow, batch, timing)
    stopped(flow, batch, timing, map_size(errors))

    flow
    |> Enact.keep(batch, timing.result_bytes)
    |> Enact.verdicts(batch, Verdict.answered(flow.plan, batch, values, errors))
    |> Enact.settle(batch)
  end

  defp answered(flow, batch, %Outcome{kind: :requeue, error: error}) do
    case Errors.given_back(error, batch.given_back) do
      {:again, times} ->
        batch = %{batch | given_back: times}
        Enact.count(%{flow | flight: InFlight.put_back(flow.flight, batch)}, :requeues)

      {:failed, error} ->
        failed(flow, batch, error)
    end
  end

  defp answered(flow, batch, %Outcome{error: error, timing: timing}),
    do: flow |> spent(batch, timing) |> failed(batch, error)

  # An executor of the user's own may give items.
  defp returned(%__MODULE__{plan: %{mode: {:local, _fun}, executor: executor}}, batch, values)
       when executor != nil,
       do: Batch.returned(batch, values)

  defp returned(_flow, batch, values), do: {batch, values}

  # A batch that waits for its turn keeps only result values, so that the payloads can be freed.
  defp whole(flow, batch, values) do
    if flow.whole? and Order.at_once?(flow.order, batch.group),
      do: {:full, batch.entries, values, batch.attempt},
      else: {:ok, Fill.entries(batch.entries, values, batch.attempt)}
  end

  # Items whose results a handler has yielded are decided, and leave the batch. So a later failure
  # of the batch can't have them run again, or give them a second outcome.
  defp yielded(flow, ref, batch, %Part{values: values, errors: errors, bytes: bytes}) do
    count = length(values)
    {rest, now} = Batch.decided(batch, count, map_size(errors))
    flight = InFlight.shrink(flow.flight, ref, rest)
    batch = %{batch | entries: now}

    %{flow | flight: flight, order: Order.early(flow.order, batch.group)}
    |> Enact.keep(batch, bytes)
    |> Enact.verdicts(batch, Verdict.answered(flow.plan, batch, values, errors))
    |> Enact.pass_on(batch.group)
    |> owe(ref, batch.group, count)
  end

  # A handler is told once the driver has taken its results. Results
  # that wait for their turn count as taken at once, as that turn
  # may come only after other batches have run on the same worker.
  defp owe(flow, ref, group, count) do
    if Order.out?(flow.order, group) do
      %{flow | owed: Map.update(flow.owed, ref, count, &(&1 + count))}
    else
      InFlight.taken(flow.flight, %{ref => count})
      flow
    end
  end

  defp failed(flow, batch, error) do
    Events.batch_failed(batch.sent, length(batch.entries), facts(flow, batch), error)
    flow = if Verdict.short?(error), do: Enact.count(flow, :short), else: flow

    case Verdict.failed(flow.plan, batch, error) do
      {:split, left, right} -> split(flow, batch, [left, right])
      verdicts -> flow |> Enact.verdicts(batch, verdicts) |> Enact.settle(batch)
    end
  end

  # Splits a failed batch again and again, until the item that fails is alone.
  defp split(flow, batch, halves) do
    bytes = flow.bytes - batch.bytes
    flow = %{flow | order: Order.grow(flow.order, batch.group), bytes: bytes}
    {halves, flow} = Enum.map_reduce(halves, Enact.count(flow, :splits), &admit/2)
    # In a session both halves go, in their order, before the batches behind them.
    halves = if flow.plan.session, do: Enum.reverse(halves), else: halves
    %{flow | flight: Enum.reduce(halves, flow.flight, &InFlight.add_again(&2, &1))}
  end

  ## The account

  defp spent(flow, batch, timing) do
    work = Account.add_times(flow.work, batch.sent - batch.queued, timing)
    %{flow | work: work, auto: AutoSize.answered(flow.auto, batch, timing)}
  end

  defp facts(flow, batch),
    do: %{flow.plan.metadata | batch: batch.number, attempt: batch.attempt}

  defp stopped(flow, batch, timing, failed) do
    if Events.batch_heard?(:stop) do
      size = Batch.size(batch)

      timing
      |> Timing.measurements()
      |> Map.merge(%{
        held_bytes: flow.bytes,
        batch_size:
          if(flow.auto, do: flow.auto.size, else: flow.plan.options[:batch_size] || size),
        duration: System.monotonic_time() - batch.sent,
        queue: batch.sent - batch.queued,
        size: size,
        failed: batch.early_failed + failed
      })
      |> Events.batch_stopped(Map.put(facts(flow, batch), :worker, timing.worker))
    end
  end
end
