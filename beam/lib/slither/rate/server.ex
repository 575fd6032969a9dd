defmodule Slither.Rate.Server do
  @moduledoc false
  # The process of one bucket of tokens: tells those who ask when they have theirs, and forgets those
  # that end. It never blocks. `Slither.Rate` starts those with a name, and a run that has a bucket of
  # its own starts one by `own/1`, which ends with it. Runs ask through `Slither.Run.Rated`.

  use GenServer

  alias Slither.Label
  alias Slither.Python.Inbox
  alias Slither.Rate.{Bucket, Spec}
  alias Slither.Telemetry.Events

  @registry Slither.Python.Registry
  # ms within which it must answer a question. It never blocks, so that is plenty.
  @answer 5_000
  # The longest time that it is paused for, a day: who says more has sent nonsense.
  @longest 86_400_000

  @enforce_keys [:bucket]
  defstruct [:bucket, :name, :owner, :timer, inboxes: %{}, callers: %{}]

  @typedoc """
  `inboxes` are of those who wait, by their reference, with the caller. Of each of the `callers` it has
  the monitor, and how many requests wait. With an `owner` it ends when that does.
  """
  @type t :: %__MODULE__{
          bucket: Bucket.t(),
          name: String.t() | nil,
          owner: reference | nil,
          timer: {reference, integer} | nil,
          inboxes: %{optional(reference) => {Inbox.t(), pid}},
          callers: %{optional(pid) => {monitor :: reference, pos_integer}}
        }

  ## What it is asked

  @doc "Starts one that is known by its name, linked to the caller."
  @spec start_link(String.t(), Spec.figures()) :: GenServer.on_start()
  def start_link(name, figures) do
    via = {:via, Registry, {@registry, {:rate, name}, figures}}
    GenServer.start_link(__MODULE__, {name, figures, nil}, name: via)
  end

  @doc "Has one run by its name, unless one does; gives the figures of that which runs."
  @spec ensure(String.t(), Spec.figures()) :: Spec.figures()
  def ensure(name, figures) do
    with :error <- find(name) do
      via = {:via, Registry, {@registry, {:rate, name}, figures}}
      _ = GenServer.start(__MODULE__, {name, figures, nil}, name: via)
      ensure(name, figures)
    else
      {:ok, _pid, figures} -> figures
    end
  end

  @doc "Starts one for the calling process alone, which ends with that."
  @spec own(Spec.figures()) :: pid
  def own(figures) do
    {:ok, pid} = GenServer.start(__MODULE__, {nil, figures, self()})
    pid
  end

  @doc "The one of a name, with its figures."
  @spec find(String.t()) :: {:ok, pid, Spec.figures()} | :error
  def find(name) do
    # A process that has just ended may still be in the registry.
    with [{pid, figures}] <- Registry.lookup(@registry, {:rate, name}),
         true <- Process.alive?(pid) do
      {:ok, pid, figures}
    else
      _ -> :error
    end
  end

  @doc "The names that run."
  @spec names() :: [String.t()]
  def names, do: Registry.select(@registry, [{{{:rate, :"$1"}, :_, :_}, [], [:"$1"]}])

  @doc "Asks for tokens, for the calling process: the inbox is told `{:tokens, ref, weight}`."
  @spec ask(pid, Inbox.t(), reference, number) :: :ok
  def ask(server, inbox, ref, weight),
    do: GenServer.cast(server, {:ask, ref, self(), inbox, weight})

  @doc "Waits for tokens; `:error` where the server ends."
  @spec take(pid, number) :: :ok | :error
  def take(server, weight) do
    alias = :erlang.alias()
    monitor = Process.monitor(server)
    ref = make_ref()
    ask(server, {alias, :take}, ref, weight)

    try do
      receive do
        {{^alias, :take}, {:tokens, ^ref, ^weight}} -> :ok
        {:DOWN, ^monitor, :process, _pid, _reason} -> :error
      end
    after
      :erlang.unalias(alias)
      Process.demonitor(monitor, [:flush])
    end
  end

  @doc "Takes back a request whose answer was not read; tokens that were granted meanwhile go back."
  @spec cancel(pid, reference, number) :: :ok
  def cancel(server, ref, weight), do: GenServer.cast(server, {:cancel, ref, weight})

  @doc "Gives back tokens that were not used."
  @spec give_back(pid, number) :: :ok
  def give_back(server, weight), do: GenServer.cast(server, {:give_back, weight})

  @doc "Nobody gets tokens for so many ms, a day at most."
  @spec pause(pid, non_neg_integer) :: :ok
  def pause(server, time), do: GenServer.cast(server, {:pause, time})

  @doc "What it does now."
  @spec status(pid) :: map
  def status(server), do: GenServer.call(server, :status, @answer)

  @doc "Ends one that is the calling process's own."
  @spec stop(pid) :: :ok
  def stop(server), do: GenServer.cast(server, :stop)

  ## What it does

  @impl true
  def init({name, figures, owner}) do
    Label.set({__MODULE__, name})
    owner = if owner, do: Process.monitor(owner)
    {:ok, %__MODULE__{bucket: Bucket.new(figures, now()), name: name, owner: owner}}
  end

  @impl true
  def handle_cast({:ask, ref, caller, inbox, weight}, state) do
    bucket = Bucket.ask(state.bucket, ref, caller, weight, now())
    inboxes = Map.put(state.inboxes, ref, {inbox, caller})
    {:noreply, grant(watch(%{state | bucket: bucket, inboxes: inboxes}, caller))}
  end

  def handle_cast({:cancel, ref, weight}, state) do
    case Bucket.cancel(state.bucket, ref) do
      nil -> returned(state, weight)
      bucket -> {:noreply, grant(answered(%{state | bucket: bucket}, ref))}
    end
  end

  def handle_cast({:give_back, weight}, state), do: returned(state, weight)

  def handle_cast({:pause, time}, state) do
    time = min(time, @longest)
    {longer?, bucket} = Bucket.pause(state.bucket, time, now())
    if longer?, do: Events.rate_paused(time, map_size(state.inboxes), %{rate: state.name})
    {:noreply, grant(%{state | bucket: bucket})}
  end

  def handle_cast(:stop, state), do: {:stop, :normal, state}

  @impl true
  def handle_call(:status, _from, state) do
    figures = Map.take(state.bucket, [:items, :per, :burst])
    {:reply, state.bucket |> Bucket.status(now()) |> Map.merge(figures), state}
  end

  @impl true
  def handle_info(:due, state), do: {:noreply, grant(%{state | timer: nil})}

  def handle_info({:DOWN, owner, :process, _pid, _reason}, %__MODULE__{owner: owner} = state),
    do: {:stop, :normal, state}

  def handle_info({:DOWN, _monitor, :process, caller, _reason}, state) do
    inboxes = Map.reject(state.inboxes, &match?({_ref, {_inbox, ^caller}}, &1))
    callers = Map.delete(state.callers, caller)
    bucket = Bucket.drop(state.bucket, caller)
    {:noreply, grant(%{state | bucket: bucket, inboxes: inboxes, callers: callers})}
  end

  def handle_info(_late, state), do: {:noreply, state}

  defp returned(state, weight) do
    {:noreply, grant(%{state | bucket: Bucket.give_back(state.bucket, weight, now())})}
  end

  defp grant(state) do
    {granted, bucket} = Bucket.grant(state.bucket, now())

    granted
    |> Enum.reduce(%{state | bucket: bucket}, fn {ref, weight}, state ->
      {inbox, _caller} = Map.fetch!(state.inboxes, ref)
      Inbox.tell(inbox, {:tokens, ref, weight})
      answered(state, ref)
    end)
    |> arm(Bucket.due(bucket))
  end

  # A timer that is set for an earlier time will do: it grants nothing, and is then set again.
  defp arm(state, nil), do: state
  defp arm(%__MODULE__{timer: {_timer, armed}} = state, at) when armed <= at, do: state

  defp arm(%__MODULE__{timer: timer} = state, at) do
    if timer, do: Process.cancel_timer(elem(timer, 0))
    %{state | timer: {Process.send_after(self(), :due, at, abs: true), at}}
  end

  ## Who waits

  defp watch(%__MODULE__{callers: callers} = state, caller) do
    {monitor, count} = Map.get_lazy(callers, caller, fn -> {Process.monitor(caller), 0} end)
    %{state | callers: Map.put(callers, caller, {monitor, count + 1})}
  end

  defp answered(state, ref) do
    {{_inbox, caller}, inboxes} = Map.pop!(state.inboxes, ref)

    callers =
      case state.callers do
        %{^caller => {monitor, 1}} ->
          Process.demonitor(monitor, [:flush])
          Map.delete(state.callers, caller)

        %{^caller => {monitor, count}} ->
          Map.put(state.callers, caller, {monitor, count - 1})
      end

    %{state | inboxes: inboxes, callers: callers}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
