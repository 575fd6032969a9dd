defmodule Slither.Watch.SnapshotTest do
  # Snapshots are of the whole VM: tests look for what is their own in them.
  use ExUnit.Case, async: true

  alias Slither.Watch.{Asked, Samples}

  doctest Slither.Watch
  doctest Samples
  doctest Slither.Watch.Counters

  describe "samples" do
    test "have a line of five minutes, by five seconds, oldest first" do
      samples =
        for second <- 0..400, reduce: %Samples{} do
          samples -> Samples.add(samples, second * 1_000, %{a: second * 10})
        end

      line = Samples.spark(samples, 401_000, %{a: 4_010}, :a)
      assert length(line) == 60
      assert Enum.all?(line, &(&1 == 10.0))
      assert length(samples.recent) == 31
      assert length(samples.steps) == 61
    end

    test "share the names of counters" do
      counts = fn n -> for stage <- 1..200, into: %{}, do: {{"pipe", "stage_#{stage}"}, n} end
      samples = Enum.reduce(0..60, %Samples{}, &Samples.add(&2, &1 * 5_000, counts.(&1)))
      assert :erts_debug.size(samples) < :erts_debug.flat_size(samples) / 3
    end

    test "begin with nothing, and a counter that began anew is no rate" do
      samples = Samples.add(%Samples{}, 0, %{a: 100})
      assert Samples.rate(samples, 500, %{a: 120}, :a, 10_000) == 20.0
      assert Samples.rate(samples, 2_000, %{a: 5}, :a, 10_000) == 0.0
      assert Samples.rate(%Samples{}, 2_000, %{a: 5}, :a, 10_000) == 0.0
      assert Samples.rate(samples, 2_000, %{b: 8}, :b, 10_000) == 4.0
      assert Enum.sum(Samples.spark(%Samples{}, 0, %{}, :a)) == 0
    end
  end

  describe "asking several" do
    test "gives the answers of those that answer" do
      questions = [
        {:good, fn -> 1 end},
        {:crash, fn -> exit(:no) end},
        {:stuck, fn -> Process.sleep(:infinity) end}
      ]

      assert Asked.all(questions, 200) == %{good: 1}
      refute_received {:DOWN, _, _, _, _}
    end
  end
end
