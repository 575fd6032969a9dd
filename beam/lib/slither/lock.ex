defmodule Slither.Lock do
  @moduledoc false
  # Keeps a second VM, and a second process of this one, out of a store's log, a checkpoint or an
  # environment that is being built. The process that takes a lock owns it.
  #
  # A process that wants the lock shows a Unix socket that listens, under a name that nobody else
  # ever has (`NAME.RANDOM.lock`), and only then looks for others. Where another socket listens, the
  # process takes its own away and tries again later. Of two that come at once, the one whose socket
  # appeared last sees the other's, so two never both go on. A socket ends with its VM, however that
  # dies. One that refuses to be connected to is dead for good, as its name is not used again, so
  # whoever finds it may remove it.

  require Logger

  # Some systems take no socket's path of more than 103 bytes.
  @longest 100
  # An owner that was killed, or a VM that is just ending, still listens for a moment.
  @patience 2_000
  # Drawn anew each time, so that two that stepped back for each other seldom meet again.
  @pause 5..30
  # Nobody accepts a connection: a process that looks whether the lock is held stays in this queue
  # until it closes its own end.
  @backlog 1_024

  @type t :: {Path.t(), port} | nil

  @doc """
  Takes the lock for the calling process, whose end frees it.

  `path` ends in `.lock`. `:locked` when somebody else keeps it for `patience` ms; another reason
  where the folder of `path` can't be written to or listed.
  """
  @spec take(Path.t(), non_neg_integer) :: {:ok, t} | {:error, :locked | :file.posix()}
  def take(path, patience \\ @patience),
    do: take_until(path, System.monotonic_time(:millisecond) + patience)

  @spec release(t) :: :ok
  def release(nil), do: :ok

  def release({name, socket}) do
    # If the name can't be removed, it refuses connections once the socket is closed.
    _ = :file.delete(name, [:raw])
    :gen_tcp.close(socket)
  end

  defp take_until(path, deadline) do
    with {:ok, {name, _socket} = lock} <- show(path),
         {:ok, others} <- others(path, name) do
      cond do
        not Enum.any?(others, &held?/1) ->
          {:ok, lock}

        System.monotonic_time(:millisecond) >= deadline ->
          release(lock)
          {:error, :locked}

        true ->
          release(lock)
          receive after: (Enum.random(@pause) -> take_until(path, deadline))
      end
    else
      {:unlockable, reason} ->
        Logger.warning("#{path} can't be locked against other VMs: #{:inet.format_error(reason)}")
        {:ok, nil}

      {:error, reason} ->
        {:error, reason}
    end
  end

  # A socket that is bound and does not listen yet would look like a dead one.
  defp show(path) do
    name = String.replace_suffix(path, ".lock", ".#{random()}.lock")
    hidden = name <> ".new"

    case short(hidden, &listen/1) do
      {:ok, socket} ->
        with {:error, reason} <- :prim_file.rename(hidden, name) do
          release({hidden, socket})
          {:error, reason}
        else
          :ok -> {:ok, {name, socket}}
        end

      # Some file systems have no sockets.
      {:error, reason} when reason in [:eopnotsupp, :enotsup, :eperm, :einval, :enosys] ->
        {:unlockable, reason}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp listen(name),
    do: :gen_tcp.listen(0, [:binary, active: false, backlog: @backlog, ifaddr: {:local, name}])

  # The bare name is what versions before this one listened at.
  defp others(path, own) do
    {dir, base} = {Path.dirname(path), Path.basename(path, ".lock")}
    pattern = ~r/\A#{Regex.escape(base)}(\.[0-9a-f]{16})?\.lock\z/

    case :prim_file.list_dir(dir) do
      {:ok, files} ->
        names = for file <- files, to_string(file) =~ pattern, do: Path.join(dir, to_string(file))
        {:ok, names -- [Path.join(dir, Path.basename(own))]}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp held?(name) do
    case short(name, &:gen_tcp.connect({:local, &1}, 0, [:binary, active: false], 1_000)) do
      {:ok, socket} ->
        :gen_tcp.close(socket)
        true

      {:error, :enoent} ->
        false

      {:error, :econnrefused} ->
        _ = :file.delete(name, [:raw])
        false

      # Not known to be dead: a queue that is full, no descriptor left for us.
      {:error, _reason} ->
        true
    end
  end

  # VMs, containers and processes that ask in the same nanosecond get different ones.
  defp random do
    facts =
      {System.pid(), :inet.gethostname(), self(), make_ref(), :os.system_time(), :rand.bytes(8)}

    facts
    |> :erlang.term_to_binary()
    |> :erlang.md5()
    |> binary_part(0, 8)
    |> Base.encode16(case: :lower)
  end

  defp short(path, fun) when byte_size(path) <= @longest, do: fun.(path)

  defp short(path, fun) do
    link = Path.join(System.tmp_dir!(), "slither-#{System.pid()}-#{random()}")
    name = Path.basename(path)

    try do
      with :ok <- File.ln_s(Path.expand(Path.dirname(path)), link),
           do: fun.(Path.join(link, name))
    after
      File.rm(link)
    end
  end
end
