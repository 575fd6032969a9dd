defmodule Slither.Pipe.Checkpoint.Log do
  @moduledoc false
  # The file of a checkpoint: a magic word, then records of
  # `<<size::32, crc32(size)::32, crc32(term)::32, term>>`. The file only grows, and reading it
  # tells a torn last write from damage before the end. Called by `Slither.Pipe.Checkpoint`, in
  # the process that has the file open.
  #
  # disk_log would not do: it keeps no checksums, needs a process and a name
  # for each log, and decides by itself what to keep of a damaged file. Here
  # only a torn end is dropped. Damage before the end is an error, since
  # otherwise the records after it would pass for all there were.

  @magic "slither-checkpoint 2\n"
  @magic_of_any "slither-checkpoint "
  @header 12

  @type record :: {:record, term, next :: non_neg_integer} | :end | :torn | :damaged

  @doc "Where the first record begins."
  @spec first() :: pos_integer
  def first, do: byte_size(@magic)

  @doc "What a file is by its beginning: `:empty` was cut short before anything was recorded."
  @spec kind(:file.fd()) :: {:ok, :ours | :empty | :old | :other} | {:error, :file.posix()}
  def kind(file) do
    with {:ok, start} <- pread(file, 0, byte_size(@magic)) do
      cond do
        start == @magic -> {:ok, :ours}
        String.starts_with?(@magic, start) -> {:ok, :empty}
        String.starts_with?(start, @magic_of_any) -> {:ok, :old}
        true -> {:ok, :other}
      end
    end
  end

  @doc "The record at a position of a file of `size` bytes."
  @spec read(:file.fd(), non_neg_integer, non_neg_integer) :: record
  def read(_file, at, size) when at >= size, do: :end

  def read(file, at, size) do
    case pread(file, at, @header) do
      {:ok, <<length::32, crc_of_length::32, crc::32>>} when length > 0 ->
        cond do
          :erlang.crc32(<<length::32>>) != crc_of_length -> :damaged
          at + @header + length > size -> :torn
          true -> read_term(file, at, length, crc, size)
        end

      {:ok, <<0::96>>} ->
        if zeros?(file, at, size), do: :torn, else: :damaged

      {:ok, short} when byte_size(short) < @header ->
        :torn

      _unreadable ->
        :damaged
    end
  end

  # Only the last write can have got to the disk in part: such a record reaches to the end of the
  # file, or all after its head is zeros.
  defp read_term(file, at, length, crc, size) do
    next = at + @header + length

    case pread(file, at + @header, length) do
      {:ok, bytes} when byte_size(bytes) == length ->
        cond do
          :erlang.crc32(bytes) == crc -> {:record, :erlang.binary_to_term(bytes), next}
          next == size -> :torn
          true -> :damaged
        end

      _unreadable ->
        :damaged
    end
  end

  defp zeros?(_file, at, size) when at >= size, do: true

  defp zeros?(file, at, size) do
    {:ok, bytes} = pread(file, at, 65_536)
    bytes == :binary.copy(<<0>>, byte_size(bytes)) and zeros?(file, at + 65_536, size)
  end

  defp pread(file, at, length) do
    case :file.pread(file, at, length) do
      :eof -> {:ok, ""}
      other -> other
    end
  end

  @doc "Begins an empty file."
  @spec begin(:file.fd()) :: :ok | {:error, :file.posix()}
  def begin(file) do
    with :ok <- cut(file, 0), do: :file.pwrite(file, 0, @magic)
  end

  @doc "Drops what is behind a position."
  @spec cut(:file.fd(), non_neg_integer) :: :ok | {:error, :file.posix()}
  def cut(file, at) do
    with {:ok, _at} <- :file.position(file, at), do: :file.truncate(file)
  end

  @doc "Writes a record at the end; returns where the next one goes once this one is on disk."
  @spec write(:file.fd(), non_neg_integer, term) ::
          {:ok, non_neg_integer} | {:too_large, pos_integer} | {:error, :file.posix()}
  def write(file, at, record) do
    bytes = :erlang.term_to_binary(record)
    size = byte_size(bytes)

    if size < 0x1_0000_0000 do
      length = <<size::32>>
      head = <<length::binary, :erlang.crc32(length)::32, :erlang.crc32(bytes)::32>>

      with :ok <- :file.pwrite(file, at, [head, bytes]),
           :ok <- :file.datasync(file),
           do: {:ok, at + @header + size}
    else
      {:too_large, size}
    end
  end
end
