defmodule Slither.Python.PortWriter do
  @moduledoc false
  # Writes frames to a port that may be closed, or full.

  @doc "Writes, waiting while the pipe is full; false where the port is closed."
  @spec write(port, iodata) :: boolean
  def write(port, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> false
  end

  @doc """
  Writes unless the pipe is full, and says whether it did.

  For a port's owner: one that waited for a full pipe could not enforce the deadline.
  """
  @spec offer(port, iodata) :: boolean
  def offer(port, frame) do
    :erlang.port_command(port, frame, [:nosuspend])
  rescue
    ArgumentError -> false
  end
end
