defmodule Slither.Store.Heir do
  @moduledoc false
  # The process that keeps what must outlive a store's owner: the tables, which ETS hands to it
  # when an owner dies and which the next owner claims; the registered views; and the table of
  # processes (`Slither.Store.Processes`). It does next to nothing, so that it has little to fail
  # at. Only the owner calls it.

  use GenServer

  alias Slither.Store.{Directory, Processes, Reaper, Views}

  @spec start_link(Slither.Store.Config.t()) :: GenServer.on_start()
  def start_link(config),
    do: GenServer.start_link(__MODULE__, config, name: Directory.via(config.store, :heir))

  @doc "The heir's pid and the table of processes."
  @spec fetch(term) :: {pid, Processes.t()}
  def fetch(store),
    do: GenServer.call(Directory.via(store, :heir), {__MODULE__, :fetch}, :infinity)

  @doc "Gives the tables to the caller; `false` when one of them is gone."
  @spec claim(pid, [:ets.tid()], pos_integer) :: boolean
  def claim(heir, tids, generation),
    do: GenServer.call(heir, {__MODULE__, :claim, tids, generation}, :infinity)

  @doc """
  Publishes a directory. Replacing a persistent term takes a while and may take effect after the
  process that asked was killed. The heir does it, so that the next owner, which asks the heir
  first, finds it done.
  """
  @spec publish(pid, Directory.t()) :: :ok
  def publish(heir, directory),
    do: GenServer.call(heir, {__MODULE__, :publish, directory}, :infinity)

  @doc "Registers the views for as long as the store lives."
  @spec register_views(pid, [map]) :: :ok | {:error, Slither.Error.t()}
  def register_views(heir, views),
    do: GenServer.call(heir, {__MODULE__, :views, views}, :infinity)

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    # A killed heir leaves its directory behind, whose tables are gone.
    Directory.erase(config.store)
    {:ok, %{store: config.store, processes: Processes.new(), views: nil}}
  end

  @impl true
  def handle_call({__MODULE__, :fetch}, _from, state),
    do: {:reply, {self(), state.processes}, state}

  def handle_call({__MODULE__, :publish, directory}, _from, state),
    do: {:reply, Directory.publish(directory), state}

  def handle_call({__MODULE__, :claim, tids, generation}, {owner, _tag}, state) do
    held = Enum.all?(tids, &(:ets.info(&1, :owner) == self())) and give(tids, owner)

    # All other tables are of a reload that the old owner did not finish.
    others = :ets.all() -- [state.processes | tids]
    left = for tid <- others, :ets.info(tid, :owner) == self(), do: tid
    Reaper.start(left, state.processes, generation - 1, self())
    {:reply, held, state}
  end

  def handle_call({__MODULE__, :views, views}, _from, %{views: nil} = state) do
    case Views.register(views) do
      :ok -> {:reply, :ok, %{state | views: views}}
      error -> {:reply, error, state}
    end
  end

  def handle_call({__MODULE__, :views, _views}, _from, state), do: {:reply, :ok, state}

  @impl true
  # The registry has died, without which no caller finds this store: the heir ends, too.
  def handle_info({:EXIT, _from, reason}, state), do: {:stop, reason, state}
  def handle_info(_table_transfer, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: Directory.erase(state.store)

  defp give(tids, owner) do
    Enum.each(tids, &:ets.give_away(&1, owner, __MODULE__))
    true
  rescue
    # The owner died during its call. ETS gives its tables back to the heir, for the next owner.
    ArgumentError -> false
  end
end
