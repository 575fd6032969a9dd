defmodule Slither.Watch.Attach do
  @moduledoc false
  # The process behind the Unix socket by which other programs of the same user look in: `slither top`,
  # `slither diagnose` and their Mix tasks. It opens the socket and takes its file away; `Listener`
  # answers those who connect. The application starts it unless `config :slither, attach: false`.
  #
  # It must never keep a program from starting or ending. What can't be opened is left out and told to
  # the log in debug, and the socket is one of the VM's `:socket`s, in which nothing waits to be written
  # when the VM halts. A VM that is stopped in order, or that ends as a script of Elixir's does, leaves no
  # file; what others have left is taken away by the next that opens.

  use GenServer

  require Logger

  alias Slither.Watch.Attach.{Listener, Place}

  @key {__MODULE__, :path}
  # Viewers at one time.
  @listeners 4

  defstruct [:path, :socket, listeners: []]

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The path of this VM's socket, nil where it has none."
  @spec path() :: String.t() | nil
  def path, do: :persistent_term.get(@key, nil)

  @doc "Takes the socket's file away, by any process, as the last thing of a VM that halts."
  @spec forget() :: :ok
  def forget do
    if path = path(), do: :file.delete(path, [:raw])
    :ok
  end

  @impl true
  def init(nil) do
    Process.flag(:trap_exit, true)
    {:ok, %__MODULE__{}, {:continue, :open}}
  end

  @impl true
  def handle_continue(:open, state) do
    Place.sweep()

    case open(Place.folders()) do
      {:ok, path, socket} ->
        # A script ends without a stop of its applications.
        if :persistent_term.get(@key, nil) == nil, do: System.at_exit(fn _status -> forget() end)
        :persistent_term.put(@key, path)
        {:noreply, %{state | path: path, socket: socket, listeners: listeners(socket)}}

      {:error, why} ->
        Logger.debug("slither top and slither diagnose can't look into this VM: #{inspect(why)}")
        {:noreply, state, :hibernate}
    end
  catch
    # Such as a VM that was built without sockets of this kind.
    kind, reason ->
      Logger.debug(Exception.format_banner(kind, reason))
      {:noreply, state, :hibernate}
  end

  defp open([]), do: {:error, :no_folder}

  defp open([folder | folders]) do
    path = Place.path(folder, System.pid())

    with :ok <- Place.make(folder),
         {:ok, socket} <- Listener.open(path) do
      {:ok, path, socket}
    else
      {:error, why} -> if folders == [], do: {:error, {path, why}}, else: open(folders)
    end
  end

  defp listeners(socket), do: for(_ <- 1..@listeners, do: Listener.start_link(socket))

  @impl true
  def handle_info({:EXIT, listener, _reason}, %__MODULE__{listeners: listeners} = state) do
    if listener in listeners do
      listeners = List.delete(listeners, listener)
      {:noreply, %{state | listeners: [Listener.start_link(state.socket) | listeners]}}
    else
      {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %__MODULE__{socket: nil}), do: :ok

  def terminate(_reason, state) do
    forget()
    :socket.close(state.socket)
  end
end
