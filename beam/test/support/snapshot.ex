defmodule Slither.Test.Snapshot do
  @moduledoc false
  # Compares what the code does today with a file of what it did. Whoever means a change writes the
  # file anew with `SNAPSHOTS=write mix test FILE`, and its difference is read with the commit.

  import ExUnit.Assertions

  @doc "Asserts that the lines are those of the file at `path`."
  @spec assert_same([String.t()], Path.t()) :: :ok
  def assert_same(lines, path) do
    text = Enum.map_join(lines, &[&1, "\n"])
    if System.get_env("SNAPSHOTS") == "write", do: File.write!(path, text)
    expected = path |> File.read!() |> String.split("\n", trim: true)
    assert lines -- expected == [], differs("not in", path, lines -- expected)
    assert expected -- lines == [], differs("lacks what is in", path, expected -- lines)
    assert lines == expected
    :ok
  end

  defp differs(what, path, lines), do: Enum.join(["#{what} #{path}:" | lines], "\n")
end
