defmodule Slither.Store.Journal.Replay do
  @moduledoc false
  # Brings a log's rows back into tables: the last snapshot, then the segments since. Runs in the
  # store's owner when it starts.

  alias Slither.Store.Journal.{Files, Reader}
  alias Slither.Store.Table

  # The version that a snapshot's first record names.
  @version 2

  @doc """
  Replays into `tables`; the names of those the log knows.

  A table that the log knows holds the log's rows alone. What was written to another one goes over
  the rows that it has.
  """
  @spec run(Files.t(), [Table.t()]) :: {:ok, [atom]} | {:error, term}
  def run(files, tables) do
    snapshots = Files.numbers(files, "snap")
    from = List.last(snapshots, 0)
    segments = for n <- Files.numbers(files, "log"), n >= from, do: Files.path(files, n, "log")
    # The log may have rows of tables that are gone from the code, or no longer durable.
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
    path = Files.path(files, List.last(numbers), "snap")

    result =
      Reader.fold(path, {:no_head, []}, fn
        {:slither_store, version, names}, _acc ->
          if version != @version, do: throw({:unknown_version, version})
          for name <- names, table = tables[name], tid <- Table.tids(table), do: clear(tid)
          {:no_end, names}

        {:rows, name, rows}, acc ->
          if table = tables[name], do: insert_rows(table, rows)
          acc

        :end, {_begun, names} ->
          {:whole, names}
      end)

    case result do
      {:ok, {:whole, names}} -> {:ok, names}
      # A snapshot gets its name only once it is complete, so an incomplete one is damaged.
      {:ok, {_part, _names}} -> {:error, {:incomplete_snapshot, path}}
      error -> error
    end
  end

  defp clear(tid), do: :ets.delete_all_objects(tid)

  defp insert_rows(table, rows) do
    rows
    |> Enum.group_by(&elem(&1, 1), &elem(&1, 0))
    |> Enum.each(fn {deadline, records} -> apply_effect(table, {:insert, records, deadline}) end)
  end

  defp segments(paths, tables) do
    Enum.reduce_while(paths, :ok, fn path, :ok ->
      case Reader.fold(path, :ok, fn entry, :ok -> entry(entry, tables) end) do
        {:ok, :ok} -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  defp entry(:closed, _tables), do: :ok

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
end
