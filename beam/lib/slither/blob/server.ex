defmodule Slither.Blob.Server do
  @moduledoc false
  # The process that owns this BEAM's folder of shared values. It makes the folder with the first one,
  # gives names, and takes a value away when its owner ends. `Slither.Blob` calls it, in whatever
  # process; the application starts it, before the pools.
  #
  # A shell beside it takes the folder away when this process is gone, BEAM's end by kill -9 included:
  # it waits for the end of a pipe, and only then runs anything.

  use GenServer

  require Logger

  alias Slither.Blob.Folder

  @script """
  exec 2>/dev/null
  trap '' HUP INT QUIT TERM PIPE
  while read -r line; do :; done
  rm -rf -- "$1" || rm -rf -- "$1"
  """
  # ms between the end of one shell and the start of the next.
  @pause 1_000

  defmodule State do
    @moduledoc false
    # `made?` says whether the folder is there. `blobs` has the owner of each, `:node` for none;
    # `owners` the monitor of each owner and the names of its blobs.
    @enforce_keys [:id, :path]
    defstruct [:id, :path, :port, made?: false, blobs: %{}, owners: %{}]
  end

  @type owner :: pid | :node

  @doc "Starts it."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(_options \\ []), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The path of the folder, and whether it is made for whoever asks."
  @spec folder() :: String.t() | nil
  def folder, do: with({_id, path} <- :persistent_term.get(__MODULE__, nil), do: path)

  @doc "Makes the folder where it is not there; its path."
  @spec open() :: {:ok, String.t()} | {:error, File.posix() | :down}
  def open, do: asked(fn -> GenServer.call(__MODULE__, :open, :infinity) end)

  @doc "The name and the path of a new file of `owner`'s."
  @spec new(owner) :: {:ok, String.t(), String.t()} | {:error, File.posix() | :down}
  def new(owner), do: asked(fn -> GenServer.call(__MODULE__, {:new, owner}, :infinity) end)

  @doc "Gives a file to another owner."
  @spec hand_over(String.t(), owner) :: :ok | {:error, :enoent | :down}
  def hand_over(name, owner),
    do: asked(fn -> GenServer.call(__MODULE__, {:hand_over, name, owner}, :infinity) end)

  @doc "Takes a file away."
  @spec delete(String.t()) :: :ok | {:error, :down}
  def delete(name), do: asked(fn -> GenServer.call(__MODULE__, {:delete, name}, :infinity) end)

  @doc "The path of a file of this BEAM's, by its name."
  @spec path(String.t()) :: {:ok, String.t()} | :error
  def path(name) do
    with {id, path} <- :persistent_term.get(__MODULE__, nil),
         [^id, file] <- String.split(name, "/", parts: 2) do
      {:ok, Path.join(path, file)}
    else
      _other -> :error
    end
  end

  defp asked(call) do
    call.()
  catch
    :exit, _reason -> {:error, :down}
  end

  @impl true
  def init(nil) do
    Process.flag(:trap_exit, true)
    id = Folder.id()
    path = Folder.path(id)
    :persistent_term.put(__MODULE__, {id, path})
    {:ok, %State{id: id, path: path}}
  end

  @impl true
  def handle_call(:open, _from, state) do
    with {:ok, state} <- made(state), do: {:reply, {:ok, state.path}, state}
  end

  def handle_call({:new, owner}, _from, state) do
    with {:ok, state} <- made(state) do
      file = Folder.id()
      name = "#{state.id}/#{file}"
      {:reply, {:ok, name, Path.join(state.path, file)}, own(state, name, owner)}
    end
  end

  def handle_call({:hand_over, name, owner}, _from, state)
      when is_map_key(state.blobs, name),
      do: {:reply, :ok, state |> disown(name) |> own(name, owner)}

  def handle_call({:hand_over, _name, _owner}, _from, state),
    do: {:reply, {:error, :enoent}, state}

  def handle_call({:delete, name}, _from, state) do
    remove(name)
    {:reply, :ok, if(is_map_key(state.blobs, name), do: disown(state, name), else: state)}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, owner, _reason}, state) do
    {owned, owners} = Map.pop(state.owners, owner)
    names = if owned, do: elem(owned, 1), else: []
    Enum.each(names, &remove/1)
    {:noreply, %{state | owners: owners, blobs: Map.drop(state.blobs, Enum.to_list(names))}}
  end

  def handle_info({port, {:exit_status, _status}}, %State{port: port} = state),
    do: {:noreply, lost(state)}

  def handle_info({:EXIT, port, _reason}, %State{port: port} = state) when port != nil,
    do: {:noreply, lost(state)}

  def handle_info(:watch, state),
    do: {:noreply, if(state.port, do: state, else: watched(state))}

  def handle_info(_late, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    if state.made?, do: File.rm_rf(state.path)
    :persistent_term.erase(__MODULE__)
  end

  defp made(%State{made?: true} = state), do: {:ok, state}

  defp made(state) do
    case Folder.make(state.path) do
      :ok ->
        Folder.sweep(state.path)
        {:ok, watched(%{state | made?: true})}

      error ->
        {:reply, error, state}
    end
  end

  # Somebody ended the shell; another takes its place.
  defp lost(state) do
    Process.send_after(self(), :watch, @pause)
    %{state | port: nil}
  end

  defp watched(state) do
    args = ["-c", @script, "slither-blobs", state.path]
    options = [:binary, :exit_status, :hide, cd: "/", args: args]
    %{state | port: Port.open({:spawn_executable, "/bin/sh"}, options)}
  rescue
    error in [ErlangError, ArgumentError] ->
      Logger.warning("nothing watches over #{state.path}: #{Exception.message(error)}")
      lost(state)
  end

  defp own(state, name, :node), do: put_in(state.blobs[name], :node)

  defp own(state, name, owner) do
    {monitor, names} =
      Map.get_lazy(state.owners, owner, fn -> {Process.monitor(owner), MapSet.new()} end)

    owners = Map.put(state.owners, owner, {monitor, MapSet.put(names, name)})
    %{state | owners: owners, blobs: Map.put(state.blobs, name, owner)}
  end

  defp disown(state, name) do
    {owner, blobs} = Map.pop!(state.blobs, name)
    state = %{state | blobs: blobs}

    with %{^owner => {monitor, names}} <- state.owners do
      names = MapSet.delete(names, name)

      if MapSet.size(names) == 0 do
        Process.demonitor(monitor, [:flush])
        %{state | owners: Map.delete(state.owners, owner)}
      else
        put_in(state.owners[owner], {monitor, names})
      end
    else
      _node -> state
    end
  end

  defp remove(name), do: with({:ok, path} <- path(name), do: File.rm(path))
end
