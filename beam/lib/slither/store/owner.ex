defmodule Slither.Store.Owner do
  @moduledoc false
  # The process that owns a store's tables and does its writes, one after another, for
  # `Slither.Store.Writes` and `Slither.Store.Server`. It runs no code of the user's: `load/1` runs
  # in a builder, the functions of `update/4` in their callers.
  #
  # A write is worked out (`Operation`), applied to its table, kept for replay while a reload runs,
  # and acknowledged: at once, or when the log has it (`Commits`), where the table is durable. The
  # owner waits for no disk.

  use GenServer

  alias Slither.Label
  alias Slither.Store.{Boot, Builder, Commits, Config, Directory, Errors, Heir, Journal}
  alias Slither.Store.{Operation, Reaper, Reload, Table, Watchers}

  defstruct [:config, :heir, :directory, :watchers, :commits, :reload, waiting: []]

  @typedoc """
  `commits` is nil in a store without durable tables; `waiting` are those who asked for a reload
  while one went on.
  """
  @type t :: %__MODULE__{
          config: Config.t(),
          heir: pid,
          directory: Directory.t(),
          watchers: Watchers.t(),
          commits: Commits.t() | nil,
          reload: Reload.t() | nil,
          waiting: [GenServer.from()]
        }

  @spec start_link(Config.t()) :: GenServer.on_start()
  def start_link(config),
    do: GenServer.start_link(__MODULE__, config, name: Directory.via(config.store, :owner))

  @doc "Does a write: the reply and how many keys it changed, or why not."
  @spec write(GenServer.server(), atom, atom, Operation.op()) ::
          {:ok, term, non_neg_integer} | :changed | {:error, Slither.Error.t()}
  def write(owner, name, kind, operation),
    do: GenServer.call(owner, {__MODULE__, :write, name, kind, operation}, :infinity)

  @doc "Loads anew and swaps the tables: the new generation and its rows."
  @spec reload(GenServer.server()) :: {:ok, pos_integer, non_neg_integer} | {:error, term}
  def reload(owner), do: GenServer.call(owner, {__MODULE__, :reload}, :infinity)

  @doc "Has the calling process told of a table's changes, by its reference."
  @spec watch(GenServer.server(), atom, reference) :: :ok
  def watch(owner, name, ref),
    do: GenServer.call(owner, {__MODULE__, :watch, name, ref}, :infinity)

  @spec unwatch(GenServer.server(), reference) :: :ok
  def unwatch(owner, ref), do: GenServer.call(owner, {__MODULE__, :unwatch, ref}, :infinity)

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    Label.set({__MODULE__, config.store})
    {heir, processes} = Heir.fetch(config.store)
    state = %__MODULE__{config: config, heir: heir, watchers: Watchers.restore(processes)}

    case Boot.run(config, heir, processes) do
      {:ok, directory, journal, snapshot?} ->
        # The owner before this one may have died before it told the watchers of a change.
        for name <- Map.keys(directory.tables), do: tell(state, directory, name, :recover)
        commits = journal && Commits.new(config, journal, directory.tables, snapshot?)
        {:ok, %{state | directory: directory, commits: commits}}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def handle_call({__MODULE__, :write, name, kind, operation} = message, from, state) do
    table = Map.fetch!(state.directory.tables, name)

    case admit(state, table, {from, message}) do
      :ok -> do_write(state, table, kind, operation, from)
      {:wait, commits} -> {:noreply, %{state | commits: commits}}
      {:error, error} -> {:reply, {:error, error}, state}
    end
  rescue
    error -> {:reply, {:error, Errors.write_failed(state.config.store, name, error)}, state}
  end

  def handle_call({__MODULE__, :reload}, from, %{reload: nil} = state),
    do: {:noreply, %{state | reload: Reload.begin(state.config, [from])}}

  def handle_call({__MODULE__, :reload}, {pid, _tag}, %{reload: %{pid: pid}} = state),
    do: {:reply, {:error, Errors.reload_in_load(state.config.store)}, state}

  # A caller that asks while a load runs wants changes that this load may have missed. All such
  # callers share the next load.
  def handle_call({__MODULE__, :reload}, from, state),
    do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call({__MODULE__, :watch, name, ref}, {pid, _tag}, state),
    do: {:reply, :ok, %{state | watchers: Watchers.add(state.watchers, ref, pid, name)}}

  def handle_call({__MODULE__, :unwatch, ref}, _from, state),
    do: {:reply, :ok, %{state | watchers: Watchers.remove(state.watchers, ref)}}

  @impl true
  def handle_info({Commits, what}, state), do: {:noreply, log(state, &Commits.handle(&1, what))}

  def handle_info({Journal.Writer, ref, answer}, state),
    do: {:noreply, log(state, &Commits.answered(&1, ref, answer))}

  def handle_info({Builder, ref, {:ok, tables}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(swap(state, tables))}

  def handle_info({Builder, ref, {:error, reason}}, %{reload: %{ref: ref}} = state),
    do: {:noreply, end_reload(refuse(state, reason))}

  # The builder was killed before it could answer.
  def handle_info({:EXIT, pid, reason}, %{reload: %{pid: pid}} = state),
    do: {:noreply, end_reload(refuse(state, {:exit, reason}))}

  def handle_info({:EXIT, pid, reason}, %{commits: %{}} = state),
    do: {:noreply, log(state, &Commits.ended(&1, pid, reason))}

  def handle_info({:DOWN, ref, :process, _pid, _reason}, state),
    do: {:noreply, %{state | watchers: Watchers.remove(state.watchers, ref)}}

  def handle_info(_transfers_and_exits, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{commits: nil}), do: :ok

  def terminate(_reason, state) do
    {commits, effects} = Commits.stop(state.commits)
    Enum.reduce(effects, state, &effect/2)
    Commits.release(commits)
  end

  # Writes

  defp admit(_state, %{durable: false}, _call), do: :ok
  defp admit(state, table, call), do: Commits.admit(state.commits, table.name, call)

  defp do_write(state, table, kind, operation, from) do
    case Operation.run(operation, table) do
      {{:ok, reply}, []} ->
        {:reply, {:ok, reply, 0}, state}

      {{:ok, reply}, effects} ->
        Enum.each(effects, &Table.apply_effect(table, &1))
        keys = Operation.keys(table, effects)
        answer = {from, {:ok, reply, length(keys)}, {table.name, kind, keys}}
        state = %{state | reload: Reload.remember(state.reload, table, kind, effects)}
        {:noreply, commit(state, table, effects, answer)}

      {refusal, []} ->
        {:reply, refusal, state}
    end
  end

  defp commit(state, %{durable: false}, _effects, answer) do
    answer(state, answer)
    state
  end

  defp commit(state, table, effects, answer) do
    commits = Commits.commit(state.commits, {table.name, effects}, answer)
    %{state | commits: Commits.go_on(commits)}
  end

  # Calls `Commits` and carries out its effects: answers, and writes that it has held back.
  defp log(state, fun) do
    {commits, effects} = fun.(state.commits)
    state = Enum.reduce(effects, %{state | commits: commits}, &effect/2)
    %{state | commits: Commits.go_on(state.commits)}
  end

  defp effect({:answer, answers}, state) do
    Enum.each(answers, &answer(state, &1))
    state
  end

  defp effect({:reply, from, reply}, state) do
    GenServer.reply(from, reply)
    state
  end

  defp effect({:again, {from, message}}, state) do
    case handle_call(message, from, state) do
      {:noreply, state} -> state
      {:reply, reply, state} -> effect({:reply, from, reply}, state)
    end
  end

  defp answer(_state, {:barrier, pid, answer}), do: Commits.pass(pid, answer)

  # Tells the watchers before the writer, who may rely on that once it has the reply.
  defp answer(state, {from, reply, change}) do
    Watchers.notify(state.watchers, state.config.store, state.directory.generation, change)
    GenServer.reply(from, reply)
  end

  # Reloads

  defp swap(%{directory: old, reload: reload} = state, tables) do
    new = Map.new(tables, &{&1.name, &1})
    Reload.replay(reload, new)
    Boot.bequeath(tables, state.heir)
    generation = old.generation + 1
    directory = %{old | generation: generation, tables: Map.merge(old.tables, new)}
    Heir.publish(state.heir, directory)

    retired = for {name, _table} <- new, tid <- Table.tids(old.tables[name]), do: tid
    Reaper.start(retired, old.processes, old.generation, state.heir)

    for {name, _table} <- new, do: tell(state, directory, name, :reload)
    Reload.reply(reload, {:ok, generation, Boot.rows(Map.values(directory.tables))})
    %{state | directory: directory}
  end

  defp tell(state, %{store: store, generation: generation}, name, kind),
    do: Watchers.notify(state.watchers, store, generation, {name, kind, :all})

  defp refuse(state, reason) do
    Reload.reply(state.reload, {:error, reason})
    state
  end

  defp end_reload(%{waiting: []} = state), do: %{state | reload: nil}

  defp end_reload(state),
    do: %{state | reload: Reload.begin(state.config, state.waiting), waiting: []}
end
