defmodule Slither.Run.Node.Inline do
  @moduledoc false
  # A node that runs a handler on its entries at once, in the process of the run. It holds nothing.

  use Slither.Run.Node

  alias Slither.Run.{Account, Answer, Handler, Result}

  @enforce_keys [:handler]
  defstruct [:handler, time: 0]

  @type t :: %__MODULE__{handler: Handler.t(), time: integer}

  @impl true
  def instant?(_node), do: true

  @impl true
  def push(%__MODULE__{handler: handler} = node, entries) do
    started = System.monotonic_time()
    result = if handler.batch?, do: batch(handler, entries), else: each(handler, entries)
    time = System.monotonic_time() - started
    {Result.in_order(result), %{node | time: node.time + time}}
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
  def work(node), do: %{Account.no_work() | handler: node.time}

  @impl true
  def shutdown(node), do: Handler.shutdown(node.handler)
end
