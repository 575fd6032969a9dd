defmodule Slither.ExamplesTest do
  # Each example, at a size that takes a few seconds, with real workers and real baselines.
  use ExUnit.Case, async: true

  alias Slither.Examples.{Baseline, Coordination, Runner}

  @moduletag timeout: 300_000

  # Large enough that everything which can go wrong does.
  @sizes %{
    "text_analysis" => 400,
    "batch_stats" => 240,
    "data_etl" => 20_000,
    "ml_scoring" => 200,
    "image_pipeline" => 24,
    "token_stream" => 400
  }

  # What a baseline can't hold, whatever luck it has.
  @breaks %{
    {"batch_stats", "unsafe_threaded"} => "died of signal 9",
    {"batch_stats", "safe_python"} => "died of signal 9"
  }

  test "all examples are tested" do
    assert Runner.known() == @sizes |> Map.keys() |> Enum.sort()
  end

  for name <- Runner.known() do
    test "#{name}: Slither holds every invariant" do
      result = run(unquote(name), :slither)

      assert [%{kind: "slither"} = row] = result.rows
      assert [_ | _] = row.invariants
      assert not_held(row) == []
      assert row.ms > 0 and row.start_ms > 0
      assert row.peak_memory > 10_000_000
      assert row.coordination > 0
    end

    test "#{name}: the baselines do the same, and are right where plain Python can be" do
      result = run(unquote(name), :baselines)

      assert Enum.map(result.rows, & &1.kind) == Baseline.kinds()
      assert [_ | _] = promised = Enum.map(hd(result.rows).invariants, &elem(&1, 0))

      for row <- result.rows do
        assert Enum.map(row.invariants, &elem(&1, 0)) == promised
        assert row.coordination > 0

        case @breaks[{unquote(name), row.kind}] do
          nil when row.kind == "unsafe_threaded" ->
            assert row.ended

          nil ->
            assert {row.kind, row.invariants} == {row.kind, for(t <- promised, do: {t, true})}

          note ->
            assert row.note =~ note
        end
      end
    end

    test "#{name}: what it says of itself is there" do
      module = Runner.load(unquote(name))
      folder = Path.expand("../../../examples/#{unquote(name)}", __DIR__)

      assert {size, unit} = module.size()
      assert size > @sizes[unquote(name)] and unit =~ ~r/^[a-z]/
      for text <- [module.title(), module.shows(), module.why()], do: assert(text =~ ~r/\w \w/)
      assert File.exists?(Path.join(folder, "requirements.lock")) == (module.needs() != [])
      assert File.read!(Path.join(folder, "README.md")) =~ "mix slither.example #{unquote(name)}"
      for kind <- ["slither" | Baseline.kinds()], do: assert(Coordination.lines(folder, kind) > 0)
    end
  end

  defp not_held(row), do: for({text, false} <- row.invariants, do: text)

  defp run(name, only) do
    result = Runner.run(name, only, workers: 2, size: @sizes[name], ceiling: false)
    assert result.error == nil
    result
  end
end
