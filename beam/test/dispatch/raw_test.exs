defmodule Slither.Dispatch.RawTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Protocol
  alias Slither.Protocol.Encoded

  setup_all do
    %{pool: start!(unique(:raw_pool))}
  end

  test "results stay encoded, and can be sent on", %{pool: pool} do
    {:ok, items} = Slither.dispatch([1, 2, 3], options(pool, "double", raw: true, batch_size: 2))

    assert Enum.map(items, &Protocol.unpack(&1.payload.data)) == [{:ok, 2}, {:ok, 4}, {:ok, 6}]
    {:ok, again} = Slither.dispatch(items, options(pool, "double"))
    assert Enum.map(again, & &1.payload) == [4, 8, 12]
  end

  test "a failed item keeps its payload and its error", %{pool: pool} do
    options = options(pool, "fails", raw: true, on_error: :skip)
    {:ok, items} = Slither.dispatch([1, 2], options)
    assert [%{payload: 1, meta: %{error: _}}, %{payload: %Encoded{}}] = items
  end
end
