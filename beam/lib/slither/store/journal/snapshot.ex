defmodule Slither.Store.Journal.Snapshot do
  @moduledoc false
  # Writes the rows of tables to a file, which takes the place of all segments before a given one.
  # Runs in the store's owner when it starts, later in a process of its own (`Commits`). The file
  # appears whole or not at all.

  alias Slither.Store.Journal.{Disk, Files}
  alias Slither.Store.Table

  @version 2

  @doc """
  Writes the snapshot before segment `number`.

  `ready` is called when it is on disk and has no name yet: its rows may be newer than what is on
  disk of the segment, and until that has caught up, rows of one table could come back without the
  older ones of another. An error of it is the result. What a snapshot that failed wrote is removed.
  """
  @spec write(Files.t(), non_neg_integer, [atom], [Table.t()], (() -> :ok | {:error, term})) ::
          :ok | {:error, term}
  def write(files, number, known, tables, ready) do
    final = Files.path(files, number, "snap")
    temporary = final <> ".new"

    with {:ok, disk} <- named(temporary, Disk.create(temporary)) do
      result =
        with {:ok, disk} <- rows(disk, known, tables),
             {:ok, disk} <- Disk.sync(disk),
             :ok <- Disk.close(disk),
             :ok <- ready.(),
             do: :prim_file.rename(temporary, final)

      case result do
        :ok ->
          replace(files, number)

        error ->
          _ = Disk.discard(disk)
          named(temporary, error)
      end
    end
  catch
    :throw, reason -> {:error, reason}
  end

  # The files that it replaces are needed until its name is on disk.
  defp replace(files, number) do
    with :ok <- named(files.dir, Files.sync_names(files.dir)),
         do: Files.remove_before(files, number)
  end

  defp rows(disk, known, tables) do
    with {:ok, disk} <- append(disk, {:slither_store, @version, known}),
         {:ok, disk} <- Enum.reduce_while(tables, {:ok, disk}, &table/2),
         do: append(disk, :end)
  end

  defp table(table, {:ok, disk}) do
    case Table.fold_chunks(table, {:ok, disk}, &chunk(table, &1, &2)) do
      {:ok, disk} -> {:cont, {:ok, disk}}
      error -> {:halt, error}
    end
  end

  defp chunk(_table, _rows, {:error, reason}), do: {:error, reason}

  defp chunk(table, rows, {:ok, disk}),
    do: append(disk, {:rows, table.name, Enum.map(rows, &{&1, deadline(table, &1)})})

  defp append(disk, term), do: Disk.append(disk, [:erlang.term_to_binary(term)])

  defp deadline(%{expiry: nil}, _row), do: nil

  defp deadline(table, row) do
    case :ets.lookup(table.expiry, Table.key(table, row)) do
      [{_key, deadline}] -> deadline
      [] -> nil
    end
  end

  defp named(path, {:error, reason}) when is_atom(reason),
    do: {:error, {:file_error, path, reason}}

  defp named(_path, result), do: result
end
