defmodule Slither.Proof.SoakTest do
  use ExUnit.Case, async: true

  alias Slither.Proof.{JSON, Soak.Flat}

  @mb 1_048_576

  describe "rows/1" do
    test "are flat where a measure only swings" do
      assert [%{name: "memory total", flat?: true} = row] =
               rows("memory total", fn s -> 100 * @mb + rem(s, 7) * @mb end)

      assert_in_delta row.slope / @mb, 0, 0.5
    end

    test "are not flat where memory, a worker or a count grows" do
      assert [%{flat?: false, slope: slope}] =
               rows("memory binary", fn s -> 100 * @mb + div(s * @mb, 10) end)

      assert_in_delta slope / @mb, 6.0, 0.01
      assert [%{flat?: false}] = rows("worker 1 rss", fn s -> 30 * @mb + div(s * @mb, 20) end)
      assert [%{flat?: false}] = rows("atoms", fn s -> 20_000 + div(s, 10) end)
      assert [%{flat?: false}] = rows("BEAM fds", fn s -> 26 + div(s, 15) end)
      assert [%{flat?: false}] = rows("processes", fn s -> 100 + div(s, 10) end)
    end

    test "look away from the first minute, and from single peaks" do
      assert [%{flat?: true}] = rows("ports", fn s -> if s < 60, do: 1_000, else: 5 end)
      assert [%{flat?: true}] = rows("ports", fn s -> if s == 550, do: 1_000, else: 5 end)
      assert [%{early: 5, late: 5}] = rows("ports", fn s -> if s < 60, do: 0, else: 5 end)
    end

    test "leave out what was there only at first, and are none of no samples" do
      assert Flat.rows([]) == []
      assert rows("worker 3 rss", fn s -> if s < 300, do: 1 end) == []
    end
  end

  test "JSON has quotes, control characters and nested values as they are read elsewhere" do
    value = %{"a\"b" => ["c\\d\n", 1, 2.5, nil, true, :word]}
    text = IO.iodata_to_binary(JSON.encode(value))
    assert Slither.Test.JSON.read!(text) == %{"a\"b" => ["c\\d\n", 1, 2.5, nil, true, "word"]}
  end

  # Ten minutes of samples, one each 5 s.
  defp rows(name, fun) do
    samples =
      for s <- 5..600//5 do
        value = fun.(s)
        {s * 1_000, if(value, do: %{name => value}, else: %{})}
      end

    Flat.rows(samples)
  end
end
