defmodule Slither.Run.Node.Inline do
  @moduledoc false
  # A node that runs a handler on its entries at once, in the process of the run. It holds nothing.

  use Slither.Run.Node

  alias Slither.Quantiles
  alias Slither.Run.{Account, Answer, Handler, Result}
  alias Slither.Telemetry.Events

  @enforce_keys [:handler]
  defstruct [:handler, :own, time: 0, calls: Quantiles.new()]

  @typedoc "`calls` counts what items took, one by one where they came together: then each an equal part."
  @type t :: %__MODULE__{
          handler: Handler.t(),
          time: integer,
          calls: Quantiles.t(),
          own: tuple | nil
        }

  @impl true
  def instant?(_node), do: true

  @impl true
  def push(%__MODULE__{handler: handler} = node, entries) do
    started = System.monotonic_time()
    result = if handler.batch?, do: batch(handler, entries), else: each(handler, entries)
    time = System.monotonic_time() - started
    class = Quantiles.index(div(time, length(entries)))
    own = node.own || Events.own_handler(Map.take(handler.context, [:pipe, :stage]))
    Events.handled(own, time, class)
    calls = Quantiles.count(node.calls, class)
    {Result.in_order(result), %{node | own: own, time: node.time + time, calls: calls}}
  end

  # What comes after an item that halts the run is not handled.
  defp each(handler, entries) do
    Enum.reduce_while(entries, Result.new(entries), fn {_seq, item} = entry, result ->
      result |> Answer.settle(handler, entry, Handler.call(handler, item)) |> unless_halted()
    end)
  end

  defp batch(handler, entries) do
    answers =
      with {:error, _} = failed <- Handler.call_batch(handler, Enum.map(entries, &elem(&1, 1))),
           do: List.duplicate(failed, length(entries))

    entries
    |> Enum.zip(answers)
    |> Enum.reduce_while(Result.new(entries), fn {entry, answer}, result ->
      result |> Answer.settle(handler, entry, answer) |> unless_halted()
    end)
  end

  defp unless_halted(%Result{halt: nil} = result), do: {:cont, result}
  defp unless_halted(result), do: {:halt, result}

  @impl true
  def work(node), do: %{Account.no_work() | handler: node.time, calls: node.calls}

  @impl true
  def shutdown(node), do: Handler.shutdown(node.handler)
end
