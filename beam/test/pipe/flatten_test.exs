defmodule Slither.Pipe.FlattenTest do
  use ExUnit.Case, async: true

  alias Slither.Pipe.{Definition, Flatten}
  alias Slither.Stage.Expression

  defp stage(name, more \\ []),
    do: struct!(%Definition.Stage{name: name, type: :module, module: Some, options: []}, more)

  defp pipe(name, stages, more) do
    definition = struct!(%Definition{name: name, stages: stages}, more)
    Flatten.flatten(%{definition | outputs: definition.outputs ++ [:default]})
  end

  defp inner(name, definition, outputs \\ []),
    do: stage(name, type: :pipe, options: [definition: definition, outputs: outputs])

  defp at(definition, name), do: Enum.find(definition.stages, &(&1.name == name))

  test "a route leads to an output, or on to a stage that is ahead" do
    flat = pipe(:p, [stage(:a), stage(:b), stage(:c)], outputs: [:x])

    assert at(flat, :b).targets ==
             %{x: {:output, :x}, default: {:output, :default}, c: {:stage, 2}}

    assert at(flat, :b).policy_targets == %{x: {:output, :x}, default: {:output, :default}}
  end

  test "a stage has its own policy, or that of all" do
    flat = pipe(:p, [stage(:a), stage(:b)], outputs: [], on_error: %{a: :skip, *: :halt})
    assert Enum.map(flat.stages, & &1.policy) == [:skip, :halt]
  end

  test "the stages of an inner pipe take its place, and their routes lead to where they then are" do
    inner = pipe(:q, [stage(:one), stage(:two)], outputs: [:bad], on_error: %{one: :skip})
    outer = [stage(:first), inner(:in, inner, bad: :rejected), stage(:last)]
    flat = pipe(:p, outer, outputs: [:rejected], on_error: %{in: {:route, :rejected}})

    assert Enum.map(flat.stages, & &1.name) == [:first, :"in.one", :"in.two", :last]
    assert at(flat, :first).targets[:in] == {:stage, 1}
    assert at(flat, :first).targets[:last] == {:stage, 3}

    # What ends in the inner pipe flows on.
    assert at(flat, :"in.one").targets ==
             %{bad: {:output, :rejected}, default: {:stage, 3}, two: {:stage, 2}}

    # Its own policy holds; a stage that has none follows the outer one, and its outputs.
    assert {:skip, %{bad: {:output, :rejected}}} = policy(at(flat, :"in.one"))
    assert {{:route, :rejected}, %{rejected: {:output, :rejected}}} = policy(at(flat, :"in.two"))
  end

  defp policy(stage), do: {stage.policy, stage.policy_targets}

  test "what ends in an inner pipe that is last ends in the outer pipe's default" do
    inner = pipe("q", [stage("one")], outputs: [], default: :default)
    flat = pipe("p", [stage("first"), inner("in", inner)], outputs: [])
    assert at(flat, "in.one").targets[:default] == {:output, "default"}
  end

  test "stores of an inner pipe stand before those of the outer" do
    inner = pipe(:q, [stage(:one)], outputs: [], stores: %{a: Inner, b: Inner})
    flat = pipe(:p, [inner(:in, inner)], outputs: [], stores: %{a: Outer, c: Outer})
    assert at(flat, :"in.one").stores == %{a: Inner, b: Inner, c: Outer}
  end

  test "a screen stands before its stage, with the same policy, and routes lead to the screen" do
    screen = [name: "weight", expression: :data, check: &is_number/1]
    stages = [stage("a"), stage("b", type: :python, screen: screen), stage("c")]
    flat = pipe("p", stages, outputs: [], on_error: %{"b" => :skip})

    assert Enum.map(flat.stages, & &1.name) == ["a", "b.weight", "b", "c"]
    assert %{module: Expression, options: ^screen, policy: :skip} = at(flat, "b.weight")
    assert at(flat, "a").targets["b"] == {:stage, 1}
    assert at(flat, "b").targets["c"] == {:stage, 3}
  end
end
