defmodule Slither.Store.Owner do
  @moduledoc false
  # Owns a store's tables and does its writes, one after another. It runs no code of the user's:
  # `load/1` runs in a builder, the functions of `update/4` in their callers.
  #
  # A write is planned, logged (durable tables), applied, kept for replay (while a reload runs),
  # and acknowledged. With `sync: :always` acknowledgements wait for one sync, which all writes
  # that were in the mailbox when it was asked for share. After a failure of the log, durable
  # writes are refused until a new segment can be opened.

  use GenServer

  require Logger

  alias Slither.Error
  alias Slither.Store.{Boot, Builder, Directory, Heir, Journal, Plan, Reaper, Table, Watchers}

  # How long until a log that failed is tried again, without a write that asks for it.
  @retry 1_000

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
        # The owner before us may have died between a change and its telling.
        for name <- Map.keys(directory.tables), do: tell(state, directory, name, :recover)
        {:ok, %{state | directory: directory, journal: journal}}

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
  def handle_info({__MODULE__, :flush}, state), do: {:noreply, flush(state)}

  def handle_info({__MODULE__, :sync}, state) do
    state = %{state | dirty: false}

    case Journal.sync(state.journal) do
      :ok -> {:noreply, state}
      {:error, reason} -> {:noreply, fail(state, reason)}
    end
  end

  def handle_info({__MODULE__, :renew}, state) do
    case renew(state) do
      {:ok, state} -> {:noreply, state}
      {:error, _reason} -> {:noreply, retry(state, :renew)}
    end
  end

  def handle_info({__MODULE__, :snapshot}, %{journal: %{failed: nil}, snapshot: nil} = state),
    do: {:noreply, begin_snapshot(state)}

  def handle_info({__MODULE__, :snapshot}, state), do: {:noreply, state}

  def handle_info({Builder, ref, {:ok, tables}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(swap(state, tables))}

  def handle_info({Builder, ref, {:error, reason}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(refuse(state, reason))}

  # The builder was killed before it could answer.
  def handle_info({:EXIT, pid, reason}, %{reload: %{pid: pid}} = state),
    do: {:noreply, end_reload(refuse(state, {:exit, reason}))}

  def handle_info({:EXIT, pid, reason}, %{snapshot: pid} = state) do
    state = %{state | snapshot: nil}

    if reason == :normal do
      {:noreply, state}
    else
      Logger.error("#{where(state)}: log not compacted: #{inspect(reason)}")
      {:noreply, retry(state, :snapshot)}
    end
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
        state = state |> remember(table, kind, effects) |> compact()
        keys = Plan.keys(table, effects)
        answer = {from, {:ok, reply, length(keys)}, {table.name, kind, keys}}
        {:noreply, acknowledge(state, table, answer)}

      {:error, reason, state} ->
        {:reply, {:error, not_logged(state, table, reason)}, state}
    end
  end

  defp log(state, %{durable: false}, _effects), do: {:ok, state}

  defp log(state, table, effects) do
    with {:ok, state} <- renew(state) do
      case Journal.append(state.journal, {table.name, effects}) do
        :ok -> {:ok, %{state | logged: state.logged + 1}}
        {:error, reason} -> {:error, reason, fail(state, reason)}
      end
    else
      {:error, reason} -> {:error, reason, state}
    end
  end

  # What is past its time in the old tables says nothing of what was loaded.
  defp remember(state, _table, :expire, _effects), do: state

  # Only tables that the reload replaces need it; durable ones stay.
  defp remember(%{reload: %{} = reload} = state, %{durable: false, name: name}, _kind, effects),
    do: %{state | reload: %{reload | replay: [{name, effects} | reload.replay]}}

  defp remember(state, _table, _kind, _effects), do: state

  defp acknowledge(%{journal: %{failed: reason}} = state, %{durable: true}, answer)
       when reason != nil do
    answer_unsynced(state, answer, reason)
    state
  end

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
    GenServer.reply(from, reply)
  end

  defp answer_unsynced(state, {from, _reply, {name, _kind, _keys} = change}, reason),
    do: answer(state, {from, {:error, not_synced(state, name, reason)}, change})

  defp sync_later(%{dirty: true} = state), do: state

  defp sync_later(state) do
    Process.send_after(self(), {__MODULE__, :sync}, state.config.sync)
    %{state | dirty: true}
  end

  defp flush(%{pending: []} = state), do: state

  defp flush(%{pending: pending} = state) do
    case Journal.sync(state.journal) do
      :ok ->
        pending |> Enum.reverse() |> Enum.each(&answer(state, &1))
        %{state | pending: []}

      {:error, reason} ->
        fail(state, reason)
    end
  end

  # Who waits for a sync learns that there is none.
  defp fail(%{journal: %{failed: nil}} = state, reason) do
    Logger.error("#{where(state)}: log failed: #{inspect(reason)}")
    state.pending |> Enum.reverse() |> Enum.each(&answer_unsynced(state, &1, reason))
    retry(%{state | journal: Journal.fail(state.journal, reason), pending: []}, :renew)
  end

  defp fail(state, _reason), do: state

  defp renew(%{journal: %{failed: nil}} = state), do: {:ok, state}

  defp renew(state) do
    with {:ok, journal} <- Journal.renew(state.journal),
         do: {:ok, begin_snapshot(stop_snapshot(%{state | journal: journal}))}
  end

  defp retry(state, what) do
    Process.send_after(self(), {__MODULE__, what}, @retry)
    state
  end

  defp compact(%{snapshot: nil, config: config, logged: logged} = state)
       when logged > config.compact_after do
    case Journal.rotate(state.journal) do
      {:ok, journal} -> begin_snapshot(%{state | journal: journal})
      {:error, reason} -> fail(state, reason)
    end
  end

  defp compact(state), do: state

  # It reads while writes go on; see the journal for why that is right.
  defp begin_snapshot(%{journal: journal} = state) do
    tables = Boot.durable(Map.values(state.directory.tables))

    pid =
      spawn_link(fn ->
        with {:error, reason} <- Journal.snapshot(journal, tables), do: exit(reason)
      end)

    %{state | snapshot: pid, logged: 0}
  end

  # Gone before we are: whoever comes next reads the very files it renames and removes.
  defp stop_snapshot(%{snapshot: nil} = state), do: state

  defp stop_snapshot(%{snapshot: pid} = state) do
    Process.exit(pid, :kill)
    receive do: ({:EXIT, ^pid, _reason} -> %{state | snapshot: nil})
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

  defp crashed(state, name, error),
    do: error(state, name, :store_failed, "write failed: #{Exception.message(error)}")

  defp not_logged(state, table, reason),
    do: error(state, table.name, :not_logged, "write refused, log says #{inspect(reason)}")

  defp not_synced(state, name, reason) do
    message = "written in memory, but not known to be on disk: #{inspect(reason)}"
    error(state, name, :not_synced, message)
  end

  defp error(state, name, reason, message) do
    where = "#{where(state)}, table #{inspect(name)}"
    details = %{store: state.config.store, table: name}
    %Error{reason: reason, where: where, message: message, details: details}
  end

  defp where(state), do: "store #{inspect(state.config.store)}"
end
