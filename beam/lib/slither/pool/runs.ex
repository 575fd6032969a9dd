defmodule Slither.Pool.Runs do
  @moduledoc false
  # Which workers hold state of a run, so that they can be told to drop it when the run ends. Pure,
  # of `Slither.Pool.Lifetimes`. Runs with a session, and those whose handlers asked for no state,
  # are not here.

  @type run :: String.t()
  @type t :: %{optional(run) => %{owner: pid, workers: [pid]}}

  @doc "A worker holds state of a run, which ends with `owner` at the latest."
  @spec hold(t, run, pid, pid) :: t
  def hold(runs, run, owner, worker) do
    Map.update(runs, run, %{owner: owner, workers: [worker]}, fn held ->
      %{held | workers: Enum.uniq([worker | held.workers])}
    end)
  end

  @doc "A run has ended: the workers that hold state of it."
  @spec take(t, run) :: {[pid], t}
  def take(runs, run) do
    case Map.pop(runs, run) do
      {nil, runs} -> {[], runs}
      {%{workers: workers}, runs} -> {workers, runs}
    end
  end

  @doc "The runs that end with `owner`."
  @spec of(t, pid) :: [run]
  def of(runs, owner), do: for({run, %{owner: ^owner}} <- runs, do: run)

  @doc "A worker is gone, with all it held."
  @spec drop_worker(t, pid) :: t
  def drop_worker(runs, worker) do
    for {run, held} <- runs, (workers = List.delete(held.workers, worker)) != [], into: %{} do
      {run, %{held | workers: workers}}
    end
  end
end
