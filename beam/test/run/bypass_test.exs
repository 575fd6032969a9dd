defmodule Slither.Run.BypassTest do
  use ExUnit.Case, async: true

  alias Slither.Item
  alias Slither.Run.Bypass

  defp here(n), do: {[n], %Item{id: n, payload: n}}
  defp to(n, index), do: {[n], {:to, index, %Item{id: n, payload: n}}}
  defp out(n), do: {[n], {:exit, :out, %Item{id: n, payload: n}}}

  test "what is for the node enters it, and what is not waits for what entered before it" do
    entries = [out(0), here(1), to(2, 5), to(3, 1), out(4)]
    {handled, bypass} = Bypass.part(Bypass.new(true), entries, 1)
    # The jump has reached its stage.
    assert handled == [here(1), here(3)]
    assert Bypass.inside(bypass) == 2
    refute Bypass.clear?(bypass)

    assert {[first], bypass} = Bypass.leave(bypass, 0)
    assert first == out(0)
    assert {[second], bypass} = Bypass.leave(bypass, 1)
    assert second == to(2, 5)
    assert {[third], bypass} = Bypass.leave(bypass, 1)
    assert third == out(4)
    assert Bypass.clear?(bypass)
  end

  test "of a node that has no order nothing waits" do
    {_handled, bypass} = Bypass.part(Bypass.new(false), [here(0), out(1)], 0)
    assert {[by], bypass} = Bypass.leave(bypass, 0)
    assert by == out(1)
    assert Bypass.inside(bypass) == 1
  end

  test "a node that drops all it holds lets all go on" do
    {_handled, bypass} = Bypass.part(Bypass.new(true), [here(0), out(1), here(2), out(3)], 0)
    assert {[one, other], bypass} = Bypass.leave(bypass, :all)
    assert {one, other} == {out(1), out(3)}
    assert Bypass.clear?(bypass)
  end

  test "entries can be counted in without being looked at" do
    bypass = Bypass.enter(Bypass.new(true), 3)
    assert {[], bypass} = Bypass.leave(bypass, 2)
    assert Bypass.inside(bypass) == 1
  end
end
