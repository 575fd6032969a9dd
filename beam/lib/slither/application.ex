defmodule Slither.Application do
  @moduledoc false
  # Stores start before pools, so that no handler runs before the state it reads is there; pools
  # before long-running pipes, so that these can finish what is in them when all stops.

  use Application

  alias Slither.Python.Pool

  @impl true
  def start(_type, _args) do
    :ok = Slither.Telemetry.start_table()

    children =
      [
        {Registry, keys: :unique, name: Slither.Python.Registry},
        {Task.Supervisor, name: Slither.TaskSupervisor},
        {Slither.Store.Supervisor, stores: Application.get_env(:slither, :stores, [])}
      ] ++ pools() ++ [Slither.Pipe.Names, Slither.Pipe.Supervisor]

    Supervisor.start_link(children, strategy: :rest_for_one, name: Slither.Supervisor)
  end

  defp pools do
    for {name, options} <- Application.get_env(:slither, :pools, []) do
      {Pool, Keyword.put(options, :name, name)}
    end
  end
end
