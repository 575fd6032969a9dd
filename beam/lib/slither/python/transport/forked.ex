defmodule Slither.Python.Transport.Forked do
  @moduledoc false
  # Frames over the socket of a worker that a template has forked. Its owner gets them; that owner,
  # its lanes and its tasks write through `Transport`. How the worker has ended is told by its
  # template, which is its parent: the end is known once that was told and the stream has ended.

  @behaviour Slither.Python.Transport

  alias Slither.Python.{Template, Transport}
  alias Slither.Python.Template.Answers
  alias Slither.Python.Transport.Socket

  @enforce_keys [:socket, :os_pid, :template]
  defstruct [:socket, :os_pid, :template, :told, over?: false]

  @typedoc "`told` is `{:status, status}` once the worker's end was told; `over?` that of its stream."
  @type t :: %__MODULE__{
          socket: Socket.t(),
          os_pid: pos_integer,
          template: pid,
          told: {:status, Transport.status()} | nil,
          over?: boolean
        }

  @doc "Has what comes sent to the owner."
  @spec open(t) :: :ok
  def open(%__MODULE__{socket: socket}) do
    # A socket that was closed meanwhile has told so.
    _ = :inet.setopts(socket.socket, active: true)
    :ok
  end

  @impl true
  def write(%__MODULE__{socket: socket}, frame), do: Socket.write(socket, frame)

  @impl true
  def offer(%__MODULE__{socket: socket}, frame), do: Socket.offer(socket, frame)

  @impl true
  def event(%__MODULE__{os_pid: os_pid} = transport, {Answers, :ended, os_pid, status}) do
    if transport.over?,
      do: {:closed, status},
      else: {:closing, %{transport | told: {:status, status}}}
  end

  def event(%__MODULE__{socket: socket} = transport, message) do
    case {Socket.event(socket, message), transport.told} do
      {{:closed, _unknown}, {:status, status}} ->
        {:closed, status}

      {{:closed, _unknown}, nil} ->
        Template.ended?(transport.template, transport.os_pid)
        {:closing, %{transport | over?: true}}

      {event, _told} ->
        event
    end
  end
end
