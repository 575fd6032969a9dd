defmodule Slither.Protocol.VectorsTest do
  use ExUnit.Case, async: true

  import Slither.Test.JSON, only: [untag: 1, vectors: 1]

  alias Slither.Protocol
  alias Slither.Protocol.Frame

  test "each value has the bytes of its vector, and comes back from them" do
    for row <- vectors("values") do
      value = untag(row["value"])
      assert same(Protocol.pack(value), {:ok, row["hex"]}), "packing #{row["name"]}"
      assert same(Protocol.unpack(row["hex"]), {:ok, value}), "unpacking #{row["name"]}"
      {:ok, decoded} = Protocol.unpack(row["hex"])
      assert same(Protocol.pack(decoded), {:ok, row["hex"]}), "packing again #{row["name"]}"
    end
  end

  test "each frame has the bytes of its vector, and comes back from them" do
    names = Map.new(Frame.table(), fn {kind, name, _types} -> {kind, name} end)

    for row <- vectors("frames") do
      [kind | fields] = untag(row["value"])
      frame = List.to_tuple([names[kind] | fields])
      assert {:ok, body} = Frame.encode(frame), "encoding #{row["name"]}"
      assert IO.iodata_to_binary(body) == row["hex"], "encoding #{row["name"]}"
      assert Frame.decode(row["hex"]) == {:ok, frame}, "decoding #{row["name"]}"
    end
  end

  test "the table has every kind of the vectors, and no other" do
    kinds = for row <- vectors("frames"), uniq: true, do: hd(untag(row["value"]))
    assert Enum.sort(kinds) == for({kind, _, _} <- Frame.table(), do: kind)
  end

  test "each invalid value is refused with a reason" do
    taken =
      for %{"kind" => "value"} = row <- vectors("invalid"),
          row["to"] != "python",
          not refused?(Protocol.unpack(row["hex"])),
          do: row["name"]

    assert taken == []
  end

  test "each invalid frame is refused with a reason" do
    taken =
      for %{"kind" => "frame"} = row <- vectors("invalid"),
          row["to"] != "python",
          not refused?(Frame.decode(row["hex"])),
          do: row["name"]

    assert taken == []
  end

  test "names are unique within a file" do
    for file <- ~w(values frames invalid) do
      names = Enum.map(vectors(file), &{&1["name"], &1["kind"]})
      assert names == Enum.uniq(names), file
    end
  end

  defp refused?({:error, %Slither.Error{reason: :not_decodable, message: why}}), do: why != ""
  defp refused?({:error, why}) when is_binary(why), do: why != ""
  defp refused?(_other), do: false

  # Floats are compared by their bits: 0.0 == -0.0.
  defp same(a, b), do: :erlang.term_to_binary(a) == :erlang.term_to_binary(b)
end
