defmodule Slither.Pipe.Graph do
  @moduledoc false
  # A pipe as a graph, for whoever shows what flows: its stages with what bounds them, and the ways
  # that items can take between them. Pure; called by `Slither.Pipe.Run` when a run begins.

  alias Slither.Pipe.Definition
  alias Slither.Stage.Router

  @doc "The stages of a pipe, as the board of runs has them."
  @spec stages(Definition.t()) :: [map]
  def stages(%Definition{stages: stages}) do
    for stage <- stages do
      %{
        name: stage.name,
        type: stage.type,
        pool: if(stage.type == :python, do: stage.options[:pool]),
        bound: bound(stage)
      }
    end
  end

  # How many items may be in its batches at once. Where the size of those is looked for, nobody knows.
  defp bound(%{type: :python, options: options}) do
    case options[:batch_size] do
      size when is_integer(size) -> size * options[:max_in_flight]
      _found -> nil
    end
  end

  defp bound(%{type: :batch, options: options}), do: options[:size]
  defp bound(_stage), do: nil

  @doc """
  The ways that items can take, from `"in"` or a stage to a stage or an output. Where a handler on BEAM
  may send its items nobody knows before it does.
  """
  @spec edges(Definition.t()) :: [{from :: term, to :: term}]
  def edges(%Definition{stages: stages, default: default} = definition) do
    names = for stage <- stages, do: stage.name
    straight = Enum.zip(["in" | names], names ++ [default])
    straight ++ Enum.flat_map(stages, &routes(&1, definition))
  end

  defp routes(stage, definition) do
    routed =
      if stage.type == :router,
        do: targets(Router.outputs(stage.options), stage.targets),
        else: []

    failed = targets(outputs(stage.policy), stage.policy_targets)
    for target <- Enum.uniq(routed ++ failed), do: {stage.name, name(target, definition)}
  end

  defp outputs({:route, output}) when not is_function(output), do: [output]
  defp outputs({:retry, options}), do: outputs(options[:then])
  defp outputs(_other), do: []

  defp targets(outputs, targets), do: for(output <- outputs, target = targets[output], do: target)

  defp name({:output, output}, _definition), do: output
  defp name({:stage, index}, definition), do: Enum.at(definition.stages, index).name
end
