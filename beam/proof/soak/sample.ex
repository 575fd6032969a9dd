defmodule Slither.Proof.Soak.Sample do
  @moduledoc false
  # What BEAM and each worker hold at a moment.

  alias Slither.Proof.Processes
  alias Slither.Python.Pool

  @doc "All measures by name; those in bytes begin with `memory` or end with `rss`."
  @spec take(atom) :: %{String.t() => number}
  def take(pool) do
    memory = Map.new(:erlang.memory())
    beam = System.pid()

    %{
      "memory total" => memory.total,
      "memory processes" => memory.processes,
      "memory binary" => memory.binary,
      "memory ets" => memory.ets,
      "processes" => :erlang.system_info(:process_count),
      "ports" => :erlang.system_info(:port_count),
      "atoms" => :erlang.system_info(:atom_count),
      "BEAM fds" => Processes.fds(beam),
      "BEAM rss" => Processes.rss(beam)
    }
    |> Map.merge(workers(pool))
  end

  # A worker that starts has nothing to show yet.
  defp workers(pool) do
    {:ok, status} = Pool.status(pool)

    for %{status: :ready, worker: slot, os_pid: os_pid} <- status.workers,
        rss = Processes.rss(os_pid),
        rss > 0,
        {name, value} <- [{"rss", rss}, {"fds", Processes.fds(os_pid)}],
        into: %{},
        do: {"worker #{slot} #{name}", value}
  end
end
