defmodule Slither.Store.Journal.Replay do
  @moduledoc false
  # Brings a log's rows back into tables: the last snapshot, then the segments since.

  alias Slither.Store.Journal.{Files, Log}
  alias Slither.Store.Table

  # A segment whose header was cut short: no write can have been acknowledged from it.
  @no_header 16

  @doc """
  Replays into `tables`; the names of those the log knows.

  A table it knows holds its rows alone. What was written to another goes over what that has.
  """
  @spec run(Files.t(), [Table.t()]) :: {:ok, [atom]} | {:error, term}
  def run(files, tables) do
    snapshots = Files.numbers(files, "snap")
    from = List.last(snapshots, 0)
    segments = for n <- Files.numbers(files, "log"), n >= from, do: Files.path(files, n, "log")
    # A table may be gone from the code, or no longer be durable.
    tables = Map.new(tables, &{&1.name, &1})

    with {:ok, known} <- snapshot(files, snapshots, tables),
         :ok <- segments(segments, tables),
         do: {:ok, known}
  end

  @doc "The names of the tables the log knows."
  @spec known(Files.t()) :: {:ok, [atom]} | {:error, term}
  def known(files), do: snapshot(files, Files.numbers(files, "snap"), %{})

  defp snapshot(_files, [], _tables), do: {:ok, []}

  defp snapshot(files, numbers, tables) do
    read(Files.path(files, List.last(numbers), "snap"), [], fn
      {:slither_store, version, names}, _known ->
        if version != Log.version(), do: throw({:unknown_version, version})
        for name <- names, table = tables[name], tid <- Table.tids(table), do: clear(tid)
        names

      {:rows, name, rows}, known ->
        if table = tables[name], do: insert_rows(table, rows)
        known
    end)
  end

  defp clear(tid), do: :ets.delete_all_objects(tid)

  defp insert_rows(table, rows) do
    rows
    |> Enum.group_by(&elem(&1, 1), &elem(&1, 0))
    |> Enum.each(fn {deadline, records} -> apply_effect(table, {:insert, records, deadline}) end)
  end

  defp segments(paths, tables) do
    Enum.reduce_while(paths, :ok, fn path, :ok ->
      case read(path, :ok, fn entry, :ok -> entry(entry, tables) end) do
        {:ok, :ok} -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  defp entry({name, effects}, tables) do
    if table = tables[name], do: Enum.each(effects, &apply_effect(table, &1))
    :ok
  end

  # The table's `ttl` may be new, or gone, since the entry was written.
  defp apply_effect(%{ttl: nil} = table, {:insert, records, _deadline}),
    do: Table.apply_effect(table, {:insert, records, nil})

  defp apply_effect(table, {:insert, records, nil}),
    do: Table.apply_effect(table, {:insert, records, Table.deadline(table)})

  defp apply_effect(table, effect), do: Table.apply_effect(table, effect)

  defp read(path, acc, fun) do
    case Log.open(path, {__MODULE__, make_ref()}) do
      {:ok, log} ->
        result = chunks(log, :disk_log.chunk(log, :start), acc, fun)
        :disk_log.close(log)
        result

      {:error, {:not_a_log_file, _file}} = error ->
        if File.stat!(path).size < @no_header, do: {:ok, acc}, else: error

      error ->
        error
    end
  end

  defp chunks(_log, :eof, acc, _fun), do: {:ok, acc}
  defp chunks(_log, {:error, reason}, _acc, _fun), do: {:error, reason}

  defp chunks(log, {more, terms}, acc, fun),
    do: chunks(log, :disk_log.chunk(log, more), Enum.reduce(terms, acc, fun), fun)

  # Unlike the other shapes this one says that bytes were unreadable even after a repair.
  defp chunks(_log, {_more, _terms, bad}, _acc, _fun), do: {:error, {:bad_bytes, bad}}
end
