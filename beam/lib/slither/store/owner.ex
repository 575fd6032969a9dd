defmodule Slither.Store.Owner do
  @moduledoc false
  # Owns a store's tables and does its writes, one after another. It runs no code of the user's:
  # `load/1` runs in a builder, the functions of `update/4` in their callers.
  #
  # A write is planned, logged (durable tables), applied, kept for replay (while a reload runs),
  # and acknowledged. With `sync: :always` acknowledgements wait for one sync, which all writes
  # that were in the mailbox when it was asked for share.

  use GenServer

  require Logger

  alias Slither.{Error, Telemetry}
  alias Slither.Store.{Boot, Builder, Directory, Heir, Journal, Plan, Reaper, Table, Watchers}

  defstruct [:config, :heir, :directory, :journal, :watchers, :reload, :snapshot] ++
              [waiting: [], pending: [], logged: 0, dirty: false]

  @spec start_link(Slither.Store.Config.t()) :: GenServer.on_start()
  def start_link(config),
    do: GenServer.start_link(__MODULE__, config, name: Directory.via(config.store, :owner))

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    {heir, aux} = Heir.fetch(config.store)
    state = %__MODULE__{config: config, heir: heir, watchers: Watchers.restore(aux)}

    case Boot.run(config, heir, aux) do
      {:ok, directory, journal} ->
        state = %{state | directory: directory, journal: journal}
        schedule_sweep(state)
        {:ok, state}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def handle_call({__MODULE__, :write, name, kind, op}, from, state) do
    write(state, Map.fetch!(state.directory.tables, name), kind, op, from)
  rescue
    # Arguments were checked in the caller, so this is a bug of ours: its caller's problem only.
    error -> {:reply, {:error, crashed(state, name, error)}, state}
  end

  def handle_call({__MODULE__, :reload}, from, %{reload: nil} = state),
    do: {:noreply, begin_reload(state, [from])}

  # One that comes later wants to see what changed since: it gets a load of its own, shared.
  def handle_call({__MODULE__, :reload}, from, state),
    do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call({__MODULE__, :watch, name}, {pid, _tag}, state) do
    {ref, watchers} = Watchers.add(state.watchers, pid, name)
    {:reply, ref, %{state | watchers: watchers}}
  end

  def handle_call({__MODULE__, :unwatch, ref}, _from, state),
    do: {:reply, :ok, %{state | watchers: Watchers.remove(state.watchers, ref)}}

  @impl true
  def handle_info({__MODULE__, :flush}, state), do: {:noreply, flush(state)}

  def handle_info({__MODULE__, :sync}, state) do
    with {:error, reason} <- Journal.sync(state.journal) do
      Logger.error("store #{inspect(state.config.store)}: log not synced: #{inspect(reason)}")
    end

    {:noreply, %{state | dirty: false}}
  end

  def handle_info({__MODULE__, :sweep}, state) do
    schedule_sweep(state)
    {:noreply, Enum.reduce(Map.values(state.directory.tables), state, &sweep/2)}
  end

  def handle_info({__MODULE__, :sweep_on, name}, state),
    do: {:noreply, sweep(Map.fetch!(state.directory.tables, name), state)}

  def handle_info({Builder, ref, {:ok, tables}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(swap(state, tables))}

  def handle_info({Builder, ref, {:error, reason}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(refuse(state, reason))}

  # The builder was killed before it could answer.
  def handle_info({:EXIT, pid, reason}, %{reload: %{pid: pid}} = state),
    do: {:noreply, end_reload(refuse(state, {:exit, reason}))}

  def handle_info({:EXIT, pid, reason}, %{snapshot: pid} = state) do
    if reason != :normal, do: Logger.error("log not compacted: #{inspect(reason)}")
    {:noreply, %{state | snapshot: nil}}
  end

  def handle_info({:DOWN, ref, :process, _pid, _reason}, state),
    do: {:noreply, %{state | watchers: Watchers.remove(state.watchers, ref)}}

  def handle_info(_transfers_and_exits, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{journal: nil}), do: :ok

  def terminate(_reason, state) do
    state = state |> flush() |> stop_snapshot()
    Journal.close(state.journal)
  end

  # Writes

  defp write(state, table, kind, op, from) do
    case Plan.run(op, table) do
      {{:ok, reply}, []} -> {:reply, {:ok, reply, 0}, state}
      {{:ok, reply}, effects} -> commit(state, table, kind, effects, from, reply)
      {refusal, []} -> {:reply, refusal, state}
    end
  end

  defp commit(state, table, kind, effects, from, reply) do
    case log(state, table, effects) do
      {:ok, state} ->
        Enum.each(effects, &Table.apply_effect(table, &1))
        # Not before the write is applied: the snapshot must hold all of the closed segment.
        state = state |> remember(table, effects) |> compact()
        keys = Plan.keys(table, effects)
        answer = {from, {:ok, reply, length(keys)}, {table.name, kind, keys}}
        {:noreply, acknowledge(state, table, answer)}

      {:error, reason} ->
        {:reply, {:error, not_logged(state, table, reason)}, state}
    end
  end

  defp log(state, %{durable: false}, _effects), do: {:ok, state}

  defp log(state, table, effects) do
    with :ok <- Journal.append(state.journal, {table.name, effects}),
         do: {:ok, %{state | logged: state.logged + 1}}
  end

  # Only tables that the reload replaces need it; durable ones stay.
  defp remember(%{reload: %{} = reload} = state, %{durable: false, name: name}, effects),
    do: %{state | reload: %{reload | replay: [{name, effects} | reload.replay]}}

  defp remember(state, _table, _effects), do: state

  defp acknowledge(%{config: %{sync: :always}} = state, %{durable: true}, answer) do
    if state.pending == [], do: send(self(), {__MODULE__, :flush})
    %{state | pending: [answer | state.pending]}
  end

  defp acknowledge(state, table, answer) do
    answer(state, answer)
    if table.durable, do: sync_later(state), else: state
  end

  defp answer(state, {from, reply, change}) do
    Watchers.notify(state.watchers, state.config.store, state.directory.generation, change)
    if from, do: GenServer.reply(from, reply)
  end

  defp sync_later(%{dirty: true} = state), do: state

  defp sync_later(state) do
    # Expiry has no caller; with `:always` a sync of its own would serve nobody.
    interval = if state.config.sync == :always, do: 0, else: state.config.sync
    Process.send_after(self(), {__MODULE__, :sync}, interval)
    %{state | dirty: true}
  end

  defp flush(%{pending: []} = state), do: state

  defp flush(%{pending: pending} = state) do
    result = Journal.sync(state.journal)

    pending
    |> Enum.reverse()
    |> Enum.each(fn {from, _reply, {name, _kind, _keys}} = answer ->
      case result do
        :ok ->
          answer(state, answer)

        {:error, reason} ->
          from && GenServer.reply(from, {:error, not_synced(state, name, reason)})
      end
    end)

    %{state | pending: []}
  end

  # The snapshot reads while writes go on; see the journal for why that is right.
  defp compact(%{snapshot: nil, config: config, logged: logged} = state)
       when logged > config.compact_after do
    case Journal.rotate(state.journal) do
      {:ok, journal} ->
        tables = Boot.durable(Map.values(state.directory.tables))
        pid = spawn_link(fn -> :ok = Journal.snapshot(journal, tables) end)
        %{state | journal: journal, snapshot: pid, logged: 0}

      {:error, reason} ->
        Logger.error("store #{inspect(config.store)}: log not rotated: #{inspect(reason)}")
        %{state | logged: 0}
    end
  end

  defp compact(state), do: state

  # Gone before we are: whoever comes next reads the very files it renames and removes.
  defp stop_snapshot(%{snapshot: nil} = state), do: state

  defp stop_snapshot(%{snapshot: pid} = state) do
    Process.exit(pid, :kill)
    receive do: ({:EXIT, ^pid, _reason} -> %{state | snapshot: nil})
  end

  defp schedule_sweep(%{directory: %{tables: tables}, config: config}) do
    if Enum.any?(tables, fn {_name, table} -> table.ttl end),
      do: Process.send_after(self(), {__MODULE__, :sweep}, config.sweep_interval)
  end

  defp sweep(%{ttl: nil}, state), do: state

  defp sweep(table, state) do
    with [_ | _] = keys <- Table.some_expired(table),
         {{:ok, :ok}, [_ | _] = effects} <- Plan.run({:expire, keys}, table),
         {:noreply, state} <- commit(state, table, :expire, effects, nil, :ok) do
      metadata = %{store: state.config.store, table: table.name, kind: :expire}
      Telemetry.execute([:slither, :store, :write], %{count: length(keys)}, metadata)
      # Another piece after the writes that wait.
      send(self(), {__MODULE__, :sweep_on, table.name})
      state
    else
      _nothing -> state
    end
  end

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

    for {name, _table} <- new do
      Watchers.notify(state.watchers, old.store, generation, {name, :reload, :all})
    end

    reply = {:ok, generation, Boot.rows(Map.values(directory.tables))}
    Enum.each(reload.from, &GenServer.reply(&1, reply))
    %{state | directory: directory}
  end

  defp refuse(state, reason) do
    Enum.each(state.reload.from, &GenServer.reply(&1, {:error, reason}))
    state
  end

  defp end_reload(%{waiting: []} = state), do: %{state | reload: nil}
  defp end_reload(state), do: begin_reload(%{state | reload: nil, waiting: []}, state.waiting)

  defp crashed(state, name, error),
    do: error(state, name, :store_failed, "write failed: #{Exception.message(error)}")

  defp not_logged(state, table, reason),
    do: error(state, table.name, :not_logged, "write refused, log says #{inspect(reason)}")

  defp not_synced(state, name, reason) do
    message = "written in memory, but not known to be on disk: #{inspect(reason)}"
    error(state, name, :not_synced, message)
  end

  defp error(state, name, reason, message) do
    where = "store #{inspect(state.config.store)}, table #{inspect(name)}"
    details = %{store: state.config.store, table: name}
    %Error{reason: reason, where: where, message: message, details: details}
  end
end
