defmodule Slither.Run.Carrier.Local do
  @moduledoc false
  # Runs batches with a function, in processes on BEAM. A stage that runs beside the engine has
  # hands: processes that take one batch after the other. An executor of the user's own gets a
  # process for each batch, which is killed when its time is over.

  @behaviour Slither.Run.Carrier

  alias Slither.Error
  alias Slither.Python.{Inbox, Limit, Outcome}
  alias Slither.Run.{Batch, Mailbox, Minder}

  @enforce_keys [:fun, :inbox, :minder, :capacity, :timeout, :item_timeout, :keep?]
  defstruct @enforce_keys ++ [idle: [], busy: %{}]

  @typedoc """
  `idle` hands have no batch; `busy` ones are known by the reference of their batch, and have the
  timer, which is `:over` once their time is. With `keep?` hands go on to another batch. `minder` ends
  them with the owner.
  """
  @type t :: %__MODULE__{
          fun: ([Batch.entry(), ...] -> Outcome.t()),
          inbox: Inbox.t(),
          minder: pid,
          capacity: pos_integer,
          timeout: timeout | nil,
          item_timeout: timeout,
          keep?: boolean,
          idle: [hand],
          busy: %{optional(reference) => {hand, {reference | :over, Limit.facts()} | nil}}
        }
  @type hand :: {pid, monitor :: reference}

  @impl true
  def open(%{mode: {:local, fun}} = plan, inbox) do
    %__MODULE__{
      fun: fun,
      inbox: inbox,
      minder: Minder.start(),
      capacity: plan.capacity,
      timeout: plan.timeout,
      item_timeout: plan.item_timeout,
      keep?: plan.executor == nil
    }
  end

  @impl true
  def place(%__MODULE__{idle: [hand | idle]} = local), do: {:ok, hand, %{local | idle: idle}}

  def place(%__MODULE__{capacity: capacity, busy: busy} = local) when map_size(busy) < capacity,
    do: {:ok, :new, local}

  def place(local), do: {:none, local}

  # Places are the run's own processes, which it need not ask for or give back.
  @impl true
  def want(local, _todo, _out), do: local

  @impl true
  def workers(local), do: local.capacity

  @impl true
  def serving(local), do: local.capacity

  @impl true
  def rest(local), do: local

  @impl true
  def leave_queue(local), do: local

  @impl true
  def run(local, place, batch) do
    ref = make_ref()
    hand = hand(place, local, ref, batch.entries)
    {ref, %{local | busy: Map.put(local.busy, ref, {hand, timer(local, batch)})}}
  end

  # A timer and what is known of it once it has fired. Nobody sees which item an executor is at.
  defp timer(local, %Batch{entries: entries}) do
    with {time, facts} <- Limit.whole(local.timeout, local.item_timeout, length(entries)),
         do: {Mailbox.start_timer(local.inbox, time), facts}
  end

  @impl true
  def done(local, ref, _slot) do
    {{hand, timer}, busy} = Map.pop!(local.busy, ref)
    cancel(timer)

    if local.keep? do
      %{local | busy: busy, idle: [hand | local.idle]}
    else
      # A flush would search the whole mailbox of the caller for each batch. An end that was told
      # already means nothing to `message/2`, and `Mailbox.close/1` takes what is left.
      {_pid, monitor} = hand
      Process.demonitor(monitor)
      %{local | busy: busy}
    end
  end

  @impl true
  def message(local, {:timer, timer}) do
    case Enum.find(local.busy, &match?({_ref, {_hand, {^timer, _facts}}}, &1)) do
      {ref, {{pid, _monitor} = hand, {_timer, facts}}} ->
        Process.exit(pid, :kill)
        {:ok, %{local | busy: Map.put(local.busy, ref, {hand, {:over, facts}})}}

      nil ->
        {:ok, local}
    end
  end

  def message(local, {:down, monitor, reason}) do
    case Enum.find(local.busy, &match?({_ref, {{_pid, ^monitor}, _timer}}, &1)) do
      {ref, {_hand, timer}} ->
        cancel(timer)
        {:lost, ref, ended(local, timer, reason), %{local | busy: Map.delete(local.busy, ref)}}

      nil ->
        {:ok, %{local | idle: List.keydelete(local.idle, monitor, 1)}}
    end
  end

  def message(local, _late), do: {:ok, local}

  @impl true
  def taken(_local, _ref, _count), do: :ok

  @impl true
  def kill(_local, _ref), do: :ok

  @impl true
  def end_run(_local), do: :ok

  @impl true
  def close(local, _out) do
    Minder.stop(local.minder)
    Enum.each(local.idle, &forget/1)

    for {_ref, {hand, timer}} <- local.busy do
      cancel(timer)
      forget(hand)
    end

    %{local | idle: [], busy: %{}}
  end

  defp cancel({timer, _facts}) when is_reference(timer), do: :erlang.cancel_timer(timer)
  defp cancel(_none), do: false

  defp forget({_pid, monitor}), do: Process.demonitor(monitor, [:flush])

  defp hand(:new, local, ref, entries) do
    %__MODULE__{fun: fun, inbox: inbox, minder: minder, keep?: keep?} = local
    owner = self()

    Mailbox.spawn_monitor(inbox, fn ->
      Minder.tie(minder)
      Process.put(:"$callers", [owner])
      Inbox.tell(inbox, {:done, ref, fun.(entries)})
      if keep?, do: loop(fun, inbox)
    end)
  end

  defp hand({pid, _monitor} = hand, _local, ref, entries) do
    send(pid, {__MODULE__, ref, entries})
    hand
  end

  defp loop(fun, inbox) do
    receive do
      {__MODULE__, ref, entries} ->
        Inbox.tell(inbox, {:done, ref, fun.(entries)})
        loop(fun, inbox)
    end
  end

  defp ended(_local, {:over, facts}, :killed),
    do: Limit.overdue(facts, "the executor", "it was stopped")

  defp ended(%__MODULE__{keep?: keep?}, _timer, reason) do
    whose = if keep?, do: "handler", else: "executor"
    why = Exception.format_exit(reason)
    %Error{reason: :executor_failed, message: "the #{whose}'s process ended: #{why}"}
  end
end
