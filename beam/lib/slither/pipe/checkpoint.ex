defmodule Slither.Pipe.Checkpoint do
  @moduledoc false
  # What a resumable run has finished, in one file that only grows; see `Checkpoint.Log`. There are
  # two kinds of records:
  #
  #   * `{:run, parts, owner}`: a run began; the last one says what the file belongs to;
  #   * `{:finished, positions with digests, names of outputs, outputs}`: inputs that are finished,
  #     and all that reached an output from them, so that both are there or neither is.
  #
  # A record is on disk before its outputs are handed on. Called by `Slither.Pipe.Resume`, in the
  # process that drives the run.

  alias Slither.{Error, Lock}
  alias Slither.Pipe.Checkpoint.Log
  alias Slither.Pipe.Names
  alias Slither.Run.Finished

  # ms to wait for another run's lock. A killed run needs a moment to be gone. A longer wait could
  # outlast a run that works, and this one would then do its work again instead of failing.
  @patience 100
  @old "was written by another version of Slither, which records other things"

  @enforce_keys [:path, :file]
  defstruct [:path, :file, :lock, parts: [], names: [], done: [], until: 0, size: 0]

  @typedoc """
  Of an open file: `parts`, `names` of outputs, and `done` are what earlier runs have recorded before
  `until`, and `size` is where the next record goes.
  """
  @type t :: %__MODULE__{
          path: String.t(),
          file: :file.fd(),
          lock: Lock.t() | nil,
          parts: parts,
          names: [term],
          done: Finished.t(),
          until: non_neg_integer,
          size: non_neg_integer
        }
  @typedoc "What a checkpoint belongs to: a digest of each part, by the part's name."
  @type parts :: [{String.t(), term}]
  @type output ::
          {seq :: [non_neg_integer, ...], Slither.Pipe.Definition.name(), Slither.Item.t()}

  @doc """
  Opens a checkpoint of what `parts` describe, or begins one; `outputs` are the pipe's.

  It belongs to the calling process; no other can open it meanwhile, of this VM or of another.
  With `:anyway` one of other parts is taken, and is of these from then on.
  """
  @spec open(String.t(), parts, [term], :same | :anyway) :: {:ok, t} | {:error, Error.t()}
  def open(path, parts, outputs, resume) do
    path = path |> Path.expand() |> followed(40)

    case Names.claim({:checkpoint, path}) do
      :ok ->
        with {:error, _error} = error <- open_locked(path, parts, outputs, resume) do
          Names.release({:checkpoint, path})
          error
        end

      {:error, owner} ->
        in_use(path, "#{inspect(owner)} of this BEAM")
    end
  end

  # Follows links, as two names of one file are one checkpoint.
  defp followed(path, links) do
    case File.read_link(path) do
      {:ok, to} when links > 0 -> to |> Path.expand(Path.dirname(path)) |> followed(links - 1)
      _no_link -> path
    end
  end

  defp open_locked(path, parts, outputs, resume) do
    File.mkdir_p(Path.dirname(path))

    with {:ok, file} <- posix(path, :file.open(path, [:read, :write, :binary, :raw])) do
      with {:ok, lock} <- lock(path, file),
           checkpoint = %__MODULE__{path: path, file: file, lock: lock},
           {:error, _error} = error <- take(checkpoint, parts, outputs, resume) do
        Lock.release(lock)
        :file.close(file)
        error
      else
        {:error, _error} = error ->
          :file.close(file)
          error

        opened ->
          opened
      end
    end
  end

  defp lock(path, file) do
    case Lock.take(path <> ".lock", @patience) do
      {:error, :locked} -> in_use(path, owner(path, file))
      answer -> posix(path, answer)
    end
  end

  defp take(checkpoint, parts, outputs, resume) do
    with {:ok, checkpoint} <- load(checkpoint),
         :ok <- same(checkpoint, parts, resume),
         :ok <- declared(checkpoint, outputs),
         until = max(checkpoint.until, Log.first()),
         {:ok, written} <- write(checkpoint, {:run, parts, owner()}),
         do: {:ok, %{written | until: until}}
  end

  defp owner do
    {:ok, host} = :inet.gethostname()

    {System.pid(), to_string(host),
     DateTime.to_iso8601(DateTime.truncate(DateTime.utc_now(), :second))}
  end

  # Names the BEAM that began the last run on the file, and may be writing to it just now.
  defp owner(path, file) do
    with {:ok, size} <- :file.position(file, :eof),
         {:ok, %{owner: {pid, host, since}}} <- load_records(path, file, size) do
      "the BEAM with process id #{pid} on #{host}, since #{since}"
    else
      _unreadable -> "another BEAM"
    end
  end

  @doc "Writes what has finished; returns once it is on disk."
  @spec append(t, [{non_neg_integer, Finished.digest()}], [output]) ::
          {:ok, t} | {:error, Error.t()}
  def append(checkpoint, finished, outputs) do
    names = outputs |> Enum.map(&elem(&1, 1)) |> Enum.uniq()

    # Outputs are encoded apart: opening a checkpoint
    # decodes all records, and needs only positions.
    packed = :erlang.term_to_binary(outputs)
    write(checkpoint, {:finished, Finished.new(finished), names, packed})
  end

  @doc "The outputs of the earlier runs, record by record, from the file."
  @spec outputs(t, non_neg_integer) :: {:ok, [output], non_neg_integer} | :done
  def outputs(%__MODULE__{until: until}, at) when at >= until, do: :done

  def outputs(%__MODULE__{} = checkpoint, at) do
    case Log.read(checkpoint.file, at, checkpoint.until) do
      {:record, {:finished, _positions, _names, outputs}, next} ->
        {:ok, :erlang.binary_to_term(outputs), next}

      {:record, {:run, _parts, _owner}, next} ->
        outputs(checkpoint, next)
    end
  end

  @doc "Where `outputs/2` begins."
  @spec first(t) :: non_neg_integer
  def first(%__MODULE__{}), do: Log.first()

  @spec close(t) :: :ok
  def close(checkpoint) do
    _ = :file.close(checkpoint.file)
    Lock.release(checkpoint.lock)
    Names.release({:checkpoint, checkpoint.path})
  end

  ## Reading

  defp load(%__MODULE__{path: path, file: file} = checkpoint) do
    with {:ok, size} <- posix(path, :file.position(file, :eof)),
         {:ok, kind} <- posix(path, Log.kind(file)) do
      case kind do
        :ours -> load_records(checkpoint, size)
        :empty -> at(checkpoint, Log.first(), Log.begin(file))
        :old -> error(path, :old_checkpoint, @old)
        :other -> error(path, :not_a_checkpoint, "is not a checkpoint")
      end
    end
  end

  defp load_records(%__MODULE__{path: path, file: file} = checkpoint, size) do
    with {:ok, %{until: until} = found} <- load_records(path, file, size) do
      names = MapSet.to_list(found.names)
      found = %{parts: found.parts, names: names, done: Finished.union(found.runs), until: until}
      checkpoint |> Map.merge(found) |> at(until, Log.cut(file, until))
    end
  end

  defp at(checkpoint, size, answer) do
    with :ok <- posix(checkpoint.path, answer), do: {:ok, %{checkpoint | size: size}}
  end

  defp load_records(path, file, size) do
    begun = %{parts: [], owner: nil, names: MapSet.new(), runs: [], until: Log.first()}
    load_records(path, file, size, begun)
  end

  defp load_records(path, file, size, found) do
    case Log.read(file, found.until, size) do
      {:record, {:run, parts, owner}, next} ->
        load_records(path, file, size, %{found | parts: parts, owner: owner, until: next})

      {:record, {:finished, runs, names, _outputs}, next} ->
        names = Enum.into(names, found.names)
        runs = Enum.reverse(runs, found.runs)
        load_records(path, file, size, %{found | runs: runs, names: names, until: next})

      end_or_torn when end_or_torn in [:end, :torn] ->
        {:ok, found}

      :damaged ->
        error(path, :checkpoint_damaged, "is damaged at byte #{found.until}, before its end")
    end
  end

  defp write(%__MODULE__{path: path} = checkpoint, record) do
    case Log.write(checkpoint.file, checkpoint.size, record) do
      {:ok, size} -> {:ok, %{checkpoint | size: size}}
      {:too_large, size} -> error(path, :too_large, "can't hold a record of #{size} bytes")
      failed -> posix(path, failed)
    end
  end

  ## Errors

  @hints %{
    checkpoint_in_use: "wait for that run, or give another path",
    other_checkpoint: "run what wrote it, give another path, or go on with resume: :anyway",
    other_input: "give the input it was begun with, another path, or go on with resume: :anyway",
    old_checkpoint:
      "finish that run with the version it was begun with, or remove the file to begin anew",
    checkpoint_damaged: "bring back the file from a copy, or remove it to begin anew"
  }

  # Nothing was recorded yet, or its beginning was cut short.
  defp same(%{parts: []}, _parts, _resume), do: :ok

  defp same(%{path: path, parts: theirs}, ours, resume) do
    if resume == :anyway or theirs == ours do
      :ok
    else
      {theirs, ours} = {Map.new(theirs), Map.new(ours)}
      names = Enum.uniq(Map.keys(theirs) ++ Map.keys(ours))
      different = for name <- Enum.sort(names), theirs[name] != ours[name], do: name
      what = "is of another pipe, or of other options or code; different: "
      details = %{different: different}
      error(path, :other_checkpoint, what <> Enum.join(different, ", "), details)
    end
  end

  defp declared(%{path: path, names: names}, outputs) do
    case names -- outputs do
      [] ->
        :ok

      gone ->
        what = "has results for outputs that the pipe does not declare: "
        what = what <> Enum.map_join(gone, ", ", &inspect/1)
        hint = "declare them, or give another path"
        error(path, :other_checkpoint, what, %{different: ["outputs"]}, hint)
    end
  end

  @doc "The error of an input that is not the one that the checkpoint knows."
  @spec other_input(t, non_neg_integer, String.t()) :: Error.t()
  def other_input(checkpoint, position, what) do
    what = "is of another input: #{what}"
    {:error, error} = error(checkpoint.path, :other_input, what, %{position: position})
    error
  end

  defp in_use(path, owner), do: error(path, :checkpoint_in_use, "is in use by #{owner}")

  defp posix(path, {:error, reason}),
    do: error(path, :checkpoint_failed, "can't be used: #{:file.format_error(reason)}")

  defp posix(_path, answer), do: answer

  defp error(path, reason, message, details \\ %{}, hint \\ nil) do
    {:error,
     %Error{
       reason: reason,
       where: "checkpoint #{path}",
       message: message,
       hint: hint || @hints[reason],
       details: Map.put(details, :path, path)
     }}
  end
end
