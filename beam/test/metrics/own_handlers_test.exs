defmodule Slither.Metrics.OwnHandlersTest do
  # The time of handlers that run in the run's own process, which are in no batch.
  use ExUnit.Case, async: true

  alias Slither.Metrics.Series
  alias Slither.Pipe
  alias Slither.Pipe.Runner
  alias Slither.Quantiles

  test "is counted by its stage, as a receipt has it" do
    name = :"own_handlers_#{System.unique_integer([:positive])}"
    double = {:stage, 1, :double, :beam, handler: &(2 * &1.payload)}

    slow =
      {:stage, 2, :slow, :beam,
       handler: fn item -> Enum.reduce(1..20_000, item.payload, &+/2) end}

    pipe = Pipe.build!(name, [double, slow])
    assert {:ok, _outputs, receipt} = Runner.run(pipe, 1..50, receipt: true)

    for stage <- [:double, :slow] do
      sketch = Series.quantiles(:handler_seconds, {"", name, stage})
      part = receipt.stages[stage]
      # The engine takes one item at a time here.
      assert sketch |> Map.values() |> Enum.sum() == 50
      assert Quantiles.at(sketch, 0.5) == part.p50
      assert Quantiles.at(sketch, 0.95) == part.p95
    end

    assert receipt.stages[:slow].p50 > receipt.stages[:double].p50

    seconds = fn stage ->
      [value] =
        for %{name: "slither_batch_phase_seconds_total", labels: labels, value: value} <-
              Series.read(),
            labels[:pipe] == to_string(name) and labels[:stage] == stage,
            labels[:phase] == "handler",
            do: value

      value
    end

    native = receipt.stages[:slow].times.handler

    assert_in_delta seconds.("slow"),
                    native / System.convert_time_unit(1, :second, :native),
                    1.0e-6
  end
end
