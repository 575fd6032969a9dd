defmodule Slither.Application do
  @moduledoc false
  # Stores start first: no handler runs before the state it reads is there, and what is in memory
  # outlives all that only helps workers. Pools start before long-running pipes, so that these can
  # finish what is in them when all stops.

  use Application

  alias Slither.Pool.Configured
  alias Slither.Python.{Guard, Pool}

  @impl true
  def start(_type, _args) do
    :ok = Slither.Protocol.Shapes.init()

    :ok = Slither.Telemetry.start_table()
    :ok = Slither.Pipe.Library.start_table()
    with {:error, error} <- Slither.Pipe.Functions.all(), do: raise(error)

    children =
      [
        {Slither.Store.Supervisor, stores: Application.get_env(:slither, :stores, [])},
        {Registry, keys: :unique, name: Slither.Python.Registry},
        # What Python asks at one time, in all pools: beyond it, views are busy.
        {Task.Supervisor, name: Slither.TaskSupervisor, max_children: 10_000},
        guard()
      ] ++ pools() ++ [Slither.Pipe.Names, Slither.Pipe.Supervisor]

    Supervisor.start_link(children, strategy: :rest_for_one, name: Slither.Supervisor)
  end

  # Under a supervisor of its own, lest its end be that of all pools.
  defp guard do
    guards = [{Guard, name: Guard}]
    start = {Supervisor, :start_link, [guards, [strategy: :one_for_one]]}
    %{id: Guard, type: :supervisor, start: start}
  end

  defp pools do
    case :slither |> Application.get_env(:pools) |> Configured.pools() do
      {:ok, pools} -> for {name, options} <- pools, do: {Pool, Keyword.put(options, :name, name)}
      {:error, error} -> raise error
    end
  end
end
