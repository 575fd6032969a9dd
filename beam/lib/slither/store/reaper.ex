defmodule Slither.Store.Reaper do
  @moduledoc false
  # A process that lives to delete the tables of a retired generation, once no `fold` and no
  # `stream` is still on them. Deleting a big table takes long, and nobody waits for this process.
  # The store's owner and its heir start one; readers tell it that they are done.

  alias Slither.Store.Processes

  @doc "Takes over `tids`, which the caller owns."
  @spec start([:ets.tid()], Processes.t(), pos_integer, pid) :: :ok
  def start(tids, processes, generation, heir) do
    reaper = spawn(fn -> wait(processes, generation, heir) end)

    Enum.each(tids, fn tid ->
      :ets.setopts(tid, {:heir, :none})
      :ets.give_away(tid, reaper, __MODULE__)
    end)

    send(reaper, {__MODULE__, :begin})
    :ok
  end

  @doc "Takes a reader's pin out, and tells the reaper that waits for it, if one does."
  @spec unpin(Processes.t(), Processes.pin()) :: :ok
  def unpin(processes, {:pin, generation, _ref} = pin) do
    Processes.unpin(processes, pin)
    reaper = Processes.reaper(processes, generation)
    if reaper, do: send(reaper, {__MODULE__, :unpinned, pin})
    :ok
  end

  defp wait(processes, generation, heir) do
    Process.monitor(heir)

    receive do
      {__MODULE__, :begin} -> :ok
      {:DOWN, _ref, :process, ^heir, _reason} -> exit(:normal)
    end

    # The reaper registers before it looks for pins, and a reader takes its pin out before it
    # looks for a reaper. So at least one of the two sees the other.
    Processes.put_reaper(processes, generation)

    watched =
      for {pin, pid} <- Processes.pins(processes, generation),
          into: %{},
          do: {pin, Process.monitor(pid)}

    drain(watched, processes, heir)
    Processes.delete_reaper(processes, generation)
  end

  # ETS deletes the tables in small steps when this process, their owner, ends.
  defp drain(watched, _processes, _heir) when watched == %{}, do: :ok

  defp drain(watched, processes, heir) do
    receive do
      {__MODULE__, :unpinned, pin} ->
        drain(Map.delete(watched, pin), processes, heir)

      {:DOWN, _ref, :process, ^heir, _reason} ->
        exit(:normal)

      {:DOWN, monitor, :process, _pid, _reason} ->
        gone = for {pin, ^monitor} <- watched, do: pin
        Enum.each(gone, &Processes.unpin(processes, &1))
        drain(Map.drop(watched, gone), processes, heir)
    end
  end
end
