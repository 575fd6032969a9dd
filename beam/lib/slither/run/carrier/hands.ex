defmodule Slither.Run.Carrier.Hands do
  @moduledoc false
  # Runs batches in a few processes on BEAM, one after the other in each: the handlers of BEAM stages
  # that run beside the engine.

  use Slither.Run.Carrier

  alias Slither.Error
  alias Slither.Python.{Inbox, Outcome}
  alias Slither.Run.{Batch, Mailbox, Minder}

  @enforce_keys [:fun, :inbox, :minder]
  defstruct [:fun, :inbox, :minder, hands: %{}, busy: %{}, idle: []]

  @typedoc """
  `hands` are the processes by their monitors, `busy` those that run a batch, by its reference, and
  `idle` the others. `minder` ends them with the owner.
  """
  @type t :: %__MODULE__{
          fun: ([Batch.entry(), ...] -> Outcome.t()),
          inbox: Inbox.t(),
          minder: pid,
          hands: %{optional(reference) => pid},
          busy: %{optional(reference) => pid},
          idle: [pid]
        }

  @impl true
  def open(%{mode: {:local, fun}, capacity: capacity}, inbox) do
    carrier = %__MODULE__{fun: fun, inbox: inbox, minder: Minder.start()}
    Enum.reduce(1..capacity, carrier, fn _, carrier -> hire(carrier) end)
  end

  @impl true
  def place(%__MODULE__{idle: [hand | idle]} = carrier), do: {:ok, hand, %{carrier | idle: idle}}
  def place(carrier), do: {:none, carrier}

  @impl true
  def run(carrier, hand, batch) do
    ref = make_ref()
    send(hand, {__MODULE__, ref, batch.entries})
    {ref, %{carrier | busy: Map.put(carrier.busy, ref, hand)}}
  end

  @impl true
  def done(carrier, ref, _slot) do
    {hand, busy} = Map.pop!(carrier.busy, ref)
    %{carrier | busy: busy, idle: [hand | carrier.idle]}
  end

  @impl true
  def message(carrier, {:down, monitor, reason}) do
    {hand, hands} = Map.pop!(carrier.hands, monitor)
    {ref, _hand} = Enum.find(carrier.busy, {nil, nil}, fn {_ref, pid} -> pid == hand end)
    idle = List.delete(carrier.idle, hand)
    carrier = %{carrier | hands: hands, busy: Map.delete(carrier.busy, ref), idle: idle}

    error = %Error{
      reason: :executor_failed,
      message: "the handler's process ended: #{Exception.format_exit(reason)}"
    }

    {:lost, ref, error, hire(carrier)}
  end

  def message(carrier, _late), do: {:ok, carrier}

  @impl true
  def close(carrier, _out) do
    Minder.stop(carrier.minder)

    for {monitor, hand} <- carrier.hands do
      Process.demonitor(monitor, [:flush])
      Process.exit(hand, :kill)
    end

    %{carrier | hands: %{}, busy: %{}, idle: []}
  end

  defp hire(%__MODULE__{fun: fun, inbox: inbox, minder: minder} = carrier) do
    owner = self()

    {hand, monitor} =
      Mailbox.spawn_monitor(inbox, fn ->
        Minder.tie(minder)
        Process.put(:"$callers", [owner])
        loop(fun, inbox)
      end)

    %{carrier | hands: Map.put(carrier.hands, monitor, hand), idle: [hand | carrier.idle]}
  end

  defp loop(fun, inbox) do
    receive do
      {__MODULE__, ref, entries} ->
        Inbox.done(inbox, ref, fun.(entries))
        loop(fun, inbox)
    end
  end
end
