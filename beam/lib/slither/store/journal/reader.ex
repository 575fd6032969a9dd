defmodule Slither.Store.Journal.Reader do
  @moduledoc false
  # Reads a journal's file, record by record, in the store's owner when it starts (`Replay`).

  require Logger

  alias Slither.Store.Journal.Frame

  @chunk 262_144

  @doc """
  Folds the terms of a file with `fun.(term, acc)`.

  What was being written when its VM ended is dropped, and logged. Damage before the end is an
  error.
  """
  @spec fold(Path.t(), acc, (term, acc -> acc)) :: {:ok, acc} | {:error, term} when acc: term
  def fold(path, acc, fun) do
    with {:ok, file} <- named(path, :file.open(path, [:raw, :read, :binary])) do
      try do
        begin(file, path, acc, fun)
      after
        # The file was only read, so a close that fails loses nothing.
        _ = :file.close(file)
      end
    end
  end

  defp begin(file, path, acc, fun) do
    with {:ok, bytes} <- named(path, read(file, Frame.head_size())) do
      case Frame.kind(bytes) do
        {:log, salt} ->
          records(%{file: file, path: path, salt: salt}, "", byte_size(bytes), acc, fun)

        # The VM ended while it began the file, so no write of it was acknowledged.
        :unborn ->
          {:ok, acc}

        :other ->
          {:error, {:not_a_log_file, path}}
      end
    end
  end

  # `at` is where `buffer` begins in the file.
  defp records(log, buffer, at, acc, fun) do
    case Frame.next(buffer, log.salt) do
      {:record, payload, rest} ->
        at = at + Frame.size(byte_size(payload))
        records(log, rest, at, fun.(:erlang.binary_to_term(payload), acc), fun)

      :more ->
        case read(log.file, max(@chunk, byte_size(buffer))) do
          {:ok, ""} when buffer == "" -> {:ok, acc}
          {:ok, ""} -> unreadable(log, buffer, at, acc)
          {:ok, bytes} -> records(log, buffer <> bytes, at, acc, fun)
          {:error, reason} -> {:error, {:file_error, log.path, reason}}
        end

      :bad ->
        unreadable(log, buffer, at, acc)
    end
  end

  defp unreadable(log, buffer, at, acc) do
    with {:ok, rest} <- named(log.path, rest(log.file, [buffer])) do
      if Frame.proves?(rest, at, log.salt) do
        {:error, {:damaged_log_file, log.path, at}}
      else
        dropped(log.path, byte_size(rest))
        {:ok, acc}
      end
    end
  end

  defp rest(file, done) do
    case read(file, 4 * @chunk) do
      {:ok, ""} -> {:ok, done |> Enum.reverse() |> IO.iodata_to_binary()}
      {:ok, bytes} -> rest(file, [bytes | done])
      error -> error
    end
  end

  defp read(file, size) do
    case :file.read(file, size) do
      :eof -> {:ok, ""}
      other -> other
    end
  end

  defp dropped(path, size),
    do:
      Logger.warning(
        "#{path}: dropped #{size} torn bytes at its end, of a write that was not acknowledged"
      )

  defp named(_path, {:ok, value}), do: {:ok, value}
  defp named(path, {:error, reason}), do: {:error, {:file_error, path, reason}}
end
