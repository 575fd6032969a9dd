defmodule Slither.Leftovers do
  @moduledoc false
  # Processes that a killed supervisor has left behind. They end by themselves a moment later, and
  # have their names until then, so the supervisor that is started in its place calls this first:
  # to fail for a name would use up the restarts of the supervisor above, and end its other children.

  # ms that they may take to end before they are killed.
  @patience 5_000

  @doc "Waits until those under these keys of a registry are gone whose supervisor is."
  @spec await(Registry.registry(), [term]) :: :ok
  def await(registry, keys) do
    for key <- keys, {pid, _value} <- Registry.lookup(registry, key), left?(pid) do
      monitor = Process.monitor(pid)

      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      after
        @patience -> kill(pid, monitor)
      end
    end

    :ok
  end

  defp kill(pid, monitor) do
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
  end

  defp left?(pid) do
    with {:dictionary, words} <- Process.info(pid, :dictionary),
         [supervisor | _] when is_pid(supervisor) <- words[:"$ancestors"],
         do: not Process.alive?(supervisor),
         else: (_ -> false)
  end
end
