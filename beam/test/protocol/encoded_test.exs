defmodule Slither.Protocol.EncodedTest do
  use ExUnit.Case, async: true

  import Slither.Test.JSON, only: [vectors: 1]

  alias Slither.Protocol
  alias Slither.Protocol.{Block, Encoded, Frame}

  doctest Encoded

  describe "split/2" do
    test "finds the end of each kind of value" do
      rows = vectors("values")
      bytes = Enum.map_join(rows, & &1["hex"])
      assert {:ok, values, "rest"} = Encoded.split(bytes <> "rest", length(rows))
      assert Enum.map(values, & &1.data) == Enum.map(rows, & &1["hex"])
    end

    test "refuses bytes that end too soon, wherever that is" do
      for row <- vectors("values"), size <- [1, div(byte_size(row["hex"]), 2)] do
        cut = binary_part(row["hex"], 0, byte_size(row["hex"]) - size)
        # Nothing is cut from where half of it is nothing.
        if cut != row["hex"] do
          assert {:error, why} = Encoded.split(cut, 1)
          assert why != ""
        end
      end
    end

    test "refuses the reserved byte, and a length that is not there" do
      assert Encoded.split(<<0xC1>>, 1) == {:error, "the reserved byte 0xC1"}

      assert Encoded.split(<<0xC6, 5::32, 1>>, 1) ==
               {:error, "a length of 5 where 1 bytes are left"}
    end

    test "takes a count of no values" do
      assert Encoded.split("rest", 0) == {:ok, [], "rest"}
    end
  end

  test "an encoded value is sent as the value it holds, wherever it stands" do
    {:ok, data} = Protocol.pack([1, %{"a" => nil}])
    encoded = %Encoded{data: data}
    assert Protocol.pack(%{"x" => [encoded]}) == Protocol.pack(%{"x" => [[1, %{"a" => nil}]]})
  end

  describe "results that stay encoded" do
    setup do
      error = %{"kind" => "exception", "message" => "boom"}
      {:ok, body} = Frame.encode({:result, 7, ["a", nil, [1]], %{1 => error}, [1, 2, 3]})
      %{body: IO.iodata_to_binary(body), error: error}
    end

    test "are taken apart, or kept together", %{body: body, error: error} do
      assert {:ok, {:result, 7, values, %{1 => ^error}, [1, 2, 3]}} = Frame.decode_raw(body)
      assert Enum.map(values, & &1.data) == [<<0xA1, ?a>>, <<0xC0>>, <<0x91, 1>>]
      assert {:ok, {:result, 7, block, %{1 => ^error}, [1, 2, 3]}} = Frame.decode_block(body)
      assert block == %Block{count: 3, data: <<0xA1, ?a, 0xC0, 0x91, 1>>, errors: %{1 => error}}
    end

    test "of a part, too", %{error: error} do
      {:ok, body} = Frame.encode({:part, 7, 300, ["a", nil], %{301 => error}})
      body = IO.iodata_to_binary(body)
      assert {:ok, {:part, 7, 300, values, %{301 => ^error}}} = Frame.decode_raw(body)
      assert Enum.map(values, & &1.data) == [<<0xA1, ?a>>, <<0xC0>>]
      assert {:ok, {:part, 7, 300, block, %{301 => ^error}}} = Frame.decode_block(body)
      assert block == %Block{count: 2, data: <<0xA1, ?a, 0xC0>>, errors: %{301 => error}}

      for size <- 1..(byte_size(body) - 1) do
        assert {:error, _why} = Frame.decode_raw(binary_part(body, 0, size))
        assert {:error, _why} = Frame.decode_block(binary_part(body, 0, size))
      end
    end

    test "are refused where the frame is malformed", %{body: body} do
      for size <- 1..byte_size(body)//3 do
        cut = binary_part(body, 0, byte_size(body) - size)
        assert {:error, _why} = Frame.decode_raw(cut)
        assert {:error, _why} = Frame.decode_block(cut)
      end

      {:ok, wrong} = Protocol.pack([5, 7, ["a"], nil, [1, 2]])
      assert {:error, "field 4 of a result frame" <> _} = Frame.decode_raw(wrong)
      assert {:error, "field 4 of a result frame" <> _} = Frame.decode_block(wrong)
    end

    test "of another frame are decoded as it is", %{error: error} do
      {:ok, body} = Frame.encode({:error, 7, error})
      body = IO.iodata_to_binary(body)
      assert Frame.decode_raw(body) == {:ok, {:error, 7, error}}
      assert Frame.decode_block(body) == {:ok, {:error, 7, error}}
    end
  end
end
