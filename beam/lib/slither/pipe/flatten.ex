defmodule Slither.Pipe.Flatten do
  @moduledoc false
  # Puts the stages of inner pipes, and the screens of Python stages, in their places, and says for
  # each stage where its routes lead. `Slither.Pipe.Builder` calls it last. Pure.

  alias Slither.Pipe.Definition
  alias Slither.Stage.Expression

  @doc "The definition with no pipe left among its stages."
  @spec flatten(Definition.t()) :: Definition.t()
  def flatten(%Definition{stages: stages} = definition) do
    {placed, total} = Enum.map_reduce(stages, 0, &{{&1, &2}, &2 + width(&1)})
    outputs = Map.new(definition.outputs, &{&1, {:output, &1}})
    %{definition | stages: flat(placed, total, outputs, definition)}
  end

  defp width(%{type: :pipe, options: options}), do: length(options[:definition].stages)
  defp width(%{screen: nil}), do: 1
  defp width(_screened), do: 2

  defp flat([], _total, _outputs, _definition), do: []

  defp flat([{stage, start} | later], total, outputs, definition) do
    ahead = for {%{name: name}, at} <- later, into: %{}, do: {name, {:stage, at}}

    stage = %{
      stage
      | targets: Map.merge(outputs, ahead),
        policy_targets: outputs,
        policy: definition.on_error[stage.name] || definition.on_error[:*],
        stores: definition.stores
    }

    place(stage, start, total) ++ flat(later, total, outputs, definition)
  end

  defp place(%{type: :pipe} = outer, start, total) do
    inner = outer.options[:definition]
    past = start + length(inner.stages)
    names = Map.new(outer.options[:outputs])

    move = fn
      {:stage, index} ->
        {:stage, start + index}

      {:output, name} when name == inner.default ->
        if past == total, do: {:output, default(outer)}, else: {:stage, past}

      {:output, name} ->
        {:output, Map.get(names, name, name)}
    end

    Enum.map(inner.stages, &inner(&1, outer, move))
  end

  defp place(%{screen: nil} = stage, _start, _total), do: [stage]

  defp place(%{screen: options} = stage, _start, _total) do
    name = within(stage.name, options[:name])
    screen = %{stage | name: name, type: :module, module: Expression, options: options}
    [screen, stage]
  end

  # An inner stage keeps its own policy; one that has none follows the policy of the outer stage.
  defp inner(stage, outer, move) do
    moved = fn targets -> Map.new(targets, fn {name, target} -> {name, move.(target)} end) end

    {policy, policy_targets} =
      if stage.policy,
        do: {stage.policy, moved.(stage.policy_targets)},
        else: {outer.policy, outer.policy_targets}

    %{
      stage
      | name: within(outer.name, stage.name),
        line: outer.line,
        targets: moved.(stage.targets),
        policy: policy,
        policy_targets: policy_targets,
        stores: Map.merge(outer.stores, stage.stores)
    }
  end

  # A pipe's names are all atoms or all strings, and so are those of the pipes in it.
  defp within(outer, inner) when is_binary(outer), do: "#{outer}.#{inner}"
  defp within(outer, inner), do: :"#{outer}.#{inner}"

  defp default(%{name: name}) when is_binary(name), do: "default"
  defp default(_stage), do: :default
end
