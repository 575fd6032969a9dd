defmodule Slither.Store.Owner do
  @moduledoc false
  # Owns a store's tables and does its writes, one after another. It runs no code of the user's:
  # `load/1` runs in a builder, the functions of `update/4` in their callers.
  #
  # A write is planned, queued for the log (durable tables), applied, kept for replay (while a
  # reload runs), and acknowledged, when the log has it. It waits for no disk itself.

  use GenServer

  alias Slither.Error
  alias Slither.Store.{Boot, Builder, Commits, Directory, Heir, Journal}
  alias Slither.Store.{Plan, Reaper, Table, Watchers}

  defstruct [:config, :heir, :directory, :journal, :watchers, :reload, :commits, waiting: []]

  @spec start_link(Slither.Store.Config.t()) :: GenServer.on_start()
  def start_link(config),
    do: GenServer.start_link(__MODULE__, config, name: Directory.via(config.store, :owner))

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    {heir, aux} = Heir.fetch(config.store)
    state = %__MODULE__{config: config, heir: heir, watchers: Watchers.restore(aux)}

    case Boot.run(config, heir, aux) do
      {:ok, directory, journal, snapshot?} ->
        # The owner before us may have died between a change and its telling.
        for name <- Map.keys(directory.tables), do: tell(state, directory, name, :recover)
        {:ok, Commits.begin(%{state | directory: directory, journal: journal}, snapshot?)}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def handle_call({__MODULE__, :write, name, kind, op} = message, from, state) do
    table = Map.fetch!(state.directory.tables, name)

    case Commits.admit(state, table, {from, message}) do
      :ok -> write(state, table, kind, op, from)
      {:wait, state} -> {:noreply, state}
      {:error, error} -> {:reply, {:error, error}, state}
    end
  rescue
    # Arguments were checked in the caller, so this is a bug of ours: its caller's problem only.
    error -> {:reply, {:error, crashed(state, name, error)}, state}
  end

  def handle_call({__MODULE__, :reload}, from, %{reload: nil} = state),
    do: {:noreply, begin_reload(state, [from])}

  def handle_call({__MODULE__, :reload}, {pid, _tag}, %{reload: %{pid: pid}} = state),
    do: {:reply, {:error, reload_in_load(state)}, state}

  # One that comes later wants to see what changed since: it gets a load of its own, shared.
  def handle_call({__MODULE__, :reload}, from, state),
    do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call({__MODULE__, :watch, name, ref}, {pid, _tag}, state),
    do: {:reply, :ok, %{state | watchers: Watchers.add(state.watchers, ref, pid, name)}}

  def handle_call({__MODULE__, :unwatch, ref}, _from, state),
    do: {:reply, :ok, %{state | watchers: Watchers.remove(state.watchers, ref)}}

  @impl true
  def handle_info({Commits, what}, state), do: {:noreply, Commits.handle(what, state)}

  def handle_info({Journal.Writer, ref, answer}, state),
    do: {:noreply, Commits.answered(state, ref, answer)}

  def handle_info({Builder, ref, {:ok, tables}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(swap(state, tables))}

  def handle_info({Builder, ref, {:error, reason}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(refuse(state, reason))}

  # The builder was killed before it could answer.
  def handle_info({:EXIT, pid, reason}, %{reload: %{pid: pid}} = state),
    do: {:noreply, end_reload(refuse(state, {:exit, reason}))}

  def handle_info({:EXIT, pid, reason}, %{commits: %{snapshot: pid}} = state),
    do: {:noreply, Commits.snapshot_ended(state, reason)}

  def handle_info({:EXIT, pid, reason}, %{journal: %{writer: pid}} = state),
    do: {:noreply, Commits.writer_ended(state, reason)}

  def handle_info({:DOWN, ref, :process, _pid, _reason}, state),
    do: {:noreply, %{state | watchers: Watchers.remove(state.watchers, ref)}}

  def handle_info(_transfers_and_exits, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{journal: nil}), do: :ok

  def terminate(_reason, state), do: Commits.stop(state)

  # Writes

  defp write(state, table, kind, op, from) do
    case Plan.run(op, table) do
      {{:ok, reply}, []} -> {:reply, {:ok, reply, 0}, state}
      {{:ok, reply}, effects} -> commit(state, table, kind, effects, from, reply)
      {refusal, []} -> {:reply, refusal, state}
    end
  end

  defp commit(state, table, kind, effects, from, reply) do
    Enum.each(effects, &Table.apply_effect(table, &1))
    keys = Plan.keys(table, effects)
    answer = {from, {:ok, reply, length(keys)}, {table.name, kind, keys}}
    {:noreply, state |> remember(table, kind, effects) |> Commits.commit(table, effects, answer)}
  end

  # What is past its time in the old tables says nothing of what was loaded.
  defp remember(state, _table, :expire, _effects), do: state

  # Only tables that the reload replaces need it; durable ones stay.
  defp remember(%{reload: %{} = reload} = state, %{durable: false, name: name}, _kind, effects),
    do: %{state | reload: %{reload | replay: [{name, effects} | reload.replay]}}

  defp remember(state, _table, _kind, _effects), do: state

  # Reloads

  defp begin_reload(%{config: config} = state, from) do
    kept = for table <- Boot.durable(config.tables), do: table.name
    {pid, ref} = Builder.start(config.module, config.tables, kept)
    %{state | reload: %{pid: pid, ref: ref, from: from, replay: []}}
  end

  # The writes that came since the load began are put over it, in order, and only then does
  # anybody see it.
  defp swap(%{directory: old, reload: reload} = state, tables) do
    new = Map.new(tables, &{&1.name, &1})

    for {name, effects} <- Enum.reverse(reload.replay), effect <- effects do
      Table.apply_effect(Map.fetch!(new, name), effect)
    end

    Boot.bequeath(tables, state.heir)
    generation = old.generation + 1
    directory = %{old | generation: generation, tables: Map.merge(old.tables, new)}
    Heir.publish(state.heir, directory)

    retired = for {name, _table} <- new, tid <- Table.tids(old.tables[name]), do: tid
    Reaper.start(retired, old.aux, old.generation, state.heir)

    for {name, _table} <- new, do: tell(state, directory, name, :reload)

    reply = {:ok, generation, Boot.rows(Map.values(directory.tables))}
    Enum.each(reload.from, &GenServer.reply(&1, reply))
    %{state | directory: directory}
  end

  defp tell(state, %{store: store, generation: generation}, name, kind),
    do: Watchers.notify(state.watchers, store, generation, {name, kind, :all})

  defp refuse(state, reason) do
    Enum.each(state.reload.from, &GenServer.reply(&1, {:error, reason}))
    state
  end

  defp end_reload(%{waiting: []} = state), do: %{state | reload: nil}
  defp end_reload(state), do: begin_reload(%{state | reload: nil, waiting: []}, state.waiting)

  defp reload_in_load(state) do
    %Error{
      reason: :reload_in_load,
      where: where(state),
      message: "load/1 asked for a reload, which would wait for it"
    }
  end

  defp crashed(state, name, error) do
    %Error{
      reason: :store_failed,
      where: "#{where(state)}, table #{inspect(name)}",
      message: "write failed: #{Exception.message(error)}",
      details: %{store: state.config.store, table: name}
    }
  end

  defp where(state), do: "store #{inspect(state.config.store)}"
end
