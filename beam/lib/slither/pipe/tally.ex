defmodule Slither.Pipe.Tally do
  @moduledoc false
  # The account of a run and of each of its stages. For a run,
  # in + expanded = out + skipped + routed + failed.

  @zero %{in: 0, expanded: 0, out: 0, skipped: 0, routed: 0, failed: 0}

  @type t :: %{run: map, stages: %{optional(atom) => map}}

  @doc "An account with nothing in it."
  @spec new([atom]) :: t
  def new(stages), do: %{run: @zero, stages: Map.new(stages, &{&1, @zero})}

  @doc "Adds to the run's account."
  @spec run(t, atom, integer) :: t
  def run(tally, _key, 0), do: tally
  def run(tally, key, count), do: update_in(tally.run[key], &(&1 + count))

  @doc "Adds to a stage's account."
  @spec stage(t, atom, atom, integer) :: t
  def stage(tally, _stage, _key, 0), do: tally
  def stage(tally, stage, key, count), do: update_in(tally.stages[stage][key], &(&1 + count))

  @doc "Adds to both."
  @spec both(t, atom, atom, integer) :: t
  def both(tally, stage, key, count), do: tally |> run(key, count) |> stage(stage, key, count)

  @doc "The run's account at its end: what reached no end has failed."
  @spec close(t) :: map
  def close(%{run: run}) do
    %{run | failed: run.in + run.expanded - run.out - run.skipped - run.routed}
  end
end
