defmodule Slither.Gather.Batches do
  @moduledoc false
  # The items of a gather, from when they come until each has its answer: those that wait, and the
  # batches that are out. A value of the process that drives it: `Slither.Gather.Server`, or the run
  # of a Python program's gather. The driver puts items in, hands over the messages of its mailbox,
  # and takes answers.
  #
  # A batch is formed only when there is a place for it to run, of the items that wait by then. So
  # items that come while the pool is busy still join those that wait for a worker.

  alias Slither.Gather.{Answers, Told, Waiting}
  alias Slither.Item
  alias Slither.Pool.Handle
  alias Slither.Python.{Inbox, Outcome, Part}
  alias Slither.Run.{Batch, Mailbox, Plan}
  alias Slither.Run.Carrier.Pool, as: Carrier
  alias Slither.Telemetry.Events

  # ms between looks at places that are not needed, and the longest time that one is kept.
  @look 5
  @keep 100
  # The longest time that a timer takes.
  @longest 0xFFFFFFFF

  @enforce_keys [:plan, :carrier, :max_wait, :waiting, :facts, :place, :answered]
  defstruct @enforce_keys ++
              [again: :queue.new(), out: %{}, gone: MapSet.new(), number: 0] ++
              [answers: [], timer: nil, sent: 0, unrested?: false]

  @type seq :: Waiting.seq()
  @type answer :: Answers.answer()

  @typedoc """
  `again` has batches that are to go out once more: parts of one that failed, and those that a
  worker gave back. `out` are those that run, by the carrier's reference, and `gone` the items in
  them that nobody waits for. `answers` are to be taken, the last one first; `sent` counts batches.
  `timer` is set for when the oldest item will have waited for long enough: for `max_wait`, which is
  in native units, as all times are. `unrested?` says that the carrier may hold places that are not
  needed; the last answer came at `answered`. What becomes of items is counted in `place`.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          carrier: Carrier.t(),
          max_wait: non_neg_integer,
          waiting: Waiting.t(),
          facts: map,
          place: Slither.Metrics.Batches.place(),
          again: :queue.queue(Batch.t()),
          out: %{optional(reference) => Batch.t()},
          gone: MapSet.t(seq),
          number: non_neg_integer,
          answers: [{seq, answer}],
          timer: {reference, integer} | nil,
          sent: non_neg_integer,
          unrested?: boolean,
          answered: integer
        }

  @doc """
  Nothing, for a plan. `message/2` takes what the inbox is told. Options: `max_batch` and `max_wait`
  (ms), as in `Slither.Gather`; events carry `facts`, and what the plan says of its calls.
  """
  @spec new(Plan.t(), Inbox.t(), keyword, map) :: t
  def new(plan, inbox, options, facts) do
    facts = Map.merge(facts, Map.take(plan.metadata, [:module, :function, :target]))

    %__MODULE__{
      plan: plan,
      carrier: Carrier.open(plan, inbox),
      max_wait: System.convert_time_unit(options[:max_wait], :millisecond, :native),
      waiting: Waiting.new(options[:max_batch]),
      facts: facts,
      place: Events.place(facts),
      answered: now()
    }
  end

  ## What a driver asks

  @doc "How many items wait for a batch."
  @spec waiting(t) :: non_neg_integer
  def waiting(batches), do: Waiting.count(batches.waiting)

  @doc "How many batches are out, and how many items are in them."
  @spec out(t) :: {non_neg_integer, non_neg_integer}
  def out(batches) do
    items = for {_ref, batch} <- batches.out, do: length(batch.entries)
    {map_size(batches.out), Enum.sum(items)}
  end

  @doc "Whether nothing waits or is out."
  @spec idle?(t) :: boolean
  def idle?(batches),
    do: waiting(batches) == 0 and batches.out == %{} and :queue.is_empty(batches.again)

  @doc "ms without a message after which `rest/1` is to be called."
  @spec linger(t) :: timeout
  def linger(batches), do: if(batches.unrested?, do: @look, else: :infinity)

  ## What a driver does

  @doc "Puts in an item with a key, and its trace; `seq` is higher than that of any before."
  @spec put(t, seq, Waiting.key(), term, String.t() | nil) :: t
  def put(batches, seq, key, payload, trace) do
    item = %Item{id: seq, payload: payload, meta: if(trace, do: %{trace: trace}, else: %{})}
    waiting = Waiting.put(batches.waiting, seq, key, item, now())
    advance(%{batches | waiting: waiting})
  end

  @doc """
  Nobody waits for an item any more. One that waits is taken out. A batch that is out is given up
  once nobody waits for any item of it.
  """
  @spec forget(t, seq) :: t
  def forget(batches, seq) do
    Told.given_up(batches.place, 1)

    case Waiting.delete(batches.waiting, seq) do
      {:ok, waiting} -> %{batches | waiting: waiting}
      :error -> give_up(batches, seq)
    end
  end

  defp give_up(batches, seq) do
    case Enum.find(batches.out, fn {_ref, batch} -> List.keymember?(batch.entries, seq, 0) end) do
      {ref, %Batch{entries: entries}} ->
        batches = %{batches | gone: MapSet.put(batches.gone, seq)}
        if wanted(batches, entries) == [], do: abandon(batches, ref, entries), else: batches

      nil ->
        %{batches | again: :queue.filter(&without(&1, seq), batches.again)}
    end
  end

  defp without(batch, seq) do
    case List.keydelete(batch.entries, seq, 0) do
      [] -> []
      entries -> [%{batch | entries: entries}]
    end
  end

  defp abandon(%__MODULE__{carrier: carrier} = batches, ref, entries) do
    gone =
      Enum.reduce(entries, batches.gone, fn {seq, _item}, gone -> MapSet.delete(gone, seq) end)

    out = Map.delete(batches.out, ref)
    advance(%{batches | carrier: Carrier.abandon(carrier, ref), out: out, gone: gone})
  end

  @doc "The answers that are there, in the order in which they came."
  @spec take(t) :: {[{seq, answer}], t}
  def take(batches), do: {Enum.reverse(batches.answers), %{batches | answers: []}}

  @doc """
  Gives back places that are not needed. The next item may come soon, and would have to ask the pool
  for a place: so they are kept a while where that costs nobody anything.
  """
  @spec rest(t) :: t
  def rest(%__MODULE__{carrier: carrier} = batches) do
    idle = System.convert_time_unit(now() - batches.answered, :native, :millisecond)

    if Handle.spare?(carrier.handle) and idle < @keep,
      do: batches,
      else: %{batches | carrier: Carrier.rest(carrier), unrested?: false}
  end

  @doc "Ends everything that is out."
  @spec close(t) :: :ok
  def close(%__MODULE__{carrier: carrier} = batches) do
    again = for batch <- :queue.to_list(batches.again), do: length(batch.entries)
    {_batches, running} = out(batches)
    left = waiting(batches) + running + Enum.sum(again) - MapSet.size(batches.gone)
    Told.given_up(batches.place, left)
    carrier |> Carrier.close(Map.keys(batches.out)) |> Carrier.end_run()
  end

  @doc "Takes a message of its inbox, or the end of its timer."
  @spec message(t, Mailbox.message()) :: t
  def message(%__MODULE__{timer: {timer, _at}} = batches, {:timer, timer}),
    do: advance(%{batches | timer: nil})

  def message(%__MODULE__{carrier: carrier} = batches, {:done, ref, outcome}) do
    case Map.pop(batches.out, ref) do
      {nil, _out} ->
        batches

      {batch, out} ->
        carrier = Carrier.done(carrier, ref, Outcome.slot(outcome))

        %{batches | out: out, carrier: carrier, unrested?: true, answered: now()}
        |> answered(batch, outcome)
        |> advance()
    end
  end

  def message(%__MODULE__{carrier: carrier} = batches, {:part, ref, %Part{} = part}) do
    case batches.out do
      %{^ref => batch} ->
        count = length(part.values)
        {rest, now} = Batch.decided(batch, count, map_size(part.errors))
        Carrier.taken(carrier, ref, count)

        batches = %{batches | out: %{batches.out | ref => rest}}
        decided = %{batch | entries: now}
        answer(batches, Answers.decided(batches.plan, decided, part.values, part.errors))

      _ ->
        batches
    end
  end

  def message(%__MODULE__{carrier: carrier} = batches, message) do
    case Carrier.message(carrier, message) do
      {:ok, carrier} -> advance(%{batches | carrier: carrier, unrested?: true})
      {:denied, error, carrier} -> advance(denied(%{batches | carrier: carrier}, error))
      {:lost, ref, error, carrier} -> advance(lost(%{batches | carrier: carrier}, ref, error))
      {:pool_lost, error, carrier} -> fail_all(%{batches | carrier: carrier}, error)
    end
  end

  ## Sending

  defp advance(batches), do: advance(batches, now())

  defp advance(%__MODULE__{carrier: carrier} = batches, now) do
    case next(batches, now) do
      :none ->
        arm(batches, now)

      next ->
        case Carrier.place(carrier) do
          {:ok, place, carrier} ->
            {batch, batches} = form(%{batches | carrier: carrier}, next)
            batches |> run(place, batch) |> advance(now)

          {:none, carrier} ->
            carrier = Carrier.want(carrier, todo(batches, now), map_size(batches.out))
            arm(%{batches | carrier: carrier}, now)

          {:gone, error} ->
            fail_all(batches, error)
        end
    end
  end

  # What goes next, if anything may now. Batches that go once more come first. The oldest item goes
  # if it has waited for long enough, or if fewer batches are out than there are workers. A whole
  # batch need not wait for either.
  defp next(batches, now) do
    with true <- :queue.is_empty(batches.again),
         {key, since} <- Waiting.oldest(batches.waiting) do
      if since + batches.max_wait <= now or map_size(batches.out) < workers(batches),
        do: {:key, key},
        else: Waiting.full(batches.waiting) || :none
    else
      false -> :again
      nil -> :none
    end
  end

  # How many batches would go, had they a place.
  defp todo(batches, now) do
    ready = Waiting.batches(batches.waiting, now - batches.max_wait)
    max(1, :queue.len(batches.again) + ready)
  end

  # Read each time, as the pool may be resized.
  defp workers(%__MODULE__{carrier: %Carrier{handle: handle}}), do: Handle.workers(handle)

  defp form(batches, :again) do
    {{:value, batch}, again} = :queue.out(batches.again)
    {batch, %{batches | again: again}}
  end

  defp form(batches, {:key, key}) do
    {entries, since, waiting} = Waiting.take(batches.waiting, key)
    number = batches.number
    batch = %Batch{group: number, number: number, entries: entries, queued: since}
    {batch, %{batches | waiting: waiting, number: number + 1}}
  end

  defp run(%__MODULE__{carrier: carrier} = batches, place, batch) do
    batch = %{batch | sent: System.monotonic_time()}
    {ref, carrier} = Carrier.run(carrier, place, batch)
    out = Map.put(batches.out, ref, batch)
    %{batches | carrier: carrier, out: out, sent: batches.sent + 1}
  end

  # Set for the oldest item, unless that has waited for long enough, and waits for a place now.
  defp arm(batches, now) do
    case Waiting.oldest(batches.waiting) do
      {_key, since} when since + batches.max_wait > now ->
        set(batches, since + batches.max_wait, now)

      _none_or_due ->
        disarm(batches)
    end
  end

  defp set(%__MODULE__{timer: {_timer, at}} = batches, at, _now), do: batches

  defp set(batches, at, now) do
    batches = disarm(batches)
    time = min(System.convert_time_unit(at - now, :native, :millisecond) + 1, @longest)
    %{batches | timer: {Mailbox.start_timer(batches.carrier.inbox, time), at}}
  end

  defp disarm(%__MODULE__{timer: nil} = batches), do: batches

  defp disarm(%__MODULE__{timer: {timer, _at}} = batches) do
    :erlang.cancel_timer(timer)
    %{batches | timer: nil}
  end

  ## Answers

  defp answered(batches, batch, outcome) do
    case Answers.of(batches.plan, batch, outcome) do
      {:answers, answers, failed} ->
        Told.stopped(batches.facts, batch, outcome, failed)
        answer(batches, answers)

      {:again, batch} ->
        Events.batch_again(:requeues, batches.facts)
        again(batches, batch)

      {:failed, error} ->
        failed(batches, batch, error)
    end
  end

  defp lost(batches, ref, error) do
    case Map.pop(batches.out, ref) do
      {nil, _out} -> batches
      {batch, out} -> failed(%{batches | out: out}, batch, error)
    end
  end

  # The pool can't take the batch that would have gone next.
  defp denied(batches, error) do
    case next(batches, now()) do
      :none ->
        batches

      next ->
        {batch, batches} = form(batches, next)
        failed(batches, batch, error)
    end
  end

  defp failed(batches, batch, error) do
    Told.failed(batches.facts, batch, error)

    case Answers.failed(batches.plan, batch, error) do
      {:again, parts} ->
        Events.batch_again(:splits, batches.facts)
        Enum.reduce(parts, batches, &again(&2, &1))

      {:answers, answers} ->
        answer(batches, answers)
    end
  end

  # A batch goes once more with those of its items that somebody still waits for.
  defp again(batches, %Batch{entries: entries} = batch) do
    wanted = wanted(batches, entries)
    gone = Enum.reduce(entries -- wanted, batches.gone, &MapSet.delete(&2, elem(&1, 0)))
    batches = %{batches | gone: gone}

    if wanted == [],
      do: batches,
      else: %{batches | again: :queue.in(%{batch | entries: wanted}, batches.again)}
  end

  defp wanted(%__MODULE__{gone: gone}, entries),
    do: Enum.reject(entries, fn {seq, _item} -> MapSet.member?(gone, seq) end)

  defp answer(batches, answers), do: Enum.reduce(answers, batches, &answer_one/2)

  defp answer_one({seq, answer} = answered, batches) do
    if MapSet.member?(batches.gone, seq) do
      %{batches | gone: MapSet.delete(batches.gone, seq)}
    else
      Told.answered(batches.place, batches.facts, answer)
      %{batches | answers: [answered | batches.answers]}
    end
  end

  # The pool is no more. It may come again, but nobody knows when.
  defp fail_all(batches, error) do
    tried = Map.values(batches.out) ++ :queue.to_list(batches.again)
    {seqs, waiting} = Waiting.empty(batches.waiting)
    for batch <- Map.values(batches.out), do: Told.failed(batches.facts, batch, error)
    seqs = for(batch <- tried, {seq, _item} <- batch.entries, do: seq) ++ seqs
    batches = disarm(%{batches | out: %{}, again: :queue.new(), waiting: waiting})
    answer(batches, for(seq <- seqs, do: {seq, {:error, error}}))
  end

  defp now, do: System.monotonic_time()
end
