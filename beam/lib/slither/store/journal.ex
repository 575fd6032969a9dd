defmodule Slither.Store.Journal do
  @moduledoc false
  # The log of a store's durable tables, on OTP's disk_log (guides/store.md says why).
  #
  # Files in `dir`: segments `NAME.N.log`, to which writes are appended, and snapshots
  # `NAME.N.snap`, which hold all that happened before segment N. A snapshot is written under
  # another name and renamed when it is complete. It may be taken while segment N is being
  # written: its rows may then be newer than the segment's beginning, but replaying the segment
  # over them ends in the same rows, as its entries are rows and keys, not functions.

  require Logger

  alias Slither.Store.Table

  @version 1
  # A segment whose header was cut short: no write can have been acknowledged from it.
  @no_header 16

  defstruct [:dir, :base, :seq, :log]

  @type t :: %__MODULE__{}
  @type entry :: {table :: atom, [Table.effect()]}

  @doc """
  Brings back what the log knows and opens a new segment.

  A table the log knows is emptied first and holds the log's rows alone; one it does not know
  keeps what it has, and the log knows it from now on.
  """
  @spec open(String.t(), term, [Table.t()]) :: {:ok, t} | {:error, term}
  def open(dir, store, tables) do
    journal = %__MODULE__{dir: dir, base: base(store)}

    with :ok <- File.mkdir_p(dir),
         :ok <- remove_unfinished(journal),
         :ok <- replay(journal, tables),
         next = %{journal | seq: List.last(numbers(journal), 0) + 1},
         :ok <- snapshot(next, tables) do
      open_segment(next)
    end
  end

  @doc "Opens a new segment; the tables are in memory already."
  @spec reopen(String.t(), term) :: {:ok, t} | {:error, term}
  def reopen(dir, store) do
    journal = %__MODULE__{dir: dir, base: base(store)}
    open_segment(%{journal | seq: List.last(numbers(journal), 0) + 1})
  end

  @spec append(t, entry) :: :ok | {:error, term}
  def append(%{log: log}, entry), do: :disk_log.log(log, entry)

  @doc "Returns once all that was appended is on disk."
  @spec sync(t) :: :ok | {:error, term}
  def sync(%{log: log}), do: :disk_log.sync(log)

  @spec close(t) :: :ok | {:error, term}
  def close(%{log: log}), do: :disk_log.close(log)

  @doc "Closes the segment and opens the next; `snapshot/2` of the result then frees the old."
  @spec rotate(t) :: {:ok, t} | {:error, term}
  def rotate(journal) do
    with :ok <- sync(journal),
         {:ok, next} <- open_segment(%{journal | seq: journal.seq + 1}) do
      close(journal)
      {:ok, next}
    end
  end

  @doc "Writes the rows of `tables` to a snapshot and removes what it replaces."
  @spec snapshot(t, [Table.t()]) :: :ok | {:error, term}
  def snapshot(journal, tables) do
    final = path(journal, journal.seq, "snap")
    temporary = final <> ".new"
    File.rm(temporary)

    with {:ok, log} <- open_log(temporary, {__MODULE__, :snapshot, make_ref()}),
         :ok <- :disk_log.log(log, {:slither_store, @version, Enum.map(tables, & &1.name)}),
         :ok <- Enum.each(tables, &write_rows(log, &1)),
         :ok <- :disk_log.sync(log),
         :ok <- :disk_log.close(log),
         # Its rows may be newer than what is on disk of the segment. Until that has caught up,
         # rows of one table could come back without the older ones of another.
         :ok <- if(journal.log, do: sync(journal), else: :ok),
         :ok <- File.rename(temporary, final) do
      for kind <- ["snap", "log"], n <- numbers(journal, kind), n < journal.seq do
        File.rm(path(journal, n, kind))
      end

      :ok
    end
  end

  # The VM or the owner ended while a snapshot was written.
  defp remove_unfinished(%{dir: dir, base: base}) do
    for file <- File.ls!(dir),
        String.starts_with?(file, base <> ".") and String.ends_with?(file, ".snap.new"),
        do: File.rm!(Path.join(dir, file))

    :ok
  end

  defp write_rows(log, table) do
    Table.each_chunk(table, fn rows ->
      :ok = :disk_log.log(log, {:rows, table.name, Enum.map(rows, &{&1, deadline(table, &1)})})
    end)
  end

  defp deadline(%{expiry: nil}, _row), do: nil

  defp deadline(table, row) do
    case :ets.lookup(table.expiry, elem(row, table.keypos - 1)) do
      [{_key, deadline}] -> deadline
      [] -> nil
    end
  end

  defp replay(journal, tables) do
    snapshots = numbers(journal, "snap")
    from = List.last(snapshots, 0)
    segments = for n <- numbers(journal, "log"), n >= from, do: path(journal, n, "log")
    by_name = Map.new(tables, &{&1.name, &1})

    with :ok <- replay_snapshot(journal, snapshots, by_name),
         do: replay_segments(segments, by_name)
  end

  # A table may be gone from the code, or no longer be durable.
  defp replay_snapshot(_journal, [], _tables), do: :ok

  defp replay_snapshot(journal, snapshots, tables) do
    read(path(journal, List.last(snapshots), "snap"), fn
      {:slither_store, @version, names} ->
        for name <- names, table = tables[name], tid <- Table.tids(table) do
          :ets.delete_all_objects(tid)
        end

      {:rows, name, rows} ->
        if table = tables[name], do: insert_rows(table, rows)
    end)
  end

  defp insert_rows(table, rows) do
    rows
    |> Enum.group_by(&elem(&1, 1), &elem(&1, 0))
    |> Enum.each(fn {deadline, records} ->
      Table.apply_effect(table, {:insert, records, deadline || Table.deadline(table)})
    end)
  end

  defp replay_segments(paths, tables) do
    Enum.reduce_while(paths, :ok, fn path, :ok ->
      case read(path, &replay_entry(&1, tables)) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  defp replay_entry({name, effects}, tables) do
    if table = tables[name], do: Enum.each(effects, &Table.apply_effect(table, &1))
  end

  defp read(path, fun) do
    case open_log(path, {__MODULE__, :read, make_ref()}) do
      {:ok, log} ->
        result = read_chunks(log, :disk_log.chunk(log, :start), fun)
        :disk_log.close(log)
        result

      {:error, {:not_a_log_file, _file}} = error ->
        if File.stat!(path).size < @no_header, do: :ok, else: error

      error ->
        error
    end
  end

  defp read_chunks(_log, :eof, _fun), do: :ok
  defp read_chunks(_log, {:error, reason}, _fun), do: {:error, reason}

  defp read_chunks(log, {more, terms}, fun) do
    Enum.each(terms, fun)
    read_chunks(log, :disk_log.chunk(log, more), fun)
  end

  # Unlike the other shapes this one says that bytes were unreadable even after a repair.
  defp read_chunks(_log, {_more, _terms, bad}, _fun), do: {:error, {:bad_bytes, bad}}

  defp open_segment(journal) do
    file = path(journal, journal.seq, "log")

    with {:ok, log} <- open_log(file, {__MODULE__, file}), do: {:ok, %{journal | log: log}}
  end

  defp open_log(path, name) do
    options = [name: name, file: String.to_charlist(path), type: :halt, format: :internal]

    case :disk_log.open(options ++ [repair: true, quiet: true]) do
      {:ok, log} ->
        {:ok, log}

      # The last record was torn when the VM was killed: it was never acknowledged.
      {:repaired, log, {:recovered, kept}, {:badbytes, bad}} ->
        if bad > 0, do: Logger.warning("#{path}: kept #{kept} records, dropped #{bad} torn bytes")
        {:ok, log}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp numbers(journal), do: Enum.sort(numbers(journal, "log") ++ numbers(journal, "snap"))

  defp numbers(%{dir: dir, base: base}, kind) do
    for file <- File.ls!(dir),
        String.starts_with?(file, base <> "."),
        rest = String.replace_prefix(file, base <> ".", ""),
        {number, "." <> ^kind} <- [Integer.parse(rest)] do
      number
    end
    |> Enum.sort()
  end

  defp path(%{dir: dir, base: base}, number, kind),
    do: Path.join(dir, "#{base}.#{number}.#{kind}")

  # Readable for module names; anything else is told apart by a hash.
  defp base(store) do
    name = inspect(store, limit: :infinity)
    safe = String.replace(name, ~r/[^A-Za-z0-9_.-]/, "_")
    if safe == name, do: name, else: "#{String.slice(safe, 0, 80)}-#{:erlang.phash2(store)}"
  end
end
