defmodule Slither.Pipe.Sink do
  @moduledoc false
  # The process of a long-running pipe that calls its sinks, in order: a slow sink slows the pipe
  # down, but does not keep the pipe's server from answering. Its mailbox holds one delivery at
  # most, as the server waits for the answer before it sends the next; see `Slither.Pipe.Outbox`.

  use GenServer

  require Logger

  alias Slither.Pipe.{Counts, Names, Setup}
  alias Slither.Telemetry.Events

  @spec start_link(Setup.t()) :: GenServer.on_start()
  def start_link(setup),
    do: GenServer.start_link(__MODULE__, setup, name: Names.via(:sink, setup.name))

  @doc "Has outputs delivered; `{Slither.Pipe.Sink, :delivered, count}` comes when they are."
  @spec deliver(pid, [{Slither.Pipe.Definition.name(), Slither.Item.t()}]) :: :ok
  def deliver(sink, outputs), do: GenServer.cast(sink, {:deliver, self(), outputs})

  @impl true
  def init(setup), do: {:ok, setup}

  @impl true
  def handle_cast({:deliver, server, outputs}, setup) do
    for {output, item} <- outputs do
      call(setup, output, item)
      Counts.reached(setup.counts, output, kind(output, item))
    end

    send(server, {__MODULE__, :delivered, length(outputs)})
    {:noreply, setup}
  end

  # A sink may start processes and timers: drop what they send here, so that it does not pile up.
  @impl true
  def handle_info(_message, setup), do: {:noreply, setup}

  # An item that an error policy has routed has the
  # error in its meta, and the output in its route.
  defp kind(output, %{route: output, meta: %{error: _error}}), do: :routed
  defp kind(_output, _item), do: :out

  defp call(%{sinks: sinks} = setup, output, item) do
    case sinks do
      %{^output => sink} -> sink.(item)
      _none -> :ok
    end
  catch
    kind, reason -> failed(setup, output, item, {kind, reason, __STACKTRACE__})
  end

  defp failed(setup, output, item, {kind, reason, stacktrace}) do
    Counts.add(setup.counts, :sink_errors, 1)

    Logger.error(
      "pipe #{inspect(setup.name)}: the sink of #{inspect(output)} failed with item " <>
        "#{inspect(item.id)}: #{Exception.format(kind, reason, stacktrace)}"
    )

    Events.sink_failed(%{
      name: setup.name,
      pipe: setup.definition.name,
      output: output,
      item: item.id,
      reason: reason
    })
  end
end
