defmodule Slither.Store.Journal.Files do
  @moduledoc false
  # The names of a journal's files, `NAME.N.log` and `NAME.N.snap`, and what is done to them as a
  # whole. Called by the store's owner, the journal's writer, and the process of a snapshot.

  @typedoc "What has a directory and a base name."
  @type t :: %{
          :dir => Path.t() | nil,
          :base => String.t() | nil,
          optional(atom) => term
        }

  # The errors of systems that can't sync a directory. The file's own bytes are safe even there.
  @no_sync [:einval, :eisdir, :enotsup, :eopnotsupp, :ebadf, :enosys]

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
  @spec remove_unfinished(t) :: :ok | {:error, term}
  def remove_unfinished(files), do: remove(files, fn _number, kind -> kind == "snap.new" end)

  @doc "Removes the segments and snapshots before `number`."
  @spec remove_before(t, non_neg_integer) :: :ok | {:error, term}
  def remove_before(files, number),
    do: remove(files, fn n, kind -> kind in ["log", "snap"] and n < number end)

  defp remove(files, unwanted?) do
    for {number, kind} <- all(files), unwanted?.(number, kind), reduce: :ok do
      result ->
        file = path(files, number, kind)

        case :file.delete(file, [:raw]) do
          {:error, reason} when reason != :enoent -> {:error, {:file_error, file, reason}}
          _gone -> result
        end
    end
  end

  @doc "Has the names in a directory on disk, as `sync` has the bytes of a file."
  @spec sync_names(Path.t()) :: :ok | {:error, atom}
  def sync_names(dir) do
    case :file.open(dir, [:raw, :read, :directory]) do
      {:ok, file} ->
        result = :file.sync(file)
        _ = :file.close(file)
        allowed(result)

      error ->
        allowed(error)
    end
  end

  defp allowed({:error, reason}) when reason in @no_sync, do: :ok
  defp allowed(result), do: result

  defp all(%{dir: dir, base: base}) do
    for file <- list!(dir),
        String.starts_with?(file, base <> "."),
        rest = String.replace_prefix(file, base <> ".", ""),
        {number, "." <> kind} <- [Integer.parse(rest)],
        kind in ["log", "snap", "snap.new"] do
      {number, kind}
    end
  end

  # `:prim_file` avoids the file server, which all processes of the VM share.
  defp list!(dir) do
    case :prim_file.list_dir(dir) do
      {:ok, files} -> Enum.map(files, &to_string/1)
      {:error, reason} -> throw({:file_error, dir, reason})
    end
  end
end
