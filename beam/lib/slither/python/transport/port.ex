defmodule Slither.Python.Transport.Port do
  @moduledoc false
  # Frames over descriptors 3 and 4 of a process that the port starts.
  # Opened by `Launcher.Spawn` in the process of the worker's owner;
  # that owner, its lanes and its tasks write through `Transport`.

  @behaviour Slither.Python.Transport

  require Logger

  @enforce_keys [:port]
  defstruct [:port]

  @type t :: %__MODULE__{port: port}

  @doc "Starts an executable, with variables, in a folder (nil: BEAM's own)."
  @spec open(String.t(), [String.t()], [{charlist, charlist | false}], String.t() | nil) ::
          {:ok, t} | {:error, String.t()}
  def open(executable, args, variables, folder) do
    options = [:binary, :nouse_stdio, :exit_status, :hide, packet: 4, args: args, env: variables]
    options = if folder, do: [{:cd, folder} | options], else: options
    {:ok, %__MODULE__{port: Port.open({:spawn_executable, executable}, options)}}
  rescue
    error in [ErlangError, ArgumentError] -> {:error, Exception.message(error)}
  end

  @doc "The pid of the process; nil for one that has ended already."
  @spec os_pid(t) :: pos_integer | nil
  def os_pid(%__MODULE__{port: port}) do
    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> os_pid
      nil -> nil
    end
  end

  @impl true
  def write(%__MODULE__{port: port}, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> false
  end

  @impl true
  def offer(%__MODULE__{port: port}, frame) do
    :erlang.port_command(port, frame, [:nosuspend])
  rescue
    ArgumentError -> false
  end

  @impl true
  def event(%__MODULE__{port: port}, {port, {:data, body}}), do: {:frame, body}
  def event(%__MODULE__{port: port}, {port, {:exit_status, status}}), do: {:closed, status}

  def event(%__MODULE__{port: port}, {:EXIT, port, reason}) do
    Logger.debug("the port of a Python worker closed: #{inspect(reason)}")
    {:closed, nil}
  end

  def event(_transport, _message), do: :none
end
