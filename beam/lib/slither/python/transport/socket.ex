defmodule Slither.Python.Transport.Socket do
  @moduledoc false
  # Frames over a stream socket. Opened by `Slither.Driver.Server`, in its process, to reach the
  # Python program that started this VM; the server and its runs write through `Transport`.

  @behaviour Slither.Python.Transport

  # Bytes that wait to be sent: writers wait from `@full` on. An owner offers nothing beyond
  # `@much`, well below, so that it never waits.
  @full 4_194_304
  @much 65_536
  # Frames that came together are read at once.
  @buffer 65_536

  @enforce_keys [:socket]
  defstruct [:socket]

  @type t :: %__MODULE__{socket: :gen_tcp.socket()}

  @doc "Takes over the descriptor of a local socket."
  @spec open(non_neg_integer) :: {:ok, t} | {:error, term}
  def open(descriptor) do
    options = [:local, active: true, buffer: @buffer] ++ options()
    with {:ok, socket} <- :gen_tcp.fdopen(descriptor, options), do: {:ok, new(socket)}
  end

  @doc "Of a socket that was opened with `options/0`."
  @spec new(:gen_tcp.socket()) :: t
  def new(socket), do: %__MODULE__{socket: socket}

  @doc "The options of a socket with frames."
  @spec options :: [:gen_tcp.option()]
  def options, do: [:binary, packet: 4, high_watermark: @full, low_watermark: div(@full, 2)]

  @impl true
  def write(%__MODULE__{socket: socket}, frame), do: :gen_tcp.send(socket, frame) == :ok

  @impl true
  def offer(%__MODULE__{socket: socket}, frame) do
    case :inet.getstat(socket, [:send_pend]) do
      {:ok, [send_pend: waiting]} when waiting < @much ->
        :local_tcp.send(socket, frame, [:nosuspend]) == :ok

      _full_or_closed ->
        false
    end
  end

  @impl true
  def event(%__MODULE__{socket: socket}, {:tcp, socket, body}), do: {:frame, body}
  def event(%__MODULE__{socket: socket}, {:tcp_closed, socket}), do: {:closed, nil}
  def event(%__MODULE__{socket: socket}, {:tcp_error, socket, _why}), do: {:closed, nil}
  def event(%__MODULE__{socket: socket}, {:EXIT, socket, _reason}), do: {:closed, nil}
  def event(_transport, _message), do: :none
end
