defmodule Slither.Pipe.State do
  @moduledoc false
  # The state of a long-running pipe, and how it changes from one message to the next: its entry,
  # its engine, the outputs on their way to the sinks, and the callers that wait for it to be
  # empty. Called by `Slither.Pipe.Server`, in its process.

  require Logger

  alias Slither.PipeError
  alias Slither.Pipe.{Acks, Counts, Heir, Outbox, Rate, Run, Setup}
  alias Slither.Run.{Engine, Entry, Fates, Quiet}

  # ms, at first and at most, after which a pipe that could not begin again tries once more. Its
  # pool may be restarting as well.
  @first_delay 50
  @longest_delay 5_000

  @enforce_keys [:setup, :counts, :entry, :outbox, :quiet, :heir]
  defstruct @enforce_keys ++
              [:engine, :error, :ending, :closer, :timer, :fates] ++
              [acks: Acks.new(), position: 0] ++
              [drainers: %{}, synced: %{expanded: 0, skipped: 0}, emitted: 0, delay: 0] ++
              [given_up?: false, rates: %{in: %Rate{}, out: %Rate{}}]

  @typedoc """
  `drainers` wait until the pipe is empty, and `closer` does while the supervisor stops it, unless
  that was `given_up?`. `error` says why there is no engine, `ending` why the server is to end.
  `synced` and `emitted` are what of the engine's account is in the pipe's, `counts`. `timer` is
  the one of partial batches, with when it runs out. `acks` says whom to tell what became of items,
  which `heir` knows as well, and `position` is that of the next item which is pushed. While there is
  no engine, `fates` has what it has in its run: which of those items are where.
  """
  @type t :: %__MODULE__{
          setup: Setup.t(),
          counts: Counts.t(),
          entry: Entry.t(),
          outbox: Outbox.t(),
          quiet: Quiet.t(),
          engine: Engine.t() | nil,
          error: Exception.t() | nil,
          ending: Exception.t() | nil,
          closer: GenServer.from() | nil,
          timer: {reference, integer} | nil,
          heir: pid,
          fates: Fates.t(),
          acks: Acks.t(),
          position: non_neg_integer,
          drainers: %{optional(reference) => drainer},
          synced: %{expanded: integer, skipped: integer},
          emitted: non_neg_integer,
          delay: non_neg_integer,
          given_up?: boolean,
          rates: %{in: Rate.t(), out: Rate.t()}
        }
  @type drainer :: %{from: GenServer.from(), timer: reference | nil}

  @doc "A pipe that is not open yet, whose sinks the process `sink` calls, and its heir."
  @spec new(Setup.t(), pid, pid) :: t
  def new(setup, sink, heir) do
    %__MODULE__{
      setup: setup,
      counts: setup.counts,
      entry: Entry.new(setup.max_waiting),
      outbox: Outbox.new(sink),
      heir: heir,
      quiet: %Quiet{after: setup.flush_after}
    }
  end

  @doc "Does everything that can be done before the next message."
  @spec turn(t) :: t
  def turn(%__MODULE__{engine: nil} = state), do: state

  def turn(state) do
    if Outbox.full?(state.outbox), do: state, else: step(state)
  end

  defp step(state) do
    case Engine.step(state.engine) do
      {:outputs, outputs, engine} -> %{state | engine: engine} |> emitted(outputs) |> turn()
      {:wait, engine} -> feed(synced(%{state | engine: engine}))
      {:done, engine} -> drained(synced(%{state | engine: engine}))
      {:halted, outputs, error, engine} -> halted(%{state | engine: engine}, outputs, error)
    end
  end

  defp feed(state) do
    state = admit(state)
    %{entry: %{count: waiting} = entry, engine: engine} = state

    case min(Engine.want(engine), waiting) do
      0 when waiting == 0 and (state.closer != nil or state.drainers != %{}) ->
        if Engine.finishing?(engine),
          do: state,
          else: turn(%{state | engine: Engine.finish(engine)})

      0 ->
        state

      count ->
        {items, entry} = Entry.take(entry, count)
        turn(%{state | entry: entry, engine: Engine.feed(engine, items)})
    end
  end

  # The engine is empty, but the sinks may still be busy.
  defp drained(%__MODULE__{closer: nil} = state) do
    if Outbox.empty?(state.outbox), do: state |> answer_drainers(:ok) |> reopen(), else: state
  end

  defp drained(state), do: state

  @doc "Takes items again, unless somebody still waits for it to be empty."
  @spec reopen(t) :: t
  def reopen(%__MODULE__{engine: engine, drainers: drainers} = state)
      when engine == nil or drainers != %{},
      do: state

  def reopen(state), do: %{state | engine: Engine.reopen(state.engine)}

  @doc "Answers the closer once all that was in has come out and is with the sinks."
  @spec closed(t) :: t
  def closed(%__MODULE__{closer: closer, given_up?: false} = state) when closer != nil do
    over? =
      state.engine == nil or
        (Engine.finishing?(state.engine) and Counts.inside(state.counts) <= 0)

    if over? and Outbox.empty?(state.outbox) do
      GenServer.reply(closer, :ok)
      %{state | given_up?: true}
    else
      state
    end
  end

  def closed(state), do: state

  # The items ahead of the failed one have come out; it takes all items behind it along.
  defp halted(state, outputs, error) do
    state = emitted(state, outputs)
    account = Engine.account(state.engine)
    failed = account.in + account.expanded - account.skipped - state.emitted
    Counts.add(state.counts, :failed, failed)
    state |> tell(Fates.fail(fates(state), error)) |> ending(error)
  end

  @doc "A pool of its stages has ended: so does the server."
  @spec pool_down(t) :: t
  def pool_down(state),
    do: ending(state, error(state, :pool_unavailable, "a pool of its stages has stopped"))

  defp emitted(state, outputs) do
    state = synced(state)
    outbox = Outbox.put(state.outbox, outputs)
    %{state | outbox: outbox, emitted: state.emitted + length(outputs)}
  end

  defp ending(state, error) do
    Engine.close(state.engine, error)
    Logger.error("pipe #{inspect(state.setup.name)} stops: #{Exception.message(error)}")

    %{state | engine: nil, ending: error, fates: Engine.fates(state.engine)}
    |> refuse({:error, error})
    |> answer_drainers({:error, error})
  end

  defp answer_drainers(state, answer) do
    for {_ref, drainer} <- state.drainers do
      disarm(drainer.timer)
      GenServer.reply(drainer.from, answer)
    end

    %{state | drainers: %{}}
  end

  @doc "Has it begin; where it can't, a message `:open` says when to try again."
  @spec open(t) :: t
  def open(%__MODULE__{setup: setup} = state) do
    options = Map.to_list(Map.take(setup, [:session_id, :metadata, :name]))

    case Run.open(setup.definition, :fed, [kind: :server] ++ options, true) do
      {:ok, engine} ->
        engine = Engine.put_fates(engine, state.fates)
        %{state | engine: engine, error: nil, delay: 0, fates: nil}

      {:error, error} ->
        delay = min(max(state.delay * 2, @first_delay), @longest_delay)
        :erlang.start_timer(delay, self(), :open)
        %{state | error: error, delay: delay}
    end
  end

  # Counts expanded items before skipped ones. If the server is killed between the two, too many
  # items seem to be inside, rather than fewer than none.
  defp synced(state) do
    account = Engine.account(state.engine)

    for key <- [:expanded, :skipped],
        do: Counts.add(state.counts, key, Map.fetch!(account, key) - state.synced[key])

    state = %{state | synced: Map.take(account, [:expanded, :skipped])}
    if fates = fates(state), do: tell(state, fates), else: state
  end

  ## What became of items

  @doc "What was being delivered is with its sinks, but for the outputs that `failed` there."
  @spec delivered(t, %{optional(non_neg_integer) => Exception.t()}) :: t
  def delivered(state, failed) do
    case Outbox.delivered(state.outbox, failed) do
      {[], outbox} -> %{state | outbox: outbox}
      {ends, outbox} -> tell(%{state | outbox: outbox}, Fates.reached(fates(state), ends))
    end
  end

  # Its heir hears of it last: if the server is killed between the two, an item is told of twice,
  # rather than never.
  defp tell(state, fates) do
    case Fates.take(fates) do
      {[], fates} ->
        put_fates(state, fates)

      {endings, fates} ->
        acks = Acks.tell(state.acks, endings)
        Heir.told(state.heir, for({push, index, _fate} <- endings, do: {push, index}))
        put_fates(%{state | acks: acks}, fates)
    end
  end

  defp fates(%__MODULE__{engine: nil, fates: fates}), do: fates
  defp fates(%__MODULE__{engine: engine}), do: Engine.fates(engine)

  defp put_fates(%__MODULE__{engine: nil} = state, fates), do: %{state | fates: fates}

  defp put_fates(%__MODULE__{engine: engine} = state, fates),
    do: %{state | engine: Engine.put_fates(engine, fates)}

  @doc "Tells what is lost in the heir's place, which stops after the server unless it was killed."
  @spec lost(t) :: any
  def lost(state), do: unless(Process.alive?(state.heir), do: Acks.lose(state.acks))

  ## The entry

  @doc "Whether a push of so many items may be taken in, now or later."
  @spec open?(t, non_neg_integer) :: :ok | {:error, :draining | Exception.t()}
  def open?(%__MODULE__{ending: error}, _count) when error != nil, do: {:error, error}

  def open?(%__MODULE__{closer: closer, drainers: drainers}, _count)
      when closer != nil or drainers != %{},
      do: {:error, :draining}

  def open?(%__MODULE__{setup: %{max_waiting: most}} = state, count) when count > most do
    message =
      "takes at most #{most} items in one push, got #{count} " <>
        "(push fewer at a time, or raise max_waiting:)"

    {:error, error(state, :too_many_items, message)}
  end

  def open?(_state, _count), do: :ok

  @doc "Counts a push, before the pusher hears of it: what is accepted can't go missing unseen."
  @spec accepted(t, Entry.push()) :: t
  def accepted(state, push) do
    Counts.add(state.counts, :in, push.count)
    rates = Map.update!(state.rates, :in, &Rate.mark(&1, push.count, now()))
    follow(%{state | rates: rates, position: state.position + push.count}, push)
  end

  defp follow(state, %{ack: ack, count: count}) when ack == nil or count == 0, do: state

  defp follow(state, %{ack: ack, count: count}) do
    ref = make_ref()
    Heir.expect(state.heir, ref, ack, count)
    fates = Fates.follow(fates(state), state.position - count, count, ref)
    put_fates(%{state | acks: Acks.expect(state.acks, ref, ack, count)}, fates)
  end

  defp admit(state) do
    {pushes, entry} = Entry.admit(state.entry)

    Enum.reduce(pushes, %{state | entry: entry}, fn push, state ->
      state = accepted(state, push)
      answer(push, :ok)
      state
    end)
  end

  @doc "Answers the push that waits under `ref`, if it still does; `:gone` needs no answer."
  @spec give_up(t, reference, term) :: t
  def give_up(state, ref, answer) do
    {pushes, entry} = Entry.give_up(state.entry, ref)
    Enum.each(pushes, &answer(&1, answer))
    %{state | entry: entry}
  end

  @doc "Answers all pushes that wait."
  @spec refuse(t, term) :: t
  def refuse(state, answer) do
    {pushes, entry} = Entry.refuse(state.entry)
    Enum.each(pushes, &answer(&1, answer))
    %{state | entry: entry}
  end

  defp answer(push, answer) do
    Process.demonitor(push.ref, [:flush])
    disarm(push.timer)
    if answer != :gone, do: GenServer.reply(push.from, answer)
  end

  @doc "Sets what a push with `timeout: 0`, and whoever watches, look at without asking."
  @spec gauge(t) :: t
  def gauge(state) do
    Counts.put(state.counts, :free, Entry.free(state.entry))
    Counts.put(state.counts, :delivering, Outbox.count(state.outbox))
    Counts.put(state.counts, :blocked, Entry.waiting(state.entry))
    state
  end

  ## Status

  @doc "ms after which its process is to go on though no message has come: see `Engine.due/1`."
  @spec due(t) :: timeout
  def due(%__MODULE__{engine: nil}), do: :infinity
  def due(%__MODULE__{engine: engine}), do: Engine.due(engine)

  @doc "What the pipe is at, as `Slither.Pipe.status/1` says it."
  @spec report(t) :: map
  def report(state) do
    now = now()

    Map.merge(facts(state), %{
      state: phase(state),
      error: state.error,
      counts: Counts.read(state.counts),
      outputs: Counts.outputs(state.counts),
      rates: Map.new(state.rates, fn {key, rate} -> {key, Rate.per_second(rate, now)} end),
      restarts: Counts.get(state.counts, :starts) - 1,
      waiting: state.entry.count,
      blocked: Entry.waiting(state.entry),
      delivering: Outbox.count(state.outbox),
      stages: if(state.engine, do: Engine.status(state.engine), else: [])
    })
  end

  defp phase(%__MODULE__{ending: ending}) when ending != nil, do: :stopping
  defp phase(%__MODULE__{closer: closer}) when closer != nil, do: :draining
  defp phase(%__MODULE__{engine: nil}), do: :waiting_for_pool
  defp phase(%__MODULE__{drainers: drainers}) when drainers != %{}, do: :draining
  defp phase(_state), do: :running

  @doc "Its name, and its pipe's."
  @spec facts(t) :: map
  def facts(state), do: %{name: state.setup.name, pipe: state.setup.definition.name}

  @doc "An error of the pipe."
  @spec error(t, atom, String.t()) :: PipeError.t()
  def error(state, reason, message),
    do: %PipeError{pipe: state.setup.definition.name, reason: reason, message: message}

  defp disarm(nil), do: :ok
  defp disarm(timer), do: :erlang.cancel_timer(timer)

  defp now, do: System.monotonic_time(:millisecond)
end
