defmodule Slither.Run.InFlight do
  @moduledoc false
  # The batches of a flow that are in flight: those that wait to be sent, those that a carrier runs,
  # and those that pause before they are tried again. A value of the process that drives the run;
  # called by `Slither.Run.Flow` alone.

  alias Slither.Error
  alias Slither.Python.{Inbox, Outcome, Part}
  alias Slither.Run.{Batch, Carrier, Mailbox, Order, Plan, Rated}

  @enforce_keys [:plan, :inbox, :carrier]
  @none [waiting: 0, out: %{}, bytes_out: 0, open: %{}, asking: %{}]
  defstruct [:plan, :inbox, :carrier, :rate] ++
              [todo: :queue.new(), waiting: 0, out: %{}, pausing: %{}] ++
              [bytes_out: 0, abandoned: [], open: %{}, asking: %{}]

  @typedoc """
  `todo` holds the `waiting` batches, and `out`, by the carrier's reference, those that run, which
  have `bytes_out` bytes together. `pausing` holds, by their timers, those that pause before the
  next attempt. `abandoned` has the references of those that still ran when the flow dropped them.
  `open` are batches of which a worker keeps the rest of the values, and `asking` those that wait for
  a place to go on there, both by the carrier's reference. `rate` has the tokens of what is sent next.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          inbox: Inbox.t(),
          carrier: Carrier.t(),
          rate: Rated.t() | nil,
          todo: :queue.queue(Batch.t()),
          waiting: non_neg_integer,
          out: %{optional(reference) => Batch.t()},
          pausing: %{optional(reference) => Batch.t()},
          bytes_out: non_neg_integer,
          abandoned: [reference],
          open: %{optional(reference) => Batch.t()},
          asking: %{optional(reference) => Batch.t()}
        }

  @typedoc """
  What a message says: that something changed, that a batch was answered, that some of its results
  are there, that an open batch goes on, that the worker has ended which had the rest of it, that
  batches failed with an error, or an answer that nobody waits for.
  """
  @type news ::
          {:ok, t}
          | {:answered, reference, Batch.t(), Outcome.t(), t}
          | {:yielded, reference, Batch.t(), Part.t(), t}
          | {:goes_on, Batch.t(), t}
          | {:cut, Batch.t(), Error.t(), t}
          | {:failed, [Batch.t()], Error.t(), t}
          | {:unexpected, :late | :duplicate, t}

  @doc "Nothing in flight, for a plan; `message/2` is given what the inbox is told."
  @spec new(Plan.t(), Inbox.t()) :: t
  def new(plan, inbox) do
    carrier = carrier(plan).open(plan, inbox)
    %__MODULE__{plan: plan, inbox: inbox, carrier: carrier, rate: Rated.open(plan.rate, inbox)}
  end

  defp carrier(%Plan{mode: {:pool, _handle, _head, _context}}), do: Carrier.Pool
  defp carrier(%Plan{mode: {:local, _fun}}), do: Carrier.Local

  ## What there is

  @doc "How many batches are in flight."
  @spec count(t) :: non_neg_integer
  def count(%__MODULE__{out: out, pausing: pausing, open: open, asking: asking} = flight),
    do: flight.waiting + map_size(out) + map_size(pausing) + map_size(open) + map_size(asking)

  @doc "How many batches can run beside each other."
  @spec workers(t) :: pos_integer
  def workers(%__MODULE__{carrier: %module{} = carrier}), do: module.workers(carrier)

  @doc "Whether a worker has nothing of this flow to do."
  @spec spare?(t) :: boolean
  def spare?(%__MODULE__{carrier: %module{} = carrier} = flight),
    do: flight.waiting == 0 and map_size(flight.out) < module.serving(carrier)

  @doc "How many items wait for a worker, are with one, and wait for their next attempt."
  @spec items(t) :: %{
          queued: non_neg_integer,
          running: non_neg_integer,
          retrying: non_neg_integer
        }
  def items(flight) do
    %{
      queued: Batch.count(:queue.to_list(flight.todo)),
      running: Batch.count(Map.values(flight.out) ++ kept(flight)),
      retrying: Batch.count(Map.values(flight.pausing))
    }
  end

  @doc "The lowest seq of a group that is not decided; nil where all are."
  @spec first_open(t, Order.id()) :: term
  def first_open(%__MODULE__{out: out, pausing: pausing, todo: todo} = flight, group) do
    batches = Map.values(out) ++ Map.values(pausing) ++ :queue.to_list(todo) ++ kept(flight)
    batches |> Enum.filter(&(&1.group == group)) |> Batch.first()
  end

  # The batches of which workers have the rest, and nobody draws.
  defp kept(%__MODULE__{open: open, asking: asking}), do: Map.values(open) ++ Map.values(asking)

  ## Batches that stay open

  @doc "A worker has the rest of a batch, and nobody draws it."
  @spec hold(t, reference, Batch.t()) :: t
  def hold(flight, ref, batch), do: %{flight | open: Map.put(flight.open, ref, batch)}

  @doc """
  Goes on with open batches: with that of a group which has the lowest of what is open there, as the
  values of any other would only wait; or with all, where none waits for its turn.
  """
  @spec go_on(t, Order.id() | :all) :: t
  def go_on(%__MODULE__{open: none} = flight, _group) when none == %{}, do: flight
  def go_on(flight, :all), do: Enum.reduce(flight.open, flight, &ask/2)

  def go_on(flight, group) do
    # A group is in turn only once those before it have nothing open.
    with true <- Enum.any?(flight.open, fn {_ref, batch} -> batch.group == group end),
         lowest = first_open(flight, group),
         {_ref, _batch} = first <- Enum.find(flight.open, &Batch.has?(elem(&1, 1), lowest)) do
      ask(first, flight)
    else
      _another_is_ahead -> flight
    end
  end

  defp ask({ref, batch}, %__MODULE__{carrier: %module{} = carrier} = flight) do
    batch = queued(flight, batch)
    carrier = module.more(carrier, ref, batch)
    {open, asking} = {Map.delete(flight.open, ref), Map.put(flight.asking, ref, batch)}
    %{flight | carrier: carrier, open: open, asking: asking}
  end

  ## Sending

  @doc "A batch waits to be sent, behind the others."
  @spec add(t, Batch.t()) :: t
  def add(flight, batch) do
    batch = queued(flight, batch)
    %{flight | todo: :queue.in(batch, flight.todo), waiting: flight.waiting + 1}
  end

  @doc """
  A batch that is tried again waits to be sent; in a session, before those that were not tried yet.
  """
  @spec add_again(t, Batch.t()) :: t
  def add_again(%__MODULE__{plan: %{session: nil}} = flight, batch), do: add(flight, batch)

  def add_again(flight, batch), do: push(flight, queued(flight, batch))

  defp queued(flight, batch),
    do: %{batch | queued: System.monotonic_time(), mark: Rated.waited(flight.rate)}

  @doc "A batch waits to be sent as if it never had been."
  @spec put_back(t, Batch.t()) :: t
  def put_back(flight, batch),
    do: push(%{flight | rate: Rated.unspent(flight.rate, batch.entries)}, batch)

  defp push(flight, batch),
    do: %{flight | todo: :queue.in_r(batch, flight.todo), waiting: flight.waiting + 1}

  @doc "A batch was refused for so many ms: its rate gives nothing until then, and it goes again."
  @spec refuse(t, Batch.t(), non_neg_integer) :: t
  def refuse(%__MODULE__{rate: rate} = flight, batch, time),
    do: add_again(%{flight | rate: Rated.pause(rate, time)}, batch)

  @doc "A batch is tried again in so many ms."
  @spec pause(t, Batch.t(), non_neg_integer) :: t
  def pause(flight, batch, pause) do
    timer = Mailbox.start_timer(flight.inbox, pause)
    %{flight | pausing: Map.put(flight.pausing, timer, batch)}
  end

  @doc """
  Sends the next batch, if there is one and a place for it: else it asks for one, unless there will
  be none.
  """
  @spec send_next(t) :: {:sent, Batch.t(), t} | {:failed, Batch.t(), Error.t(), t} | {:none, t}
  def send_next(%__MODULE__{waiting: 0} = flight), do: {:none, flight}

  # A session keeps its order: no batch overtakes one that waits to be tried again.
  def send_next(%__MODULE__{plan: %{session: session}, pausing: pausing} = flight)
      when session != nil and map_size(pausing) > 0,
      do: {:none, flight}

  def send_next(%__MODULE__{todo: todo} = flight) do
    {:value, batch} = :queue.peek(todo)

    %module{} = carrier = flight.carrier

    with true <- turn?(flight, batch) and fits?(flight, batch),
         {:ok, rate} <- Rated.ready(flight.rate, batch.entries),
         {:ok, place, carrier} <- module.place(carrier) do
      rate = Rated.spend(rate, batch.entries)
      {batch, flight} = run(%{drop_first(flight) | carrier: carrier, rate: rate}, place, batch)
      {:sent, batch, flight}
    else
      false -> {:none, flight}
      {:wait, rate} -> {:none, %{flight | rate: rate}}
      {:none, carrier} -> {:none, want(%{flight | carrier: carrier})}
      {:gone, error} -> {:failed, batch, error, drop_first(flight)}
      {:gone, error, rate} -> {:failed, batch, error, drop_first(%{flight | rate: rate})}
    end
  end

  defp run(%__MODULE__{carrier: %module{} = carrier} = flight, place, batch) do
    rated = Rated.waited(flight.rate) - batch.mark
    batch = %{batch | sent: System.monotonic_time(), rated: rated}
    {ref, carrier} = module.run(carrier, place, batch)
    out = Map.put(flight.out, ref, batch)
    {batch, %{flight | carrier: carrier, out: out, bytes_out: flight.bytes_out + batch.bytes}}
  end

  # A session's items go in their order: of an open batch,
  # only what is tried again may go ahead of the rest.
  defp turn?(%__MODULE__{plan: %{session: session, many: many?}} = flight, batch)
       when session != nil and many? do
    kept = kept(flight)
    kept == [] or Batch.first([batch]) < Batch.first(kept)
  end

  defp turn?(_flight, _batch), do: true

  # A batch that is larger than the limit goes when no other is out.
  defp fits?(%__MODULE__{plan: %{max_bytes: nil}}, _batch), do: true
  defp fits?(%__MODULE__{bytes_out: 0}, _batch), do: true
  defp fits?(flight, batch), do: flight.bytes_out + batch.bytes <= flight.plan.max_bytes

  defp want(%__MODULE__{carrier: %module{} = carrier} = flight) do
    todo = Rated.most(flight.rate, flight.waiting)
    %{flight | carrier: module.want(carrier, todo, map_size(flight.out))}
  end

  defp drop_first(flight),
    do: %{flight | todo: :queue.drop(flight.todo), waiting: flight.waiting - 1}

  ## Messages

  @doc "Takes a message of the inbox."
  @spec message(t, Mailbox.message()) :: news
  def message(%__MODULE__{carrier: %module{} = carrier} = flight, {:done, ref, outcome}) do
    case flight.out do
      %{^ref => batch} ->
        carrier =
          if Batch.open?(batch, outcome),
            do: module.park(carrier, ref),
            else: module.done(carrier, ref, Outcome.slot(outcome))

        {:answered, ref, batch, outcome, %{returned(flight, ref, batch) | carrier: carrier}}

      _ ->
        {:unexpected, if(ref in flight.abandoned, do: :late, else: :duplicate), flight}
    end
  end

  def message(flight, {:part, ref, part}) do
    case flight.out do
      %{^ref => batch} -> {:yielded, ref, batch, part, flight}
      # This run has dropped the batch, and ignores its results.
      _ -> {:ok, flight}
    end
  end

  def message(%__MODULE__{pausing: pausing} = flight, {:timer, timer})
      when is_map_key(pausing, timer) do
    {batch, pausing} = Map.pop(pausing, timer)
    {:ok, add_again(%{flight | pausing: pausing}, batch)}
  end

  def message(flight, message) do
    case Rated.message(flight.rate, message) do
      {:ok, rate} -> {:ok, %{flight | rate: rate}}
      :unknown -> carried(flight, message)
    end
  end

  defp carried(%__MODULE__{carrier: %module{} = carrier} = flight, message) do
    case module.message(carrier, message) do
      {:ok, carrier} -> {:ok, %{flight | carrier: carrier}}
      {:place, ref, carrier} -> goes_on(%{flight | carrier: carrier}, ref)
      {:denied, error, carrier} -> denied(%{flight | carrier: carrier}, error)
      {:lost, ref, error, carrier} -> lost(%{flight | carrier: carrier}, ref, error)
      {:pool_lost, error, carrier} -> all_lost(%{flight | carrier: carrier}, error)
    end
  end

  defp denied(%__MODULE__{waiting: 0} = flight, _error), do: {:ok, flight}

  defp denied(flight, error) do
    {:value, batch} = :queue.peek(flight.todo)
    {:failed, [batch], error, drop_first(flight)}
  end

  defp goes_on(flight, ref) do
    {batch, asking} = Map.pop!(flight.asking, ref)
    {batch, flight} = run(%{flight | asking: asking}, ref, batch)
    {:goes_on, batch, flight}
  end

  defp lost(%__MODULE__{out: out} = flight, ref, error) when is_map_key(out, ref),
    do: {:failed, [out[ref]], error, returned(flight, ref, out[ref])}

  defp lost(flight, ref, error) do
    case Map.pop(flight.asking, ref) do
      {nil, _asking} -> {:ok, flight}
      {batch, asking} -> {:cut, batch, error, %{flight | asking: asking}}
    end
  end

  defp all_lost(flight, error) do
    batches = :queue.to_list(flight.todo) ++ Map.values(flight.out) ++ kept(flight)
    {:failed, batches, error, none(flight)}
  end

  defp none(flight), do: struct!(flight, [{:todo, :queue.new()} | @none])

  defp returned(flight, ref, batch),
    do: %{flight | out: Map.delete(flight.out, ref), bytes_out: flight.bytes_out - batch.bytes}

  @doc "The batch that runs under a reference is what is left of it."
  @spec shrink(t, reference, Batch.t()) :: t
  def shrink(flight, ref, rest), do: %{flight | out: Map.put(flight.out, ref, rest)}

  @doc "Early results of batches were taken."
  @spec taken(t, %{optional(reference) => pos_integer}) :: :ok
  def taken(%__MODULE__{carrier: %module{} = carrier}, counts) do
    for {ref, count} <- counts, do: module.taken(carrier, ref, count)
    :ok
  end

  ## Ending

  @doc "Gives back places that are not needed at once."
  @spec rest(t) :: t
  def rest(%__MODULE__{carrier: %module{} = carrier} = flight),
    do: %{flight | carrier: module.rest(carrier), rate: Rated.rest(flight.rate, flight.waiting)}

  @doc "Neither holds places nor waits for any, until `send_next/1` asks anew."
  @spec leave_queue(t) :: t
  def leave_queue(%__MODULE__{carrier: %module{} = carrier} = flight),
    do: %{flight | carrier: module.leave_queue(carrier)}

  @doc "The batches that wait and are of a later group are not sent."
  @spec drop_after(t, Order.id()) :: t
  def drop_after(flight, group) do
    {_later, flight} = take_out(flight, &(&1.group > group))
    flight
  end

  @doc "Ends the batch that begins with a seq; gives it if it was not sent yet."
  @spec kill(t, seq :: term) :: {[Batch.t()], t}
  def kill(%__MODULE__{carrier: %module{} = carrier} = flight, seq) do
    case Enum.find(flight.out, fn {_ref, batch} -> Batch.begins?(batch, seq) end) do
      {ref, batch} ->
        module.kill(carrier, ref)
        # Its worker may end before it began it: at the end of another call that is killed, too.
        {[], %{flight | out: Map.put(flight.out, ref, %{batch | killed?: true})}}

      nil ->
        take_out(flight, &Batch.begins?(&1, seq))
    end
  end

  defp take_out(flight, which) do
    {out, todo} = flight.todo |> :queue.to_list() |> Enum.split_with(which)
    {out, %{flight | todo: :queue.from_list(todo), waiting: flight.waiting - length(out)}}
  end

  @doc "Ends all that is in flight: it is of no use to anyone now."
  @spec drop(t) :: t
  def drop(%__MODULE__{carrier: %module{}} = flight) do
    for {timer, _batch} <- flight.pausing, do: :erlang.cancel_timer(timer)
    out = Map.keys(flight.out)
    carrier = module.close(left(flight), out)
    flight = %{none(flight) | carrier: carrier, rate: Rated.rest(flight.rate, 0)}
    %{flight | pausing: %{}, abandoned: out ++ flight.abandoned}
  end

  # What workers keep of a run goes with the run, unless it is the session's.
  defp left(%__MODULE__{plan: %{many: false}, carrier: carrier}), do: carrier

  defp left(%__MODULE__{carrier: %module{} = carrier, open: open, asking: asking} = flight) do
    kept = if flight.plan.session, do: kept(flight) ++ Map.values(flight.out), else: []
    Enum.each(kept, &module.forget(carrier, &1))
    Enum.reduce(Map.keys(open) ++ Map.keys(asking), carrier, &module.leave(&2, &1))
  end

  @doc "As `drop/1`, at the end of the run."
  @spec close(t) :: :ok
  def close(flight) do
    %{carrier: %module{} = carrier, rate: rate} = drop(flight)
    Rated.close(rate)
    module.end_run(carrier)
  end

  @doc "Whether a monitor is that of the pool that runs the batches."
  @spec pool?(t, reference) :: boolean
  def pool?(%__MODULE__{carrier: carrier}, monitor), do: match?(%{monitor: ^monitor}, carrier)
end
