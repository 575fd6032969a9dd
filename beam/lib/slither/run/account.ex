defmodule Slither.Run.Account do
  @moduledoc false
  # The account of a run and of each of its stages. For a run,
  # in + expanded = out + skipped + routed + failed.

  alias Slither.Receipt

  @zero %{in: 0, expanded: 0, out: 0, skipped: 0, routed: 0}

  @type t :: %{
          run: map,
          stages: %{optional(Slither.Pipe.Definition.name()) => map},
          handler: %{optional(Slither.Pipe.Definition.name()) => integer},
          errors: %{optional(Slither.Pipe.Definition.name()) => Receipt.errors()}
        }

  @doc "An account with nothing in it."
  @spec new([Slither.Pipe.Definition.name()]) :: t
  def new(stages) do
    by_stage = fn value -> Map.new(stages, &{&1, value}) end
    %{run: @zero, stages: by_stage.(@zero), handler: by_stage.(0), errors: by_stage.(%{})}
  end

  @doc "Adds to the run's account."
  @spec run(t, atom, integer) :: t
  def run(tally, _key, 0), do: tally
  def run(tally, key, count), do: update_in(tally.run[key], &(&1 + count))

  @doc "Adds to a stage's account."
  @spec stage(t, Slither.Pipe.Definition.name(), atom, integer) :: t
  def stage(tally, _stage, _key, 0), do: tally
  def stage(tally, stage, key, count), do: update_in(tally.stages[stage][key], &(&1 + count))

  @doc "Adds to both."
  @spec both(t, Slither.Pipe.Definition.name(), atom, integer) :: t
  def both(tally, stage, key, count), do: tally |> run(key, count) |> stage(stage, key, count)

  @doc "Notes errors that met the policy of a stage."
  @spec errors(t, Slither.Pipe.Definition.name(), [Exception.t()]) :: t
  def errors(tally, _stage, []), do: tally

  def errors(tally, stage, errors),
    do:
      update_in(
        tally.errors[stage],
        &Enum.reduce(errors, &1, fn e, all -> Receipt.add_error(all, e) end)
      )

  @doc "Adds handler time to a stage that runs in place."
  @spec handler(t, Slither.Pipe.Definition.name(), integer) :: t
  def handler(tally, stage, time), do: update_in(tally.handler[stage], &(&1 + time))

  @doc """
  The receipt of a run, from its stages in order as `{name, work, duration}`, where work is
  what a flow counted, and the error that stopped it.
  """
  @spec close(
          t,
          [{Slither.Pipe.Definition.name(), map, integer}],
          integer,
          Exception.t() | nil
        ) :: Receipt.t()
  def close(tally, stages, duration, error) do
    failed_stage = error && Map.get(error, :stage)

    stages =
      for {name, work, time} <- stages do
        work = Map.update!(work, :handler, &(&1 + tally.handler[name]))
        {name, work, time}
      end

    all =
      Enum.reduce(stages, Receipt.no_work(), fn {_, work, _}, sum ->
        Receipt.add_work(sum, work)
      end)

    parts =
      for {name, work, time} <- stages do
        part = Receipt.new(tally.stages[name], work, time)
        {name, Receipt.put_errors(part, tally.errors[name], if(name == failed_stage, do: error))}
      end

    errors = tally.errors |> Map.values() |> Enum.reduce(%{}, &Receipt.add_errors/2)
    receipt = Receipt.put_errors(Receipt.new(tally.run, all, duration), errors, error)
    %{receipt | stages: parts}
  end
end
