defmodule Slither.Store.Commits do
  @moduledoc false
  # Makes an owner's writes as safe as its store was asked to, and acknowledges them then. Works
  # on the owner's state.
  #
  # With `sync: :always` acknowledgements wait for one sync, which all writes that were in the
  # mailbox when it was asked for share. After a failure of the log, durable writes are refused
  # until a new segment can be opened; a snapshot then holds what the failed one lacks.

  require Logger

  alias Slither.Error
  alias Slither.Store.{Boot, Journal, Table, Watchers}

  # How long until what failed is tried again, without a write that asks for it.
  @retry 5_000
  # Less than a supervisor waits for the owner.
  @last 4_000

  @type answer ::
          {GenServer.from(), {:ok, term, non_neg_integer}, {table :: atom, kind :: atom, [term]}}

  @doc "Logs the effects of a write; an error for its caller where the log refuses."
  @spec log(map, Table.t(), [Table.effect()]) :: {:ok, map} | {:error, Error.t(), map}
  def log(state, %{durable: false}, _effects), do: {:ok, state}

  def log(state, table, effects) do
    with {:ok, state} <- renew(state) do
      case Journal.append(state.journal, {table.name, effects}) do
        :ok -> {:ok, %{state | logged: state.logged + 1}}
        {:error, reason} -> {:error, not_logged(state, table, reason), fail(state, reason)}
      end
    else
      {:error, reason} -> {:error, not_logged(state, table, reason), state}
    end
  end

  @doc "Answers a write that is done, now or once it is on disk."
  @spec acknowledge(map, Table.t(), answer) :: map
  def acknowledge(%{journal: %{failed: reason}} = state, %{durable: true}, answer)
      when reason != nil do
    answer_unsynced(state, answer, reason)
    state
  end

  def acknowledge(%{config: %{sync: :always}} = state, %{durable: true}, answer) do
    if state.pending == [], do: send(self(), {__MODULE__, :flush})
    %{state | pending: [answer | state.pending]}
  end

  def acknowledge(state, table, answer) do
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
    Logger.error("store #{inspect(state.config.store)}: log failed: #{inspect(reason)}")
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

  @doc "Begins a new segment, and a snapshot of all before it, when the log has grown enough."
  @spec compact(map) :: map
  def compact(%{snapshot: nil, config: config, logged: logged} = state)
      when logged > config.compact_after do
    case Journal.rotate(state.journal) do
      {:ok, journal} -> begin_snapshot(%{state | journal: journal})
      {:error, reason} -> fail(state, reason)
    end
  end

  def compact(state), do: state

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

  @doc "Handles a message that this module sent to its owner."
  @spec handle(:flush | :sync | :renew | :snapshot, map) :: map
  def handle(:flush, state), do: flush(state)

  def handle(:sync, state) do
    state = %{state | dirty: false}

    case Journal.sync(state.journal) do
      :ok -> state
      {:error, reason} -> fail(state, reason)
    end
  end

  def handle(:renew, state) do
    case renew(state) do
      {:ok, state} -> state
      {:error, _reason} -> retry(state, :renew)
    end
  end

  def handle(:snapshot, %{journal: %{failed: nil}, snapshot: nil} = state),
    do: begin_snapshot(state)

  def handle(:snapshot, state), do: state

  @doc "The process that wrote a snapshot has ended."
  @spec snapshot_ended(map, term) :: map
  def snapshot_ended(state, :normal), do: %{state | snapshot: nil}

  def snapshot_ended(state, reason) do
    Logger.error("store #{inspect(state.config.store)}: log not compacted: #{inspect(reason)}")
    retry(%{state | snapshot: nil}, :snapshot)
  end

  @doc "Acknowledges what waits, and lets the snapshot that is being written come to its end."
  @spec stop(map) :: map
  def stop(state), do: state |> flush() |> finish_snapshot()

  # After a failure of the log only the snapshot holds what was acknowledged and not synced.
  defp finish_snapshot(%{snapshot: nil} = state), do: state

  defp finish_snapshot(%{snapshot: pid} = state) do
    receive do
      {:EXIT, ^pid, _reason} -> %{state | snapshot: nil}
    after
      @last -> stop_snapshot(state)
    end
  end

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
