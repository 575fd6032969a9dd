defmodule Slither.Watch.Attach.Place do
  @moduledoc false
  # Where the sockets of VMs are: in folders that nobody but their user may open, one file for each VM,
  # named by its process in the system. Called by whoever opens a socket or looks for one.

  import Bitwise

  # Bytes of a socket's path that all systems take.
  @longest 100

  @doc """
  The folders in which sockets may be, best first: `$XDG_RUNTIME_DIR/slither`, and `/tmp/slither-UID`
  where that is not set or can't be used.
  """
  @spec folders() :: [String.t()]
  def folders do
    runtime = System.get_env("XDG_RUNTIME_DIR")
    # A program started by cron, say, does not know of it.
    usual = "/run/user/#{uid()}"

    [
      runtime && Path.join(runtime, "slither"),
      Path.join(usual, "slither"),
      "/tmp/slither-#{uid()}"
    ]
    |> Enum.filter(&(&1 != nil and byte_size(path(&1, "1234567890")) <= @longest))
    |> Enum.uniq()
  end

  @doc "The user's number in the system."
  @spec uid() :: non_neg_integer
  def uid do
    with {:error, _no_proc} <- owner("/proc/self"),
         {:error, _gone} <- owner(System.user_home() || "/"),
         do: 0
  end

  defp owner(path) do
    with {:ok, stat} <- File.stat(path), do: stat.uid
  end

  @doc """
  The path of a process's socket.

      iex> Slither.Watch.Attach.Place.path("/tmp/slither-1000", 4711)
      "/tmp/slither-1000/4711.sock"
  """
  @spec path(String.t(), String.t() | pos_integer) :: String.t()
  def path(folder, os_pid), do: Path.join(folder, "#{os_pid}.sock")

  @doc "Makes a folder that is the user's alone, or says why it can't be used."
  @spec make(String.t()) :: :ok | {:error, term}
  def make(folder) do
    with :ok <- mkdir(folder), do: own(folder)
  end

  defp mkdir(folder) do
    case File.mkdir(folder) do
      :ok -> File.chmod(folder, 0o700)
      {:error, :eexist} -> :ok
      error -> error
    end
  end

  @doc "Whether a folder is the user's own and nobody else's: somebody may have put one there."
  @spec own(String.t()) :: :ok | {:error, term}
  def own(folder) do
    uid = uid()

    case File.lstat(folder) do
      {:ok, %{type: :directory, uid: ^uid, mode: mode}} when (mode &&& 0o077) == 0 -> :ok
      {:ok, _other} -> {:error, :not_private}
      error -> error
    end
  end

  @doc "The sockets that are there, with the process that each is of."
  @spec all() :: [{os_pid :: pos_integer, path :: String.t()}]
  def all do
    for folder <- folders(),
        own(folder) == :ok,
        {:ok, files} <- [File.ls(folder)],
        file <- files,
        {os_pid, ".sock"} <- [Integer.parse(file)],
        do: {os_pid, Path.join(folder, file)}
  end

  @doc "Takes away the sockets of processes that are gone: nobody listens there."
  @spec sweep() :: :ok
  def sweep do
    for {os_pid, path} <- all(),
        not File.exists?("/proc/#{os_pid}"),
        not listens?(path),
        do: File.rm(path)

    :ok
  end

  @doc "Whether somebody listens on a socket."
  @spec listens?(String.t()) :: boolean
  def listens?(path) do
    with {:ok, socket} <- :socket.open(:local, :stream, :default) do
      answer = :socket.connect(socket, %{family: :local, path: path}, 1_000)
      :socket.close(socket)
      answer not in [{:error, :econnrefused}, {:error, :enoent}]
    else
      _none -> true
    end
  end
end
