defmodule Slither.Store.Restarter do
  @moduledoc false
  # A process between a configured store and the application's supervisor, so that a store which
  # can't go on costs no other: one that ends is started again after a pause, which doubles while
  # that fails. A store that fails while the application starts fails its start: what is wrong with
  # a configuration is told at once. `Slither.Store.Supervisor` starts one for each store.

  use GenServer

  require Logger

  alias Slither.Store.Server

  @first_pause 100
  @longest_pause 30_000
  # A store that was up for so long has recovered.
  @recovered 60_000

  @spec child_spec(module | {module, keyword}) :: Supervisor.child_spec()
  def child_spec(store) do
    %{
      id: {__MODULE__, Server.child_spec(store).id},
      type: :supervisor,
      start: {__MODULE__, :start_link, [store]}
    }
  end

  @spec start_link(module | {module, keyword}) :: GenServer.on_start()
  def start_link(store), do: GenServer.start_link(__MODULE__, store)

  @impl true
  def init(store) do
    Process.flag(:trap_exit, true)

    state = %{store: store, pid: nil, since: now(), pause: @first_pause}

    case Server.start_link(store) do
      {:ok, pid} -> {:ok, %{state | pid: pid}}
      {:error, reason} -> if running?(), do: {:ok, again(state, reason)}, else: {:stop, reason}
    end
  end

  # Once the application runs, this process is one that was started again, in the place of one that
  # may have been trying already.
  defp running?, do: List.keymember?(Application.started_applications(), :slither, 0)

  @impl true
  def handle_info({:EXIT, pid, reason}, %{pid: pid} = state), do: {:noreply, again(state, reason)}

  def handle_info(:start, state) do
    case Server.start_link(state.store) do
      {:ok, pid} -> {:noreply, %{state | pid: pid, since: now()}}
      {:error, reason} -> {:noreply, again(state, reason)}
    end
  end

  # A store that failed to start is linked, too, and its exit arrives here.
  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{pid: nil}), do: :ok

  def terminate(_reason, %{pid: pid}) do
    Process.exit(pid, :shutdown)
    receive do: ({:EXIT, ^pid, _reason} -> :ok)
  end

  defp again(state, reason) do
    up = if state.pid, do: now() - state.since, else: 0
    pause = if up >= @recovered, do: @first_pause, else: state.pause

    Logger.error(
      "#{inspect(name(state.store))}: the store ended and starts again in #{pause} ms: " <>
        describe(reason)
    )

    Process.send_after(self(), :start, pause)
    %{state | pid: nil, pause: min(pause * 2, @longest_pause)}
  end

  defp name(store) do
    {Server, name} = Server.child_spec(store).id
    name
  end

  defp describe(reason) when is_exception(reason), do: Exception.message(reason)
  defp describe(reason), do: Exception.format_exit(reason)

  defp now, do: System.monotonic_time(:millisecond)
end
