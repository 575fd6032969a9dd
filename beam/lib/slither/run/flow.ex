defmodule Slither.Run.Flow do
  @moduledoc false
  # The batches of one dispatch, from when the flow takes them in until the driver takes their
  # outcomes. A value of the process that drives it: a dispatch, the map of a Python program, or a
  # pipe's engine, which has one flow for each stage that runs in batches. The driver feeds the
  # flow groups of batches and the messages of its inbox, and takes chunks of outcomes.
  #
  # `InFlight` holds the batches and sends them, `Returns` has what comes back of them judged and
  # carried out, and `Order` decides when outcomes may be taken. The flow ties the three together.

  alias Slither.Python.Inbox
  alias Slither.Run.{Account, AutoSize, Batch, Batcher, Bytes, Enact, InFlight, Mailbox}
  alias Slither.Run.{Order, Plan, Rated, Returns}
  alias Slither.Telemetry.Events

  @enforce_keys [:plan, :flight, :order, :places]
  defstruct [:plan, :flight, :order, :places, :halted, :auto] ++
              [
                number: 0,
                bytes: 0,
                each: 0,
                reordered: 0,
                owed: %{},
                whole?: false,
                dry?: false,
                paused?: false,
                work: Account.no_work()
              ]

  @typedoc """
  `number` is that of the next batch. `bytes` counts what the flow holds, where the plan limits
  that: batches, as `Batch.bytes/2` measures them, until they are settled, and results, as they
  came off the wire, until they are taken out; `each` is what the result of an item takes. The flow begins no batch of a group after `halted`.
  In `places` the times of batches are counted; of how long results have waited for their turn,
  `reordered` has been.
  `owed` counts early results that wait to be taken, by the reference under which the lane runs
  their batch.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          flight: InFlight.t(),
          order: Order.t(),
          places: Slither.Metrics.Batches.places(),
          halted: Order.id() | nil,
          auto: AutoSize.t() | nil,
          number: non_neg_integer,
          bytes: non_neg_integer,
          each: Bytes.t(),
          reordered: integer,
          owed: %{optional(reference) => pos_integer},
          whole?: boolean,
          dry?: boolean,
          paused?: boolean,
          work: map
        }

  @doc "An empty flow of a plan, which `message/2` gives what its inbox is told."
  @spec new(Plan.t(), Inbox.t()) :: t
  def new(%Plan{} = plan, inbox) do
    %__MODULE__{
      plan: plan,
      flight: InFlight.new(plan, inbox),
      order: Order.new(plan.ordering),
      places: Events.batch_places(plan.metadata),
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

  # A batch whose size is found is made late: by then more is known of its items. While the size
  # grows, one for each worker is out, as those behind it would be small for nothing.
  defp queue(%__MODULE__{auto: nil}, free), do: free

  defp queue(%__MODULE__{auto: %{growing?: true}, flight: flight}, free),
    do: min(free, InFlight.workers(flight) - InFlight.count(flight))

  defp queue(flow, free), do: min(free, InFlight.workers(flow.flight) - flow.flight.waiting)

  defp full?(%__MODULE__{plan: %{max_bytes: nil}}), do: false

  defp full?(%__MODULE__{plan: %{max_bytes: limit}, bytes: bytes} = flow),
    do: bytes + Bytes.expected(flow.each, InFlight.items(flow.flight)) >= limit

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
  def work(%__MODULE__{work: work, order: order}),
    do: %{work | reorder: work.reorder + order.waited}

  ## What a driver does

  @doc "Takes in a group of batches; one that its strategy gave up has failed already."
  @spec submit(t, Batcher.group()) :: t
  def submit(%__MODULE__{plan: plan} = flow, group),
    do: plan.rate |> Rated.cut(group) |> Enum.reduce(flow, &take_in(&2, &1))

  defp take_in(flow, group) do
    {id, order} = Order.open(flow.order, length(group))
    {given_up, batches} = Enum.split_with(group, &match?({:failed, _entries, _error}, &1))

    flow =
      Enum.reduce(batches, %{flow | order: order}, fn entries, flow ->
        # Values of a later item would wait for those of one ahead of it.
        entries = if flow.plan.many, do: List.keysort(entries, 0), else: entries

        {batch, flow} =
          Returns.admit(%Batch{group: id, number: flow.number, entries: entries}, flow)

        %{flow | flight: InFlight.add(flow.flight, batch)}
      end)

    given_up
    |> Enum.reduce(flow, fn {:failed, entries, error}, flow ->
      batch = %Batch{group: id, number: flow.number, entries: entries}
      Returns.failed(%{flow | number: flow.number + 1}, batch, error)
    end)
    |> advance()
  end

  @doc "Everything that is ready, in order."
  @spec take(t) :: {[Order.chunk() | Order.full() | Order.halt()], t}
  def take(%__MODULE__{} = flow) do
    # `owed` counts only results that are ready, and this call takes all of those.
    if flow.owed != %{}, do: InFlight.taken(flow.flight, flow.owed)
    {chunks, bytes, order} = Order.take(flow.order)
    flow = count_waits(flow, order.waited)
    {chunks, %{flow | order: order, owed: %{}, bytes: flow.bytes - bytes, dry?: true}}
  end

  defp count_waits(%__MODULE__{reordered: waited} = flow, waited), do: flow

  defp count_waits(flow, waited) do
    Events.reordered(waited - flow.reordered, flow.places)
    %{flow | reordered: waited}
  end

  @doc """
  Has workers draw more of what is in turn, where all that was ready is taken; called before the
  driver waits. A lane that came while the driver's own reader rests would be held for nothing.
  """
  @spec draw(t) :: t
  def draw(%__MODULE__{plan: %{many: many}, dry?: dry?} = flow) when not many or not dry?,
    do: flow

  def draw(%__MODULE__{plan: plan, order: order} = flow) do
    group = if plan.ordering == :preserve, do: order.turn, else: :all
    %{flow | flight: InFlight.go_on(flow.flight, group)}
  end

  @doc "Gives back lanes that are not needed at once; called before the driver waits."
  @spec rest(t) :: t
  def rest(flow), do: %{flow | flight: InFlight.rest(flow.flight)}

  @doc """
  Called before results go to a reader who may rest: what the pool granted meanwhile, nobody would
  take. Nothing is sent before `go_on/1`.
  """
  @spec pause(t) :: t
  def pause(%__MODULE__{plan: %{rests: false}} = flow), do: rest(flow)
  def pause(flow), do: %{flow | flight: InFlight.leave_queue(flow.flight), paused?: true}

  @doc "The reader reads on."
  @spec go_on(t) :: t
  def go_on(%__MODULE__{paused?: false} = flow), do: flow
  def go_on(flow), do: advance(%{flow | paused?: false})

  @doc "Ends everything that is still out."
  @spec close(t) :: :ok
  def close(flow), do: InFlight.close(flow.flight)

  @doc "Ends the batch that begins with item `seq`, wherever it is."
  @spec kill(t, seq :: term) :: t
  def kill(flow, seq) do
    {batches, flight} = InFlight.kill(flow.flight, seq)
    flow = %{flow | flight: flight}
    batches |> Enum.reduce(flow, &Returns.failed(&2, &1, Returns.killed())) |> advance()
  end

  @doc "Takes a message of the flow's inbox."
  @spec message(t, Mailbox.message()) :: t
  def message(flow, message) do
    flow = %{flow | dry?: false}

    case InFlight.message(flow.flight, message) do
      {:ok, flight} ->
        advance(%{flow | flight: flight})

      {:answered, ref, batch, outcome, flight} ->
        # The lane keeps its reference for its next job: `InFlight.taken/2` would credit that job
        # with what the flow still owes this batch's handler.
        owed = if flow.owed == %{}, do: flow.owed, else: Map.delete(flow.owed, ref)
        %{flow | flight: flight, owed: owed} |> Returns.answered(ref, batch, outcome) |> advance()

      {:yielded, ref, batch, part, flight} ->
        %{flow | flight: flight} |> Returns.yielded(ref, batch, part) |> advance()

      {:goes_on, batch, flight} ->
        advance(Returns.begun(%{flow | flight: flight}, batch))

      {:cut, batch, error, flight} ->
        advance(Returns.cut(%{flow | flight: flight}, batch, error))

      {:failed, batches, error, flight} ->
        batches
        |> Enum.reduce(%{flow | flight: flight}, &Returns.failed(&2, &1, error))
        |> advance()

      # Nobody waits for this answer. It is counted; the flow stays as it was.
      {:unexpected, late_or_duplicate, flight} ->
        Enact.count(%{flow | flight: flight}, late_or_duplicate)
    end
  end

  ## Sending

  defp advance(flow) do
    case InFlight.send_next(flow.flight) do
      {:none, flight} ->
        %{flow | flight: flight}

      {:sent, batch, flight} ->
        advance(Returns.begun(%{flow | flight: flight}, batch))

      {:failed, batch, error, flight} ->
        %{flow | flight: flight} |> Returns.failed(batch, error) |> advance()
    end
  end
end
