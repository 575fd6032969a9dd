defmodule Slither.Telemetry.BoundsTest do
  # Fills the tables of the whole VM.
  use ExUnit.Case, async: false

  alias Slither.Error
  alias Slither.Telemetry.{Failures, Happenings}

  test "the two hundred groups are kept that failed last" do
    for n <- 1..250,
        do: Failures.note({:bounds, "stage #{n}"}, %Error{reason: :timeout, message: ""})

    assert length(Failures.all()) <= 200
    kept = for %{pipe: :bounds, stage: stage} <- Failures.all(), do: stage
    assert "stage 250" in kept
    assert "stage 1" not in kept
  end

  test "the last two hundred happenings are kept" do
    for n <- 1..250, do: Happenings.note(:start, %{pool: :bounds, worker: n})
    assert [%{worker: 250} | _] = own = Enum.filter(Happenings.all(), &(&1[:pool] == :bounds))
    assert length(own) == length(Happenings.all())
    assert length(own) == 200
  end
end
