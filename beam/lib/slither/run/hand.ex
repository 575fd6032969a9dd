defmodule Slither.Run.Hand do
  @moduledoc false
  # A process that runs a function on one batch after the other, for as long as its owner lives.

  alias Slither.Python.{Inbox, Outcome}
  alias Slither.Run.{Mailbox, Minder}

  @doc "Starts one; an inbox is told of its end."
  @spec start((list -> Outcome.t()), Inbox.t(), minder :: pid) :: {pid, reference}
  def start(fun, inbox, minder) do
    owner = self()

    Mailbox.spawn_monitor(inbox, fn ->
      Minder.tie(minder)
      Process.put(:"$callers", [owner])
      loop(fun)
    end)
  end

  @doc "Hands it a batch; the inbox is told the outcome."
  @spec run(pid, Inbox.t(), reference, list) :: tuple
  def run(pid, inbox, ref, entries), do: send(pid, {__MODULE__, inbox, ref, entries})

  @doc "Ends it, and takes its messages back."
  @spec stop(pid, reference) :: true
  def stop(pid, monitor) do
    Process.demonitor(monitor, [:flush])
    Process.exit(pid, :kill)
  end

  defp loop(fun) do
    receive do
      {__MODULE__, inbox, ref, entries} ->
        Inbox.done(inbox, ref, fun.(entries))
        loop(fun)
    end
  end
end
