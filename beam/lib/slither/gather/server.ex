defmodule Slither.Gather.Server do
  @moduledoc false
  # The process of a gather: takes items of callers, has `Slither.Gather.Batches` form batches of them,
  # and answers each caller. Called by `Slither.Gather`, in the processes of the callers.

  use GenServer

  alias Slither.{Error, Label}
  alias Slither.Gather.{Batches, Settings, Waiting}
  alias Slither.Run.Mailbox
  alias Slither.Trace.Recorder

  # ms within which the server must say its status. It never blocks, so that is plenty.
  @answer 5_000

  @enforce_keys [:name, :options, :mailbox, :run]
  defstruct @enforce_keys ++
              [:batches, next: 0, callers: %{}, waits: %{}, answered: 0, failed: 0, timed_out: 0]

  @typedoc """
  `batches` is nil while the pool was never there. `callers` says of each process that waits which
  item is its own, and `waits` of each item whom to answer.
  """
  @type t :: %__MODULE__{
          name: term,
          options: keyword,
          mailbox: Mailbox.t(),
          run: String.t(),
          batches: Batches.t() | nil,
          next: Waiting.seq(),
          callers: %{optional(pid) => Waiting.seq()},
          waits: %{optional(Waiting.seq()) => {GenServer.from(), monitor :: reference}},
          answered: non_neg_integer,
          failed: non_neg_integer,
          timed_out: non_neg_integer
        }

  @spec start_link(keyword, GenServer.name()) :: GenServer.on_start()
  def start_link(options, name), do: GenServer.start_link(__MODULE__, options, name: name)

  @doc "An item's answer, within `timeout` ms. It exits where the server ends, or does not answer."
  @spec call(pid, Waiting.key(), term, timeout) :: Batches.answer()
  def call(server, key, item, timeout),
    do: GenServer.call(server, {:item, key, item, Recorder.current()}, timeout)

  @doc "The calling process does not wait for its item any more."
  @spec forget(pid) :: :ok
  def forget(server), do: GenServer.cast(server, {:forget, self()})

  @doc "What it does now."
  @spec status(pid) :: map
  def status(server), do: GenServer.call(server, :status, @answer)

  @impl true
  def init(options) do
    run = "gather-#{System.unique_integer([:positive])}"
    Label.set({__MODULE__, options[:name]})
    mailbox = Mailbox.open()
    {:ok, %__MODULE__{name: options[:name], options: options, mailbox: mailbox, run: run}}
  end

  @impl true
  def handle_call({:item, key, item, trace}, from, state) do
    case open(state) do
      {:ok, state} -> take(state, key, {item, trace}, from)
      {:error, error} -> {:reply, {:error, error}, state}
    end
  end

  def handle_call(:status, _from, state), do: {:reply, report(state), state, linger(state)}

  # Strangers may send what they like: it costs nobody an answer.
  def handle_call(_unknown, _from, state),
    do: {:reply, {:error, :unknown_call}, state, linger(state)}

  @impl true
  def handle_cast({:forget, caller}, state) do
    state = %{state | timed_out: state.timed_out + 1}
    proceed(forget(state, caller))
  end

  def handle_cast(_unknown, state), do: {:noreply, state, linger(state)}

  @impl true
  def handle_info(:timeout, %__MODULE__{batches: nil} = state), do: {:noreply, state}

  def handle_info(:timeout, state) do
    state = %{state | batches: Batches.rest(state.batches)}
    {:noreply, state, linger(state)}
  end

  def handle_info({:DOWN, _monitor, :process, caller, _reason}, state),
    do: proceed(forget(state, caller))

  def handle_info(message, state) do
    case Mailbox.match(state.mailbox, message) do
      {:gather, message} -> proceed(%{state | batches: Batches.message(state.batches, message)})
      :unknown -> {:noreply, state, linger(state)}
    end
  end

  ## Items

  # Its pool may start after it.
  defp open(%__MODULE__{batches: nil, options: options} = state) do
    with {:ok, plan} <- Settings.plan(options, state.run) do
      facts = %{gather: state.name, run: state.run, pool: options[:pool]}
      inbox = Mailbox.inbox(state.mailbox, :gather)
      {:ok, %{state | batches: Batches.new(plan, inbox, options, facts)}}
    end
  end

  defp open(state), do: {:ok, state}

  defp take(state, key, {item, trace}, {caller, _tag} = from) do
    %__MODULE__{batches: batches, next: seq} = state
    waiting = Batches.waiting(batches)

    if waiting >= state.options[:max_waiting] do
      {:reply, {:error, saturated(state, waiting)}, state, linger(state)}
    else
      callers = Map.put(state.callers, caller, seq)
      waits = Map.put(state.waits, seq, {from, Process.monitor(caller)})
      batches = Batches.put(batches, seq, key, item, trace)
      proceed(%{state | batches: batches, next: seq + 1, callers: callers, waits: waits})
    end
  end

  defp forget(state, caller) do
    case Map.pop(state.callers, caller) do
      # The answer was on its way to a caller that has given up since.
      {nil, _callers} ->
        state

      {seq, callers} ->
        {{_from, monitor}, waits} = Map.pop!(state.waits, seq)
        Process.demonitor(monitor, [:flush])
        batches = Batches.forget(state.batches, seq)
        %{state | batches: batches, callers: callers, waits: waits}
    end
  end

  ## Answers

  defp proceed(%__MODULE__{batches: nil} = state), do: {:noreply, state}

  defp proceed(state) do
    {answers, batches} = Batches.take(state.batches)
    state = Enum.reduce(answers, %{state | batches: batches}, &answer/2)
    {:noreply, state, linger(state)}
  end

  defp answer({seq, answer}, state) do
    {{{caller, _tag} = from, monitor}, waits} = Map.pop!(state.waits, seq)
    GenServer.reply(from, answer)
    Process.demonitor(monitor, [:flush])
    state = %{state | waits: waits, callers: Map.delete(state.callers, caller)}
    count(state, answer)
  end

  defp count(state, {:ok, _value}), do: %{state | answered: state.answered + 1}
  defp count(state, {:error, _error}), do: %{state | failed: state.failed + 1}

  defp linger(%__MODULE__{batches: nil}), do: :infinity

  defp linger(%__MODULE__{batches: batches}), do: Batches.linger(batches)

  defp report(state) do
    waiting = if state.batches, do: Batches.waiting(state.batches), else: 0
    {out, running} = if state.batches, do: Batches.out(state.batches), else: {0, 0}

    %{
      name: state.name,
      pool: state.options[:pool],
      waiting: waiting,
      running: running,
      out: out,
      batches: if(state.batches, do: state.batches.sent, else: 0),
      answered: state.answered,
      failed: state.failed,
      timed_out: state.timed_out
    }
  end

  defp saturated(state, waiting) do
    %Error{
      reason: :saturated,
      where: "gather #{inspect(state.name)}",
      message: "#{waiting} items wait already; the limit is #{state.options[:max_waiting]}",
      hint: "send less at once, add workers to its pool, or raise max_waiting",
      details: %{gather: state.name, waiting: waiting, limit: state.options[:max_waiting]}
    }
  end
end
