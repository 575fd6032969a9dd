defmodule Slither.Python.Worker.LifeTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Python.Worker.Life

  @settings %{max_requests: nil, max_age: nil, max_rss: nil}
  @error %Error{reason: :timeout, message: "m"}

  defp ready(limits \\ %{}),
    do: %Life{phase: :ready, limits: Map.merge(%Life{}.limits, limits)}

  test "begins with what its limits ask for" do
    assert {[], %{phase: :ready}} = Life.ready(%Life{}, @settings, nil)
    assert {[{:aged, 5}], _life} = Life.ready(%Life{}, %{@settings | max_age: 5}, nil)

    assert {[{:rss_low, 20}], %{limits: %{rss: nil}}} =
             Life.ready(%Life{}, %{@settings | max_rss: 10}, 20)
  end

  test "ends by being asked where it is ready, at once where it starts, and but once" do
    assert {:ask, %{phase: :stopping, leaves: :resize} = life} = Life.stop(ready(), :resize)
    assert {:ignore, ^life} = Life.stop(life, :shutdown)
    assert {:kill, %{leaves: :shutdown}} = Life.stop(%Life{}, :shutdown)
    assert {:ignore, _life} = ready() |> Life.kill(@error) |> Life.stop(:shutdown)
  end

  test "keeps the first reason for its end" do
    life = Life.fail(%Life{}, @error)
    assert Life.kill(life, %{@error | reason: :other}).reason == @error
    assert %{reason: @error, phase: :killed} = Life.kill(%Life{}, @error)
  end

  test "tells once that it has answered enough" do
    life = ready(%{requests: 2})
    assert {[], life} = Life.served(life, 1)
    assert {[{:due, :max_requests, 2}], life} = Life.served(life, 2)
    assert {[], _life} = Life.served(life, 3)
    assert Life.aged(ready(%{age: 7})) == [{:due, :max_age, 7}]
  end

  test "has its memory looked at between calls, some time after the last look" do
    life = ready(%{rss: 100})
    assert {[:look], life} = Life.served(life, 1)
    assert {[], life} = Life.served(life, 2)
    # The timer fires while a call runs: the look waits for its answer.
    assert {[], due} = Life.look(life, false)
    assert {[:measure], again} = Life.served(due, 3)
    assert {[:look], _life} = Life.served(again, 4)
    # It fires while none does.
    assert {[:measure], idle} = Life.look(life, true)
    assert {[:look], _life} = Life.served(idle, 3)
    assert Life.measured(life, 100) == [{:due, :max_rss, 100}]
    assert Life.measured(life, 99) == []
    assert Life.measured(life, nil) == []
  end
end
