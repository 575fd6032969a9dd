defmodule Slither.Pipe.Sink do
  @moduledoc false
  # The process of a long-running pipe that calls its sinks, in order: a slow sink slows the pipe
  # down, but does not keep the pipe's server from answering. Its mailbox holds one delivery at
  # most, as the server waits for the answer before it sends the next; see `Slither.Pipe.Outbox`.

  use GenServer

  require Logger

  alias Slither.{Label, PipeError}
  alias Slither.Pipe.{Counts, Names, Setup}
  alias Slither.Run.Fates
  alias Slither.Telemetry.Events

  @spec start_link(Setup.t()) :: GenServer.on_start()
  def start_link(setup),
    do: GenServer.start_link(__MODULE__, setup, name: Names.via(:sink, setup.name))

  @doc """
  Has outputs delivered; `{Slither.Pipe.Sink, :delivered, count, failed}` comes when they are, with
  the errors of those whose sink failed, by their places.
  """
  @spec deliver(pid, [{Slither.Pipe.Definition.name(), Slither.Item.t()}]) :: :ok
  def deliver(sink, outputs), do: GenServer.cast(sink, {:deliver, self(), outputs})

  @impl true
  def init(setup) do
    Label.set({__MODULE__, setup.name})
    {:ok, setup}
  end

  @impl true
  def handle_cast({:deliver, server, outputs}, setup) do
    {count, failed} = each(outputs, setup, 0, %{})
    send(server, {__MODULE__, :delivered, count, failed})
    {:noreply, setup}
  end

  defp each([{output, item} | outputs], setup, place, failed) do
    answer = call(setup, output, item)
    Counts.reached(setup.counts, output, kind(output, item))

    case answer do
      :ok -> each(outputs, setup, place + 1, failed)
      {:error, error} -> each(outputs, setup, place + 1, Map.put(failed, place, error))
    end
  end

  defp each([], _setup, count, failed), do: {count, failed}

  # A sink may start processes and timers: drop what they send here, so that it does not pile up.
  @impl true
  def handle_info(_message, setup), do: {:noreply, setup}

  defp kind(output, item), do: if(Fates.of(output, item) == :ok, do: :out, else: :routed)

  defp call(%{sinks: sinks} = setup, output, item) do
    case sinks do
      %{^output => sink} -> _ = sink.(item)
      _none -> :ok
    end

    :ok
  catch
    kind, reason -> failed(setup, output, item, {kind, reason, __STACKTRACE__})
  end

  defp failed(setup, output, item, {kind, reason, stacktrace}) do
    Counts.add(setup.counts, :sink_errors, 1)

    message =
      "the sink of #{inspect(output)} failed with item #{inspect(item.id)}: " <>
        Exception.format(kind, reason, stacktrace)

    Logger.error("pipe #{inspect(setup.name)}: #{message}")

    Events.sink_failed(%{
      name: setup.name,
      pipe: setup.definition.name,
      output: output,
      item: item.id,
      reason: reason
    })

    {:error, error(setup, item, message, reason)}
  end

  defp error(setup, item, message, cause) do
    %PipeError{
      pipe: setup.definition.name,
      reason: :sink_failed,
      item: item.id,
      message: message,
      cause: cause
    }
  end
end
