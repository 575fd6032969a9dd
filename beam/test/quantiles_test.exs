defmodule Slither.QuantilesTest do
  use ExUnit.Case, async: true

  alias Slither.Quantiles

  doctest Slither.Quantiles
  doctest Slither.Python.Target

  defp of(times), do: Enum.reduce(times, Quantiles.new(), &Quantiles.add(&2, &1))

  test "what stands for a time is within 4.5 % of it, from a nanosecond to days" do
    for exponent <- 4..50, step <- 0..6 do
      time = round(:math.pow(2, exponent + step / 7))
      shown = Quantiles.at(of([time]), 0.5)
      assert abs(shown - time) <= 0.045 * time + 1, "#{time} is shown as #{shown}"
    end
  end

  test "a share of what was counted took no more, and the rest no less" do
    times = for n <- 1..1_000, do: n * 1_000
    assert_in_delta Quantiles.at(of(times), 0.5), 500_000, 25_000
    assert_in_delta Quantiles.at(of(times), 0.95), 950_000, 45_000
    assert_in_delta Quantiles.at(of(times), 1.0), 1_000_000, 45_000
    assert_in_delta Quantiles.at(of(times), 0.0), 1_000, 45
  end

  test "two merged are one that has counted all" do
    {some, others} = Enum.split(Enum.map(1..500, &(&1 * &1)), 200)
    assert Quantiles.merge(of(some), of(others)) == of(some ++ others)
  end

  test "a time of none, or below, counts as the shortest" do
    assert of([0, -5, 1]) == %{0 => 3}
    assert Quantiles.at(%{0 => 3}, 0.95) == 1
  end

  test "an index is that of the time that stands for it" do
    for index <- 32..400, do: assert(index |> Quantiles.value() |> Quantiles.index() == index)
  end
end
