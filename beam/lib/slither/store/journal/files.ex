defmodule Slither.Store.Journal.Files do
  @moduledoc false
  # The names of a journal's files, `NAME.N.log` and `NAME.N.snap`, and what is done to them
  # from outside `disk_log`.

  @typedoc "What has a directory and a base name."
  @type t :: %{
          :dir => Path.t() | nil,
          :base => String.t() | nil,
          optional(atom) => term
        }

  # What `disk_log` has after its magic number while a log is open.
  @opened <<6, 7, 8, 9>>

  @doc "Readable for module names; anything else is told apart by a hash."
  @spec base(term) :: String.t()
  def base(store) do
    name = inspect(store, limit: :infinity)
    safe = String.replace(name, ~r/[^A-Za-z0-9_.-]/, "_")
    if safe == name, do: name, else: "#{String.slice(safe, 0, 80)}-#{:erlang.phash2(store)}"
  end

  @spec path(t, non_neg_integer, String.t()) :: Path.t()
  def path(%{dir: dir, base: base}, number, kind),
    do: Path.join(dir, "#{base}.#{number}.#{kind}")

  @spec lock(t) :: Path.t()
  def lock(%{dir: dir, base: base}), do: Path.join(dir, "#{base}.lock")

  @doc "The numbers of the files of a kind, or of all segments and snapshots, in order."
  @spec numbers(t, String.t()) :: [non_neg_integer]
  def numbers(files, kind), do: for({number, ^kind} <- all(files), do: number) |> Enum.sort()

  @spec last(t) :: non_neg_integer
  def last(files), do: files |> all() |> Enum.map(&elem(&1, 0)) |> Enum.max(fn -> 0 end)

  @doc "Removes what a VM that ended while it wrote a snapshot left behind."
  @spec remove_unfinished(t) :: :ok
  def remove_unfinished(files) do
    for {number, "snap.new"} <- all(files), do: File.rm!(path(files, number, "snap.new"))
    :ok
  end

  @doc "Removes the segments and snapshots before `number`."
  @spec remove_before(t, non_neg_integer) :: :ok
  def remove_before(files, number) do
    for {n, kind} <- all(files),
        kind in ["log", "snap"] and n < number,
        do: File.rm(path(files, n, kind))

    :ok
  end

  @doc "Has a log that may be torn repaired when it is read: only what was closed is not."
  @spec mark_torn(Path.t()) :: :ok | {:error, term}
  def mark_torn(path) do
    with {:ok, file} <- :file.open(path, [:raw, :read, :write]) do
      result = :file.pwrite(file, 4, @opened)
      :file.close(file)
      result
    end
  end

  @doc "Has the names in a directory on disk, as `sync` has the bytes of a file."
  @spec sync_names(Path.t()) :: :ok
  def sync_names(dir) do
    with {:ok, file} <- :file.open(dir, [:raw, :read, :directory]) do
      :file.sync(file)
      :file.close(file)
    end

    # Not every system can; the file's own bytes are safe either way.
    :ok
  end

  defp all(%{dir: dir, base: base}) do
    for file <- File.ls!(dir),
        String.starts_with?(file, base <> "."),
        rest = String.replace_prefix(file, base <> ".", ""),
        {number, "." <> kind} <- [Integer.parse(rest)],
        kind in ["log", "snap", "snap.new"] do
      {number, kind}
    end
  end
end
