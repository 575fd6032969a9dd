defmodule Slither.Python.LiveRoundTripTest do
  use ExUnit.Case, async: true

  import Slither.Test.{Generators, Pools}

  alias Slither.Item

  setup do
    %{pool: ready_pool(size: 2)}
  end

  test "values that went to Python and back are the same", %{pool: pool} do
    values = many(800, &any_value/0)

    for {value, again} <- Enum.zip(values, send_all(pool, "identity", values)),
        not same?(value, again) do
      flunk("""
      with --seed #{ExUnit.configuration()[:seed]}
      #{inspect(value, limit: :infinity)}
      came back as
      #{inspect(again, limit: :infinity)}
      """)
    end
  end

  test "values that went to BEAM and back are the same", %{pool: pool} do
    seeds = many(800, fn -> :rand.uniform(4_000_000_000) end)
    values = send_all(pool, "make", seeds)
    pairs = Enum.zip_with(seeds, values, &[&1, &2])
    differences = Enum.zip(seeds, send_all(pool, "compare", pairs))
    assert Enum.reject(differences, fn {_seed, difference} -> difference == nil end) == []
  end

  test "a value that nests 1,000 containers goes both ways", %{pool: pool} do
    deep = Enum.reduce(1..999, [], fn _, inner -> [inner] end)
    assert send_all(pool, "identity", [deep]) == [deep]
  end

  test "a tensor that is large goes both ways", %{pool: pool} do
    tensor = %Slither.Tensor{
      dtype: :float64,
      shape: {1_000, 1_000},
      data: :rand.bytes(8_000_000)
    }

    assert send_all(pool, "identity", [tensor]) == [tensor]
  end

  defp send_all(pool, function, values) do
    options = [
      pool: pool,
      module: "slither_round_trip",
      function: function,
      batch_size: 50,
      timeout: patience()
    ]

    # Wrapped: a generated value is never taken for an item.
    items = for value <- values, do: %Item{id: 0, payload: value}
    assert {:ok, results} = Slither.dispatch(items, options)
    Enum.map(results, & &1.payload)
  end

  defp same?(a, b), do: :erlang.term_to_binary(a) == :erlang.term_to_binary(b)
end
