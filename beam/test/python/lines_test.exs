defmodule Slither.Python.LinesTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Generators, only: [check_all: 3]

  alias Slither.Python.Voice.Lines

  doctest Lines

  defp all(messages) do
    messages
    |> Enum.reduce(%Lines{}, fn {level, text}, lines -> Lines.put(lines, level, text) end)
    |> Lines.all()
  end

  defp text do
    line = fn -> String.duplicate(Enum.random(["a", "ß", "語"]), :rand.uniform(200) - 1) end
    Enum.map_join(1..:rand.uniform(3), "\n", fn _ -> line.() end)
  end

  defp messages do
    for _ <- 1..:rand.uniform(120), do: {Enum.random(["info", "error"]), text()}
  end

  test "are the last twenty of all, however they came, in at most 8 KiB" do
    check_all(100, &messages/0, fn messages ->
      found = all(messages)

      said =
        for {level, text} <- messages,
            line <- String.split(text, "\n"),
            do: %{level: level, text: line}

      assert length(found) <= 20
      assert found |> Enum.map(&byte_size(&1.text)) |> Enum.sum() <= 8_192
      for %{text: text} <- found, do: assert(String.valid?(text))

      # The oldest may have lost its beginning.
      case found do
        [cut | whole] ->
          assert whole == Enum.take(said, -length(whole))
          oldest = Enum.at(said, -length(found))
          assert cut.level == oldest.level and String.ends_with?(oldest.text, cut.text)

        [] ->
          flunk("nothing was kept")
      end

      last = Enum.take(said, -20)
      size = last |> Enum.map(&byte_size(&1.text)) |> Enum.sum()
      if size < 8_000, do: assert(found == last)
    end)
  end

  test "of one long message are its end" do
    [%{text: text}] = all([{"info", String.duplicate("x", 100_000) <> "end"}])
    assert byte_size(text) == 8_192 and String.ends_with?(text, "xend")
  end

  test "of a progress bar are its last state" do
    bar = [{"info", "before"}, {"info", "\r10 %"}, {"info", "\r20 %"}]
    assert Enum.map(all(bar), & &1.text) == ["before", "20 %"]

    assert Enum.map(all(bar ++ [{"info", "x"}, {"info", "\r9 %"}]), & &1.text) ==
             ["before", "20 %", "x", "9 %"]

    many = for n <- 1..1_000, do: {"info", "\r#{n} %"}
    assert all(many) == [%{level: "info", text: "1000 %"}]
  end
end
