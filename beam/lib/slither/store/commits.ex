defmodule Slither.Store.Commits do
  @moduledoc false
  # Gets writes of durable tables to disk, as safely as the store's options ask, and says when
  # they may be acknowledged. A value of the store's owner, which calls all of this and never
  # waits here: the owner hands over the answers of the log's writer and the messages of this
  # module's timers, and carries out the effects that come back.
  #
  # Writes that come while the writer is busy gather in `pending`, and go to the
  # writer together (`flying`) once it has answered. When the log fails, a new
  # segment is tried at once, with all entries that are not on disk, and the waiting
  # callers are answered by how that ends. Until a try succeeds, each write of a
  # durable table waits for one more try (`parked`), and is refused when that fails.
  # A timer tries from time to time, too, so that a log comes back without any write.

  require Logger

  alias Slither.Store.{Boot, Config, Errors, Journal, Table, Watchers}
  alias Slither.Store.Journal.Snapshot

  @enforce_keys [:store, :every, :compact_after, :tables, :journal]
  defstruct @enforce_keys ++
              [:snapshot, pending: [], flying: [], parked: [], logged: 0, sync: false] ++
              [late: false, complained: false, timers: [], closed: :ok, effects: []]

  # ms until a failed log or snapshot is tried again, if no write asks for that before.
  @retry 1_000
  # ms after which a disk that does not answer counts as failed.
  @patience 10_000
  # ms for the last snapshot and the last write:
  # together less than a supervisor waits for the owner.
  @last_snapshot 2_000
  @last_write 2_000

  @typedoc """
  `every` is how often to sync; `snapshot` the process that writes one; `logged` how many entries
  came since the last; `sync`, that the next write must sync; `late`, that the disk does not answer;
  `complained`, that a failure was logged; `timers`, which of this module's timers run; `closed`, how
  the log ended.
  """
  @type t :: %__MODULE__{
          store: term,
          every: :always | pos_integer,
          compact_after: pos_integer,
          tables: [Table.t()],
          journal: Journal.t(),
          snapshot: pid | nil,
          pending: [answer],
          flying: [answer],
          parked: [call],
          logged: non_neg_integer,
          sync: boolean,
          late: boolean,
          complained: boolean,
          timers: [:late | :renew | :snapshot | :sync],
          closed: :ok | {:error, term},
          effects: [effect]
        }

  @type call :: {GenServer.from(), message :: tuple}
  @typedoc "A write's, with its change, or that of a snapshot's barrier."
  @type answer ::
          {GenServer.from(), {:ok, term, non_neg_integer} | {:error, term}, Watchers.change()}
          | {:barrier, pid, :ok | {:error, term}}

  @typedoc "What the owner is to do: give answers, reply to a call, or take one again."
  @type effect :: {:answer, [answer]} | {:reply, GenServer.from(), term} | {:again, call}

  @doc "The log of a store that has its tables; what the log lacks of them it gets by a snapshot."
  @spec new(Config.t(), Journal.t(), %{atom => Table.t()}, snapshot? :: boolean) :: t
  def new(config, journal, tables, snapshot?) do
    commits = %__MODULE__{
      store: config.store,
      every: config.sync,
      compact_after: config.compact_after,
      tables: Boot.durable(Map.values(tables)),
      journal: journal
    }

    commits = watch_down(commits)
    if snapshot?, do: commits, else: begin_snapshot(commits)
  end

  defp watch_down(%{journal: %{asked: {_ref, _what}}} = commits), do: limit(commits)
  defp watch_down(%{journal: %{down: nil}} = commits), do: commits

  defp watch_down(%{journal: %{down: reason}} = commits),
    do: commits |> complain(reason) |> later(:renew, @retry)

  @doc "Whether a write can be done now; one that waits comes back as an effect."
  @spec admit(t, atom, call) :: :ok | {:wait, t} | {:error, Slither.Error.t()}
  def admit(%{late: true} = commits, table, _call),
    do: {:error, Errors.not_logged(commits.store, table, :timeout)}

  def admit(%{journal: %{down: nil}}, _table, _call), do: :ok

  def admit(commits, _table, call),
    do: {:wait, renew(%{commits | parked: [call | commits.parked]})}

  @doc "Logs the effects of a write that is applied; its answer comes when they are safe."
  @spec commit(t, Journal.entry(), answer) :: t
  def commit(commits, entry, answer) do
    journal = Journal.append(commits.journal, entry)
    pending = [answer | commits.pending]

    %{commits | journal: journal, pending: pending, logged: commits.logged + 1}
  end

  @doc """
  Gives a writer that is idle what comes next. The owner calls it when it has done the effects, so
  that those it answers may write again while the writer is at work.
  """
  @spec go_on(t) :: t
  def go_on(%{journal: %{asked: nil, down: nil} = journal} = commits) do
    cond do
      commits.snapshot == nil and commits.logged > commits.compact_after ->
        limit(%{commits | journal: Journal.ask_segment(journal)})

      commits.pending != [] or commits.sync ->
        journal = Journal.write(journal, commits.sync or commits.every == :always)
        limit(%{commits | journal: journal, flying: commits.pending, pending: [], sync: false})

      true ->
        commits
    end
  end

  def go_on(commits), do: commits

  defp renew(%{journal: %{asked: nil} = journal} = commits),
    do: limit(%{commits | journal: Journal.ask_segment(journal)})

  defp renew(commits), do: commits

  # A timer for each request would cost more than some writes, so one timer checks now and then.
  defp limit(%{journal: %{asked: {ref, _what}}, late: false} = commits),
    do: later(commits, {:late, ref}, @patience)

  defp limit(commits), do: commits

  @doc "The writer's answer. One of a writer that has ended since says nothing."
  @spec answered(t, reference, :ok | {:error, term}) :: {t, [effect]}
  def answered(%{journal: %{asked: {ref, _what}} = journal} = commits, ref, answer) do
    was_up? = journal.down == nil
    {outcome, journal} = Journal.answered(journal, answer)
    commits = %{commits | journal: journal, late: false}

    case outcome do
      :written ->
        commits |> calm() |> answer_flying() |> sync_later()

      :segment ->
        commits |> calm() |> answer_flying() |> unpark() |> begin_snapshot()

      {:not_rotated, reason} ->
        log(commits, :warning, "log not compacted: #{Errors.describe(reason)}")
        %{commits | logged: 0}

      {:failed, reason} when was_up? ->
        failed(commits, reason)

      {:failed, reason} ->
        commits |> refuse(reason) |> complain(reason) |> later(:renew, @retry)
    end
    |> give()
  end

  def answered(commits, _ref, _answer), do: {commits, []}

  @doc "A linked process of the owner has ended: the log's, or none that the log knows."
  @spec ended(t, pid, term) :: {t, [effect]}
  def ended(%{snapshot: pid} = commits, pid, :normal), do: {%{commits | snapshot: nil}, []}

  def ended(%{snapshot: pid} = commits, pid, reason) do
    log(commits, :error, "log not compacted: #{Errors.describe(reason)}")
    {later(%{commits | snapshot: nil}, :snapshot, @retry), []}
  end

  # The writer ends only by a bug of ours, or because somebody has killed it.
  def ended(%{journal: %{writer: pid}} = commits, pid, reason),
    do: give(failed(%{commits | journal: Journal.writer_ended(commits.journal, reason)}, reason))

  def ended(commits, _pid, _reason), do: {commits, []}

  # Tries the same writes in a new segment, as the trouble may lie with the old file alone.
  defp failed(commits, reason) do
    log(commits, :error, "log failed: #{Errors.describe(reason)}")
    renew(%{commits | flying: commits.pending ++ commits.flying, pending: []})
  end

  defp unpark(commits) do
    calls = for call <- commits.parked, do: {:again, call}
    %{commits | parked: [], effects: calls ++ commits.effects}
  end

  defp complain(%{complained: true} = commits, _reason), do: commits

  defp complain(commits, reason) do
    log(commits, :error, "durable writes are refused: #{Errors.describe(reason)}")
    %{commits | complained: true}
  end

  defp calm(%{complained: false} = commits), do: commits

  defp calm(commits) do
    log(commits, :warning, "the log goes on")
    %{commits | complained: false}
  end

  defp log(commits, level, words),
    do: Logger.log(level, "store #{inspect(commits.store)}: #{words}")

  # Tells all waiting callers that their writes have failed for now.
  defp refuse(%{store: store} = commits, reason) do
    unsynced =
      for answer <- Enum.reverse(commits.pending ++ commits.flying) do
        case answer do
          {:barrier, pid, :ok} ->
            {:barrier, pid, {:error, reason}}

          {from, _reply, {table, _kind, _keys} = change} ->
            {from, {:error, Errors.not_synced(store, table, reason)}, change}
        end
      end

    refused =
      for {from, {_owner, :write, table, _kind, _operation}} <- commits.parked,
          do: {:reply, from, {:error, Errors.not_logged(store, table, reason)}}

    effects = refused ++ [{:answer, unsynced} | commits.effects]
    %{commits | flying: [], pending: [], parked: [], effects: effects}
  end

  defp answer_flying(%{flying: []} = commits), do: commits

  defp answer_flying(commits),
    do: effect(%{commits | flying: []}, {:answer, Enum.reverse(commits.flying)})

  defp effect(commits, effect), do: %{commits | effects: [effect | commits.effects]}

  # The effects that have gathered, in order.
  defp give(%{effects: []} = commits), do: {commits, []}
  defp give(commits), do: {%{commits | effects: []}, Enum.reverse(commits.effects)}

  defp sync_later(%{journal: %{tail: []}} = commits), do: commits
  defp sync_later(commits), do: later(commits, :sync, commits.every)

  # Sets a timer that sends the owner a message, unless one of that kind is running.
  defp later(commits, message, time) do
    kind = kind(message)

    if kind in commits.timers do
      commits
    else
      Process.send_after(self(), {__MODULE__, message}, time)
      %{commits | timers: [kind | commits.timers]}
    end
  end

  defp kind({:late, _ref}), do: :late
  defp kind(message), do: message

  @doc "Handles a message that this module sent to its owner."
  @spec handle(t, :sync | :renew | :snapshot | {:late, reference} | {:barrier, pid}) ::
          {t, [effect]}
  def handle(commits, what),
    do: give(do_handle(%{commits | timers: List.delete(commits.timers, kind(what))}, what))

  defp do_handle(commits, :sync), do: %{commits | sync: true}
  defp do_handle(%{journal: %{down: nil}} = commits, :renew), do: commits
  defp do_handle(commits, :renew), do: renew(commits)
  defp do_handle(commits, :snapshot), do: begin_snapshot(commits)

  defp do_handle(%{journal: %{down: nil}, late: false} = commits, {:barrier, pid}),
    do: %{commits | pending: [{:barrier, pid, :ok} | commits.pending], sync: true}

  defp do_handle(commits, {:barrier, pid}),
    do: effect(commits, {:answer, [{:barrier, pid, {:error, commits.journal.down || :timeout}}]})

  defp do_handle(commits, {:late, ref}) do
    case commits.journal.asked do
      {^ref, _what} -> %{commits | late: true} |> refuse(:timeout) |> complain(:timeout)
      {_later, _what} -> limit(commits)
      nil -> commits
    end
  end

  # Snapshots. They are read while writes go on; see the journal for why that is right.

  # While the log is down no snapshot begins; one does when the log comes back.
  defp begin_snapshot(%{journal: %{down: nil} = journal, snapshot: nil} = commits) do
    %{seq: seq, known: known} = journal
    files = Map.take(journal, [:dir, :base])
    {tables, owner} = {commits.tables, self()}

    pid =
      spawn_link(fn ->
        with {:error, reason} <-
               Snapshot.write(files, seq, known, tables, fn -> barrier(owner) end),
             do: exit(reason)
      end)

    %{commits | snapshot: pid, logged: 0}
  end

  defp begin_snapshot(commits), do: commits

  defp barrier(owner) do
    send(owner, {__MODULE__, {:barrier, self()}})
    receive do: ({__MODULE__, answer} -> answer)
  end

  @doc "Tells the process that writes a snapshot what became of the writes before its barrier."
  @spec pass(pid, :ok | {:error, term}) :: term
  def pass(pid, answer), do: send(pid, {__MODULE__, answer})

  @doc "Writes what waits. The owner answers it, and then calls `release/1`."
  @spec stop(t) :: {t, [effect]}
  def stop(commits) do
    case Journal.close(commits.journal, @last_write) do
      :ok ->
        answer_flying(%{commits | flying: commits.pending ++ commits.flying})

      {:error, reason} = closed ->
        words = "stopped, and the log's end may not be on disk: #{Errors.describe(reason)}"
        log(commits, :error, words)
        refuse(%{commits | closed: closed}, reason)
    end
    |> give()
  end

  @doc """
  Lets a snapshot that is being written end, and then others have the log: whoever comes next reads
  the very files that a snapshot renames and removes.
  """
  @spec release(t) :: :ok
  def release(%{snapshot: nil} = commits), do: Journal.release(commits.journal)

  def release(commits) do
    Process.send_after(self(), {__MODULE__, :enough}, @last_snapshot)
    await_snapshot(commits.snapshot, commits.closed)
    Journal.release(commits.journal)
  end

  defp await_snapshot(pid, closed) do
    receive do
      {:EXIT, ^pid, _reason} ->
        :ok

      {__MODULE__, :enough} ->
        Process.exit(pid, :kill)

      {__MODULE__, {:barrier, ^pid}} ->
        pass(pid, closed)
        await_snapshot(pid, closed)
    end
  end
end
