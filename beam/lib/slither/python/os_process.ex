defmodule Slither.Python.OSProcess do
  @moduledoc false
  # What the system says of processes, and how a group is killed where the guard can't do it.

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

  @doc """
  When a process was started, in ticks of the system's; 0 where it is gone, or nobody can tell.

  With its pid it names a process for good.
  """
  @spec since(pos_integer) :: non_neg_integer
  def since(os_pid) do
    with {:ok, stat} <- proc(os_pid, "stat"),
         # The name before it may hold anything.
         [rest] <- Regex.run(~r/.*\) \K.*/s, stat),
         field when field != nil <- rest |> String.split() |> Enum.at(19) do
      String.to_integer(field)
    else
      _unknown -> 0
    end
  end

  @doc """
  The path by which a descriptor of a process is opened, where it is what the process says:
  `[number, device, inode]`.

  A process may be seen under another number, or not at all, so that its word is checked.
  """
  @spec descriptor(term, term) :: {:ok, Path.t()} | :error
  def descriptor(os_pid, [number, device, inode])
      when is_integer(os_pid) and os_pid > 0 and is_integer(number) and number >= 0 do
    path = "/proc/#{os_pid}/fd/#{number}"

    with {:ok, info} <- :file.read_file_info(path, [:raw]),
         %File.Stat{major_device: ^device, inode: ^inode} <- File.Stat.from_record(info),
         do: {:ok, path},
         else: (_another -> :error)
  end

  def descriptor(_os_pid, _place), do: :error

  @doc "What Linux says of a process in a file of its own."
  @spec proc(pos_integer, String.t()) :: {:ok, binary} | :error
  def proc(os_pid, name) do
    # Raw: the node's file server may wait for a slow disk.
    with {:ok, file} <- :file.open("/proc/#{os_pid}/#{name}", [:raw, :read, :binary]),
         read = :file.read(file, 4_096),
         :ok <- :file.close(file),
         {:ok, text} <- read do
      {:ok, text}
    else
      _gone -> :error
    end
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
