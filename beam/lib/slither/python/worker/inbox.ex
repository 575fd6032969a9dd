defmodule Slither.Python.Worker.Inbox do
  @moduledoc false
  # What lanes, and the process that looks at memory, tell a worker's owner: they call these functions,
  # `Slither.Python.Worker` matches the messages. They stand apart from it because it starts the lanes,
  # which would make a circle.

  alias Slither.Error
  alias Slither.Python.Call
  alias Slither.Python.Memory.Watched

  @doc "A lane is about to write a call: its owner knows each call before an answer can come."
  @spec sent(pid, Call.t()) :: term
  def sent(worker, call), do: send(worker, {__MODULE__, :sent, call})

  @doc "The handler of a call has no credit left, and waits for the reader of its results."
  @spec stalled(pid, pos_integer) :: term
  def stalled(worker, id), do: send(worker, {__MODULE__, :stalled, id})

  @doc "It is given more credit."
  @spec resumed(pid, pos_integer) :: term
  def resumed(worker, id), do: send(worker, {__MODULE__, :resumed, id})

  @doc """
  Nobody waits for a call any more. Python is told, and the process is killed if it is still at
  the call when the pool's `cancel_grace` is over.
  """
  @spec cancel(pid, pos_integer) :: term
  def cancel(worker, id), do: send(worker, {__MODULE__, :cancel, id})

  @doc "Ends a call: with its process where that runs it, else by a cancel."
  @spec kill_call(pid, pos_integer, Error.t()) :: term
  def kill_call(worker, id, error), do: send(worker, {__MODULE__, :kill_call, {id, error}})

  @doc "Ends the process, which has broken the protocol."
  @spec kill(pid, Error.t()) :: term
  def kill(worker, error), do: send(worker, {__MODULE__, :kill, error})

  @doc "Its processes take more memory than they may."
  @spec over(pid, Watched.facts()) :: term
  def over(worker, facts), do: send(worker, {__MODULE__, :over, facts})
end
