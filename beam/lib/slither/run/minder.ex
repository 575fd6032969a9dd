defmodule Slither.Run.Minder do
  @moduledoc false
  # A process that kills those that run a flow's batches on BEAM once their owner has ended, however it
  # ended and whatever they are doing. Started by a carrier, in the owner. Links to the owner would not
  # do: they pass on no normal exit, and an owner may trap the others.

  @doc "Starts one for the calling process."
  @spec start() :: pid
  def start do
    owner = self()

    spawn(fn ->
      Process.flag(:trap_exit, true)
      loop(Process.monitor(owner))
    end)
  end

  @doc "Has the calling process end with the minder's owner, at once if that has ended."
  @spec tie(pid) :: true
  def tie(minder) do
    Process.link(minder)
  rescue
    _no_such_process in ErlangError -> exit(:shutdown)
  end

  @doc "Ends it, and all that are tied to it."
  @spec stop(pid) :: :ok
  def stop(minder) do
    send(minder, {__MODULE__, :stop})
    :ok
  end

  defp loop(owner) do
    receive do
      {:DOWN, ^owner, :process, _pid, _reason} -> end_all()
      {__MODULE__, :stop} -> end_all()
      # A process that was tied to the owner has ended by itself.
      _exit -> loop(owner)
    end
  end

  defp end_all do
    {:links, tied} = Process.info(self(), :links)
    for pid <- tied, is_pid(pid), do: Process.exit(pid, :kill)
    :ok
  end
end
