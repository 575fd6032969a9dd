defmodule Slither.Driver do
  @moduledoc false
  # The main function of the escript that `slither.Beam()` starts: BEAM as the child of a Python
  # program, which drives it over a socket. The frames are in the chapter on drivers of
  # `protocol/PROTOCOL.md`.
  #
  # `Server` owns the socket and routes frames; each run is a process of its own, which writes its
  # outputs itself. The VM ends when its driver does, whatever the VM is busy with.

  alias Slither.Driver.Server

  @usage """
  This is the BEAM side of Slither for Python: slither.Beam() starts it, with the number of a
  socket's file descriptor.
  """

  @doc "Serves the driver on the descriptor that `args` names: one end of a pair of sockets."
  @spec main([String.t()]) :: no_return
  def main(args) do
    case Enum.map(args, &Integer.parse/1) do
      [{descriptor, ""}] -> serve(descriptor)
      _other -> stop(2, @usage)
    end
  end

  @spec serve(non_neg_integer) :: no_return
  defp serve(descriptor) do
    # Whoever reads what this VM says writes Python.
    Slither.Reader.of_python()

    case Server.start(descriptor) do
      {:ok, server} -> outlive(server)
      {:error, {:no_socket, _, why}} -> stop(2, "#{descriptor} is no socket: #{why}\n\n#{@usage}")
    end
  end

  @spec outlive(pid) :: no_return
  defp outlive(server) do
    monitor = Process.monitor(server)

    receive do
      {:DOWN, ^monitor, :process, _pid, :normal} -> System.halt(0)
      {:DOWN, ^monitor, :process, _pid, reason} -> stop(1, Exception.format_exit(reason))
    end
  end

  @spec stop(non_neg_integer, String.t()) :: no_return
  defp stop(status, message) do
    IO.puts(:stderr, message)
    System.halt(status)
  end
end
