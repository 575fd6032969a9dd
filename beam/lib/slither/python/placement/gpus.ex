defmodule Slither.Python.Placement.Gpus do
  @moduledoc false
  # Which GPUs there are for a pool, and in which groups its workers get them. Called by
  # `Slither.Python.Placement`, in the process that starts a pool.

  # ms that NVIDIA's own tool may take, which has to wake the driver.
  @patience 5_000

  @doc "Whether the option may be this: GPUs by number or name, or lists of those."
  @spec valid?(term) :: boolean
  def valid?([_ | _] = list), do: Enum.all?(list, &(group?(&1) or gpu?(&1)))
  def valid?(_other), do: false

  defp group?(list), do: is_list(list) and list != [] and Enum.all?(list, &gpu?/1)

  defp gpu?(number) when is_integer(number), do: number >= 0
  defp gpu?(name), do: is_binary(name) and name =~ ~r/\A[\w:\/.-]+\z/

  @doc """
  The groups of an option, and notes; `visible` is the text of `CUDA_VISIBLE_DEVICES` where it is set,
  and `found` counts devices.

      iex> Slither.Python.Placement.Gpus.share(:auto, "GPU-a7,2")
      {:ok, [["GPU-a7"], ["2"]], []}
      iex> Slither.Python.Placement.Gpus.share([1, [0, 1]], "4,5")
      {:ok, [["5"], ["4", "5"]], []}
  """
  @spec share(nil | :auto | list, String.t() | nil, (() -> non_neg_integer)) ::
          {:ok, [[String.t()]] | nil, [String.t()]} | {:error, :gpus, String.t()}
  def share(option, visible, found \\ &count/0)
  def share(nil, _visible, _found), do: {:ok, nil, []}
  def share(:auto, nil, found), do: all(Enum.map(0..(found.() - 1)//1, &"#{&1}"), "there is none")

  def share(:auto, visible, _found),
    do: all(listed(visible), "CUDA_VISIBLE_DEVICES=#{visible} names none")

  def share(list, visible, _found) do
    visible = visible && listed(visible)
    groups = for entry <- list, do: Enum.map(List.wrap(entry), &named(&1, visible))

    case groups |> Enum.concat() |> Enum.find(&is_integer/1) do
      nil ->
        {:ok, groups, []}

      number ->
        {:error, :gpus,
         "names GPU #{number}, and CUDA_VISIBLE_DEVICES leaves #{length(visible)}, which count " <>
           "from 0: #{Enum.join(visible, ",")}"}
    end
  end

  defp all([], why), do: {:ok, nil, ["gpus: :auto has found no GPU to share out: #{why}"]}
  defp all(gpus, _why), do: {:ok, Enum.map(gpus, &[&1]), []}

  # As CUDA reads it: what follows a number that is none, such as -1, is not seen.
  defp listed(visible) do
    visible
    |> String.split(",")
    |> Enum.map(&String.trim/1)
    |> Enum.take_while(&(&1 != "" and not String.starts_with?(&1, "-")))
    |> Enum.reject(&(&1 in ["NoDevFiles", "void", "none"]))
    |> Enum.uniq()
  end

  # A number counts those that are visible, as it does within CUDA.
  defp named(number, nil) when is_integer(number), do: Integer.to_string(number)
  defp named(number, visible) when is_integer(number), do: Enum.at(visible, number) || number
  defp named(name, _visible), do: name

  @doc "How many NVIDIA GPUs this machine, or this container, has."
  @spec count(Path.t()) :: non_neg_integer
  def count(root \\ "/") do
    devices = root |> Path.join("dev/nvidia[0-9]*") |> Path.wildcard()

    case {devices, File.ls(Path.join(root, "proc/driver/nvidia/gpus"))} do
      {[_ | _], _driver} -> length(devices)
      {[], {:ok, [_ | _] = gpus}} -> length(gpus)
      {[], _none} -> told(System.find_executable("nvidia-smi"))
    end
  end

  # Where the system is a guest, as Linux on Windows is, only the tool knows.
  defp told(nil), do: 0

  defp told(tool) do
    task = Task.async(fn -> System.cmd(tool, ["-L"], stderr_to_stdout: true) end)

    case Task.yield(task, @patience) || Task.shutdown(task, :brutal_kill) do
      {:ok, {output, 0}} -> length(Regex.scan(~r/^GPU \d+:/m, output))
      _failed -> 0
    end
  end
end
