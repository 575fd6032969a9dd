defmodule Slither.Test.Peer do
  @moduledoc false
  # The Python side of a pool's workers, played by the test: each worker's process hands frames on
  # between BEAM and a socket of the test's, which says and hears them one by one.

  import ExUnit.Assertions
  import Slither.Test.Pools, except: [start_pool: 1]

  alias Slither.Protocol.Frame
  alias Slither.Python.Environment
  alias Slither.Test.Pools

  @enforce_keys [:socket, :os_pid]
  defstruct [:socket, :os_pid]

  @doc "Starts a pool of such workers; returns its name and where they come in."
  @spec start_pool(keyword) :: {atom, :gen_tcp.socket()}
  def start_pool(options \\ []) do
    path = path("peer")
    local = [:local, :binary, ip: {:local, path}, packet: 4, active: false]
    {:ok, listener} = :gen_tcp.listen(0, local)
    {:ok, python} = Environment.interpreter(nil)
    relay = Path.join(handlers(), "slither_relay_worker.py")
    python = interpreter("exec '#{python}' '#{relay}' '#{path}'")

    {Pools.start_pool(Keyword.merge([python: python, paths: [], start: :spawn], options)),
     listener}
  end

  @doc "The next worker's process, which has said nothing yet."
  @spec accept(:gen_tcp.socket()) :: %__MODULE__{}
  def accept(listener) do
    {:ok, socket} = :gen_tcp.accept(listener, patience())
    {:ok, <<os_pid::32>>} = :gen_tcp.recv(socket, 0, patience())
    %__MODULE__{socket: socket, os_pid: os_pid}
  end

  @doc "The next worker's process, once it is ready."
  @spec ready(:gen_tcp.socket(), atom) :: %__MODULE__{}
  def ready(listener, pool) do
    peer = accept(listener)
    say(peer, {:hello, Frame.version(), %{"pid" => peer.os_pid}})
    {:welcome, _version, _settings} = hear(peer)
    say(peer, {:ready, %{"handlers" => []}})
    assert await_up(pool) == peer.os_pid
    peer
  end

  @doc "Says a frame."
  @spec say(%__MODULE__{}, tuple) :: :ok
  def say(peer, frame), do: :gen_tcp.send(peer.socket, Frame.encode!(frame))

  @doc "The next frame that BEAM says."
  @spec hear(%__MODULE__{}) :: tuple
  def hear(peer) do
    {:ok, body} = :gen_tcp.recv(peer.socket, 0, patience())
    {:ok, frame} = Frame.decode(body)
    frame
  end

  @doc "The id and the items of the next frame, a call."
  @spec hear_call(%__MODULE__{}) :: {pos_integer, list}
  def hear_call(peer) do
    {:call, id, _target, _context, _batch, _attempt, items} = hear(peer)
    {id, items}
  end

  @doc "Answers a call with results."
  @spec answer(%__MODULE__{}, pos_integer, list) :: :ok
  def answer(peer, id, results), do: say(peer, {:result, id, results, nil, [1, 2, 3]})

  @doc "Waits for the end of the process."
  @spec await_end(%__MODULE__{}) :: :ok
  def await_end(peer) do
    case :gen_tcp.recv(peer.socket, 0, patience()) do
      {:ok, _frame} -> await_end(peer)
      {:error, :closed} -> :ok
    end
  end

  @doc "Ends the process by itself, with status 7."
  @spec leave(%__MODULE__{}) :: :ok
  def leave(peer), do: :gen_tcp.close(peer.socket)
end
