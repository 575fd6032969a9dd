defmodule Slither.Run.Returns do
  @moduledoc false
  # What a flow makes of what comes back of its batches: an answer, a part of one, or a failure. It
  # asks `Verdict`, or `Many` where items have many values, what that means, has `Enact` carry it
  # out, and keeps the account. Called by `Slither.Run.Flow`, in the process that drives it.

  alias Slither.Error
  alias Slither.Pool.Errors
  alias Slither.Python.{Outcome, Part, Timing}
  alias Slither.Run.{Account, AutoSize, Batch, Enact, Fill, Flow, InFlight, Many}
  alias Slither.Run.{Order, Plan, Verdict}
  alias Slither.Telemetry.Events

  @doc "Gives a batch its number; its bytes are counted from here until it is settled."
  @spec admit(Batch.t(), Flow.t()) :: {Batch.t(), Flow.t()}
  def admit(batch, flow) do
    bytes = Batch.bytes(batch.entries, flow.plan.max_bytes)
    batch = %{batch | number: flow.number, bytes: bytes}
    {batch, %{flow | bytes: flow.bytes + bytes, number: flow.number + 1}}
  end

  @doc "A batch is sent, or goes on."
  @spec begun(Flow.t(), Batch.t()) :: Flow.t()
  def begun(flow, batch) do
    if Events.batch_heard?(:start),
      do: Events.batch_started(length(batch.entries), facts(flow, batch))

    Enact.count(flow, :batches)
  end

  @doc "A batch is answered; `ref` is what its carrier knows it by."
  @spec answered(Flow.t(), reference, Batch.t(), Outcome.t()) :: Flow.t()
  def answered(%{plan: %{many: true}} = flow, ref, batch, %Outcome{kind: :ok} = outcome) do
    case Many.answered(flow.plan, batch, outcome) do
      {:ok, verdicts, failed, %Batch{entries: left} = rest} ->
        # How long one chunk of a batch takes says nothing of its size.
        whole? = left == [] and not Many.begun?(batch)

        flow =
          if whole?,
            do: spent(flow, batch, outcome.timing),
            else: took(flow, batch, outcome.timing)

        stopped(flow, batch, outcome.timing, failed)
        kept = if left != [], do: {ref, Many.cursor(rest, outcome)}
        decided(flow, batch, verdicts, outcome, kept)

      {:error, error} ->
        failed(took(flow, batch, outcome.timing), batch, error)
    end
  end

  def answered(flow, _ref, batch, %Outcome{
        kind: :ok,
        errors: none,
        values: values,
        timing: timing
      })
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

  def answered(flow, _ref, batch, %Outcome{kind: :ok} = outcome) do
    %Outcome{values: values, errors: errors, timing: timing} = outcome
    flow = spent(flow, batch, timing)
    stopped(flow, batch, timing, map_size(errors))

    flow
    |> Enact.keep(batch, timing.result_bytes)
    |> Enact.verdicts(batch, Verdict.answered(flow.plan, batch, values, errors))
    |> Enact.settle(batch)
  end

  def answered(
        flow,
        _ref,
        %Batch{cursor: {_worker, _call}} = batch,
        %Outcome{kind: :requeue} = outcome
      ),
      do: cut(flow, batch, outcome.error)

  def answered(flow, _ref, %Batch{killed?: true} = batch, %Outcome{kind: :requeue}),
    do: failed(flow, batch, killed())

  def answered(flow, _ref, batch, %Outcome{kind: :requeue, error: error}) do
    case Errors.given_back(error, batch.given_back) do
      {:again, times} ->
        batch = %{batch | given_back: times}
        Enact.count(%{flow | flight: InFlight.put_back(flow.flight, batch)}, :requeues)

      {:failed, error} ->
        failed(flow, batch, error)
    end
  end

  def answered(%{plan: %{many: true}} = flow, _ref, batch, %Outcome{kind: :died} = outcome),
    do: flow |> took(batch, outcome.timing) |> cut(batch, outcome.error)

  # An item was over its time, and its worker was ended for that. It fails alone.
  def answered(flow, _ref, batch, %Outcome{at: at, error: error, timing: timing})
      when at != nil and at < length(batch.entries) do
    {verdicts, left} = Verdict.apart(flow.plan, batch, error, at)

    flow
    |> took(batch, timing)
    |> told(batch, error)
    |> Enact.verdicts(batch, verdicts)
    |> again(batch, left)
    |> Enact.settle(batch)
  end

  def answered(flow, _ref, batch, %Outcome{error: error, timing: timing}),
    do: flow |> took(batch, timing) |> failed(batch, error)

  # What a chunk decides of a batch whose items have many values; `rest` is what a worker keeps.
  defp decided(flow, batch, verdicts, %Outcome{timing: timing}, rest) do
    flow = if rest, do: hold(flow, rest), else: flow

    flow = flow |> Enact.keep(batch, timing.result_bytes) |> Enact.verdicts(batch, verdicts)
    if rest, do: Enact.pass_on(flow, batch.group), else: Enact.settle(flow, batch)
  end

  defp hold(flow, {ref, rest}) do
    order = Order.early(flow.order, rest.group)
    %{flow | order: order, flight: InFlight.hold(flow.flight, ref, rest)}
  end

  # An executor of the user's own may give items.
  defp returned(%{plan: %{mode: {:local, _fun}, executor: executor}}, batch, values)
       when executor != nil,
       do: Batch.returned(batch, values)

  defp returned(_flow, batch, values), do: {batch, values}

  # A batch that waits for its turn keeps only result values, so that the payloads can be freed.
  defp whole(flow, batch, values) do
    if flow.whole? and Order.at_once?(flow.order, batch.group),
      do: {:full, batch.entries, values, batch.attempt},
      else: {:ok, Fill.entries(batch.entries, values, batch.attempt)}
  end

  @doc "Some results of a batch are there."
  @spec yielded(Flow.t(), reference, Batch.t(), Part.t()) :: Flow.t()
  def yielded(%{plan: %{many: true}} = flow, ref, batch, part) do
    case Many.answered(flow.plan, batch, part) do
      {:ok, verdicts, _failed, rest} ->
        flight = InFlight.shrink(flow.flight, ref, rest)

        %{flow | flight: flight, order: Order.early(flow.order, batch.group)}
        |> Enact.keep(batch, part.bytes)
        |> Enact.verdicts(batch, verdicts)
        |> Enact.pass_on(batch.group)

      # The answer will not fit either, and fails the batch.
      {:error, _error} ->
        flow
    end
  end

  # Items whose results a handler has yielded are decided, and leave the batch. So a later failure
  # of the batch can't have them run again, or give them a second outcome.
  def yielded(flow, ref, batch, %Part{values: values, errors: errors, bytes: bytes}) do
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

  @doc "The error of a batch that was killed before a worker began it."
  @spec killed() :: Error.t()
  def killed, do: %Error{reason: :killed, message: "the call was killed before it began"}

  @doc "All that is left of a batch has failed."
  @spec failed(Flow.t(), Batch.t(), Exception.t()) :: Flow.t()
  def failed(flow, batch, error) do
    flow = told(flow, batch, error)

    case verdicts(flow.plan, batch, error) do
      {:split, parts} -> split(flow, batch, parts)
      verdicts -> flow |> Enact.verdicts(batch, verdicts) |> Enact.settle(batch)
    end
  end

  defp told(flow, batch, error) do
    Events.batch_failed(batch.sent, length(batch.entries), facts(flow, batch), error)
    if Verdict.short?(error), do: Enact.count(flow, :short), else: flow
  end

  defp verdicts(%Plan{many: many?} = plan, batch, error) do
    if many? and Many.begun?(batch),
      do: Many.failed(plan, batch, error),
      else: Verdict.failed(plan, batch, error)
  end

  @doc "The worker of a batch has ended, and what it kept of it."
  @spec cut(Flow.t(), Batch.t(), Exception.t()) :: Flow.t()
  def cut(flow, batch, error) do
    if Many.begun?(batch) and batch.entries != [] do
      {verdicts, rest} = Many.cut(flow.plan, batch, error)

      flow
      |> told(batch, error)
      |> again(batch, rest)
      |> Enact.verdicts(batch, verdicts)
      |> Enact.settle(batch)
    else
      failed(flow, batch, error)
    end
  end

  # Items that had not begun go as if they never had been sent.
  defp again(flow, _batch, []), do: flow

  defp again(flow, batch, entries) do
    {batch, flow} = admit(Batch.anew(batch, entries), flow)
    order = Order.grow(flow.order, batch.group)
    flow = Enact.count(%{flow | order: order}, :requeues)
    %{flow | flight: InFlight.add_again(flow.flight, batch)}
  end

  # Splits a failed batch again and again, until the item that fails is alone.
  defp split(flow, batch, parts) do
    bytes = flow.bytes - batch.bytes
    order = Order.grow(flow.order, batch.group, length(parts) - 1)

    {parts, flow} =
      Enum.map_reduce(parts, Enact.count(%{flow | order: order, bytes: bytes}, :splits), &admit/2)

    # In a session all parts go, in their order, before the batches behind them.
    parts = if flow.plan.session, do: Enum.reverse(parts), else: parts
    %{flow | flight: Enum.reduce(parts, flow.flight, &InFlight.add_again(&2, &1))}
  end

  ## The account

  defp spent(flow, batch, timing) do
    flow = took(flow, batch, timing)
    %{flow | auto: AutoSize.answered(flow.auto, batch, timing)}
  end

  # What a call took that says nothing of how many items a batch should have.
  defp took(flow, batch, %Timing{reader: time} = timing) when time > 0 do
    Events.reordered(time, flow.places)
    %{flow | work: waited(flow, batch, timing)}
  end

  defp took(flow, batch, timing), do: %{flow | work: waited(flow, batch, timing)}

  defp waited(%{work: work}, batch, timing),
    do: Account.add_times(%{work | rate: work.rate + batch.rated}, Batch.waited(batch), timing)

  defp facts(flow, batch),
    do: %{flow.plan.metadata | batch: batch.number, attempt: batch.attempt}

  # Always counted, and told where somebody hears it. A carrier that measured nothing has no timing.
  defp stopped(flow, batch, timing, failed) do
    timing = Timing.waited(timing || %Timing{}, Batch.waited(batch), batch.rated)
    duration = System.monotonic_time() - batch.sent
    Events.batch_answered(timing, duration, flow.places)
    if Events.batch_heard?(:stop), do: tell(flow, batch, timing, duration, failed)
  end

  defp tell(flow, batch, timing, duration, failed) do
    size = Batch.size(batch)

    timing
    |> Timing.measurements()
    |> Map.merge(%{
      held_bytes: flow.bytes,
      batch_size: batch_size(flow, size),
      duration: duration,
      size: size,
      failed: batch.early_failed + failed
    })
    |> Events.batch_stopped(Map.put(facts(flow, batch), :worker, timing.worker))
  end

  defp batch_size(%{auto: nil, plan: plan}, size), do: plan.options[:batch_size] || size
  defp batch_size(%{auto: auto}, _size), do: auto.size
end
