defmodule Slither.Python.Placement.Cpus do
  @moduledoc false
  # Which cpus there are for a pool, and in which groups its workers get them. Called by
  # `Slither.Python.Placement`, in the process that starts a pool. Linux alone tells, and lets a
  # process choose.

  # The most numbers that a mask of the system has.
  @most 8_192

  @doc "Whether the option may be this: lists of cpus, or ranges, one for each worker."
  @spec valid?(term) :: boolean
  def valid?([_ | _] = list), do: Enum.all?(list, &group?/1)
  def valid?(_other), do: false

  defp group?(%Range{first: first, last: last} = cpus),
    do: Enum.count(cpus) > 0 and cpu?(first) and cpu?(last)

  defp group?(list), do: is_list(list) and list != [] and Enum.all?(list, &cpu?/1)
  defp cpu?(number), do: is_integer(number) and number in 0..(@most - 1)

  @doc "The groups of an option, and notes."
  @spec share(nil | :spread | list, Path.t()) ::
          {:ok, [[non_neg_integer]] | {:spread, [non_neg_integer]} | nil, [String.t()]}
          | {:error, :cpus, String.t()}
  def share(option, root \\ "/")
  def share(nil, _root), do: {:ok, nil, []}

  def share(:spread, root) do
    case allowed(root) do
      nil -> untold()
      cpus -> {:ok, {:spread, cpus}, []}
    end
  end

  # BEAM may be held to other cpus than its workers, but not beyond those of its cgroup.
  def share(list, root) do
    groups = Enum.map(list, &(&1 |> Enum.uniq() |> Enum.sort()))

    case {there(root), groups |> Enum.concat() |> Enum.uniq()} do
      {nil, _asked} ->
        untold()

      {there, asked} ->
        case asked -- there do
          [] ->
            {:ok, groups, []}

          missing ->
            {:error, :cpus,
             "names cpus that there are not: #{text(missing)} (#{text(there)} are)"}
        end
    end
  end

  defp untold,
    do: {:ok, nil, ["cpus: this system does not say which there are: workers take all"]}

  @doc """
  Divides cpus among `count` workers, neighbours together; where there are fewer, each worker gets one
  of them.

      iex> Slither.Python.Placement.Cpus.divide([0, 1, 2, 3, 8], 2)
      [[0, 1, 2], [3, 8]]
      iex> Slither.Python.Placement.Cpus.divide([0, 1], 3)
      [[0], [1]]
  """
  @spec divide([non_neg_integer, ...], pos_integer) :: [[non_neg_integer], ...]
  def divide(cpus, count) do
    total = length(cpus)
    groups = min(count, total)
    {least, more} = {div(total, groups), rem(total, groups)}

    {divided, []} =
      Enum.map_reduce(1..groups, cpus, fn index, rest ->
        Enum.split(rest, if(index <= more, do: least + 1, else: least))
      end)

    divided
  end

  @doc "The cpus that BEAM itself may use; nil where the system does not say."
  @spec allowed(Path.t()) :: [non_neg_integer] | nil
  def allowed(root) do
    with {:ok, status} <- read(root, "proc/self/status"),
         [_, list] <- Regex.run(~r/^Cpus_allowed_list:\s*(\S+)/m, status),
         do: parse(list),
         else: (_unknown -> nil)
  end

  # Those that processes of its cgroup may be moved to.
  defp there(root) do
    with nil <- parsed(root, in_cgroup(root, "cpuset", "cpuset.cpus.effective")),
         nil <- parsed(root, in_cgroup(root, "cpuset", "cpuset.effective_cpus")),
         do: parsed(root, "sys/devices/system/cpu/online")
  end

  defp parsed(root, path) do
    with {:ok, text} <- read(root, path), do: parse(String.trim(text)), else: (_none -> nil)
  end

  @doc "How many cpus' time the cgroup leaves to BEAM and all that it starts; nil for no limit."
  @spec quota(Path.t()) :: float | nil
  def quota(root \\ "/") do
    with {:ok, text} <- read(root, in_cgroup(root, "cpu", "cpu.max")),
         [quota, period] <- String.split(text) do
      of_quota(quota, period)
    else
      _older ->
        with {:ok, quota} <- read(root, in_cgroup(root, "cpu", "cpu.cfs_quota_us")),
             {:ok, period} <- read(root, in_cgroup(root, "cpu", "cpu.cfs_period_us")),
             do: of_quota(String.trim(quota), String.trim(period)),
             else: (_none -> nil)
    end
  end

  defp of_quota(quota, period) do
    with {quota, ""} when quota > 0 <- Integer.parse(quota),
         {period, ""} when period > 0 <- Integer.parse(period),
         do: quota / period,
         else: (_no_limit -> nil)
  end

  # A container sees its own group at the root.
  defp in_cgroup(root, controller, file) do
    lines =
      with {:ok, text} <- read(root, "proc/self/cgroup"),
           do: String.split(text, "\n"),
           else: (_none -> [])

    rows =
      for line <- lines,
          [_id, names, path] <- [String.split(line, ":", parts: 3)],
          do: {names, path}

    older =
      Enum.find_value(rows, fn {names, path} ->
        if controller in String.split(names, ","), do: path
      end)

    {_names, newer} = List.keyfind(rows, "", 0, {"", "/"})

    candidates =
      if(older, do: [Path.join(controller, older), controller], else: []) ++
        [String.trim_leading(newer, "/"), ""]

    paths = Enum.map(candidates, &Path.join(["sys/fs/cgroup", &1, file]))
    Enum.find(paths, List.last(paths), &File.exists?(Path.join(root, &1)))
  end

  defp read(root, path), do: File.read(Path.join(root, path))

  @doc """
  The numbers of a list as the kernel writes it; nil for what is none.

      iex> Slither.Python.Placement.Cpus.parse("0-2,7")
      [0, 1, 2, 7]
  """
  @spec parse(String.t()) :: [non_neg_integer] | nil
  def parse(list) do
    parts = Enum.map(String.split(list, ","), &range/1)
    if nil in parts, do: nil, else: Enum.concat(parts)
  end

  defp range(text) do
    case Enum.map(String.split(text, "-"), &Integer.parse/1) do
      [{first, ""}] -> [first]
      [{first, ""}, {last, ""}] when first <= last -> Enum.to_list(first..last)
      _other -> nil
    end
  end

  defp text(cpus), do: Enum.map_join(cpus, ", ", &Integer.to_string/1)
end
