defmodule Slither.Store.Journal.Disk do
  @moduledoc false
  # One file that is being written, as a value of the process that opened it: the journal's writer,
  # or the one that writes a snapshot. Each function does one thing to the file and gives what the
  # system said.

  alias Slither.Store.Journal.{Files, Frame}

  @enforce_keys [:path, :file, :salt]
  defstruct [:path, :file, :salt, size: 0, synced: 0]

  @type t :: %__MODULE__{}
  @type answer :: {:ok, t} | {:error, :file.posix() | atom}

  @doc "Begins a new file; the old one of that name, if any, is gone."
  @spec create(Path.t()) :: answer
  def create(path) do
    salt = :rand.uniform(0x1_0000_0000) - 1

    # If the old file can't be deleted, the open below fails.
    _ = :file.delete(path, [:raw])

    # Exclusive: a writer that was killed while the
    # system did not answer may still create the file.
    with {:ok, file} <- :file.open(path, [:raw, :write, :exclusive, :binary]) do
      disk = %__MODULE__{path: path, file: file, salt: salt}

      with {:error, reason} <- write(disk, Frame.head(salt), Frame.head_size()) do
        discard(disk)
        {:error, reason}
      end
    end
  end

  @doc "Appends a record for each of `payloads`; all of them, or an error."
  @spec append(t, [binary]) :: answer
  def append(disk, []), do: {:ok, disk}

  def append(disk, payloads) do
    records = Enum.map(payloads, &Frame.record(disk.salt, disk.synced, &1))
    size = payloads |> Enum.map(&Frame.size(byte_size(&1))) |> Enum.sum()
    write(disk, records, size)
  end

  @doc "Returns once what was appended is on disk. After an error nothing is known of the file."
  @spec sync(t) :: answer
  def sync(%{size: size, synced: size} = disk), do: {:ok, disk}

  def sync(disk) do
    with :ok <- :file.datasync(disk.file), do: {:ok, %{disk | synced: disk.size}}
  end

  @doc "Returns once the file's name is on disk, too."
  @spec sync_name(t) :: answer
  def sync_name(disk) do
    with :ok <- Files.sync_names(Path.dirname(disk.path)), do: {:ok, disk}
  end

  @doc "Takes away what a write that failed has left behind the last whole record."
  @spec trim(t) :: :ok | {:error, atom}
  def trim(disk) do
    with {:ok, _at} <- :file.position(disk.file, disk.size), do: :file.truncate(disk.file)
  end

  @spec close(t) :: :ok | {:error, atom}
  def close(disk), do: :file.close(disk.file)

  @doc "Closes and removes a file that is not wanted."
  @spec discard(t) :: :ok
  def discard(disk) do
    _ = close(disk)
    _ = :file.delete(disk.path, [:raw])
    :ok
  end

  defp write(disk, bytes, size) do
    with :ok <- :file.write(disk.file, bytes), do: {:ok, %{disk | size: disk.size + size}}
  end
end
