defmodule Slither.Pipe.Server do
  @moduledoc false
  # Drives the engine of a long-running pipe. What it holds has a limit everywhere:
  #
  #   * its mailbox: one request for each process that pushes, and the answers of what is out;
  #   * `entry`: at most `max_waiting` items;
  #   * `waiters`: pushes that do not fit, one for each process that waits;
  #   * the engine: each stage's `max_in_flight` batches, and one more to come;
  #   * `pending`: what came out while the sinks were busy; until it is gone the engine rests.

  use GenServer

  require Logger

  alias Slither.PipeError
  alias Slither.Pipe.{Counts, Names, Rate, Run, Sink}
  alias Slither.Run.{Engine, Quiet}
  alias Slither.Telemetry.Events

  # Back-off, in ms, where the pipe can't begin again, as when its pool is restarting too.
  @first_delay 50
  @longest_delay 5_000

  defmodule State do
    @moduledoc false
    @enforce_keys [:settings, :counts, :quiet]
    defstruct [
      :settings,
      :counts,
      :quiet,
      :engine,
      :sink,
      :error,
      :ending,
      :timer,
      synced: %{expanded: 0, skipped: 0},
      emitted: 0,
      delay: 0,
      entry: :queue.new(),
      entry_count: 0,
      waiters: :queue.new(),
      drainers: %{},
      closing: false,
      pending: [],
      delivering: 0,
      rates: %{in: %Rate{}, out: %Rate{}}
    ]
  end

  @spec start_link(map) :: GenServer.on_start()
  def start_link(settings) do
    name = Names.via(:server, settings.name, settings.counts)
    GenServer.start_link(__MODULE__, settings, name: name)
  end

  @doc "Has the server end without finishing what is in."
  @spec give_up(pid) :: :ok
  def give_up(server), do: GenServer.cast(server, :give_up)

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    {:ok, sink, _value} = Names.find(:sink, settings.name)
    quiet = %Quiet{after: settings.flush_after}
    state = %State{settings: settings, counts: settings.counts, quiet: quiet, sink: sink}
    first? = Counts.get(state.counts, :starts) == 0
    Counts.add(state.counts, :starts, 1)
    unless first?, do: report_lost(state)

    case open(state) do
      %State{engine: nil, error: error} when first? -> {:stop, error}
      state -> {:ok, gauge(state)}
    end
  end

  @impl true
  def handle_call({:push, items, count, timeout}, from, state) do
    cond do
      state.ending != nil ->
        {:reply, {:error, state.ending}, state}

      state.drainers != %{} ->
        {:reply, {:error, :draining}, state}

      count > state.settings.max_waiting ->
        {:reply, {:error, too_many(state, count)}, state}

      :queue.is_empty(state.waiters) and fits?(state, count) ->
        state = accept(state, items, count)
        GenServer.reply(from, :ok)
        proceed(state)

      timeout == 0 ->
        {:reply, {:error, :saturated}, state}

      true ->
        {pid, _tag} = from
        monitor = Process.monitor(pid)
        timer = alarm(timeout, {:push_timeout, monitor})
        waiter = %{from: from, items: items, count: count, monitor: monitor, timer: timer}
        {:noreply, gauge(%{state | waiters: :queue.in(waiter, state.waiters)})}
    end
  end

  def handle_call({:drain, timeout}, from, state) do
    ref = make_ref()
    drainer = %{from: from, timer: alarm(timeout, {:drain_timeout, ref})}
    state = refuse_waiters(state, {:error, :draining})
    proceed(%{state | drainers: Map.put(state.drainers, ref, drainer)})
  end

  def handle_call(:status, _from, state), do: {:reply, {:ok, status(state)}, state}

  @impl true
  def handle_cast(:give_up, state), do: {:noreply, put_in(state.settings.shutdown, 0)}

  @impl true
  def handle_info(message, state), do: message |> absorb(state) |> proceed()

  # Stopped by its supervisor, it finishes what is in, within its time.
  @impl true
  def terminate(reason, state) do
    finishing? = reason in [:shutdown, :normal] and state.ending == nil and state.engine != nil

    state =
      if finishing?,
        do: state |> refuse_waiters({:error, :draining}) |> close_down(),
        else: state

    if state.engine, do: Engine.close(state.engine, state.ending)
  end

  ## Messages

  defp absorb({Sink, :delivered, count}, state) do
    rates = Map.update!(state.rates, :out, &Rate.mark(&1, count, now()))
    %{state | delivering: 0, rates: rates}
  end

  defp absorb({:timeout, timer, :flush}, %State{timer: {timer, _at}} = state) do
    state = %{state | timer: nil}
    due = Quiet.due(state.quiet, now())
    engine = Enum.reduce(due, state.engine, &Engine.flush_stage(&2, &1))
    %{state | engine: engine}
  end

  defp absorb({:timeout, _timer, :open}, state), do: open(state)

  defp absorb({:timeout, _timer, {:push_timeout, monitor}}, state),
    do: give_up(state, monitor, {:error, :timeout})

  defp absorb({:DOWN, monitor, :process, _pid, _reason}, state),
    do: give_up(state, monitor, :gone)

  defp absorb({:timeout, _timer, {:drain_timeout, ref}}, state) do
    case Map.pop(state.drainers, ref) do
      {nil, _drainers} ->
        state

      {drainer, drainers} ->
        GenServer.reply(drainer.from, {:error, :timeout})
        resume(%{state | drainers: drainers})
    end
  end

  defp absorb(_message, %State{engine: nil} = state), do: state

  defp absorb(message, state) do
    case Engine.message(state.engine, message) do
      {:ok, engine} -> %{state | engine: engine}
      {:pool_down, engine} -> pool_down(%{state | engine: engine})
      # Of nobody's that is still asked.
      :unknown -> state
    end
  end

  ## The engine

  defp proceed(state) do
    state = state |> turn() |> arm() |> gauge()

    if state.ending != nil and state.pending == [] and state.delivering == 0,
      do: {:stop, {:shutdown, state.ending}, state},
      else: {:noreply, state}
  end

  # Everything that can be done before the next message.
  defp turn(%State{pending: [_ | _], delivering: 0} = state) do
    Sink.deliver(state.sink, state.pending)
    turn(%{state | delivering: length(state.pending), pending: []})
  end

  defp turn(%State{pending: [_ | _]} = state), do: state
  defp turn(%State{engine: nil} = state), do: state
  defp turn(%State{ending: ending} = state) when ending != nil, do: state

  defp turn(state) do
    case Engine.step(state.engine) do
      {:outputs, outputs, engine} -> %{state | engine: engine} |> emitted(outputs) |> turn()
      {:wait, engine} -> feed(synced(%{state | engine: engine}))
      {:done, engine} -> drained(synced(%{state | engine: engine}))
      {:halted, outputs, error, engine} -> halted(%{state | engine: engine}, outputs, error)
    end
  end

  defp feed(state) do
    state = admit(state)

    case min(Engine.want(state.engine), state.entry_count) do
      0 ->
        if state.entry_count == 0 and closing?(state), do: finish(state), else: state

      count ->
        {items, entry} = :queue.split(count, state.entry)
        state = %{state | entry: entry, entry_count: state.entry_count - count}
        turn(%{state | engine: Engine.feed(state.engine, :queue.to_list(items))})
    end
  end

  defp closing?(state), do: state.closing or state.drainers != %{}

  defp finish(state) do
    if Engine.finishing?(state.engine),
      do: state,
      else: turn(%{state | engine: Engine.finish(state.engine)})
  end

  # The engine is empty; the sinks may still have something to do.
  defp drained(%State{pending: [], delivering: 0, closing: false} = state) do
    for {_ref, drainer} <- state.drainers do
      disarm(drainer.timer)
      GenServer.reply(drainer.from, :ok)
    end

    resume(%{state | drainers: %{}})
  end

  defp drained(state), do: state

  defp resume(%State{drainers: drainers} = state) when drainers != %{}, do: state
  defp resume(%State{engine: nil} = state), do: state
  defp resume(state), do: %{state | engine: Engine.reopen(state.engine)}

  # What was ahead of the failed item goes out; what was behind it has failed with it.
  defp halted(state, outputs, error) do
    state = emitted(state, outputs)
    Engine.close(state.engine, error)
    run = state.engine.account
    Counts.add(state.counts, :failed, run.in + run.expanded - run.skipped - state.emitted)
    ending(%{state | engine: nil}, error)
  end

  defp pool_down(state) do
    error = %PipeError{
      pipe: state.settings.definition.name,
      reason: :pool_unavailable,
      message: "a pool of its stages has stopped"
    }

    Engine.close(state.engine, error)
    ending(%{state | engine: nil}, error)
  end

  defp emitted(state, outputs) do
    state = synced(state)
    %{state | pending: outputs, emitted: state.emitted + length(outputs)}
  end

  defp ending(state, error) do
    Logger.error("pipe #{inspect(state.settings.name)} stops: #{Exception.message(error)}")
    state = refuse_waiters(%{state | ending: error}, {:error, error})

    for {_ref, drainer} <- state.drainers do
      disarm(drainer.timer)
      GenServer.reply(drainer.from, {:error, error})
    end

    turn(%{state | drainers: %{}})
  end

  defp open(%State{settings: settings} = state) do
    options = Map.to_list(Map.take(settings, [:session_id, :metadata]))

    case Run.open(settings.definition, :fed, options, true) do
      {:ok, engine} ->
        %{state | engine: engine, error: nil, delay: 0}

      {:error, error} ->
        delay = min(max(state.delay * 2, @first_delay), @longest_delay)
        :erlang.start_timer(delay, self(), :open)
        %{state | error: error, delay: delay}
    end
  end

  defp report_lost(state) do
    lost = Counts.lose(state.counts)
    Events.pipe_restarted(lost, facts(state))

    Logger.warning(
      "pipe #{inspect(state.settings.name)} restarts; #{lost} items that were in it are lost"
    )
  end

  # More before less, so that a kill between the two can't make the sum negative.
  defp synced(state) do
    account = state.engine.account

    for key <- [:expanded, :skipped],
        do: Counts.add(state.counts, key, Map.fetch!(account, key) - state.synced[key])

    %{state | synced: Map.take(account, [:expanded, :skipped])}
  end

  # As a drain, in a process that takes no other message any more.
  defp close_down(state) do
    wait_out(%{state | closing: true}, now() + state.settings.shutdown)
  end

  defp wait_out(state, deadline) do
    state = turn(state)
    done? = state.engine == nil or Engine.finishing?(state.engine)

    if done? and state.pending == [] and state.delivering == 0 and empty?(state) do
      state
    else
      receive do
        {:"$gen_call", from, request} ->
          GenServer.reply(from, last_answer(request, state))
          wait_out(state, deadline)

        message ->
          message |> absorb(state) |> wait_out(deadline)
      after
        max(deadline - now(), 0) -> state
      end
    end
  end

  defp last_answer(:status, state), do: {:ok, status(state)}
  defp last_answer({:push, _items, _count, _timeout}, _state), do: {:error, :draining}

  defp last_answer({:drain, _timeout}, state) do
    {:error,
     %PipeError{
       pipe: state.settings.definition.name,
       reason: :pipe_down,
       message: "is being stopped by its supervisor, and finishes what is in by itself"
     }}
  end

  defp empty?(state), do: Counts.inside(state.counts) <= 0 or state.engine == nil

  ## The entry

  defp fits?(state, count), do: state.entry_count + count <= state.settings.max_waiting

  # Counted before the pusher hears of it: what is accepted can't go missing unseen.
  defp accept(state, items, count) do
    Counts.add(state.counts, :in, count)
    entry = Enum.reduce(items, state.entry, &:queue.in/2)
    rates = Map.update!(state.rates, :in, &Rate.mark(&1, count, now()))
    %{state | entry: entry, entry_count: state.entry_count + count, rates: rates}
  end

  # First come, first served: a small push does not overtake a large one.
  defp admit(state) do
    case :queue.peek(state.waiters) do
      {:value, %{count: count} = waiter} ->
        if fits?(state, count) do
          state = accept(state, waiter.items, count)
          answer(waiter, :ok)
          admit(%{state | waiters: :queue.drop(state.waiters)})
        else
          state
        end

      :empty ->
        state
    end
  end

  defp give_up(state, monitor, answer) do
    {given_up, waiting} =
      state.waiters |> :queue.to_list() |> Enum.split_with(&(&1.monitor == monitor))

    Enum.each(given_up, &answer(&1, answer))
    %{state | waiters: :queue.from_list(waiting)}
  end

  defp refuse_waiters(state, answer) do
    state.waiters |> :queue.to_list() |> Enum.each(&answer(&1, answer))
    %{state | waiters: :queue.new()}
  end

  defp answer(waiter, answer) do
    Process.demonitor(waiter.monitor, [:flush])
    disarm(waiter.timer)
    if answer != :gone, do: GenServer.reply(waiter.from, answer)
  end

  defp too_many(state, count) do
    %PipeError{
      pipe: state.settings.definition.name,
      reason: :too_many_items,
      message:
        "takes at most #{state.settings.max_waiting} items in one push, got #{count} " <>
          "(push fewer at a time, or raise max_waiting:)"
    }
  end

  # What a push with timeout: 0 looks at, without asking.
  defp gauge(state) do
    closed? = not :queue.is_empty(state.waiters)
    free = if closed?, do: 0, else: state.settings.max_waiting - state.entry_count
    Counts.put(state.counts, :free, free)
    state
  end

  ## Timers

  # Partial batches: one timer for the stage that will have been quiet first. A timer that is
  # early finds nothing due and is set again.
  defp arm(%State{engine: nil} = state), do: state

  defp arm(state) do
    quiet = Quiet.observe(state.quiet, Engine.partial(state.engine), now())
    state = %{state | quiet: quiet}

    case {Quiet.next(quiet), state.timer} do
      {nil, _timer} ->
        state

      {at, {_timer, armed}} when armed <= at ->
        state

      {at, timer} ->
        if timer, do: :erlang.cancel_timer(elem(timer, 0))
        %{state | timer: {:erlang.start_timer(at, self(), :flush, abs: true), at}}
    end
  end

  defp alarm(:infinity, _message), do: nil
  defp alarm(timeout, message), do: :erlang.start_timer(timeout, self(), message)

  defp disarm(nil), do: :ok
  defp disarm(timer), do: :erlang.cancel_timer(timer)

  ## Status

  defp status(state) do
    now = now()

    %{
      name: state.settings.name,
      pipe: state.settings.definition.name,
      state: phase(state),
      error: state.error,
      counts: Counts.read(state.counts),
      outputs: Counts.outputs(state.counts),
      rates: Map.new(state.rates, fn {key, rate} -> {key, Rate.per_second(rate, now)} end),
      restarts: Counts.get(state.counts, :starts) - 1,
      waiting: state.entry_count,
      blocked: :queue.len(state.waiters),
      delivering: state.delivering + length(state.pending),
      stages: if(state.engine, do: Engine.status(state.engine), else: [])
    }
  end

  defp phase(%State{ending: ending}) when ending != nil, do: :stopping
  defp phase(%State{closing: true}), do: :draining
  defp phase(%State{engine: nil}), do: :waiting_for_pool
  defp phase(%State{drainers: drainers}) when drainers != %{}, do: :draining
  defp phase(_state), do: :running

  defp facts(state), do: %{name: state.settings.name, pipe: state.settings.definition.name}

  defp now, do: System.monotonic_time(:millisecond)
end
