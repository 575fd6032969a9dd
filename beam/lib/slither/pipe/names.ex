defmodule Slither.Pipe.Names do
  @moduledoc false
  # A registry of the processes of long-running pipes, by their pipe's name, and of checkpoints that
  # are in use. Called by those processes, and by whoever looks for one.

  alias Slither.{Error, Leftovers}
  alias Slither.Pipe.Counts

  @registry __MODULE__

  @type role :: :instance | :server | :sink | :heir

  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_options), do: Registry.child_spec(keys: :unique, name: @registry)

  @doc "A name for one of a pipe's processes, which may carry a value."
  @spec via(role, term, term) :: {:via, module, term}
  def via(role, name, value \\ nil), do: {:via, Registry, {@registry, {role, name}, value}}

  @doc "Waits for the processes of a pipe of that name whose supervisor was killed."
  @spec await_former(term) :: :ok
  def await_former(name),
    do: Leftovers.await(@registry, for(role <- [:server, :sink, :heir], do: {role, name}))

  @doc "The process of a pipe, by the pipe's name or its supervisor's pid."
  @spec find(role, term) :: {:ok, pid, Counts.t() | nil} | {:error, Error.t()}
  def find(role, pipe) do
    name = if is_pid(pipe), do: name(pipe), else: pipe

    # A process that has just ended may still be in the registry.
    with [{pid, value}] <- Registry.lookup(@registry, {role, name}),
         true <- Process.alive?(pid) do
      {:ok, pid, value}
    else
      _ -> {:error, unknown(name || pipe)}
    end
  end

  @doc "The long-running pipes, with the counts of each; one that is just restarting is left out."
  @spec running() :: [{term, Counts.t()}]
  def running do
    Registry.select(@registry, [{{{:server, :"$1"}, :_, :"$2"}, [], [{{:"$1", :"$2"}}]}])
  rescue
    # Without a registry no pipe was ever started.
    ArgumentError -> []
  end

  @doc "The paths of checkpoints that are in use."
  @spec checkpoints() :: [String.t()]
  def checkpoints do
    Registry.select(@registry, [{{{:checkpoint, :"$1"}, :_, :_}, [], [:"$1"]}])
  rescue
    ArgumentError -> []
  end

  @doc "Takes a name for the calling process until it ends or `release/1`s it."
  @spec claim(term) :: :ok | {:error, pid}
  def claim(name) do
    case Registry.register(@registry, name, nil) do
      {:ok, _owner} -> :ok
      {:error, {:already_registered, pid}} -> {:error, pid}
    end
  end

  @spec release(term) :: :ok
  def release(name), do: Registry.unregister(@registry, name)

  defp name(pid) do
    Enum.find_value(Registry.keys(@registry, pid), fn
      {:instance, name} -> name
      _other -> nil
    end)
  end

  defp unknown(name) do
    known = Registry.select(@registry, [{{{:instance, :"$1"}, :_, :_}, [], [:"$1"]}])

    hint =
      cond do
        name in known -> "it is restarting"
        known == [] -> "none is running"
        true -> "running pipes: #{known |> Enum.sort() |> Enum.map_join(", ", &inspect/1)}"
      end

    %Error{
      reason: :pipe_unavailable,
      where: "pipe #{inspect(name)}",
      message: "is not running",
      hint: hint,
      details: %{pipe: name}
    }
  end
end
