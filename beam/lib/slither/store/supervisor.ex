defmodule Slither.Store.Supervisor do
  @moduledoc false
  # The registry of names and views, and the configured stores. If the registry dies, the stores
  # that registered there start anew. `Slither.Application` starts it.

  use Supervisor

  alias Slither.Store.Restarter

  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options), do: Supervisor.start_link(__MODULE__, options, name: __MODULE__)

  @impl true
  def init(options) do
    stores = for store <- Keyword.get(options, :stores, []), do: Restarter.child_spec(store)

    configured = %{
      id: :configured,
      type: :supervisor,
      start: {Supervisor, :start_link, [stores, [strategy: :one_for_one]]}
    }

    registry = {Registry, keys: :unique, name: Slither.Store.Registry}
    Supervisor.init([registry, configured], strategy: :rest_for_one)
  end
end
