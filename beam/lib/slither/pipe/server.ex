defmodule Slither.Pipe.Server do
  @moduledoc false
  # Drives the engine of a long-running pipe: a process of the pipe's supervisor, called by
  # `Slither.Pipe.Instance` for whoever uses the pipe. What it holds has a limit everywhere:
  #
  #   * its mailbox: one request for each process that pushes, and the answers of what is out;
  #   * `entry`: at most `max_waiting` items, and one push for each process that waits;
  #   * the engine: each stage's `max_in_flight` batches, and one more to come;
  #   * `outbox`: what came out while the sinks were busy; until it is gone the engine rests.

  use GenServer

  require Logger

  alias Slither.Label
  alias Slither.Pipe.{Acks, Counts, Names, Outbox, Rate, Setup, State}
  alias Slither.Run.{Engine, Entry, Quiet}
  alias Slither.Telemetry.Events

  @spec start_link(Setup.t()) :: GenServer.on_start()
  def start_link(setup) do
    name = Names.via(:server, setup.name, setup.counts)
    GenServer.start_link(__MODULE__, setup, name: name)
  end

  # Calls to the server have no timeout: the server itself decides when a request's time is up. So
  # no caller is told that its push failed after the server has accepted it, and each process has
  # at most one request in the mailbox.

  @doc "Pushes items, waiting for room for at most so many ms; `ack` is told what became of them."
  @spec push(pid, list, non_neg_integer, timeout, Acks.ack() | nil) ::
          :ok | {:error, :saturated | :timeout | :draining | Exception.t()}
  def push(server, items, count, timeout, ack),
    do: GenServer.call(server, {:push, items, count, timeout, ack}, :infinity)

  @doc "Waits until nothing is in the pipe, for at most `timeout` ms by the server's clock."
  @spec drain(pid, timeout, timeout) :: :ok | {:error, :timeout | Exception.t()}
  def drain(server, timeout, patience \\ :infinity),
    do: GenServer.call(server, {:drain, timeout}, patience)

  @doc "What the pipe is at, as `Slither.Pipe.status/1` says it."
  @spec status(pid) :: {:ok, map}
  def status(server), do: GenServer.call(server, :status, :infinity)

  @doc "Has the server end without finishing what is in."
  @spec give_up(pid) :: :ok
  def give_up(server), do: GenServer.cast(server, :give_up)

  @doc "Has the server finish what is in and take no more; called while its supervisor stops it."
  @spec close(pid, non_neg_integer, timeout) :: :ok
  def close(server, timeout, patience), do: GenServer.call(server, {:close, timeout}, patience)

  @impl true
  def init(setup) do
    Process.flag(:trap_exit, true)
    Label.set({__MODULE__, setup.name})
    {:ok, sink, _value} = Names.find(:sink, setup.name)
    {:ok, heir, _value} = Names.find(:heir, setup.name)
    :erlang.monitor(:process, sink, tag: :sink_down)

    state = State.new(setup, sink, heir)
    first? = Counts.get(state.counts, :starts) == 0
    Counts.add(state.counts, :starts, 1)
    unless first?, do: report_lost(state)

    case State.open(state) do
      %State{engine: nil, error: error} when first? -> {:stop, error}
      state -> {:ok, State.gauge(state)}
    end
  end

  @impl true
  def handle_call({:push, items, count, timeout, ack}, from, state) do
    push = %Entry.Push{from: from, items: items, count: count, ack: ack}

    with :ok <- State.open?(state, count),
         :full <- Entry.offer(state.entry, push) do
      if timeout == 0,
        do: {:reply, {:error, :saturated}, state},
        else:
          {:noreply, State.gauge(%{state | entry: Entry.wait(state.entry, timed(push, timeout))})}
    else
      {:ok, entry} ->
        state = State.accepted(%{state | entry: entry}, push)
        GenServer.reply(from, :ok)
        proceed(state)

      {:error, _reason} = error ->
        {:reply, error, state}
    end
  end

  def handle_call({:drain, _timeout}, _from, %State{closer: closer} = state) when closer != nil do
    message = "is being stopped by its supervisor, and finishes what is in by itself"
    {:reply, {:error, State.error(state, :pipe_down, message)}, state}
  end

  def handle_call({:drain, timeout}, from, state) do
    ref = make_ref()
    drainer = %{from: from, timer: alarm(timeout, {:drain_timeout, ref})}
    state = State.refuse(state, {:error, :draining})
    proceed(%{state | drainers: Map.put(state.drainers, ref, drainer)})
  end

  def handle_call({:close, _timeout}, _from, %State{engine: engine, given_up?: given_up?} = state)
      when engine == nil or given_up?,
      do: {:reply, :ok, state}

  def handle_call({:close, timeout}, from, state) do
    _ = alarm(timeout, :close_timeout)
    proceed(%{State.refuse(state, {:error, :draining}) | closer: from})
  end

  def handle_call(:status, _from, state),
    do: {:reply, {:ok, State.report(state)}, state, State.due(state)}

  @impl true
  def handle_cast(:give_up, state), do: {:noreply, %{state | given_up?: true}}

  @impl true
  def handle_info(message, state), do: message |> absorb(state) |> proceed()

  @impl true
  def terminate(reason, state) do
    if state.engine, do: Engine.close(state.engine, state.ending)
    if reason == :shutdown, do: State.lost(state)
  end

  ## Messages

  defp absorb({Slither.Pipe.Sink, :delivered, count, failed}, state) do
    rates = Map.update!(state.rates, :out, &Rate.mark(&1, count, now()))
    State.delivered(%{state | rates: rates}, failed)
  end

  defp absorb({:timeout, timer, :flush}, %State{timer: {timer, _at}, engine: engine} = state)
       when engine != nil do
    due = Quiet.due(state.quiet, now())
    %{state | timer: nil, engine: Enum.reduce(due, engine, &Engine.flush_stage(&2, &1))}
  end

  defp absorb({:timeout, _timer, :open}, state), do: State.open(state)

  defp absorb({:timeout, _timer, :close_timeout}, %State{given_up?: false} = state) do
    GenServer.reply(state.closer, :ok)
    %{state | given_up?: true}
  end

  # What comes out now is delivered to nobody: whoever stops the pipe to begin anew need not wait.
  defp absorb({:sink_down, _ref, :process, _pid, _reason}, state) do
    if state.closer != nil and not state.given_up?, do: GenServer.reply(state.closer, :ok)
    %{state | given_up?: true}
  end

  defp absorb({:timeout, _timer, {:push_timeout, ref}}, state),
    do: State.give_up(state, ref, {:error, :timeout})

  defp absorb({:DOWN, ref, :process, _pid, _reason}, state), do: State.give_up(state, ref, :gone)

  defp absorb({:timeout, _timer, {:drain_timeout, ref}}, state) do
    case Map.pop(state.drainers, ref) do
      {nil, _drainers} ->
        state

      {drainer, drainers} ->
        GenServer.reply(drainer.from, {:error, :timeout})
        State.reopen(%{state | drainers: drainers})
    end
  end

  defp absorb(_message, %State{engine: nil} = state), do: state

  defp absorb(message, state) do
    case Engine.message(state.engine, message) do
      {:ok, engine} -> %{state | engine: engine}
      {:pool_down, engine} -> State.pool_down(%{state | engine: engine})
      # The message is of a run that has ended, or of another process.
      :unknown -> state
    end
  end

  defp proceed(state) do
    state = state |> State.turn() |> State.closed() |> arm() |> State.gauge()

    if state.ending != nil and Outbox.empty?(state.outbox),
      do: {:stop, {:shutdown, state.ending}, state},
      else: {:noreply, state, State.due(state)}
  end

  defp report_lost(state) do
    lost = Counts.lose(state.counts)
    Events.pipe_restarted(lost, State.facts(state))

    Logger.warning(
      "pipe #{inspect(state.setup.name)} restarts; #{lost} items that were in it are lost"
    )
  end

  ## Timers

  defp timed(%{from: {pid, _tag}} = push, timeout) do
    ref = Process.monitor(pid)
    %{push | ref: ref, timer: alarm(timeout, {:push_timeout, ref})}
  end

  # One timer serves the partial batches of all stages: it runs out when the first of them will have
  # been quiet for long enough. If that batch has grown by then, nothing is due, and it is set again.
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

  defp now, do: System.monotonic_time(:millisecond)
end
