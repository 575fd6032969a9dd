defmodule Slither.Proof.FuzzTest do
  use ExUnit.Case, async: true

  alias Slither.Proof
  alias Slither.Proof.Fuzz
  alias Slither.Proof.Fuzz.{Mutator, Tally}

  test "mutated and random frames are taken or refused with a reason, and nothing crashes" do
    report = Fuzz.run(frames: 8_000, live: 24, seed: 20_240_229)
    assert Proof.held?(report), Proof.text(report)
  end

  test "a seed gives the same frames again" do
    corpus = Mutator.corpus()

    frames = fn seed ->
      fn ->
        :rand.seed(:exsss, seed)
        for _ <- 1..200, do: Mutator.frame(corpus)
      end
      |> Task.async()
      |> Task.await()
    end

    assert frames.(1) == frames.(1)
    assert frames.(1) != frames.(2)
  end

  test "what raises, and what comes without a reason, is noted with its frame" do
    {tally, :state} = Tally.guard(%Tally{}, <<1, 2>>, :state, fn -> raise "no" end)
    assert [broken] = tally.broken
    assert broken =~ "0102: ** (RuntimeError) no"
    assert {tally.taken, tally.refused} == {0, 0}
  end
end
