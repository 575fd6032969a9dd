defmodule Slither.Python.OSProcess do
  @moduledoc false
  # Ends worker processes for good: a worker leads its own process group, so that what its
  # handlers started goes with it.

  @doc "Kills the process group of `os_pid` with SIGKILL."
  @spec kill_group(pos_integer) :: :ok
  def kill_group(os_pid) when is_integer(os_pid) and os_pid > 1 do
    pid = Integer.to_string(os_pid)
    # The shell's own kill is on every system; the group may be gone, then the process is too.
    # Of the ways to name a group, dash knows no "-KILL --".
    script = "kill -s KILL -- -#{pid} 2>/dev/null || kill -s KILL #{pid} 2>/dev/null"
    {_output, _status} = System.cmd("/bin/sh", ["-c", script])
    :ok
  end

  @doc "Kills several process groups, as `kill_group/1` does one."
  @spec kill_groups([pos_integer]) :: :ok
  def kill_groups([]), do: :ok

  def kill_groups(os_pids) do
    groups = for os_pid <- os_pids, os_pid > 1, do: "-#{os_pid}"
    script = ~s(for group in "$@"; do kill -s KILL -- "$group" 2>/dev/null; done)
    {_output, _status} = System.cmd("/bin/sh", ["-c", script, "sh" | groups])
    :ok
  end

  @doc "An exit status in words: the signal's name where the process was killed by one."
  @spec describe(non_neg_integer) :: String.t()
  def describe(status) when status > 128 and status < 160 do
    "killed by signal #{status - 128}#{name(status - 128)}"
  end

  def describe(status), do: "exit status #{status}"

  @doc "The number of the signal that ended a process with an exit status, `nil` for none."
  @spec signal(non_neg_integer | nil) :: pos_integer | nil
  def signal(status) when status > 128 and status < 160, do: status - 128
  def signal(_status), do: nil

  defp name(4), do: " (SIGILL)"
  defp name(6), do: " (SIGABRT)"
  defp name(7), do: " (SIGBUS)"
  defp name(8), do: " (SIGFPE)"
  defp name(9), do: " (SIGKILL)"
  defp name(11), do: " (SIGSEGV)"
  defp name(15), do: " (SIGTERM)"
  defp name(_other), do: ""
end
