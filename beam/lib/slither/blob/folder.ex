defmodule Slither.Blob.Folder do
  @moduledoc false
  # The folder in shared memory that one BEAM has for values: its name, making it, the files in it,
  # and taking away what BEAMs left that are no more. `Slither.Blob.Server` makes it; whoever puts a
  # value writes the file itself, so that the value is not copied to another process.

  @memory "/dev/shm"
  # Beside its id the name has what tells whether its BEAM still is: pid, start, and the namespace
  # in which the pid is one.
  @name ~r/\Aslither-(\d+)-(\d+)-(\d+)-[a-z0-9]{16}\z/

  @doc "Where folders are: the configured `:blob_dir`, shared memory, or else the temporary folder."
  @spec root() :: String.t()
  def root do
    case Application.get_env(:slither, :blob_dir) do
      nil -> if File.dir?(@memory), do: @memory, else: System.tmp_dir!()
      dir -> dir
    end
  end

  @doc "A name that nobody can guess, of 16 letters and digits."
  @spec id() :: String.t()
  def id do
    {:ok, {:ok, bytes}} = File.open("/dev/urandom", [:read, :raw, :binary], &:file.read(&1, 10))
    Base.encode32(bytes, case: :lower, padding: false)
  end

  @doc "The path of a folder with an id."
  @spec path(String.t()) :: String.t()
  def path(id) do
    pid = System.pid()
    Path.join(root(), "slither-#{pid}-#{since(pid)}-#{namespace()}-#{id}")
  end

  @doc "Makes it, for this user alone."
  @spec make(String.t()) :: :ok | {:error, File.posix()}
  def make(path) do
    with :ok <- File.mkdir(path), do: File.chmod(path, 0o700)
  end

  @doc "Takes away the folders of this user whose BEAM is no more."
  @spec sweep(String.t()) :: :ok
  def sweep(own) do
    with {:ok, %{uid: uid}} <- File.stat(own), {:ok, names} <- File.ls(Path.dirname(own)) do
      for name <- names, left?(name) do
        path = Path.join(Path.dirname(own), name)

        with {:ok, %{uid: ^uid, type: :directory}} <- File.lstat(path), do: File.rm_rf(path)
      end
    end

    :ok
  end

  @doc "Writes a new file, which this user alone may read."
  @spec write(String.t(), iodata) :: :ok | {:error, File.posix()}
  def write(path, data) do
    with {:ok, file} <- :file.open(path, [:raw, :write, :exclusive]) do
      written = with :ok <- File.chmod(path, 0o600), do: :file.write(file, data)
      closed = :file.close(file)

      with :ok <- written, :ok <- closed do
        :ok
      else
        error ->
          File.rm(path)
          error
      end
    end
  end

  defp left?(name) do
    with [_, pid, since, space] <- Regex.run(@name, name),
         true <- space == namespace() and space != "0" do
      since(pid) != since
    else
      _other -> false
    end
  end

  # The time at which a process started, as the system counts it; "0" where there is none.
  defp since(pid) do
    with {:ok, stat} <- File.read("/proc/#{pid}/stat"),
         [_name, facts] <- :binary.split(stat, ") ", []) do
      facts |> String.split(" ") |> Enum.at(19)
    else
      _none -> "0"
    end
  end

  defp namespace do
    with {:ok, "pid:[" <> rest} <- File.read_link("/proc/self/ns/pid"),
         {number, "]"} <- Integer.parse(rest) do
      Integer.to_string(number)
    else
      _none -> "0"
    end
  end
end
