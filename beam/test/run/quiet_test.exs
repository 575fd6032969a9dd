defmodule Slither.Run.QuietTest do
  use ExUnit.Case, async: true

  alias Slither.Pipe.{Counts, Rate}
  alias Slither.Run.Quiet

  describe "Quiet" do
    test "a stage is due when nothing has joined its batch for so long" do
      quiet = Quiet.observe(%Quiet{after: 10}, [{0, 3}, {2, 5}], 100)
      assert Quiet.next(quiet) == 110
      # Stage 0 has got another item; stage 2 has not.
      quiet = Quiet.observe(quiet, [{0, 4}, {2, 5}], 106)
      assert Quiet.due(quiet, 109) == []
      assert Quiet.due(quiet, 110) == [2]
      quiet = Quiet.observe(quiet, [{0, 4}], 110)
      assert Quiet.next(quiet) == 116
      assert quiet |> Quiet.observe([], 120) |> Quiet.next() == nil
    end

    test "with :infinity none is ever due" do
      quiet = Quiet.observe(%Quiet{after: :infinity}, [{0, 3}], 100)
      assert Quiet.next(quiet) == nil
    end
  end

  describe "Rate" do
    test "is what comes in a second, once it has gone on for a while, and fades" do
      rate = Enum.reduce(1..600, %Rate{}, &Rate.mark(&2, 5, &1 * 100))
      assert_in_delta Rate.per_second(rate, 60_000), 50, 2
      assert Rate.per_second(rate, 70_000) < 20
      assert Rate.per_second(rate, 60_000 + 1_000_000) == 0.0
      assert Rate.per_second(%Rate{}, 5) == 0.0
    end
  end

  describe "Counts" do
    test "what has not ended is inside, and lost with who held it" do
      counts = Counts.new(%Slither.Pipe.Definition{name: :p, outputs: [:a, :default]})
      Counts.add(counts, :in, 5)
      Counts.add(counts, :expanded, 2)
      Counts.reached(counts, :a, :out)
      Counts.reached(counts, :default, :routed)
      Counts.add(counts, :skipped, 1)
      assert Counts.inside(counts) == 4
      assert Counts.lose(counts) == 4

      assert %{in: 5, expanded: 2, out: 1, routed: 1, skipped: 1, lost: 4, inside: 0} =
               Counts.read(counts)

      assert Counts.outputs(counts) == %{a: 1, default: 1}
      assert Counts.lose(counts) == 0
    end
  end
end
