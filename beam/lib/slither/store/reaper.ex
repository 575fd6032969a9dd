defmodule Slither.Store.Reaper do
  @moduledoc false
  # A throwaway process that deletes the tables of a retired generation, once no `fold` and no
  # `stream` is still on them. Deleting a big table takes long; here nobody waits for it.

  @doc "Takes over `tids`, which the caller owns."
  @spec start([:ets.tid()], :ets.tid(), pos_integer, pid) :: :ok
  def start(tids, aux, generation, heir) do
    reaper = spawn(fn -> wait(aux, generation, heir) end)

    Enum.each(tids, fn tid ->
      :ets.setopts(tid, {:heir, :none})
      :ets.give_away(tid, reaper, __MODULE__)
    end)

    send(reaper, {__MODULE__, :begin})
    :ok
  end

  defp wait(aux, generation, heir) do
    Process.monitor(heir)

    receive do
      {__MODULE__, :begin} -> :ok
      {:DOWN, _ref, :process, ^heir, _reason} -> exit(:normal)
    end

    # First be found, then look: a reader removes its pin, then looks for us.
    :ets.insert(aux, {{:reaper, generation}, self()})
    pins = :ets.match(aux, {{:pin, generation, :"$1"}, :"$2"})

    watched =
      for [ref, pid] <- pins, into: %{}, do: {{:pin, generation, ref}, Process.monitor(pid)}

    drain(watched, aux, heir)
    :ets.delete(aux, {:reaper, generation})
  end

  # The tables are deleted as this process ends: ETS does that in small steps.
  defp drain(watched, _aux, _heir) when watched == %{}, do: :ok

  defp drain(watched, aux, heir) do
    receive do
      {__MODULE__, :unpinned, pin} ->
        drain(Map.delete(watched, pin), aux, heir)

      {:DOWN, _ref, :process, ^heir, _reason} ->
        exit(:normal)

      {:DOWN, monitor, :process, _pid, _reason} ->
        gone = for {pin, ^monitor} <- watched, do: pin
        Enum.each(gone, &:ets.delete(aux, &1))
        drain(Map.drop(watched, gone), aux, heir)
    end
  end
end
