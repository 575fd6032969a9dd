defmodule Slither.Run.Hand do
  @moduledoc false
  # A process that runs a function on one batch after the other, for as long as its owner lives.

  alias Slither.Run.Minder

  @doc "Starts one; its end comes as a `DOWN` of the given tag."
  @spec start((list -> tuple), tag :: term, minder :: pid) :: {pid, reference}
  def start(fun, tag, minder) do
    owner = self()

    :erlang.spawn_opt(
      fn ->
        Minder.tie(minder)
        Process.put(:"$callers", [owner])
        loop(fun)
      end,
      monitor: [tag: tag]
    )
  end

  @doc "Hands it a batch; the answer is `{tag, {:done, ref, outcome}}`, sent to `reply_to`."
  @spec run(pid, reference, term, reference, list) :: tuple
  def run(pid, reply_to, tag, ref, entries),
    do: send(pid, {__MODULE__, reply_to, tag, ref, entries})

  @doc "Ends it, and takes its messages back."
  @spec stop(pid, reference) :: true
  def stop(pid, monitor) do
    Process.demonitor(monitor, [:flush])
    Process.exit(pid, :kill)
  end

  defp loop(fun) do
    receive do
      {__MODULE__, reply_to, tag, ref, entries} ->
        send(reply_to, {tag, {:done, ref, fun.(entries)}})
        loop(fun)
    end
  end
end
