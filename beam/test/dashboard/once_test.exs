defmodule Slither.Dashboard.OnceTest do
  use ExUnit.Case, async: true

  alias Slither.Dashboard.Once

  defp begun(once, key, waiter) do
    assert Once.ask(once, key, waiter) == :make
    ref = make_ref()
    {ref, Once.begun(once, key, ref, self(), waiter)}
  end

  test "those who ask while it is made wait for it, and those after it have it" do
    {ref, once} = begun(%Once{}, :page, :a)
    {:wait, once} = Once.ask(once, :page, :b)
    {:page, _pid, waiters, once} = Once.ended(once, ref)
    assert Enum.sort(waiters) == [:a, :b]
    once = Once.keep(once, :page, 1)
    assert Once.ask(once, :page, :c) == {:made, 1}
    assert Once.ask(once, :other, :c) == :make
    assert once |> Once.forget(:page) |> Once.ask(:page, :d) == :make
  end

  test "an end of what is unknown is none, and more than it may make is refused" do
    assert Once.ended(%Once{}, make_ref()) == nil

    once =
      Enum.reduce(1..16, %Once{}, fn key, once ->
        {_ref, once} = begun(once, key, :a)
        once
      end)

    assert Once.ask(once, 17, :a) == :busy
    assert {:wait, _once} = Once.ask(once, 16, :b)
  end
end
