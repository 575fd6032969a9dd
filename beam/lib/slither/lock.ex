defmodule Slither.Lock do
  @moduledoc false
  # Keeps a second VM out of a log or a folder. The lock is a Unix socket that listens: it ends with its VM,
  # however that dies, and a file left behind is told from a lock by refusing to be connected to.

  require Logger

  # A socket's path is short: 104 bytes with its end on some systems.
  @longest 100
  # An owner that was killed, or a VM that is just ending, still listens for a moment.
  @patience 2_000
  @pause 20

  @type t :: {Path.t(), port} | nil

  @doc """
  Takes the lock for the calling process; `:locked` when somebody else keeps it for `patience` ms.
  """
  @spec take(Path.t(), non_neg_integer) :: {:ok, t} | {:error, :locked}
  def take(path, patience \\ @patience),
    do: take_until(path, System.monotonic_time(:millisecond) + patience)

  @spec release(t) :: :ok
  def release(nil), do: :ok

  def release({path, socket}) do
    # The file first: once the socket is closed, the name is anybody's.
    File.rm(path)
    :gen_tcp.close(socket)
  end

  defp take_until(path, deadline) do
    case short(path, &:gen_tcp.listen(0, [:binary, active: false, ifaddr: {:local, &1}])) do
      {:ok, socket} ->
        {:ok, {path, socket}}

      {:error, :eaddrinuse} ->
        cond do
          stale?(path) -> take_stale(path, deadline)
          System.monotonic_time(:millisecond) > deadline -> {:error, :locked}
          true -> receive after: (@pause -> take_until(path, deadline))
        end

      # Some file systems have no sockets. A directory that can't be written to is told of by
      # whoever writes there next.
      {:error, reason} ->
        Logger.warning("#{path} can't be locked against other VMs: #{:inet.format_error(reason)}")
        {:ok, nil}
    end
  end

  defp take_stale(path, deadline) do
    File.rm(path)
    take_until(path, deadline)
  end

  defp stale?(path) do
    case short(path, &:gen_tcp.connect({:local, &1}, 0, [:binary, active: false], 1_000)) do
      {:ok, socket} ->
        :gen_tcp.close(socket)
        false

      {:error, reason} ->
        reason in [:econnrefused, :enoent]
    end
  end

  defp short(path, fun) when byte_size(path) <= @longest, do: fun.(path)

  defp short(path, fun) do
    link =
      Path.join(
        System.tmp_dir!(),
        "slither-#{System.pid()}-#{:erlang.unique_integer([:positive])}"
      )

    try do
      with :ok <- File.ln_s(Path.expand(Path.dirname(path)), link),
           do: fun.(Path.join(link, Path.basename(path)))
    after
      File.rm(link)
    end
  end
end
