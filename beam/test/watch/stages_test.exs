defmodule Slither.Watch.StagesTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Pipe
  alias Slither.Pipe.Runner
  alias Slither.Watch.Stages

  defp stage(pipe, stage),
    do: Enum.find(Stages.all(), &(&1.pipe == "#{pipe}" and &1.stage == stage))

  test "say what became of items, and where the time went, from the first call on" do
    pool = ready_pool()
    pipe = unique(:stages_pipe)
    handler = [pool: pool, module: "slither_test_handlers", batch_size: 5]
    fails = [function: "hold_and_fail_first"] ++ handler

    definition =
      Pipe.build!(pipe, [
        {:stage, 1, :slow, :python, [function: "sleep_a_little"] ++ handler},
        {:stage, 2, :fails, :python, fails},
        {:on_error, 3, :fails, :skip}
      ])

    assert stage(pipe, "slow") == nil
    assert {:ok, _outputs} = Runner.run(definition, Enum.map(1..10, &"item #{&1}"))
    slow = stage(pipe, "slow")
    assert %{items: 10, ok: 10, failed: 0, skipped: 0, calls: 2, errors: %{}} = slow
    ms = System.convert_time_unit(1, :millisecond, :native)
    assert slow.times.handler >= 12 * ms
    assert slow.p50 >= 5 * ms and slow.p95 >= slow.p50
    fails = stage(pipe, "fails")
    assert %{items: 10, ok: 0, skipped: 10, errors: %{python_exception: 10}} = fails
    assert Enum.sum(Map.values(Map.take(fails, [:ok, :failed, :skipped, :routed]))) == fails.items
  end

  test "has what a dispatch has called by its name, and what other pools called with it" do
    for pool <- [ready_pool(), ready_pool()],
        do: assert({:ok, "x"} = call(pool, "named_apart", "x", module: "status_handlers"))

    assert %{pipe: nil, items: 2, calls: 2} =
             Enum.find(Stages.all(), &(&1.stage == "status_handlers.named_apart"))
  end
end
