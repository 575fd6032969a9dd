defmodule Slither.Run.Enact do
  @moduledoc false
  # Carries out on a flow what was decided of a batch: outcomes go into the flow's order, batches
  # that are tried again into flight, and what they held is counted off. Pure but for the carrier's
  # messages; called by `Slither.Run.Flow`, in the process that drives it.

  alias Slither.Run.{Batch, Bytes, Flow, InFlight, Order, Verdict}
  alias Slither.Telemetry.Events

  @doc "Carries out verdicts on a batch."
  @spec verdicts(Flow.t(), Batch.t(), [Verdict.t()]) :: Flow.t()
  def verdicts(flow, batch, verdicts), do: Enum.reduce(verdicts, flow, &verdict(&1, &2, batch))

  defp verdict({:settled, chunk}, flow, batch),
    do: %{flow | order: Order.add(flow.order, batch.group, chunk)}

  defp verdict({:retry, again, pause}, flow, batch) do
    bytes = Batch.bytes(again.entries, flow.plan.max_bytes)
    flight = InFlight.pause(flow.flight, %{again | bytes: bytes}, pause)
    order = Order.grow(flow.order, batch.group)
    count(%{flow | order: order, flight: flight, bytes: flow.bytes + bytes}, :retries)
  end

  defp verdict({:refused, again, time}, flow, batch) do
    bytes = Batch.bytes(again.entries, flow.plan.max_bytes)
    flight = InFlight.refuse(flow.flight, %{again | bytes: bytes}, time)
    order = Order.grow(flow.order, batch.group)
    count(%{flow | order: order, flight: flight, bytes: flow.bytes + bytes}, :retries)
  end

  # The flow begins no later batch. Earlier ones still finish, so that the results up to the
  # failed item are complete.
  defp verdict({:halt, seq, error}, flow, %Batch{group: group}) do
    %{
      flow
      | order: Order.halt(flow.order, group, seq, error),
        flight: InFlight.drop_after(flow.flight, group),
        halted: min(flow.halted || group, group)
    }
  end

  @doc "Counts the bytes of results until the driver takes them."
  @spec keep(Flow.t(), Batch.t(), non_neg_integer) :: Flow.t()
  def keep(%{plan: %{max_bytes: nil}} = flow, _batch, _bytes), do: flow

  def keep(flow, batch, bytes) do
    order = Order.hold(flow.order, batch.group, bytes)
    # An item with many values has as many as it has, and they are drawn as they are wanted.
    count = if flow.plan.many, do: 0, else: length(batch.entries)
    %{flow | order: order, bytes: flow.bytes + bytes, each: Bytes.seen(flow.each, count, bytes)}
  end

  @doc "A batch is settled: all its items are decided, or are part of another batch."
  @spec settle(Flow.t(), Batch.t()) :: Flow.t()
  def settle(flow, batch) do
    order = Order.settle(flow.order, batch.group, System.monotonic_time())
    pass_on(%{flow | order: order, bytes: flow.bytes - batch.bytes}, batch.group)
  end

  @doc """
  Lets out early results whose turn it is, though their batches are still out. Once the run has
  ended with a failure, the flow drops all that is in flight.
  """
  @spec pass_on(Flow.t(), Order.id()) :: Flow.t()
  def pass_on(flow, group) do
    order =
      case Order.passing(flow.order, group) do
        nil ->
          flow.order

        id ->
          open = InFlight.first_open(flow.flight, id)
          Order.pass(flow.order, id, open, System.monotonic_time())
      end

    if order.over?,
      do: %{flow | order: order, flight: InFlight.drop(flow.flight)},
      else: %{flow | order: order}
  end

  @doc "Counts one of a kind; see `Slither.Run.Account`."
  @spec count(Flow.t(), atom) :: Flow.t()
  def count(flow, kind) do
    if kind in [:retries, :splits, :requeues], do: Events.batch_again(kind, flow.plan.metadata)
    %{flow | work: Map.update!(flow.work, kind, &(&1 + 1))}
  end
end
