defmodule Slither.Application do
  @moduledoc false
  # Starts Slither's own processes, in parts that fail apart from each other: what one can't
  # mend costs none of the others. Stores start first, as no handler may run before the state it
  # reads is there; pools start before long-running pipes, so that pipes, which stop first, can
  # finish what is in them.

  use Application

  alias Slither.{Dashboard, Gather, Options, Rate}
  alias Slither.Pool.Configured
  alias Slither.Python.{Guard, Memory, Pool}

  # What is configured of it as a whole; the rest is checked by who has it.
  @settings [attach: [type: :boolean], max_series: [type: :pos_integer]]

  @impl true
  def start(_type, _args) do
    own = Keyword.take(Application.get_all_env(:slither), Keyword.keys(@settings))
    Options.validate!(own, @settings, "config :slither")
    :ok = Slither.Protocol.Shapes.init()

    # Where the library is there, decimals are its own. Until something has called it, it is not loaded.
    _ = Code.ensure_loaded(Decimal)
    :ok = Slither.Telemetry.start_table()
    :ok = Slither.Metrics.Series.start_table()
    :ok = Slither.Telemetry.Failures.start_table()
    :ok = Slither.Telemetry.Happenings.start_table()
    :ok = Slither.Metrics.Handlers.start_table()
    :ok = Slither.Metrics.Runs.start_table()
    :ok = Slither.Pipe.Library.start_table()
    :ok = Memory.start_table()
    with {:error, error} <- Slither.Pipe.Functions.all(), do: raise(error)

    traces =
      case Slither.Trace.children() do
        {:ok, children} -> children
        {:error, error} -> raise error
      end

    # The exporter of spans first, as it is to send those of all others to the last.
    children = [
      supervisor(Slither.Trace, [traces, [strategy: :one_for_one, name: Slither.Trace.Supervisor]])
      |> alone(),
      part(Slither.Blob, :one_for_one, [Slither.Blob.Server]),
      {Slither.Store.Supervisor, stores: Application.get_env(:slither, :stores, [])},
      part(Slither.Python, :rest_for_one, [
        {Registry, keys: :unique, name: Slither.Python.Registry},
        # What Python asks at one time, in all pools: beyond it, views are busy.
        {Task.Supervisor, name: Slither.TaskSupervisor, max_children: 10_000},
        # The guard, what looks at memory, and the pools have a supervisor each, so that the end of one costs no other.
        part(Guard, :one_for_one, [{Guard, name: Guard}]),
        part(Memory, :one_for_one, [Memory]),
        part(:pools, :one_for_one, pools()),
        part(:gathers, :one_for_one, gathers()),
        part(:rates, :one_for_one, rates())
      ]),
      part(Slither.Pipe, :rest_for_one, [Slither.Pipe.Names, Slither.Pipe.Supervisor]),
      alone(part(Slither.Watch, :one_for_one, watch())),
      alone(part(:dashboard, :one_for_one, dashboard()))
    ]

    Supervisor.start_link(children, strategy: :one_for_one, name: Slither.Supervisor)
  end

  defp part(id, strategy, children) do
    supervisor(id, [children, [strategy: strategy]])
  end

  # Of who only looks: what it can't mend costs nobody else anything.
  defp alone(child), do: Map.put(child, :restart, :temporary)

  defp supervisor(id, arguments),
    do: %{id: id, type: :supervisor, start: {Supervisor, :start_link, arguments}}

  defp watch do
    if Application.get_env(:slither, :attach, true),
      do: [Slither.Watch.Server, Slither.Watch.Attach],
      else: [Slither.Watch.Server]
  end

  defp gathers do
    case :slither |> Application.get_env(:gathers) |> Configured.gathers() do
      {:ok, gathers} ->
        for {name, options} <- gathers, do: {Gather, Keyword.put(options, :name, name)}

      {:error, error} ->
        raise error
    end
  end

  defp rates do
    case :slither |> Application.get_env(:rates) |> Configured.rates() do
      {:ok, rates} -> for {name, options} <- rates, do: {Rate, Keyword.put(options, :name, name)}
      {:error, error} -> raise error
    end
  end

  defp dashboard do
    case Application.get_env(:slither, :dashboard, false) do
      off when off in [nil, false] -> []
      options -> [{Dashboard, checked(options)}]
    end
  end

  # A supervisor would tell of what is wrong by its own words, around the error.
  defp checked(options) do
    with {:error, error} <- Dashboard.Options.check(options), do: raise(error)
    options
  end

  defp pools do
    case :slither |> Application.get_env(:pools) |> Configured.pools() do
      {:ok, pools} -> for {name, options} <- pools, do: {Pool, Keyword.put(options, :name, name)}
      {:error, error} -> raise error
    end
  end
end
