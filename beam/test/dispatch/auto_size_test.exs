defmodule Slither.Dispatch.AutoSizeTest do
  use ExUnit.Case, async: true

  alias Slither.Dispatch
  alias Slither.Dispatch.Strategies
  alias Slither.Run.AutoSize
  alias Slither.Test.{FunExecutor, Pools, Telemetry}

  defp ms(count), do: System.convert_time_unit(count, :millisecond, :native)

  defp auto(options \\ []),
    do:
      [batch_time: 50, min_batch_size: 1, max_batch_size: 1000]
      |> Keyword.merge(options)
      |> AutoSize.new()

  # Answers of a handler that takes as many ms for each item, all batches full.
  defp settle(auto, per_item) do
    Enum.reduce(1..40, auto, &AutoSize.measured(&2, &1 * 0 + &2.size * ms(per_item), &2.size))
  end

  test "begins small, and finds the size that takes the target" do
    assert auto().size == 1
    assert settle(auto(), 1).size in 49..50
    assert settle(auto(), 10).size == 5
  end

  test "at most doubles with an answer" do
    assert AutoSize.measured(auto(), 1, 1).size == 2
  end

  test "stays within its bounds" do
    assert settle(auto(min_batch_size: 8), 500).size == 8
    assert settle(auto(max_batch_size: 32), 1).size == 32
  end

  test "follows a handler that becomes slower" do
    assert auto() |> settle(1) |> settle(25) |> Map.fetch!(:size) == 2
  end

  test "does not grow by batches that were not full" do
    assert AutoSize.measured(%{auto() | size: 16}, ms(1), 3).size == 16
  end

  test "a dispatch shows its choice, and gives every item in order" do
    Telemetry.listen([[:slither, :dispatch, :batch, :stop]])
    pool = Pools.unique(:auto)

    options = [
      executor: FunExecutor,
      executor_options: [fun: &{:ok, &1}],
      pool: pool,
      batch_size: :auto,
      max_batch_size: 16,
      max_in_flight: 1
    ]

    assert {:ok, items} = Dispatch.run(1..100, options)
    assert Enum.map(items, & &1.payload) == Enum.to_list(1..100)

    sizes = stops(pool)
    assert Enum.take(sizes, 5) == [{1, 2}, {2, 4}, {4, 8}, {8, 16}, {16, 16}]
  end

  defp stops(pool) do
    receive do
      {:event, _, %{size: size, batch_size: found}, %{pool: ^pool}} ->
        [{size, found} | stops(pool)]
    after
      0 -> []
    end
  end

  test "goes with batches of a fixed size alone" do
    options = [module: "m", function: "f", batch_size: :auto, key_fn: & &1]
    assert {:error, error, []} = Dispatch.run([1], [strategy: Strategies.KeyPartition] ++ options)
    assert Exception.message(error) =~ "batch_size: :auto goes with"
  end

  test "KeyPartition takes an infinite input in bounded windows" do
    pulled = :counters.new(1, [])
    input = Stream.map(Stream.iterate(0, &(&1 + 1)), &(:counters.add(pulled, 1, 1) && &1))

    options = [
      executor: FunExecutor,
      executor_options: [fun: &{:ok, &1}],
      strategy: Strategies.KeyPartition,
      key_fn: &rem(&1.payload, 3),
      window: 9,
      max_in_flight: 3
    ]

    assert input |> Dispatch.stream(options) |> Enum.take(20) |> Enum.map(& &1.payload) ==
             Enum.to_list(0..19)

    assert :counters.get(pulled, 1) <= 20 + 3 * 9
  end
end
