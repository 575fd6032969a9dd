defmodule Slither.Python.PortWriter do
  @moduledoc false
  # Writes frames to a port, or a socket, that may be closed, or full.

  # Bytes that wait to be sent over a socket: its writers wait from `@full` on.
  @full 4_194_304
  @much 65_536

  @type to :: port | {:socket, :gen_tcp.socket()}

  @doc "The options of a socket with frames."
  @spec options :: [:gen_tcp.option()]
  def options, do: [:binary, packet: 4, high_watermark: @full, low_watermark: div(@full, 2)]

  @doc "Writes, waiting while the pipe is full; false where the port is closed."
  @spec write(to, iodata) :: boolean
  def write({:socket, socket}, frame), do: :gen_tcp.send(socket, frame) == :ok

  def write(port, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> false
  end

  @doc """
  Writes unless the pipe is full, and says whether it did.

  For a port's owner: one that waited for a full pipe could not enforce the deadline.
  """
  @spec offer(to, iodata) :: boolean
  def offer({:socket, socket}, frame) do
    # Whoever fills a socket up waits, too: well below what that takes, nobody does.
    case :inet.getstat(socket, [:send_pend]) do
      {:ok, [send_pend: waiting]} when waiting < @much ->
        :local_tcp.send(socket, frame, [:nosuspend]) == :ok

      _full_or_closed ->
        false
    end
  end

  def offer(port, frame) do
    :erlang.port_command(port, frame, [:nosuspend])
  rescue
    ArgumentError -> false
  end
end
