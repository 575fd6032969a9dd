defmodule Slither.Python.Template.Door do
  @moduledoc false
  # Where the workers that a template forks come in: a socket without a file, in a name of the
  # system's that nobody can guess. A process waits there for `Slither.Python.Template`, which opens
  # it, and gets what has come. Anybody on the machine may knock: the system tells whose process
  # that is.

  alias Slither.Python.Transport.Socket

  # The option of Linux that tells a peer, and what it tells: its process, user and group.
  @sol_socket 1
  @so_peercred 17
  @backlog 1_024
  # Frames that came together are read at once.
  @buffer 65_536

  @doc "Opens it: the name by which it is reached. It is closed when the caller ends."
  @spec open() :: {:ok, String.t()} | {:error, term}
  def open do
    name = "slither-" <> Base.encode16(:rand.bytes(16), case: :lower)
    at = {:local, <<0, name::binary>>}
    options = [ifaddr: at, active: false, backlog: @backlog, buffer: @buffer] ++ Socket.options()

    with {:ok, listening} <- :gen_tcp.listen(0, options) do
      template = self()
      waiter = spawn_link(fn -> wait(listening, template) end)
      # A socket is closed when its owner ends.
      :ok = :gen_tcp.controlling_process(listening, waiter)
      {:ok, name}
    end
  end

  defp wait(listening, template) do
    case :gen_tcp.accept(listening) do
      {:ok, socket} ->
        with {:ok, os_pid} <- peer(socket),
             :ok <- :gen_tcp.controlling_process(socket, template) do
          send(template, {__MODULE__, :came, os_pid, Socket.new(socket)})
        else
          _gone -> :gen_tcp.close(socket)
        end

        wait(listening, template)

      # The node has no descriptor left for now.
      {:error, reason} when reason in [:emfile, :enfile, :econnaborted] ->
        Process.sleep(10)
        wait(listening, template)

      {:error, reason} ->
        exit({:shutdown, reason})
    end
  end

  defp peer(socket) do
    case :inet.getopts(socket, [{:raw, @sol_socket, @so_peercred, 12}]) do
      {:ok, [{:raw, @sol_socket, @so_peercred, <<os_pid::32-native, _rest::binary>>}]} ->
        {:ok, os_pid}

      _none ->
        :error
    end
  end
end
