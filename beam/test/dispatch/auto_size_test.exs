defmodule Slither.Dispatch.AutoSizeTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3]

  alias Slither.Dispatch
  alias Slither.Dispatch.Strategies
  alias Slither.Item
  alias Slither.Run.{AutoSize, Batcher}
  alias Slither.Test.{FunExecutor, Pools, Telemetry}

  defp ms(count), do: System.convert_time_unit(count, :millisecond, :native)

  defp auto(options \\ []),
    do:
      [batch_time: 50, min_batch_size: 1, max_batch_size: 1000]
      |> Keyword.merge(options)
      |> AutoSize.new()

  # Answers of a handler that takes as many ms for each item, all batches full.
  defp settle(auto, per_item) do
    Enum.reduce(1..40, auto, fn _, auto ->
      AutoSize.measured(auto, auto.size * ms(per_item), auto.size)
    end)
  end

  test "begins small, and finds the size that takes the target" do
    assert auto().size == 1
    assert settle(auto(), 1).size in 49..50
    assert settle(auto(), 10).size == 5
  end

  test "grows as far as answers show that items are quick" do
    assert AutoSize.measured(auto(), ms(10), 1).size == 2
    # As far from the target in the next batch as that is from it.
    assert AutoSize.measured(auto(), ms(2), 1).size == 5
    assert AutoSize.measured(auto(), 1, 1).size == 64
    assert AutoSize.measured(%{auto() | size: 8}, 1, 8).size == 512
  end

  test "says how many quick items take the time, beyond the largest batch" do
    quick = auto(max_batch_size: 100)
    assert AutoSize.whole(quick) == 1
    found = Enum.reduce(1..9, quick, fn _, auto -> AutoSize.measured(auto, ms(1), 100, 1) end)
    assert %{size: 100, growing?: false} = found
    assert AutoSize.whole(found) == 5_000
    assert AutoSize.whole(AutoSize.measured(auto(), ms(10), 1)) == 2
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
    assert AutoSize.measured(%{auto() | size: 16}, 1, 2).size == 16
  end

  test "keeps batches of large items small" do
    megabyte = 1_048_576

    assert Enum.reduce(1..20, auto(), fn _, auto ->
             AutoSize.measured(auto, 1, auto.size, auto.size * megabyte)
           end).size == 4
  end

  test "shares out what is at hand, in batches that are worth a call" do
    auto = %{auto() | size: 50, per_item: ms(1)}
    assert AutoSize.share(auto, 400, 4) == 50
    assert AutoSize.share(auto, 80, 4) == 20
    assert AutoSize.share(auto, 4, 4) == 2
    assert AutoSize.share(%{auto | min: 8}, 10, 4) == 8
    assert AutoSize.worth?(auto, 2) and not AutoSize.worth?(auto, 1)
    assert AutoSize.worth?(auto(), 1)
    assert AutoSize.share(auto(), 10, 4) == 1
  end

  test "a dispatch shows its choice, and gives every item in order" do
    Telemetry.listen([[:slither, :dispatch, :batch, :stop]])
    pool = Pools.unique(:auto)

    options = [
      executor: FunExecutor,
      executor_options: [fun: &{:ok, &1}],
      pool: pool,
      batch_size: :auto,
      # So long that a busy machine is still quick.
      batch_time: 60_000,
      max_batch_size: 16,
      max_in_flight: 1
    ]

    assert {:ok, items} = Dispatch.run(1..100, options)
    assert Enum.map(items, & &1.payload) == Enum.to_list(1..100)

    sizes = stops(pool)
    assert Enum.take(sizes, 4) == [{1, 16}, {16, 16}, {16, 16}, {16, 16}]
  end

  defp stops(pool) do
    receive do
      {:event, _, %{size: size, batch_size: found}, %{pool: ^pool}} ->
        [{size, found} | stops(pool)]
    after
      0 -> []
    end
  end

  describe "batches whose size is found" do
    # The batches that strategies make of an input that has ended, in the order in which they go.
    defp cut(strategy, options, entries, {auto, workers}) do
      options = Keyword.merge([batch_size: :auto, min_batch_size: 1], options)
      batcher = strategy |> Batcher.ours(options) |> Batcher.sized({auto, workers})
      {[], batcher} = Batcher.add(batcher, entries)
      all(batcher)
    end

    defp all(batcher) do
      case Batcher.cut(batcher, :end) do
        {[], batcher} ->
          assert Batcher.inside(batcher) == 0
          []

        {groups, batcher} ->
          Enum.concat(groups) ++ all(batcher)
      end
    end

    defp sizes,
      do: {:rand.uniform(60), :rand.uniform(6), Enum.random([:fixed, :weighted, :keyed])}

    test "have every item once and in order, and no worker more than its share" do
      check_all(300, fn -> {:rand.uniform(301) - 1, sizes()} end, fn {count, how} ->
        {size, workers, strategy} = how
        entries = for n <- 1..count//1, do: {n, %Item{id: n, payload: n}}
        found = {%{auto() | size: size}, workers}

        {module, options} =
          case strategy do
            :fixed ->
              {Strategies.FixedBatch, []}

            :weighted ->
              {Strategies.WeightedBatch, max_weight: 20, weight_fn: &rem(&1.payload, 7)}

            :keyed ->
              {Strategies.KeyPartition, key_fn: &rem(&1.payload, 3)}
          end

        batches = cut(module, options, entries, found)
        given = Enum.concat(batches)
        assert if(strategy == :keyed, do: Enum.sort(given), else: given) == entries

        for keyed <- batches, strategy == :keyed do
          keys = for {n, _item} <- keyed, do: rem(n, 3)
          assert Enum.uniq(keys) == [hd(keys)] and keyed == Enum.sort(keyed)
        end

        Enum.reduce(batches, count, fn batch, left ->
          share = div(left + workers - 1, workers)
          assert length(batch) <= min(size, share) or strategy == :keyed
          assert length(batch) <= size
          left - length(batch)
        end)
      end)
    end

    test "wait for more while each worker can't have one, and hold no more than they need" do
      check_all(300, fn -> {:rand.uniform(200), sizes()} end, fn {count, {size, workers, _any}} ->
        found = {%{auto() | size: size}, workers}
        options = [batch_size: :auto, min_batch_size: 1]
        batcher = Strategies.FixedBatch |> Batcher.ours(options) |> Batcher.sized(found)
        assert Batcher.want(batcher) == size * (workers + 1)
        {[], batcher} = Batcher.add(batcher, for(n <- 1..count, do: {n, %Item{id: n}}))
        {groups, batcher} = Batcher.cut(batcher, :room)
        enough? = count >= size * workers

        assert Enum.map(groups, fn [batch] -> length(batch) end) ==
                 if(enough?, do: [size], else: [])

        assert Batcher.want(batcher) == max(0, size * (workers + 1) - Batcher.inside(batcher))
      end)
    end

    test "are not held in advance where bytes are bounded" do
      auto =
        AutoSize.new(max_in_flight_bytes: 10, batch_time: 1, min_batch_size: 4, max_batch_size: 9)

      options = [batch_size: :auto, min_batch_size: 4]
      batcher = Strategies.FixedBatch |> Batcher.ours(options) |> Batcher.sized({auto, 3})
      assert Batcher.want(batcher) == 4
      {[], batcher} = Batcher.add(batcher, for(n <- 1..4, do: {n, %Item{id: n}}))
      assert {[[[_, _, _, _]]], _batcher} = Batcher.cut(batcher, :room)
    end
  end

  describe "with batch_size: :auto" do
    defp run(input, options) do
      fun = fn payloads -> {:ok, payloads} end
      executor = [executor: FunExecutor, executor_options: [fun: fun], batch_size: :auto]
      Dispatch.run(input, executor ++ options)
    end

    for ordering <- [:preserve, :as_completed] do
      test "every strategy gives each item once (#{ordering})" do
        for options <- [
              [],
              [strategy: Strategies.WeightedBatch, max_weight: 9, weight_fn: &rem(&1.payload, 5)],
              [strategy: Strategies.KeyPartition, key_fn: &rem(&1.payload, 4)],
              [strategy: Strategies.KeyPartition, key_fn: &rem(&1.payload, 4), window: 3],
              [strategy: __MODULE__.Pairs],
              [strategy: __MODULE__.Told],
              [max_in_flight_bytes: 100],
              [strategy: Strategies.KeyPartition, key_fn: & &1, max_in_flight_bytes: 100]
            ],
            input <- [1..500, Stream.map(1..500, & &1)] do
          assert {:ok, items} = run(input, [ordering: unquote(ordering)] ++ options)
          payloads = Enum.map(items, & &1.payload)
          sorted = if unquote(ordering) == :preserve, do: payloads, else: Enum.sort(payloads)
          assert sorted == Enum.to_list(1..500)
        end
      end
    end

    test "an item whose weight can't be told fails alone" do
      weigh = fn item -> if item.payload == 7, do: raise("no weight"), else: 1 end
      options = [strategy: Strategies.WeightedBatch, max_weight: 9, weight_fn: weigh]
      assert {:ok, items} = run(1..20, options ++ [on_error: :skip])
      assert [7] = for(item <- items, item.meta[:skipped], do: item.payload)
      assert Enum.map(items, & &1.payload) == Enum.to_list(1..20)
    end

    test "a strategy of one's own finds the size in its options, or is told of it" do
      test = self()
      fun = fn payloads -> send(test, {:batch, length(payloads)}) && {:ok, payloads} end
      executor = [executor: FunExecutor, executor_options: [fun: fun]]

      for strategy <- [__MODULE__.Pairs, __MODULE__.Told] do
        options = [batch_size: :auto, max_batch_size: 12, max_in_flight: 1, strategy: strategy]
        assert {:ok, _items} = Dispatch.run(1..100, executor ++ options)
        assert_received {:batch, 1}
        assert_received {:batch, 12}
      end
    end

    test "a strategy that can't be told is refused, with what it lacks" do
      assert {:error, error, []} = run([1], strategy: __MODULE__.Deaf)
      assert error.reason == :invalid_option

      assert Exception.message(error) =~
               "batch_size: :auto needs #{inspect(__MODULE__.Deaf)}.resize/2, which is told the size"
    end

    test "what a strategy raises as it is told fails its items" do
      assert {:ok, items} = run(1..3, strategy: __MODULE__.Raises, on_error: :skip)
      assert Enum.all?(items, & &1.meta.skipped)
      assert hd(items).meta.error.reason == :invalid_strategy
    end
  end

  defmodule Pairs do
    @behaviour Slither.Dispatch.Strategy
    @impl true
    def batch(items, options), do: Enum.chunk_every(items, options[:batch_size])
  end

  defmodule Told do
    defdelegate batch(items, options), to: Strategies.FixedBatch
    defdelegate init(options), to: Strategies.FixedBatch
    defdelegate add(entries, state), to: Strategies.FixedBatch
    defdelegate flush(state), to: Strategies.FixedBatch
    defdelegate want(state), to: Strategies.FixedBatch
    def resize(state, size), do: Strategies.FixedBatch.resize(state, size, 1)
  end

  defmodule Deaf do
    defdelegate batch(items, options), to: Strategies.FixedBatch
    defdelegate init(options), to: Strategies.FixedBatch
    defdelegate add(entries, state), to: Strategies.FixedBatch
    defdelegate flush(state), to: Strategies.FixedBatch
    defdelegate want(state), to: Strategies.FixedBatch
  end

  defmodule Raises do
    defdelegate batch(items, options), to: Deaf
    defdelegate init(options), to: Deaf
    defdelegate add(entries, state), to: Deaf
    defdelegate flush(state), to: Deaf
    defdelegate want(state), to: Deaf
    def resize(_state, _size), do: raise("no")
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
