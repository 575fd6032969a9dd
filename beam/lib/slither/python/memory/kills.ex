defmodule Slither.Python.Memory.Kills do
  @moduledoc false
  # How often the kernel has killed for want of memory where a process is: in its cgroup, else on the
  # whole machine. The owner of a worker looks when that starts and each second, so that a SIGKILL
  # that nobody of Slither's has sent is known for what it is.
  #
  # The kernel counts before the process is gone, which takes it a while where that is large: what
  # counts is what it was some seconds before the end.

  alias Slither.Python.OSProcess

  # ms between two looks, and how many are kept.
  @pause 1_000
  @kept 3

  @enforce_keys [:file, :seen, :at]
  defstruct [:file, :seen, :at]

  @typedoc "`seen` are the counts of the last looks, the newest first, and `at` when that was, in ms."
  @type t :: %__MODULE__{file: Path.t(), seen: [non_neg_integer, ...], at: integer}

  @doc """
  Looks for the first time, for a process; nil where the system does not count. `root` is that of the
  file system; another, in tests.
  """
  @spec new(pos_integer, integer, Path.t()) :: t | nil
  def new(os_pid, now, root \\ "/") do
    files = cgroups(os_pid, root) ++ [Path.join(root, "proc/vmstat")]

    Enum.find_value(files, fn file ->
      with count when count != nil <- count(file),
           do: %__MODULE__{file: file, seen: [count], at: now}
    end)
  end

  @doc "Looks again, where it is time for that."
  @spec look(t | nil, integer) :: t | nil
  def look(nil, _now), do: nil
  def look(%__MODULE__{at: at} = kills, now) when now - at < @pause, do: kills

  def look(%__MODULE__{file: file, seen: [last | _] = seen} = kills, now),
    do: %{kills | seen: Enum.take([count(file) || last | seen], @kept), at: now}

  @doc "The file that tells of a kill within the last seconds; nil where none does."
  @spec told(t | nil) :: Path.t() | nil
  def told(nil), do: nil

  def told(%__MODULE__{file: file, seen: seen}) do
    count = count(file)
    if count != nil and count > List.last(seen), do: file
  end

  # Version 2 has one hierarchy, and version 1 one for memory alone; both may be there. In a
  # container the file system may begin with the process's own.
  defp cgroups(os_pid, root) do
    case read(Path.join(root, "proc/#{os_pid}/cgroup")) do
      {:ok, text} -> text |> String.split("\n", trim: true) |> Enum.flat_map(&files(&1, root))
      :error -> []
    end
  end

  defp files(line, root) do
    case String.split(line, ":", parts: 3) do
      ["0", "", path] -> under(root, "sys/fs/cgroup", path, "memory.events")
      [_, "memory", path] -> under(root, "sys/fs/cgroup/memory", path, "memory.oom_control")
      _other -> []
    end
  end

  defp under(root, folder, path, name) do
    folder = Path.join(root, folder)
    Enum.uniq([Path.join([folder, path, name]), Path.join(folder, name)])
  end

  defp count(file) do
    with {:ok, text} <- read(file),
         [_, count] <- Regex.run(~r/^oom_kill (\d+)$/m, text),
         do: String.to_integer(count),
         else: (_none -> nil)
  end

  defp read(path) do
    with {:error, _reason} <- OSProcess.read(path, 65_536), do: :error
  end
end
