defmodule Slither.Python.Worker.AskingTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Python.Worker.Asking

  @late %Error{reason: :timeout, message: "late"}
  @gone %Error{reason: :cancelled, message: "gone"}

  defp asking(fields \\ []), do: struct!(%Asking{call: 7, began: 1_000, used: 100}, fields)
  defp killing(fields \\ []), do: asking([kills: [{@late, {:call, 7}}]] ++ fields)

  defp look(asking, progress, after_ms, used \\ 0),
    do: Asking.look(asking, progress, 1_000 + after_ms, fn -> 100 + used end)

  describe "look/4" do
    test "is over with the answer, and where none can come" do
      for asking <- [asking(), killing(), killing(forced: 1_030, signal: 64)],
          progress <- [:answered, :never],
          do: assert(look(asking, progress, 0) == :over)
    end

    test "looks again after pauses that grow" do
      pauses =
        Enum.map_reduce(1..6, asking(), fn _look, asking ->
          {:again, pause, asking} = look(asking, :waits, 1)
          {pause, asking}
        end)

      assert elem(pauses, 0) == [1, 2, 4, 8, 8, 8]
    end

    test "forces a process that is to be killed soon, later where it waits for a core" do
      assert {:again, 1, _} = look(killing(), :locked, 24)
      assert {:force, 1, %{forced: 1_025}} = look(killing(), :locked, 25)
      assert {:again, 1, _} = look(killing(), :waits, 499)
      assert {:force, 1, _} = look(killing(), :waits, 500)
    end

    test "gives up on what was forced" do
      forced = killing(forced: 1_030, signal: 64)
      assert {:again, 1, _} = look(forced, :locked, 529)
      assert look(forced, :locked, 530) == :over
    end

    test "forces nobody who is only asked, unless somebody is sure to hold the lock" do
      assert {:again, 1, _} = look(asking(), :locked, 249, 0)
      assert {:force, 1, _} = look(asking(), :locked, 250, 10)
      assert {:again, 1, _} = look(asking(), :locked, 400, 20)
      assert {:again, 1, _} = look(asking(), :locked, 600, 499)
      assert {:force, 1, _} = look(asking(), :locked, 600, 500)
      assert {:again, 1, _} = look(asking(), :waits, 1_999, 1_900)
      assert look(asking(), :waits, 2_000, 1_900) == :over
      assert look(asking(), :locked, 2_000, 100) == :over
    end
  end

  describe "settle/2" do
    test "kills for the first cause that holds" do
      asking = asking(kills: [{@late, {:call, 7}}, {@gone, :stopping}])
      assert Asking.settle(asking, fn _ -> true end) == {:kill, {@late, {:call, 7}}}
      assert Asking.settle(asking, &(&1 == :stopping)) == {:kill, {@gone, :stopping}}
    end

    test "lets live what has answered meanwhile" do
      assert Asking.settle(killing(), fn _ -> false end) == :go_on
      assert Asking.settle(asking(), fn _ -> true end) == :go_on
    end

    test "asks again where another call runs than the one that was told of" do
      kills = [{@gone, {:call, 8}}]
      asking = asking(kills: [{@late, {:call, 7}} | kills])
      assert Asking.settle(asking, &(&1 == {:call, 8})) == {:again, kills}
    end
  end
end
