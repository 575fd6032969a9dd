defmodule Slither.Pipe.Sink do
  @moduledoc false
  # The process of a long-running pipe that calls its sinks, in order: a slow sink slows the pipe
  # down, but does not keep the pipe's server from answering. Its mailbox holds one delivery at
  # most, as the server waits for the answer before it sends the next; see `Slither.Pipe.Outbox`.

  use GenServer

  require Logger

  alias Slither.Pipe.{Counts, Names}
  alias Slither.Telemetry.Events

  @spec start_link(map) :: GenServer.on_start()
  def start_link(settings),
    do: GenServer.start_link(__MODULE__, settings, name: Names.via(:sink, settings.name))

  @doc "Has outputs delivered; `{Slither.Pipe.Sink, :delivered, count}` comes when they are."
  @spec deliver(pid, [{Slither.Pipe.Definition.name(), Slither.Item.t()}]) :: :ok
  def deliver(sink, outputs), do: GenServer.cast(sink, {:deliver, self(), outputs})

  @impl true
  def init(settings), do: {:ok, settings}

  @impl true
  def handle_cast({:deliver, server, outputs}, settings) do
    for {output, item} <- outputs do
      call(settings, output, item)
      Counts.reached(settings.counts, output, kind(output, item))
    end

    send(server, {__MODULE__, :delivered, length(outputs)})
    {:noreply, settings}
  end

  # A sink may start processes and timers: drop what they send here, so that it does not pile up.
  @impl true
  def handle_info(_message, settings), do: {:noreply, settings}

  # An error policy that routes an item leaves the error in its meta and the output in its route.
  defp kind(output, %{route: output, meta: %{error: _error}}), do: :routed
  defp kind(_output, _item), do: :out

  defp call(%{sinks: sinks} = settings, output, item) do
    case sinks do
      %{^output => sink} -> sink.(item)
      _none -> :ok
    end
  catch
    kind, reason -> failed(settings, output, item, {kind, reason, __STACKTRACE__})
  end

  defp failed(settings, output, item, {kind, reason, stacktrace}) do
    Counts.add(settings.counts, :sink_errors, 1)

    Logger.error(
      "pipe #{inspect(settings.name)}: the sink of #{inspect(output)} failed with item " <>
        "#{inspect(item.id)}: #{Exception.format(kind, reason, stacktrace)}"
    )

    Events.sink_failed(%{
      name: settings.name,
      pipe: settings.definition.name,
      output: output,
      item: item.id,
      reason: reason
    })
  end
end
