defmodule Slither.Python.OSProcess do
  @moduledoc false
  # What the system says of processes, and how a group is killed where the guard can't do it. Called
  # by workers' owners, by the guard, and by what reads a worker's memory or pipe.

  @doc "Kills the process group of `os_pid` with SIGKILL."
  @spec kill_group(pos_integer) :: :ok
  def kill_group(os_pid) when is_integer(os_pid) and os_pid > 1 do
    pid = Integer.to_string(os_pid)
    # A shell's own kill is on every system. dash does not know "-KILL --". The second kill is for
    # a process that leads no group.
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
    case started(os_pid) do
      {:ok, since} -> since
      _unknown -> 0
    end
  end

  # Linux counts the time of cores in hundredths of a second.
  @tick 10

  @doc "ms that a process has had of its cores, all threads together; 0 where nobody can tell."
  @spec used(pos_integer) :: non_neg_integer
  def used(os_pid) do
    with {:ok, fields} <- fields(os_pid),
         {user, ""} <- Integer.parse(Enum.at(fields, 11, "")),
         {system, ""} <- Integer.parse(Enum.at(fields, 12, "")) do
      @tick * (user + system)
    else
      _unknown -> 0
    end
  end

  # ms between two looks at whether a process is there; to ask a shell costs more.
  @interval 250
  @interval_of_kill 2_000

  @doc "ms to leave between two looks with `gone?/2`."
  @spec interval() :: pos_integer
  def interval, do: if(proc?(), do: @interval, else: @interval_of_kill)

  @doc """
  Whether a process that was started at `since` is gone for sure: neither running nor waiting for
  its parent to take note of its end.
  """
  @spec gone?(pos_integer, non_neg_integer) :: boolean
  def gone?(os_pid, since) do
    case started(os_pid) do
      {:ok, now} -> now != since
      {:error, reason} when reason in [:enoent, :esrch] -> proc?() or not signalled?(os_pid)
      {:error, _no_descriptor_left} -> false
    end
  end

  @doc "Whether a process has ended, be it that its parent has not taken note of it."
  @spec ended?(pos_integer) :: boolean
  def ended?(os_pid) do
    case fields(os_pid) do
      {:ok, [state | _rest]} -> state in ["Z", "X"]
      {:error, reason} -> reason in [:enoent, :esrch]
    end
  end

  defp started(os_pid) do
    with {:ok, fields} <- fields(os_pid),
         field when field != nil <- Enum.at(fields, 19) do
      {:ok, String.to_integer(field)}
    else
      {:error, reason} -> {:error, reason}
      _other -> {:error, :unknown}
    end
  end

  # Those behind the process's name, in parentheses, which may hold anything.
  defp fields(os_pid) do
    with {:ok, stat} <- proc(os_pid, "stat"),
         [rest] <- Regex.run(~r/.*\) \K.*/s, stat) do
      {:ok, String.split(rest)}
    else
      {:error, reason} -> {:error, reason}
      nil -> {:error, :unknown}
    end
  end

  # Signal 0 does nothing, and fails where no process has the pid.
  defp signalled?(os_pid) do
    {_output, status} = System.cmd("/bin/sh", ["-c", "kill -0 #{os_pid} 2>/dev/null"])
    status == 0
  end

  @doc "Whether the system has processes as files."
  @spec proc?() :: boolean
  def proc?, do: match?({:ok, _info}, :file.read_file_info("/proc/self/stat", [:raw]))

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
  @spec proc(pos_integer, String.t()) :: {:ok, binary} | {:error, atom}
  def proc(os_pid, name), do: read("/proc/#{os_pid}/#{name}", 4_096)

  @doc "The first bytes of a file that the system makes as it is read."
  @spec read(Path.t(), pos_integer) :: {:ok, binary} | {:error, atom}
  def read(path, most) do
    # Raw, as the node's file server may be waiting for a slow disk.
    with {:ok, file} <- :file.open(path, [:raw, :read, :binary]),
         read = :file.read(file, most),
         :ok <- :file.close(file),
         {:ok, text} <- read do
      {:ok, text}
    else
      :eof -> {:error, :esrch}
      {:error, reason} -> {:error, reason}
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
  defp name(24), do: " (SIGXCPU)"
  defp name(25), do: " (SIGXFSZ)"
  defp name(_other), do: ""
end
