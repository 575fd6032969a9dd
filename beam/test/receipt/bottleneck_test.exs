defmodule Slither.Receipt.BottleneckTest do
  use ExUnit.Case, async: true

  alias Slither.Receipt
  alias Slither.Receipt.Bottleneck

  doctest Slither.Receipt.Words

  @second System.convert_time_unit(1, :second, :native)

  # Times in seconds.
  defp times(times) do
    none = %{queue: 0, encode: 0, wire: 0, handler: 0, decode: 0, reorder: 0}
    Map.merge(none, Map.new(times, fn {phase, time} -> {phase, round(time * @second)} end))
  end

  defp one(times, options \\ []) do
    times = times(times)
    options = Keyword.merge([name: "m.f", duration: 10, batches: 4], options)
    {duration, options} = Keyword.pop(options, :duration)
    struct!(%Receipt{times: times, duration: duration * @second}, options)
  end

  defp pipe(stages, duration \\ 10) do
    stages = for {name, times} <- stages, do: {name, one(times, name: name)}
    %Receipt{name: :p, duration: duration * @second, stages: stages}
  end

  defp sentence(receipt), do: receipt |> Bottleneck.of() |> Bottleneck.sentence()

  test "a handler for which batches wait wants workers" do
    receipt = one(handler: 18, queue: 54, encode: 1, wire: 1)
    assert %{what: :handler, stage: "m.f", waits: waits} = Bottleneck.of(receipt)
    assert_in_delta waits, 2.7, 0.01

    assert sentence(receipt) ==
             "bottleneck: the handler of m.f (90 % of its time), and batches wait 2.7 times as long " <>
               "for a worker; try more workers, up to the cores, or a faster function"
  end

  test "a handler for which nothing waits is itself what takes the time" do
    assert sentence(one(handler: 9, wire: 1)) ==
             "bottleneck: the handler of m.f (90 % of its time); " <>
               "try a faster function, or more batches at once (max_in_flight:)"
  end

  test "a handler on BEAM may run beside the run" do
    receipt = pipe(clean: [handler: 9])
    receipt = %{receipt | stages: [{:clean, %{elem(hd(receipt.stages), 1) | batches: 0}}]}
    assert %{what: :handler, beam?: true} = Bottleneck.of(receipt)
    assert sentence(receipt) =~ "try concurrency:"
  end

  test "values, the wire and the turn of a batch are told apart" do
    assert %{what: :values} = Bottleneck.of(one(encode: 4, decode: 4, handler: 5, wire: 1))
    assert sentence(one(encode: 4, decode: 4, handler: 5)) =~ "Arrow"
    assert %{what: :wire} = Bottleneck.of(one(encode: 2, decode: 2, handler: 3, wire: 5))
    assert sentence(one(wire: 8, handler: 3)) =~ "try larger batches"
    assert %{what: :turn} = Bottleneck.of(one(handler: 5, queue: 3, reorder: 40))
    assert sentence(one(handler: 5, reorder: 40)) =~ "ordering: :as_completed"
  end

  test "a rate that holds the run up is told of, and more workers are not" do
    assert %{what: :rate, share: share} = Bottleneck.of(one(handler: 2, queue: 1, rate: 40))
    assert_in_delta share, 40 / 42, 0.001

    assert sentence(one(handler: 2, rate: 40)) =~
             "the rate limit of m.f (95 % of its time); try a higher rate:"

    assert %{what: :handler} = Bottleneck.of(one(handler: 20, rate: 5))
    assert to_string(one(handler: 2, rate: 40)) =~ "p95  rate  queue"
    refute to_string(one(handler: 2)) =~ "rate"
  end

  test "batches that wait while hardly a call of the run goes on wait for others" do
    receipt = one(handler: 1, queue: 50)
    assert %{what: :workers} = Bottleneck.of(receipt)
    assert sentence(receipt) =~ "a pool of its own"
  end

  test "where hardly a call goes on, and none waits, it is the input" do
    assert %{what: :input, stage: nil} = Bottleneck.of(one(handler: 2, queue: 1))

    assert sentence(pipe(a: [handler: 1], b: [handler: 1])) ==
             "bottleneck: no stage, as a call went on for 20 % of the time; " <>
               "try a faster input, or read the results faster"
  end

  test "of a pipe's stages it is the one that its batches are at for longest, waits among that" do
    stages = [a: [handler: 8], b: [handler: 5, queue: 9], c: [wire: 6]]
    assert %{what: :handler, stage: :b} = Bottleneck.of(pipe(stages))
    assert Bottleneck.narrowest(pipe(stages).stages, 10 * @second) == :b
  end

  test "a stage on BEAM is narrow once such stages have the run's own process busy" do
    stages = fn own ->
      receipt = pipe(clean: [handler: 1], own: [handler: own], score: [handler: 15, queue: 30])

      for {name, stage} <- receipt.stages,
          do: {name, if(name == :score, do: stage, else: %{stage | batches: 0})}
    end

    assert Bottleneck.narrowest(stages.(3), 10 * @second) == :score
    assert Bottleneck.narrowest(stages.(5), 10 * @second) == :own
  end

  test "where nothing was measured there is none" do
    assert Bottleneck.of(%Receipt{}) == nil
    assert Bottleneck.of(one([])) == nil
    assert Bottleneck.sentence(nil) == "bottleneck: nothing was measured"
    assert Bottleneck.narrowest([], @second) == nil
    assert Bottleneck.narrowest(pipe(a: []).stages, @second) == nil
    assert Bottleneck.narrowest(pipe(a: [handler: 1]).stages, 10 * @second) == nil
  end

  describe "the table" do
    test "has a row for each stage, and the bottleneck at its end" do
      micro = System.convert_time_unit(1, :microsecond, :native)

      clean =
        one([handler: 1], name: :clean, in: 10_000, batches: 0, p50: 12 * micro, p95: 40 * micro)

      score =
        one([queue: 6, encode: 1, handler: 12, wire: 1],
          name: :score,
          in: 9_990,
          batches: 157,
          errors: %{"ValueError" => 10},
          p50: 76_000 * micro,
          p95: 120_000 * micro
        )

      receipt = %{
        pipe([])
        | in: 10_000,
          out: 9_980,
          skipped: 20,
          errors: %{"ValueError" => 10, "KeyError" => 2},
          stages: [clean: clean, score: score]
      }

      assert to_string(receipt) == """
             p: 10,000 items in 10 s, 9,980 out, 20 skipped

             stage   items  errors  calls    p50     p95  queue  encode  wire  decode  handler  reorder
             clean  10,000       0      -  12 µs   40 µs      -       -     -       -    100 %        -
             score   9,990      10    157  76 ms  120 ms   30 %     5 %   5 %       -     60 %        -

             errors: ValueError 10, KeyError 2
             bottleneck: the handler of score (86 % of its time); try a faster function, or more batches at once (max_in_flight:)\
             """
    end

    test "of a dispatch has one row" do
      lines = one([handler: 9], in: 5, out: 5) |> Receipt.table() |> String.split("\n")
      assert ["m.f: 5 items in 10 s, 5 out", "", "stage" <> _, "m.f " <> _, "", last] = lines
      assert last =~ "the handler of m.f"
    end
  end
end
