defmodule Slither.Store.Instance do
  @moduledoc false
  # The supervisor of one running store. The heir starts first and outlives the owner: an owner that
  # dies is replaced and claims its tables; if the heir dies, both start anew. Who starts a store
  # (`Slither.Store.Server.start_link/2`) gets its pid.

  use Supervisor

  alias Slither.Leftovers
  alias Slither.Store.{Directory, Heir, Owner, Sweeper}

  @spec start_link(Slither.Store.Config.t()) :: {:ok, pid} | {:error, term}
  def start_link(config) do
    await_predecessor(config.store)

    case Supervisor.start_link(__MODULE__, config, name: Directory.via(config.store, :instance)) do
      # The reason of the load, not the supervisor's wrapping of it.
      {:error, {:shutdown, {:failed_to_start_child, _child, reason}}} -> {:error, reason}
      other -> other
    end
  end

  defp await_predecessor(store) do
    Leftovers.await(
      Slither.Store.Registry,
      for(role <- [:sweeper, :owner, :heir], do: {role, store})
    )
  rescue
    # No registry: the start itself says so.
    ArgumentError -> :ok
  end

  @impl true
  def init(config) do
    # A generous budget: an owner that comes back has lost nothing.
    Supervisor.init([{Heir, config}, {Owner, config}, {Sweeper, config}],
      strategy: :rest_for_one,
      max_restarts: 20,
      max_seconds: 5
    )
  end
end
