defmodule Slither.Application do
  @moduledoc false
  # Stores start before pools, so that no handler runs before the state it reads is there; pools
  # before long-running pipes, so that these can finish what is in them when all stops.

  use Application

  alias Slither.Python.Pool

  @impl true
  def start(_type, _args) do
    :ok = Slither.Protocol.Shapes.init()

    :ok = Slither.Telemetry.start_table()
    :ok = Slither.Pipe.Library.start_table()
    with {:error, error} <- Slither.Pipe.Functions.all(), do: raise(error)

    children =
      [
        {Registry, keys: :unique, name: Slither.Python.Registry},
        {Slither.Python.Guard, name: Slither.Python.Guard},
        # What Python asks at one time, in all pools: beyond it, views are busy.
        {Task.Supervisor, name: Slither.TaskSupervisor, max_children: 10_000},
        {Slither.Store.Supervisor, stores: Application.get_env(:slither, :stores, [])}
      ] ++ pools() ++ [Slither.Pipe.Names, Slither.Pipe.Supervisor]

    Supervisor.start_link(children, strategy: :rest_for_one, name: Slither.Supervisor)
  end

  defp pools do
    pools = Application.get_env(:slither, :pools, [])

    unless Keyword.keyword?(pools) and Enum.all?(Keyword.values(pools), &Keyword.keyword?/1) do
      raise Slither.Error,
        reason: :invalid_option,
        where: "config :slither",
        message: "pools: takes options by name, got #{inspect(pools)}",
        hint: "write pools: [default: [size: 2]]"
    end

    with [twice | _] <- Keyword.keys(pools) -- Enum.uniq(Keyword.keys(pools)) do
      raise Slither.Error,
        reason: :duplicate,
        where: "config :slither",
        message: "pool #{inspect(twice)} is there twice"
    end

    for {name, options} <- pools, do: {Pool, Keyword.put(options, :name, name)}
  end
end
