defmodule Slither.Testing.Inbox do
  @moduledoc false
  # What the lane of a `Slither.Testing.Worker` tells it. A module of its own, as the two know each
  # other.

  @doc """
  A call on a lane leaves values of a run to be drawn: the pool is to say when that is over.

  Returns once the pool is told, as it has to know of this before the lane is given back.
  """
  @spec keeps(pid, pid, String.t()) :: :ok
  def keeps(worker, lane, run),
    do: GenServer.call(worker, {__MODULE__, :keeps, lane, run}, :infinity)
end
