defmodule Slither.Store.Sweeper do
  @moduledoc false
  # The process that removes expired rows, some at a time and by ordinary writes, so that neither
  # its search nor the handlers of its event hold up the store. It also removes the pins of
  # readers that were killed.

  use GenServer

  alias Slither.Store.{Config, Directory, Reads, Writes}

  @spec start_link(Config.t()) :: GenServer.on_start()
  def start_link(config),
    do: GenServer.start_link(__MODULE__, config, name: Directory.via(config.store, :sweeper))

  @doc "Sweeps now, and returns when that is done."
  @spec sweep(term) :: :ok
  def sweep(store),
    do: GenServer.call(Directory.via(store, :sweeper), {__MODULE__, :sweep}, :infinity)

  @impl true
  def init(config), do: {:ok, schedule(config)}

  @impl true
  def handle_call({__MODULE__, :sweep}, _from, config), do: {:reply, all(config), config}

  @impl true
  def handle_info({__MODULE__, :sweep}, config) do
    all(config)
    {:noreply, schedule(config)}
  end

  def handle_info(_late, config), do: {:noreply, config}

  defp schedule(config) do
    Process.send_after(self(), {__MODULE__, :sweep}, config.sweep_interval)
    config
  end

  defp all(config) do
    Reads.forget_dead(config.store)
    for %{ttl: ttl, name: name} <- config.tables, ttl, do: table(config.store, name)
    :ok
  rescue
    # The store is restarting; the next sweep finds it again.
    _error in [Slither.Error] -> :ok
  end

  defp table(store, name) do
    case Reads.some_expired(store, name) do
      [] ->
        :ok

      keys ->
        :ok = Writes.expire(store, name, keys)
        table(store, name)
    end
  end
end
