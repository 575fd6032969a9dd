defmodule Slither.Store.Commits do
  @moduledoc false
  # Makes an owner's writes as safe as its store was asked to, and acknowledges them then. Works
  # on the owner's state, of which `commits` is its own part. The owner never waits here.
  #
  # While the writer writes, what comes meanwhile gathers (`pending`), and goes to it together
  # when it has answered (`flying`). Where the log fails, a new segment is tried at once with all
  # that is not on disk; who waits is answered by how that ends. While it has not succeeded, each
  # write of a durable table waits for one more try (`parked`), and is refused when that fails;
  # nobody is needed to bring a log back, as it is also tried by itself.

  require Logger

  alias Slither.Store.Commits.Refusal
  alias Slither.Store.{Boot, Journal, Table, Watchers}
  alias Slither.Store.Journal.Snapshot

  # `complained`: it was logged that writes are refused; `renewing`, `watching` and `dirty`: a timer
  # runs, for the next try, for an answer that is late, for the next sync.
  defstruct [:snapshot, pending: [], flying: [], parked: [], logged: 0, late: false, sync: false] ++
              [complained: false, renewing: false, watching: false, dirty: false]

  # How long until what failed is tried again, without a write that asks for it.
  @retry 1_000
  # After how long a disk that does not answer is one that failed, as far as callers go.
  @patience 10_000
  # Together less than a supervisor waits for the owner.
  @last_snapshot 2_000
  @last_write 2_000

  @type answer ::
          {GenServer.from(), {:ok, term, non_neg_integer}, {table :: atom, kind :: atom, [term]}}

  @doc "The owner has its tables; what the log lacks of them it gets by a snapshot."
  @spec begin(map, boolean) :: map
  def begin(state, true), do: watch_down(%{state | commits: %__MODULE__{}})
  def begin(state, false), do: begin_snapshot(begin(state, true))

  defp watch_down(%{journal: %{down: reason, asked: nil}} = state) when reason != nil,
    do: state |> complain(reason) |> renew_later()

  defp watch_down(%{journal: %{asked: {_ref, _what}}} = state), do: limit(state)
  defp watch_down(state), do: state

  @doc "Whether a write can be done now; one that waits is sent to the owner again."
  @spec admit(map, Table.t(), {GenServer.from(), term}) ::
          :ok | {:wait, map} | {:error, Slither.Error.t()}
  def admit(_state, %{durable: false}, _call), do: :ok

  def admit(%{commits: %{late: true}} = state, table, _call),
    do: {:error, Refusal.not_logged(state.config.store, table.name, :timeout)}

  def admit(%{journal: %{down: nil}}, _table, _call), do: :ok
  def admit(state, _table, call), do: {:wait, state |> update(:parked, &[call | &1]) |> renew()}

  @doc "Logs the effects of a write that is applied, and answers it, now or when they are safe."
  @spec commit(map, Table.t(), [Table.effect()], answer) :: map
  def commit(state, %{durable: false}, _effects, answer) do
    answer(state, answer)
    state
  end

  def commit(state, table, effects, answer) do
    %{state | journal: Journal.append(state.journal, {table.name, effects})}
    |> update(:pending, &[answer | &1])
    |> update(:logged, &(&1 + 1))
    |> go_on()
  end

  # What comes next for a writer that is idle.
  defp go_on(%{journal: %{asked: nil, down: nil}, commits: commits} = state) do
    cond do
      commits.snapshot == nil and commits.logged > state.config.compact_after ->
        limit(%{state | journal: Journal.ask_segment(state.journal)})

      commits.pending != [] or commits.sync ->
        sync? = commits.sync or state.config.sync == :always
        commits = %{commits | flying: commits.pending, pending: [], sync: false}
        limit(%{state | journal: Journal.write(state.journal, sync?), commits: commits})

      true ->
        state
    end
  end

  defp go_on(state), do: state

  defp renew(%{journal: %{asked: nil}} = state),
    do: limit(%{state | journal: Journal.ask_segment(state.journal)})

  defp renew(state), do: state

  # One timer for each request would cost more than some writes do; one looks from time to time.
  defp limit(%{journal: %{asked: {ref, _what}}, commits: %{watching: false, late: false}} = state) do
    Process.send_after(self(), {__MODULE__, {:late, ref}}, @patience)
    set(state, :watching, true)
  end

  defp limit(state), do: state

  @doc "The writer's answer."
  @spec answered(map, reference, :ok | {:error, term}) :: map
  def answered(%{journal: %{asked: {ref, _what}}} = state, ref, answer) do
    state = if state.commits.late, do: set(state, :late, false), else: state

    case Journal.answered(state.journal, answer) do
      {:written, journal} ->
        %{state | journal: journal} |> calm() |> answer_flying() |> sync_later() |> go_on()

      {:segment, journal} ->
        %{state | journal: journal}
        |> calm()
        |> answer_flying()
        |> unpark()
        |> begin_snapshot()
        |> go_on()

      {:not_rotated, reason, journal} ->
        log(state, :warning, "log not compacted: #{Refusal.describe(reason)}")
        %{state | journal: journal} |> set(:logged, 0) |> go_on()

      {:failed, reason, journal} when state.journal.down == nil ->
        failed(%{state | journal: journal}, reason)

      {:failed, reason, journal} ->
        %{state | journal: journal} |> refuse(reason) |> complain(reason) |> renew_later()
    end
  end

  # Of a writer that has ended since.
  def answered(state, _ref, _answer), do: state

  @doc "The writer has ended: a bug of ours, or somebody's kill."
  @spec writer_ended(map, term) :: map
  def writer_ended(state, reason),
    do: failed(%{state | journal: Journal.writer_ended(state.journal, reason)}, reason)

  # The same writes in a new segment: what failed may have been the file's own trouble.
  defp failed(%{commits: commits} = state, reason) do
    log(state, :error, "log failed: #{Refusal.describe(reason)}")
    commits = %{commits | flying: commits.pending ++ commits.flying, pending: []}
    renew(%{state | commits: commits})
  end

  defp unpark(%{commits: commits} = state) do
    for {from, message} <- Enum.reverse(commits.parked),
        do: send(self(), {:"$gen_call", from, message})

    set(state, :parked, [])
  end

  defp complain(%{commits: %{complained: true}} = state, _reason), do: state

  defp complain(state, reason) do
    log(state, :error, "durable writes are refused: #{Refusal.describe(reason)}")
    set(state, :complained, true)
  end

  defp calm(%{commits: %{complained: false}} = state), do: state

  defp calm(state) do
    log(state, :warning, "the log goes on")
    set(state, :complained, false)
  end

  defp log(state, level, words),
    do: Logger.log(level, "store #{inspect(state.config.store)}: #{words}")

  # Who waits learns that nothing will come of it for now.
  defp refuse(%{commits: commits} = state, reason) do
    for answer <- Enum.reverse(commits.pending ++ commits.flying),
        do: not_synced(state, answer, reason)

    for {from, {_owner, :write, name, _kind, _op}} <- Enum.reverse(commits.parked) do
      GenServer.reply(from, {:error, Refusal.not_logged(state.config.store, name, reason)})
    end

    %{state | commits: %{commits | flying: [], pending: [], parked: []}}
  end

  defp not_synced(_state, {:barrier, pid}, reason), do: send(pid, {__MODULE__, {:error, reason}})

  defp not_synced(state, {from, _reply, {name, _kind, _keys} = change}, reason),
    do:
      answer(
        state,
        {from, {:error, Refusal.not_synced(state.config.store, name, reason)}, change}
      )

  defp answer_flying(%{commits: commits} = state) do
    commits.flying |> Enum.reverse() |> Enum.each(&answer(state, &1))
    %{state | commits: %{commits | flying: []}}
  end

  defp answer(_state, {:barrier, pid}), do: send(pid, {__MODULE__, :ok})

  defp answer(state, {from, reply, change}) do
    Watchers.notify(state.watchers, state.config.store, state.directory.generation, change)
    GenServer.reply(from, reply)
  end

  defp sync_later(%{journal: %{tail: tail}, commits: %{dirty: false}} = state) when tail != [] do
    Process.send_after(self(), {__MODULE__, :sync}, state.config.sync)
    update(state, :dirty, fn _dirty -> true end)
  end

  defp sync_later(state), do: state

  defp renew_later(%{commits: %{renewing: true}} = state), do: state

  defp renew_later(state) do
    Process.send_after(self(), {__MODULE__, :renew}, @retry)
    set(state, :renewing, true)
  end

  @doc "Handles a message that this module sent to its owner."
  @spec handle(:sync | :renew | :snapshot | {:late, reference} | {:barrier, pid}, map) :: map
  def handle(:sync, state), do: state |> set(:dirty, false) |> set(:sync, true) |> go_on()

  def handle(:renew, %{journal: %{down: nil}} = state), do: set(state, :renewing, false)
  def handle(:renew, state), do: state |> set(:renewing, false) |> renew()

  def handle(:snapshot, state), do: begin_snapshot(state)

  def handle({:barrier, pid}, %{journal: %{down: nil}, commits: %{late: false}} = state),
    do: state |> update(:pending, &[{:barrier, pid} | &1]) |> set(:sync, true) |> go_on()

  def handle({:barrier, pid}, state) do
    not_synced(state, {:barrier, pid}, state.journal.down || :timeout)
    state
  end

  def handle({:late, ref}, state) do
    state = set(state, :watching, false)

    case state.journal.asked do
      {^ref, _what} -> state |> set(:late, true) |> refuse(:timeout) |> complain(:timeout)
      {_later, _what} -> limit(state)
      nil -> state
    end
  end

  # Snapshots. They are read while writes go on; see the journal for why that is right.

  # A log that is down has one begun when it comes back.
  defp begin_snapshot(%{journal: %{down: nil}, commits: %{snapshot: nil}} = state) do
    %{seq: seq, known: known} = state.journal
    files = Map.take(state.journal, [:dir, :base])
    tables = Boot.durable(Map.values(state.directory.tables))
    owner = self()

    pid =
      spawn_link(fn ->
        with {:error, reason} <-
               Snapshot.write(files, seq, known, tables, fn -> barrier(owner) end),
             do: exit(reason)
      end)

    %{state | commits: %{state.commits | snapshot: pid, logged: 0}}
  end

  defp begin_snapshot(state), do: state

  defp barrier(owner) do
    send(owner, {__MODULE__, {:barrier, self()}})
    receive do: ({__MODULE__, answer} -> answer)
  end

  @doc "The process that wrote a snapshot has ended."
  @spec snapshot_ended(map, term) :: map
  def snapshot_ended(state, :normal), do: state |> set(:snapshot, nil) |> go_on()

  def snapshot_ended(state, reason) do
    log(state, :error, "log not compacted: #{Refusal.describe(reason)}")
    Process.send_after(self(), {__MODULE__, :snapshot}, @retry)
    set(state, :snapshot, nil)
  end

  @doc "Writes what waits, acknowledges it, and lets a snapshot that is being written end."
  @spec stop(map) :: :ok
  def stop(%{commits: commits} = state) do
    result = Journal.close(state.journal, @last_write)

    with {:error, reason} <- result do
      log(
        state,
        :error,
        "stopped, and the log's end may not be on disk: #{Refusal.describe(reason)}"
      )

      refuse(state, reason)
    else
      :ok ->
        answer_flying(%{state | commits: %{commits | flying: commits.pending ++ commits.flying}})
    end

    if commits.snapshot do
      Process.send_after(self(), {__MODULE__, :enough}, @last_snapshot)
      await_snapshot(commits.snapshot, result)
    end

    # Whoever comes next reads the very files that a snapshot renames and removes.
    Journal.release(state.journal)
  end

  defp await_snapshot(pid, lost) do
    receive do
      {:EXIT, ^pid, _reason} ->
        :ok

      {__MODULE__, :enough} ->
        Process.exit(pid, :kill)

      {__MODULE__, {:barrier, ^pid}} ->
        send(pid, {__MODULE__, lost})
        await_snapshot(pid, lost)
    end
  end

  defp set(%{commits: commits} = state, key, value),
    do: %{state | commits: Map.replace!(commits, key, value)}

  defp update(%{commits: commits} = state, key, fun),
    do: %{state | commits: Map.update!(commits, key, fun)}
end
