defmodule Slither.Python.Rss do
  @moduledoc false
  # The memory that processes hold, from the operating system. Workers' owners and whoever asks for a
  # pool's status read it, each in its own process.

  alias Slither.Python.OSProcess

  # ms between two looks at one process; `ps` costs the start of a process.
  @interval 100
  @interval_of_ps 2_000

  @doc "Bytes of one process; nil where it is gone, or nobody can tell."
  @spec read(pos_integer) :: non_neg_integer | nil
  def read(os_pid), do: read_all([os_pid])[os_pid]

  @doc "Bytes by process, of those that can be told."
  @spec read_all([pos_integer]) :: %{optional(pos_integer) => non_neg_integer}
  def read_all([]), do: %{}

  def read_all(os_pids) do
    if proc?(),
      do: for(pid <- os_pids, bytes = statm(pid), into: %{}, do: {pid, bytes}),
      else: ps(os_pids)
  end

  @doc "ms to leave between two looks at one process."
  @spec interval() :: pos_integer
  def interval, do: if(proc?(), do: @interval, else: @interval_of_ps)

  @doc "Bytes by process, in what `ps -o pid=,rss=` prints."
  @spec parse(String.t()) :: %{optional(pos_integer) => non_neg_integer}
  def parse(lines) do
    for line <- String.split(lines, "\n"),
        [pid, kilobytes] <- [String.split(line)],
        {pid, ""} <- [Integer.parse(pid)],
        {kilobytes, ""} <- [Integer.parse(kilobytes)],
        into: %{},
        do: {pid, 1024 * kilobytes}
  end

  defp statm(os_pid) do
    with {:ok, text} <- OSProcess.proc(os_pid, "statm"),
         [_size, resident | _] <- String.split(text),
         {pages, ""} when pages > 0 <- Integer.parse(resident) do
      pages * page_size()
    else
      _ -> nil
    end
  end

  defp ps(os_pids) do
    list = Enum.join(os_pids, ",")
    {lines, _status} = System.cmd("ps", ["-o", "pid=,rss=", "-p", list], stderr_to_stdout: true)
    parse(lines)
  rescue
    ErlangError -> %{}
  end

  defp proc?, do: known(:proc?, fn -> File.exists?("/proc/self/statm") end)
  @doc "Bytes of a page."
  @spec page_size() :: pos_integer
  def page_size, do: known(:page_size, &ask_page_size/0)

  defp ask_page_size do
    {text, 0} = System.cmd("getconf", ["PAGESIZE"])
    text |> String.trim() |> String.to_integer()
  rescue
    _no_getconf -> 4_096
  end

  defp known(key, find) do
    case :persistent_term.get({__MODULE__, key}, nil) do
      nil ->
        value = find.()
        :persistent_term.put({__MODULE__, key}, value)
        value

      value ->
        value
    end
  end
end
