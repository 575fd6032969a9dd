defmodule Slither.Python.Memory.Groups do
  @moduledoc false
  # The processes of some groups, and the memory that each holds. `Slither.Python.Memory` reads them,
  # in its own process: all groups by one walk over the system's processes. A process that was of none
  # of them is not read again for a while, as one is in its parent's group from its start.

  alias Slither.Python.{OSProcess, Rss}

  # ms after which every process is read again: another may have got the number of one that is gone.
  @anew 2_000

  defstruct others: MapSet.new(), walked: nil

  @typedoc "`others` are processes that were of no group when all were read, at `walked`."
  @type t :: %__MODULE__{others: MapSet.t(pos_integer), walked: integer | nil}
  @type process :: %{os_pid: pos_integer, name: String.t(), bytes: non_neg_integer}

  @doc "The processes of groups, with what is resident of each; `now` is in ms."
  @spec read(t, [pos_integer], integer) :: {%{optional(pos_integer) => [process]}, t}
  def read(known, groups, now) do
    groups = MapSet.new(groups)

    if OSProcess.proc?(),
      do: walk(fresh(known, now), groups),
      else: {ps(groups), known}
  end

  defp fresh(%__MODULE__{walked: walked} = known, now)
       when walked != nil and now - walked < @anew,
       do: known

  defp fresh(_known, now), do: %__MODULE__{walked: now}

  defp walk(known, groups) do
    pids = pids()

    {found, others} =
      Enum.reduce(pids, {%{}, known.others}, fn pid, {found, others} ->
        if MapSet.member?(others, pid) and not MapSet.member?(groups, pid) do
          {found, others}
        else
          put(stat(pid), pid, groups, found, others)
        end
      end)

    {found, %{known | others: others}}
  end

  # Raw, as the node's file server may be waiting for a slow disk.
  defp pids do
    case :prim_file.list_dir(~c"/proc") do
      {:ok, names} -> for [digit | _] = name <- names, digit in ?0..?9, do: List.to_integer(name)
      {:error, _reason} -> []
    end
  end

  defp put({group, process}, pid, groups, found, others) do
    if MapSet.member?(groups, group),
      do: {Map.update(found, group, [process], &[process | &1]), others},
      else: {found, MapSet.put(others, pid)}
  end

  defp put(nil, _gone, _groups, found, others), do: {found, others}

  defp stat(pid) do
    with {:ok, stat} <- OSProcess.proc(pid, "stat"), do: parse(stat), else: (_gone -> nil)
  end

  @doc "The group of a process, and the process, as its file `stat` has them; nil for another text."
  @spec parse(binary) :: {pos_integer, process} | nil
  def parse(stat) do
    with [_, pid, name, rest] <- Regex.run(~r/\A(\d+) \((.*)\) (.*)/s, stat),
         fields = String.split(rest),
         {group, ""} <- Integer.parse(Enum.at(fields, 2, "")),
         {pages, ""} <- Integer.parse(Enum.at(fields, 21, "")) do
      {group, process(String.to_integer(pid), name, pages * Rss.page_size())}
    else
      _other -> nil
    end
  end

  # A process names itself, with any bytes.
  defp process(pid, name, bytes) do
    name = if String.valid?(name), do: name, else: inspect(name)
    %{os_pid: pid, name: name, bytes: bytes}
  end

  defp ps(groups) do
    {lines, _status} = System.cmd("ps", ["-A", "-o", "pid=,pgid=,rss=,comm="])

    lines
    |> listed()
    |> Enum.filter(fn {group, _process} -> group in groups end)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
  rescue
    ErlangError -> %{}
  end

  @doc "Groups and their processes, in what `ps -o pid=,pgid=,rss=,comm=` prints."
  @spec listed(String.t()) :: [{pos_integer, process}]
  def listed(lines) do
    for line <- String.split(lines, "\n"),
        [pid, group, kilobytes, name] <- [String.split(line, " ", parts: 4, trim: true)],
        {pid, ""} <- [Integer.parse(pid)],
        {group, ""} <- [Integer.parse(group)],
        {kilobytes, ""} <- [Integer.parse(kilobytes)],
        do: {group, process(pid, Path.basename(name), 1_024 * kilobytes)}
  end

  @doc """
  The bytes of a process, where each page that several have is shared out among them: 0 of one that is
  gone, nil where the system does not tell. It walks all pages for that.
  """
  @spec share(pos_integer) :: non_neg_integer | nil
  def share(os_pid) do
    case OSProcess.proc(os_pid, "smaps_rollup") do
      {:ok, rollup} ->
        pss(rollup)

      # It has ended, though its parent has not taken note of that.
      {:error, :esrch} ->
        0

      {:error, _reason} ->
        if match?({:ok, _stat}, OSProcess.proc(os_pid, "stat")), do: nil, else: 0
    end
  end

  defp pss(rollup) do
    with [_, kilobytes] <- Regex.run(~r/^Pss:\s+(\d+) kB$/m, rollup),
         do: 1_024 * String.to_integer(kilobytes)
  end
end
