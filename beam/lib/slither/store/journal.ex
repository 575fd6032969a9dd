defmodule Slither.Store.Journal do
  @moduledoc false
  # The log of a store's durable tables: the entries in it, those on their way, and how many of
  # them are known to be on disk. A value of the store's owner, which calls it when it starts
  # (`Boot`) and through `Commits`. Two other processes do the I/O: that of `Journal.Writer`,
  # which answers with a message, and one that writes a snapshot.
  #
  # Files in `dir`: segments `NAME.N.log`, to which writes are appended, and snapshots
  # `NAME.N.snap`, which hold all that happened before segment N. A snapshot is written under
  # another name and renamed when it is complete. It may be taken while segment N is being
  # written: its rows may then be newer than the segment's beginning, but replaying the segment
  # over them ends in the same rows, as its entries are rows and keys, not functions.
  #
  # `queue` holds the entries that the writer was not given yet, and `tail` those
  # that it was given but that are not known to be on disk. Once a write or sync of
  # a segment has failed, nothing more is appended to it, since the system's cache
  # of a file that it could not write can't be trusted. The log is then `down` until
  # a new segment has begun with the tail. The old segment may have entries of the
  # tail, too. Replay then applies these twice, in order, and ends in the same rows.

  alias Slither.Lock
  alias Slither.Store.Journal.{Files, Replay, Snapshot, Writer}
  alias Slither.Store.Table

  @enforce_keys [:dir, :base]
  defstruct [:dir, :base, :lock, :writer, :asked, seq: 0, known: [], down: :new] ++
              [queue: [], tail: [], tail_bytes: 0]

  # Bytes at which a tail is synced, however seldom the store's options ask for a sync.
  @most_unsynced 8_388_608
  # ms that a starting store waits for its first segment.
  @patience 30_000
  # Errors of a place that can't be used at all, as
  # opposed to a disk that is full or fails for now.
  @unusable [:eacces, :eperm, :erofs, :enotdir, :enoent, :eisdir, :eloop, :enametoolong]

  @typedoc """
  `asked` is what the writer has been asked and not answered; `seq` the segment's number; `known` the
  names of the tables in the log; `down` why it can't be written to, nil while it can.
  """
  @type t :: %__MODULE__{
          dir: Path.t(),
          base: String.t(),
          lock: Lock.t(),
          writer: pid | nil,
          asked: {reference, :segment | {:write, sync? :: boolean}} | nil,
          seq: non_neg_integer,
          known: [atom],
          down: term,
          queue: [binary],
          tail: [binary],
          tail_bytes: non_neg_integer
        }
  @type entry :: {table :: atom, [Table.effect()]}

  @doc """
  Brings back what the log knows and begins a new segment, on a disk that is full as soon as there
  is room.

  A table the log knows is emptied first and holds the log's rows alone. One it does not know
  keeps what it has, and if that is `seeded` the log knows it from now on.
  """
  @spec open(Path.t(), term, [Table.t()], boolean) ::
          {:ok, t, snapshot? :: boolean} | {:error, term}
  def open(dir, store, tables, seeded?) do
    with {:ok, journal} <- lock(dir, store),
         {:ok, known} <- Replay.run(journal, tables),
         names = Enum.map(tables, & &1.name),
         known = if(seeded?, do: names, else: Enum.filter(names, &(&1 in known))),
         next = %{journal | seq: Files.last(journal) + 1, known: known},
         # A file that can't be removed now is in nobody's way.
         _ = Files.remove_unfinished(next),
         {:ok, snapshot?} <-
           allowed(Snapshot.write(next, next.seq, known, tables, fn -> :ok end)),
         {:ok, journal} <- first_segment(next),
         do: {:ok, journal, snapshot?}
  end

  @doc "Begins a new segment; the tables are in memory already, and newer than the log."
  @spec reopen(Path.t(), term) :: {:ok, t} | {:error, term}
  def reopen(dir, store) do
    with {:ok, journal} <- lock(dir, store),
         {:ok, known} <- Replay.known(journal),
         do: {:ok, ask_segment(%{journal | seq: Files.last(journal) + 1, known: known})}
  end

  @doc "Queues an entry for the writer."
  @spec append(t, entry) :: t
  def append(journal, entry),
    do: %{journal | queue: [:erlang.term_to_binary(entry) | journal.queue]}

  @doc "Has the writer write what is queued, and sync all where that is wanted or due."
  @spec write(t, boolean) :: t
  def write(%{asked: nil, down: nil} = journal, sync?) do
    bytes = journal.queue |> Enum.map(&byte_size/1) |> Enum.sum()
    bytes = journal.tail_bytes + bytes
    sync? = sync? or bytes > @most_unsynced
    ref = Writer.ask(journal.writer, {:write, Enum.reverse(journal.queue), sync?})
    journal = %{journal | tail: journal.queue ++ journal.tail, tail_bytes: bytes, queue: []}
    %{journal | asked: {ref, {:write, sync?}}}
  end

  @doc "Has the writer go on with the next segment: a fresh one, or one in place of what failed."
  @spec ask_segment(t) :: t
  def ask_segment(%{asked: nil} = journal) do
    journal = if journal.writer, do: journal, else: %{journal | writer: Writer.start_link()}
    # After a failure the fresh segment takes the queued entries, too; else the next write does.
    journal = if journal.down, do: requeue(journal), else: journal
    path = Files.path(journal, journal.seq + 1, "log")
    ref = Writer.ask(journal.writer, {:open, path, Enum.reverse(journal.tail)})
    %{journal | asked: {ref, :segment}}
  end

  defp requeue(journal), do: %{journal | tail: journal.queue ++ journal.tail, queue: []}

  @doc "What the writer's answer to what it was asked comes to."
  @spec answered(t, :ok | {:error, term}) ::
          {:written | :segment | {:not_rotated | :failed, reason :: term}, t}
  def answered(%{asked: {_ref, what}} = journal, answer) do
    journal = %{journal | asked: nil}

    case {what, answer} do
      {{:write, true}, :ok} -> {:written, on_disk(journal)}
      {{:write, false}, :ok} -> {:written, journal}
      {:segment, :ok} -> {:segment, on_disk(%{journal | seq: journal.seq + 1, down: nil})}
      # Rotation failed, which leaves the old segment whole: the journal keeps writing to that.
      {:segment, {:error, reason}} when journal.down == nil -> {{:not_rotated, reason}, journal}
      {_what, {:error, reason}} -> {{:failed, reason}, %{journal | down: reason}}
    end
  end

  defp on_disk(journal), do: %{journal | tail: [], tail_bytes: 0}

  @doc "The writer has ended: a new one begins a segment."
  @spec writer_ended(t, term) :: t
  def writer_ended(journal, reason),
    do: %{journal | writer: nil, asked: nil, down: {:writer_ended, reason}}

  @doc "Writes what is on its way, for at most `patience` ms."
  @spec close(t, timeout) :: :ok | {:error, term}
  def close(journal, patience) do
    result = finish(journal, System.monotonic_time(:millisecond) + patience)
    if journal.writer, do: Process.exit(journal.writer, :kill)
    result
  end

  @doc "Lets others have the log."
  @spec release(t) :: :ok
  def release(journal), do: Lock.release(journal.lock)

  defp finish(%{asked: {ref, _what}} = journal, deadline) do
    with {:ok, answer} <- await(ref, deadline) do
      case answered(journal, answer) do
        {{:failed, _reason}, failed} when journal.down == nil ->
          finish(ask_segment(failed), deadline)

        {{:failed, reason}, _failed} ->
          {:error, reason}

        {_done, journal} ->
          finish(journal, deadline)
      end
    end
  end

  defp finish(%{down: reason, queue: [], tail: []}, _deadline) when reason != nil, do: :ok

  defp finish(%{down: reason} = journal, deadline) when reason != nil,
    do: finish(ask_segment(journal), deadline)

  defp finish(%{queue: [], tail: []} = journal, deadline) do
    with {:ok, answer} <- await(Writer.ask(journal.writer, :close), deadline), do: answer
  end

  defp finish(journal, deadline), do: finish(write(journal, true), deadline)

  defp await(ref, deadline) do
    receive do
      {Writer, ^ref, answer} -> {:ok, answer}
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> {:error, :timeout}
    end
  end

  defp first_segment(journal) do
    # A snapshot has the number of the segment that follows it, so the first segment reuses that.
    %{asked: {ref, :segment}} = journal = ask_segment(%{journal | seq: journal.seq - 1})

    with {:ok, answer} <- await(ref, System.monotonic_time(:millisecond) + @patience) do
      case answered(journal, answer) do
        {{:failed, reason}, journal} when reason in @unusable ->
          {:error, {:file_error, journal.dir, reason}}

        {_begun_or_to_be_tried_again, journal} ->
          {:ok, journal}
      end
    end
  end

  # A store whose snapshot could not be written opens all the same: its log is only longer. An
  # `@unusable` folder fails it.
  defp allowed(:ok), do: {:ok, true}
  defp allowed({:error, {:file_error, _path, reason}} = e) when reason in @unusable, do: e
  defp allowed({:error, {:file_error, _path, _full_or_failing}}), do: {:ok, false}

  defp lock(dir, store) do
    journal = %__MODULE__{dir: dir, base: Files.base(store)}

    with :ok <- File.mkdir_p(dir) do
      case Lock.take(Files.lock(journal)) do
        {:ok, lock} -> {:ok, %{journal | lock: lock}}
        {:error, :locked} -> {:error, :locked}
        {:error, reason} -> {:error, {:file_error, dir, reason}}
      end
    end
  end
end
