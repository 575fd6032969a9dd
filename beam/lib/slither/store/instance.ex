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
      # Unwraps the supervisor's error, so that the
      # caller gets the reason that `load/1` failed with.
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
    # Without a registry there is no predecessor, and the start itself reports that.
    ArgumentError -> :ok
  end

  @impl true
  def init(config) do
    # The budget is generous, since an owner that is restarted has lost nothing.
    Supervisor.init([{Heir, config}, {Owner, config}, {Sweeper, config}],
      strategy: :rest_for_one,
      max_restarts: 20,
      max_seconds: 5
    )
  end
end
