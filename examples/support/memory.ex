defmodule Slither.Examples.Memory do
  @moduledoc """
  The peak memory of a process and all that descend from it.

  The proportional set sizes (`Pss` in `/proc/PID/smaps_rollup`) of the processes are added up: a page
  that processes share counts once. BEAM and a plain Python program are measured by the same code, from
  outside. Where there is no such `/proc`, the peak is nil.

  The kernel walks all pages of a process for that, and holds up a process that wants more memory
  meanwhile: several ms for a large one. So the next look is 25 to 100 ms later, the later the longer
  the last one took.
  """

  # ms
  @soon 25
  @late 100
  # How many times as long as a look took nobody looks.
  @idle 50

  @doc "Begins to sample the tree of a process."
  @spec start(pos_integer | String.t()) :: pid
  def start(os_pid) do
    spawn_link(fn -> sample(to_string(os_pid), nil) end)
  end

  @doc "Samples a last time and ends; the peak in bytes."
  @spec stop(pid) :: pos_integer | nil
  def stop(sampler) do
    ref = make_ref()
    send(sampler, {:stop, self(), ref})

    receive do
      {^ref, peak} -> peak
    end
  end

  defp sample(os_pid, peak) do
    {time, now} = :timer.tc(fn -> tree(os_pid) end)
    peak = highest(peak, now)

    receive do
      {:stop, from, ref} -> send(from, {ref, highest(peak, tree(os_pid))})
    after
      (@idle * time) |> div(1_000) |> max(@soon) |> min(@late) -> sample(os_pid, peak)
    end
  end

  defp highest(peak, 0), do: peak
  defp highest(nil, now), do: now
  defp highest(peak, now), do: max(peak, now)

  defp tree(os_pid), do: own(os_pid) + (os_pid |> children() |> Enum.map(&tree/1) |> Enum.sum())

  defp own(os_pid) do
    with {:ok, text} <- File.read("/proc/#{os_pid}/smaps_rollup"),
         [_, kilobytes] <- Regex.run(~r/^Pss: +(\d+) kB/m, text) do
      String.to_integer(kilobytes) * 1024
    else
      _ended -> 0
    end
  end

  # A process is the child of the thread that began it.
  defp children(os_pid) do
    case File.ls("/proc/#{os_pid}/task") do
      {:ok, threads} -> Enum.flat_map(threads, &children_of_thread(os_pid, &1))
      {:error, _ended} -> []
    end
  end

  defp children_of_thread(os_pid, thread) do
    case File.read("/proc/#{os_pid}/task/#{thread}/children") do
      {:ok, text} -> String.split(text)
      {:error, _ended} -> []
    end
  end
end
