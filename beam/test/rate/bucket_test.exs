defmodule Slither.Rate.BucketTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Rate.Bucket

  defp bucket(figures \\ []),
    do: Bucket.new(Map.merge(%{items: 10, per: 1_000, burst: 5}, Map.new(figures)), 0)

  # Asks, and gives what is granted at once.
  defp ask(bucket, ref, caller, weight, now),
    do: bucket |> Bucket.ask(ref, caller, weight, now) |> Bucket.grant(now)

  test "a full bucket gives its burst at once, and then as tokens come" do
    {[{:a, 5}], bucket} = ask(bucket(), :a, :me, 5, 0)
    {[], bucket} = ask(bucket, :b, :me, 1, 0)
    assert Bucket.due(bucket) == 100
    assert {[], bucket} = Bucket.grant(bucket, 99)
    assert {[{:b, 1}], bucket} = Bucket.grant(bucket, 100)
    assert Bucket.due(bucket) == nil
    assert %{tokens: 0.0, waiting: 0, paused: 0} = Bucket.status(bucket, 100)
    assert %{tokens: 5.0} = Bucket.status(bucket, 99_999)
  end

  test "what is larger than the bucket goes when that is full, and is paid for afterwards" do
    {[{:a, 1}], bucket} = ask(bucket(), :a, :me, 1, 0)
    {[], bucket} = ask(bucket, :b, :me, 8, 0)
    assert Bucket.due(bucket) == 100
    {[{:b, 8}], bucket} = Bucket.grant(bucket, 100)
    {[], bucket} = ask(bucket, :c, :me, 1, 100)
    assert Bucket.due(bucket) == 500
    assert {[{:c, 1}], _bucket} = Bucket.grant(bucket, 500)
  end

  test "a pause gives nothing and gathers nothing, and the longer of two holds" do
    {[{:a, 5}], bucket} = ask(bucket(), :a, :me, 5, 0)
    assert {true, bucket} = Bucket.pause(bucket, 2_000, 100)
    assert {false, bucket} = Bucket.pause(bucket, 1_000, 200)
    {[], bucket} = ask(bucket, :b, :me, 1, 300)
    {[], bucket} = ask(bucket, :c, :me, 1, 300)
    assert %{paused: 1_800, waiting: 2} = Bucket.status(bucket, 300)
    assert Bucket.due(bucket) == 2_100
    assert {[], bucket} = Bucket.grant(bucket, 2_099)
    # It had one token when the pause began.
    assert {[{:b, 1}], bucket} = Bucket.grant(bucket, 2_100)
    assert {[{:c, 1}], _bucket} = Bucket.grant(bucket, Bucket.due(bucket))
  end

  test "who takes a request back makes room for the next, and loses nothing for it" do
    {_granted, bucket} = ask(bucket(), :a, :one, 5, 0)
    {[], bucket} = ask(bucket, :b, :one, 5, 0)
    {[], bucket} = ask(bucket, :c, :two, 1, 0)
    bucket = Bucket.cancel(bucket, :b)
    assert Bucket.cancel(bucket, :b) == nil
    assert Bucket.due(bucket) == 100
    {[], bucket} = ask(bucket, :d, :one, 1, 50)
    assert {[{:c, 1}], bucket} = Bucket.grant(bucket, 100)
    bucket = Bucket.drop(bucket, :one)
    assert {Bucket.due(bucket), Bucket.status(bucket, 100).waiting} == {nil, 0}
  end

  test "tokens that come back are there again, and no more than it holds" do
    {[{:a, 4}], bucket} = ask(bucket(), :a, :me, 4, 0)
    assert %{tokens: 4.0} = bucket |> Bucket.give_back(3, 0) |> Bucket.status(0)
    assert %{tokens: 5.0} = bucket |> Bucket.give_back(30, 0) |> Bucket.status(0)
  end

  test "in no stretch of time go more tokens than it holds and than come" do
    check_all(150, &story/0, fn {figures, steps} ->
      taken = run(bucket(figures), steps)
      most = taken |> Enum.map(&elem(&1, 1)) |> Enum.max(fn -> 0 end) |> max(figures.burst)

      for {from, _weight} <- taken, {to, _weight} <- taken, from <= to do
        inside = for {at, weight} <- taken, at >= from and at <= to, do: weight
        bound = most + figures.items * (to - from) / figures.per
        assert Enum.sum(inside) <= bound + 1.0e-6
      end
    end)
  end

  test "all that is asked for is granted once, or was taken back" do
    check_all(150, &story/0, fn {figures, steps} ->
      {bucket, _now, granted, gone} = play(bucket(figures), steps)
      {last, bucket} = finish(bucket)
      granted = for({_at, ref, _weight} <- granted, do: ref) ++ last
      asked = for {{:ask, _caller, _weight}, seq} <- Enum.with_index(steps), do: seq
      assert Enum.sort(granted ++ gone) == asked
      assert Bucket.status(bucket, 10_000_000).waiting == 0
    end)
  end

  test "the requests of a caller keep their order" do
    check_all(100, &story/0, fn {figures, steps} ->
      {bucket, _now, granted, _gone} = play(bucket(figures), steps)
      {last, _bucket} = finish(bucket)

      callers =
        for {{:ask, caller, _}, seq} <- Enum.with_index(steps), into: %{}, do: {seq, caller}

      (for({_at, ref, _weight} <- granted, do: ref) ++ last)
      |> Enum.group_by(&callers[&1])
      |> Enum.each(fn {_caller, refs} -> assert refs == Enum.sort(refs) end)
    end)
  end

  test "callers that always ask get as much as each other, however heavy their requests" do
    check_all(60, fn -> many(5, fn -> :rand.uniform(9) end) end, fn weights ->
      callers = Enum.with_index(weights)
      heaviest = Enum.max([1 | weights])
      first = bucket(items: 7, per: 10, burst: 3)

      bucket =
        Enum.reduce(callers, first, fn {weight, who}, bucket ->
          Bucket.ask(bucket, {who, 0}, who, weight, 0)
        end)

      {_bucket, shares} =
        Enum.reduce(1..400, {bucket, %{}}, fn round, {bucket, shares} ->
          {granted, bucket} = Bucket.grant(bucket, Bucket.due(bucket) || 0)

          Enum.reduce(granted, {bucket, shares}, fn {{who, _round}, weight}, {bucket, shares} ->
            shares = Map.update(shares, who, weight, &(&1 + weight))
            {Bucket.ask(bucket, {who, round}, who, weight, bucket.at), shares}
          end)
        end)

      if weights != [] do
        {least, most} = shares |> Map.values() |> Enum.min_max()
        assert map_size(shares) == length(weights)
        assert most - least <= 2 * heaviest
      end
    end)
  end

  test "one who asked long ago has saved nothing up" do
    {_granted, bucket} = ask(bucket(), :old, :old, 1, 0)
    bucket = Enum.reduce(1..40, bucket, &elem(ask(&2, {:busy, &1}, :busy, 1, &1 * 100), 1))
    bucket = Enum.reduce(1..5, bucket, &Bucket.ask(&2, {:busy, :more, &1}, :busy, 1, 4_000))
    bucket = Enum.reduce(1..5, bucket, &Bucket.ask(&2, {:old, &1}, :old, 1, 4_000))
    {granted, _bucket} = Bucket.grant(%{bucket | level: 4 * bucket.per}, 4_000)
    assert Enum.count(granted, &match?({{:old, _}, 1}, &1)) == 2
  end

  ## Stories

  defp story do
    figures = %{items: :rand.uniform(50), per: pick([10, 100, 1_000]), burst: :rand.uniform(20)}
    {figures, many(40, &step/0)}
  end

  defp step do
    case :rand.uniform(10) do
      n when n <= 6 -> {:ask, pick([:a, :b, :c]), pick([1, 1, 2, 0.5, 7, 30, 0])}
      7 -> {:pause, :rand.uniform(300)}
      8 -> :cancel
      _ -> {:wait, :rand.uniform(400)}
    end
  end

  # The tokens that were taken, and when.
  defp run(bucket, steps) do
    {_bucket, _now, granted, _gone} = play(bucket, steps)
    for {at, _ref, weight} <- granted, do: {at, weight}
  end

  defp play(bucket, steps) do
    {bucket, now, granted, gone} =
      steps |> Enum.with_index() |> Enum.reduce({bucket, 0, [], []}, &play_step/2)

    {bucket, now, Enum.reverse(granted), gone}
  end

  defp play_step({step, seq}, {bucket, now, granted, gone}) do
    {bucket, now, gone} =
      case step do
        {:ask, caller, weight} -> {Bucket.ask(bucket, seq, caller, weight, now), now, gone}
        {:pause, time} -> {elem(Bucket.pause(bucket, time, now), 1), now, gone}
        {:wait, time} -> {bucket, now + time, gone}
        :cancel -> taken_back(bucket, now, gone)
      end

    {more, bucket} = Bucket.grant(bucket, now)

    {bucket, now, Enum.reverse(for({ref, weight} <- more, do: {now, ref, weight})) ++ granted,
     gone}
  end

  defp taken_back(bucket, now, gone) do
    case Map.keys(bucket.asked) do
      [] ->
        {bucket, now, gone}

      refs ->
        ref = pick(refs)
        {Bucket.cancel(bucket, ref), now, [ref | gone]}
    end
  end

  # `due/1` leads to the end, at each of its steps with a grant.
  defp finish(bucket, granted \\ []) do
    case Bucket.due(bucket) do
      nil ->
        {granted, bucket}

      due ->
        {more, bucket} = Bucket.grant(bucket, due)
        assert more != []
        finish(bucket, granted ++ for({ref, _weight} <- more, do: ref))
    end
  end
end
