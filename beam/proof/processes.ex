defmodule Slither.Proof.Processes do
  @moduledoc false
  # OS processes as /proc tells of them. Those of one run carry a token in their environment, so
  # that no other run's are counted, or hit.

  @variable "SLITHER_PROOF"

  @doc "A word that no other run has."
  @spec token() :: String.t()
  def token, do: "#{System.pid()}-#{System.unique_integer([:positive])}"

  @doc "The environment of a run's workers."
  @spec env(String.t()) :: [{String.t(), String.t()}]
  def env(token), do: [{@variable, token}]

  @doc "The run's processes that have not ended, those that their handlers started among them."
  @spec of(String.t()) :: [pos_integer]
  def of(token) do
    mark = "#{@variable}=#{token}\0"
    for pid <- all(), marked?(pid, mark), do: pid
  end

  @doc "Waits until the run has no process left; returns those that it has after `patience` ms."
  @spec await_none(String.t(), pos_integer) :: {[pos_integer], ms :: non_neg_integer}
  def await_none(token, patience) do
    started = System.monotonic_time(:millisecond)
    left = none(token, started + patience)
    {left, System.monotonic_time(:millisecond) - started}
  end

  @doc "Sends a signal; false where the process is gone."
  @spec signal(pos_integer, String.t()) :: boolean
  def signal(pid, signal) when pid > 1 do
    {_output, status} =
      System.cmd("kill", ["-" <> signal, to_string(pid)], stderr_to_stdout: true)

    status == 0
  end

  @doc "The processes that a process has started and that have not ended, or not been waited for."
  @spec children(pos_integer) :: [pos_integer]
  def children(parent) do
    for pid <- all(),
        {:ok, stat} <- [File.read("/proc/#{pid}/stat")],
        [_name, rest] <- [String.split(stat, ") ", parts: 2)],
        [_state, ppid | _] = String.split(rest),
        ppid == to_string(parent),
        do: pid
  end

  @doc "Whether a process is stopped, as by SIGSTOP."
  @spec stopped?(pos_integer) :: boolean
  def stopped?(pid) do
    case File.read("/proc/#{pid}/stat") do
      {:ok, stat} -> stat =~ ") T "
      {:error, _gone} -> false
    end
  end

  @doc "Bytes of a process that are in memory; `:peak` the most there ever were. 0 once it is gone."
  @spec rss(pos_integer | String.t(), :now | :peak) :: non_neg_integer
  def rss(pid, which \\ :now) do
    field = if which == :peak, do: "VmHWM", else: "VmRSS"

    with {:ok, status} <- File.read("/proc/#{pid}/status"),
         [_, kb] <- Regex.run(~r/^#{field}:\s+(\d+) kB/m, status) do
      String.to_integer(kb) * 1_024
    else
      _ -> 0
    end
  end

  @doc "How many descriptors a process has open; 0 once it is gone."
  @spec fds(pos_integer | String.t()) :: non_neg_integer
  def fds(pid) do
    case File.ls("/proc/#{pid}/fd") do
      {:ok, fds} -> length(fds)
      {:error, _gone} -> 0
    end
  end

  @doc """
  An executable that a pool takes for its interpreter: `script`, of /bin/sh. It is removed with
  the folder, which is returned too.
  """
  @spec interpreter(String.t()) :: {path :: String.t(), folder :: String.t()}
  def interpreter(script) do
    folder = Path.join(System.tmp_dir!(), "slither-proof-#{token()}")
    File.mkdir_p!(folder)
    path = Path.join(folder, "python")
    File.write!(path, "#!/bin/sh\n#{script}\n")
    File.chmod!(path, 0o755)
    {path, folder}
  end

  defp all do
    for name <- File.ls!("/proc"), {pid, ""} <- [Integer.parse(name)], do: pid
  end

  defp marked?(pid, mark) do
    # A zombie has no environment any more.
    case File.read("/proc/#{pid}/environ") do
      {:ok, environ} -> String.contains?(environ, mark)
      {:error, _gone} -> false
    end
  end

  defp none(token, deadline) do
    case of(token) do
      [] ->
        []

      left ->
        if System.monotonic_time(:millisecond) > deadline do
          left
        else
          receive after: (20 -> none(token, deadline))
        end
    end
  end
end
