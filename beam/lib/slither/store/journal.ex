defmodule Slither.Store.Journal do
  @moduledoc false
  # The log of a store's durable tables, on OTP's disk_log (guides/store.md says why).
  #
  # Files in `dir`: segments `NAME.N.log`, to which writes are appended, and snapshots
  # `NAME.N.snap`, which hold all that happened before segment N. A snapshot is written under
  # another name and renamed when it is complete. It may be taken while segment N is being
  # written: its rows may then be newer than the segment's beginning, but replaying the segment
  # over them ends in the same rows, as its entries are rows and keys, not functions.
  #
  # Nothing is appended to a segment after one write or sync of it failed: a disk that was full
  # left a torn record there, and what follows one is lost. `fail/2` gives it up, `renew/1` goes
  # on with the next segment, and a snapshot then holds what the failed one lacks.

  alias Slither.Lock
  alias Slither.Store.Table
  alias Slither.Store.Journal.{Files, Log, Replay}

  defstruct [:dir, :base, :seq, :log, :lock, :failed, known: []]

  @type t :: %__MODULE__{}
  @type entry :: {table :: atom, [Table.effect()]}

  @doc """
  Brings back what the log knows and opens a new segment.

  A table the log knows is emptied first and holds the log's rows alone. One it does not know
  keeps what it has, and if that is `seeded` the log knows it from now on.
  """
  @spec open(Path.t(), term, [Table.t()], boolean) :: {:ok, t} | {:error, term}
  def open(dir, store, tables, seeded?) do
    with {:ok, journal} <- lock(dir, store),
         :ok <- Files.remove_unfinished(journal),
         {:ok, known} <- Replay.run(journal, tables),
         names = Enum.map(tables, & &1.name),
         known = if(seeded?, do: names, else: Enum.filter(names, &(&1 in known))),
         next = %{journal | seq: Files.last(journal) + 1, known: known},
         :ok <- snapshot(next, tables) do
      open_segment(next)
    end
  end

  @doc "Opens a new segment; the tables are in memory already."
  @spec reopen(Path.t(), term) :: {:ok, t} | {:error, term}
  def reopen(dir, store) do
    with {:ok, journal} <- lock(dir, store),
         {:ok, known} <- Replay.known(journal),
         do: open_segment(%{journal | seq: Files.last(journal) + 1, known: known})
  end

  @spec append(t, entry) :: :ok | {:error, term}
  def append(%{log: log}, entry), do: :disk_log.log(log, entry)

  @doc "Returns once all that was appended is on disk."
  @spec sync(t) :: :ok | {:error, term}
  def sync(%{failed: nil, log: log}), do: :disk_log.sync(log)
  def sync(%{failed: reason}), do: {:error, reason}

  @spec close(t) :: :ok
  def close(journal) do
    if journal.failed == nil, do: :disk_log.close(journal.log)
    Lock.release(journal.lock)
  end

  @doc "Gives a segment up, for `reason`."
  @spec fail(t, term) :: t
  def fail(journal, reason) do
    :disk_log.close(journal.log)
    Files.mark_torn(Files.path(journal, journal.seq, "log"))
    %{journal | log: nil, failed: reason}
  end

  @doc "Opens the segment after one that failed; the next snapshot then holds what that lacks."
  @spec renew(t) :: {:ok, t} | {:error, term}
  def renew(journal) do
    next = %{journal | seq: journal.seq + 1}
    # An attempt that failed may have left an empty file.
    File.rm(Files.path(next, next.seq, "log"))
    open_segment(next)
  end

  @doc "Closes the segment and opens the next; `snapshot/2` of the result then frees the old."
  @spec rotate(t) :: {:ok, t} | {:error, term}
  def rotate(journal) do
    with :ok <- sync(journal),
         {:ok, next} <- open_segment(%{journal | seq: journal.seq + 1}) do
      :disk_log.close(journal.log)
      {:ok, next}
    end
  end

  @doc "Writes the rows of `tables` to a snapshot and removes what it replaces."
  @spec snapshot(t, [Table.t()]) :: :ok | {:error, term}
  def snapshot(journal, tables) do
    final = Files.path(journal, journal.seq, "snap")
    temporary = final <> ".new"
    File.rm(temporary)

    with {:ok, log} <- Log.open(temporary, {__MODULE__, :snapshot, make_ref()}),
         :ok <- :disk_log.log(log, {:slither_store, Log.version(), journal.known}),
         :ok <- write_tables(log, tables),
         :ok <- :disk_log.sync(log),
         :ok <- :disk_log.close(log),
         # Its rows may be newer than what is on disk of the segment. Until that has caught up,
         # rows of one table could come back without the older ones of another.
         :ok <- if(journal.log, do: sync(journal), else: :ok),
         :ok <- File.rename(temporary, final) do
      Files.sync_names(journal.dir)
      Files.remove_before(journal, journal.seq)
    end
  end

  defp lock(dir, store) do
    journal = %__MODULE__{dir: dir, base: Files.base(store)}

    with :ok <- File.mkdir_p(dir),
         {:ok, lock} <- Lock.take(Files.lock(journal)),
         do: {:ok, %{journal | lock: lock}}
  end

  defp write_tables(log, tables) do
    Enum.find_value(tables, :ok, fn table ->
      with :ok <- write_rows(log, table), do: nil
    end)
  end

  defp write_rows(log, table) do
    Table.each_chunk(table, fn rows ->
      :disk_log.log(log, {:rows, table.name, Enum.map(rows, &{&1, deadline(table, &1)})})
    end)
  end

  defp deadline(%{expiry: nil}, _row), do: nil

  defp deadline(table, row) do
    case :ets.lookup(table.expiry, elem(row, table.keypos - 1)) do
      [{_key, deadline}] -> deadline
      [] -> nil
    end
  end

  defp open_segment(journal) do
    file = Files.path(journal, journal.seq, "log")

    with {:ok, log} <- Log.open(file, {__MODULE__, file}) do
      Files.sync_names(journal.dir)
      {:ok, %{journal | log: log, failed: nil}}
    end
  end
end
