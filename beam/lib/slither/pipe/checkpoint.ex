defmodule Slither.Pipe.Checkpoint do
  @moduledoc false
  # What a resumable run has finished, in one file that only grows: a magic word, then records
  # of `<<size::32, crc32::32, term>>`. The first names the format and the pipe; each other one
  # holds the positions of inputs that are finished and all that reached an output from them, so
  # that both are there or neither is.
  #
  # Not disk_log: it keeps no checksums, needs a process and a name for each log, and decides by
  # itself what to keep of a damaged file. Here only a torn end is dropped; damage before the
  # end is an error, since records after it would come back as if theirs were the whole.
  #
  # A record is on disk before its outputs are handed on.

  alias Slither.Error
  alias Slither.Pipe.{Names, Ranges}

  @magic "slither-checkpoint 1\n"
  @header 8

  @enforce_keys [:path, :file]
  defstruct [:path, :file, done: [], until: 0, size: 0]

  @type t :: %__MODULE__{path: String.t(), file: :file.fd(), done: Ranges.t()}
  @type output ::
          {seq :: [non_neg_integer, ...], Slither.Pipe.Definition.name(), Slither.Item.t()}

  @doc """
  Opens a checkpoint of the pipe that `parts` describes, or begins one.

  It belongs to the calling process; no other of this node can open it meanwhile.
  """
  @spec open(String.t(), [{String.t(), term}]) :: {:ok, t} | {:error, Error.t()}
  def open(path, parts) do
    path = Path.expand(path)

    case Names.claim({:checkpoint, path}) do
      :ok ->
        with {:error, _error} = error <- open_file(path, parts) do
          Names.release({:checkpoint, path})
          error
        end

      {:error, owner} ->
        error(path, :checkpoint_in_use, "is in use by #{inspect(owner)}", nil)
    end
  end

  defp open_file(path, parts) do
    File.mkdir_p(Path.dirname(path))

    with {:ok, file} <- posix(path, :file.open(path, [:read, :write, :binary, :raw])),
         {:error, _error} = error <- load(%__MODULE__{path: path, file: file}, parts) do
      :file.close(file)
      error
    end
  end

  @doc "Writes what has finished; returns once it is on disk."
  @spec append(t, [non_neg_integer], [output]) :: {:ok, t} | {:error, Error.t()}
  def append(checkpoint, finished, outputs) do
    # The outputs are packed apart: opening a checkpoint reads all records, but only positions.
    record = {Ranges.new(finished), :erlang.term_to_binary(outputs)}
    write(checkpoint, record)
  end

  @doc "The outputs of the earlier runs, record by record, from the file."
  @spec outputs(t, non_neg_integer) :: {:ok, [output], non_neg_integer} | :done
  def outputs(%__MODULE__{until: until}, at) when at >= until, do: :done

  def outputs(%__MODULE__{} = checkpoint, at) do
    {:record, {_ranges, outputs}, next} = read(checkpoint.file, at, checkpoint.until)
    {:ok, :erlang.binary_to_term(outputs), next}
  end

  @doc "Where `outputs/2` begins."
  @spec first(t) :: non_neg_integer
  def first(%__MODULE__{file: file, until: until}) do
    {:record, _head, next} = read(file, byte_size(@magic), until)
    next
  end

  @spec close(t) :: :ok
  def close(checkpoint) do
    _ = :file.close(checkpoint.file)
    Names.release({:checkpoint, checkpoint.path})
  end

  ## Reading

  defp load(checkpoint, parts) do
    with {:ok, size} <- posix(checkpoint.path, :file.position(checkpoint.file, :eof)),
         {:ok, start} <- posix(checkpoint.path, pread(checkpoint.file, 0, byte_size(@magic))) do
      cond do
        start == @magic -> load_head(checkpoint, parts, size)
        # Killed while it was begun: nothing was recorded yet.
        String.starts_with?(@magic, start) -> begin(checkpoint, parts)
        true -> error(checkpoint.path, :not_a_checkpoint, "is not a checkpoint", nil)
      end
    end
  end

  defp load_head(checkpoint, parts, size) do
    case read(checkpoint.file, byte_size(@magic), size) do
      {:record, {:pipe, theirs}, next} ->
        with :ok <- same(checkpoint.path, theirs, parts),
             {:ok, checkpoint} <- load_records(checkpoint, next, size, []),
             do: cut(checkpoint)

      {:torn, _at} ->
        begin(checkpoint, parts)

      {:damaged, at} ->
        damaged(checkpoint, at)
    end
  end

  defp load_records(checkpoint, at, size, ranges) do
    case read(checkpoint.file, at, size) do
      {:record, {finished, _outputs}, next} ->
        load_records(checkpoint, next, size, gather(ranges, finished))

      :end ->
        {:ok, %{checkpoint | done: together(ranges), until: at}}

      {:torn, at} ->
        {:ok, %{checkpoint | done: together(ranges), until: at}}

      {:damaged, at} ->
        damaged(checkpoint, at)
    end
  end

  # Most records follow the one before them.
  defp gather([{from, to} | rest], [{next, last}]) when next == to + 1,
    do: [{from, last} | rest]

  defp gather(ranges, finished), do: Enum.reverse(finished, ranges)

  defp together(ranges), do: Ranges.union(ranges)

  defp read(_file, at, size) when at >= size, do: :end

  defp read(file, at, size) do
    with {:ok, <<length::32, crc::32>>} when length > 0 <- pread(file, at, @header),
         {:ok, bytes} when byte_size(bytes) == length <- pread(file, at + @header, length),
         ^crc <- :erlang.crc32(bytes) do
      {:record, :erlang.binary_to_term(bytes), at + @header + length}
    else
      _torn_or_damaged -> unreadable(file, at, size)
    end
  end

  # A write that did not get to the disk as a whole is the last one: it reaches to the end of
  # the file, or the rest of the file is still zeros.
  defp unreadable(file, at, size) do
    case pread(file, at, @header) do
      {:ok, <<0::64>>} ->
        if zeros?(file, at, size), do: {:torn, at}, else: {:damaged, at}

      {:ok, <<length::32, _crc::32>>} when length > 0 and at + @header + length < size ->
        {:damaged, at}

      _short ->
        {:torn, at}
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

  ## Writing

  defp begin(checkpoint, parts) do
    with {:ok, checkpoint} <- cut(%{checkpoint | until: 0}),
         :ok <- posix(checkpoint.path, :file.pwrite(checkpoint.file, 0, @magic)),
         {:ok, checkpoint} <- write(%{checkpoint | size: byte_size(@magic)}, {:pipe, parts}) do
      {:ok, %{checkpoint | until: checkpoint.size}}
    end
  end

  defp cut(%__MODULE__{file: file, until: until} = checkpoint) do
    with {:ok, _at} <- posix(checkpoint.path, :file.position(file, until)),
         :ok <- posix(checkpoint.path, :file.truncate(file)),
         do: {:ok, %{checkpoint | size: until}}
  end

  defp write(%__MODULE__{path: path, file: file, size: size} = checkpoint, record) do
    bytes = :erlang.term_to_binary(record)

    with :ok <- small?(path, byte_size(bytes)),
         head = <<byte_size(bytes)::32, :erlang.crc32(bytes)::32>>,
         :ok <- posix(path, :file.pwrite(file, size, [head, bytes])),
         :ok <- posix(path, :file.datasync(file)),
         do: {:ok, %{checkpoint | size: size + @header + byte_size(bytes)}}
  end

  defp small?(_path, size) when size < 0x1_0000_0000, do: :ok

  defp small?(path, size),
    do: error(path, :too_large, "can't hold a record of #{size} bytes", nil)

  ## Errors

  defp same(_path, parts, parts), do: :ok

  defp same(path, theirs, parts) do
    {theirs, ours} = {Map.new(theirs), Map.new(parts)}
    names = Enum.uniq(Map.keys(theirs) ++ Map.keys(ours))
    different = for name <- Enum.sort(names), theirs[name] != ours[name], do: name

    error(
      path,
      :other_checkpoint,
      "is of another pipe, or of other options; different: #{Enum.join(different, ", ")}",
      "run the pipe that wrote it, or give another path",
      %{different: different}
    )
  end

  defp damaged(checkpoint, at) do
    error(
      checkpoint.path,
      :checkpoint_damaged,
      "is damaged at byte #{at}, before its end",
      "bring back the file from a copy, or remove it to begin anew"
    )
  end

  defp posix(path, {:error, reason}) do
    error(path, :checkpoint_failed, "can't be used: #{:file.format_error(reason)}", nil)
  end

  defp posix(_path, answer), do: answer

  defp error(path, reason, message, hint, details \\ %{}) do
    {:error,
     %Error{
       reason: reason,
       where: "checkpoint #{path}",
       message: message,
       hint: hint,
       details: Map.put(details, :path, path)
     }}
  end
end
