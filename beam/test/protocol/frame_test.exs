defmodule Slither.Protocol.FrameTest do
  use ExUnit.Case, async: true

  alias Slither.Protocol.{Encoder, Frame}

  @error %{"kind" => "exception", "message" => "no", "type" => "ValueError", "traceback" => "…"}
  @context %{"run" => "r", "pipe" => nil, "stage" => nil, "session" => nil}

  @frames [
    {:hello, 1, %{"pid" => 42}},
    {:welcome, 1, %{}},
    {:ready, %{"handlers" => ["a"]}},
    {:failed, @error},
    {:call, 1, ["command", "score"], @context, 0, 1, [1, nil]},
    {:result, 70_000, [1, nil], %{1 => @error}, [1, 2, 3]},
    {:result, 1, [], nil, [0, 0, 0]},
    {:error, 0, @error},
    {:view_call, 5_000_000_000, 300, "feature", 0, %{"key" => 1}, nil},
    {:view_call, 1, 0, "feature", 1, [1, 2], 50},
    {:view_reply, 1, 0, [1]},
    {:log, 0, "info", "stdout", "hello", 3, nil},
    {:log, 1, "error", "app", "no", 0, %{"pathname" => "/a.py", "lineno" => 7, "created" => 1.5}},
    {:progress, 1, 2, nil},
    {:progress, 1, 2, 3},
    {:part, 1, 4, [1, 2], nil},
    {:ping, 18_446_744_073_709_551_615},
    {:pong, 0},
    {:shutdown, 5_000},
    {:credit, 0, 50},
    {:credit, 9, 16},
    {:cancel, 9},
    {:table_call, 3, 1, "features", "get", ["user:42"]},
    {:session, 1, "r"},
    {:metrics, 1, [["counter", "hits_total", "Hits.", ["kind"], [], [[["a"], 2]]]]},
    {:spans, 1, 0, [%{"name" => "app.score"}]},
    {:modules, [["scoring", %Slither.Bytes{data: "/srv/scoring.py"}, 120, 7]]},
    {:start, 5, "map", %{"target" => ["each", "m", "f"]}},
    {:feed, 5, 7, 2, %Slither.Bytes{data: <<1, 2>>}},
    {:more, 5, 1},
    {:take, 5, 300},
    {:end, 5},
    {:outputs, 5, nil, 0, 1, %Slither.Bytes{data: <<2>>}, nil},
    {:outputs, 5, "accept", 7, 1, %Slither.Bytes{data: <<0xC0>>}, %{0 => @error}},
    {:done, 5, %{"in" => 2}, nil},
    {:done, 5, %{}, @error},
    {:request, 6, "status", %{}},
    {:kill, 5, 7},
    {:trace, 5, 7, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
  ]

  # One value of each type, and some that are not of it.
  @wrong %{
    :int => [nil, -1, 1.0, "1", true, []],
    :string => [nil, 1, %Slither.Bytes{data: "a"}],
    :list => [nil, %{}, "a", 1],
    :map => [nil, [], "a", ~U[2024-01-01 00:00:00.000000Z]],
    :level => [nil, "loud", "INFO", 1],
    :mode => [nil, 2, -1, "0"],
    :timing => [nil, [], [1, 2], [1, 2, 3, 4], [1, 2, nil], %{}],
    :error => [nil, "no", %{}, %{"kind" => "exception"}, %{"kind" => 1, "message" => "no"}],
    :bytes => [nil, "a", [1]],
    :counts => [nil, %{}, "a", [1], [["counter"]], [["counter", "a", "", [], [], [[[], -1]]]]],
    :modules => [nil, %{}, ["a"], [["a", "/a.py", 1, 1]], [["a", %Slither.Bytes{data: "/a"}, 1]]],
    {:maybe, :int} => [-1, 1.0, "1"],
    {:maybe, :facts} => [
      [],
      "a",
      %{1 => 1},
      %{"lineno" => -1},
      %{"pathname" => 1},
      %{"created" => 1},
      %{"extra" => []},
      %{"extra" => %{1 => 1}}
    ],
    {:maybe, :map} => [[], "a", 1],
    {:maybe, :string} => [1, %Slither.Bytes{data: "a"}],
    {:maybe, :error} => [%{}, "no"]
  }

  describe "encode/1 and decode/1" do
    test "bring a frame of each kind back" do
      for frame <- @frames, do: assert(Frame.decode(body(frame)) == {:ok, frame})

      assert Enum.uniq(Enum.map(@frames, &elem(&1, 0))) ==
               for({_, name, _} <- Frame.table(), do: name)
    end

    test "say what can't be sent, with the frame's name" do
      assert Frame.encode({:view_reply, 1, 0, [self()]}) ==
               {:error, "view_reply[3][0]: a pid can't be sent"}
    end
  end

  describe "decode/1" do
    test "refuses another count of fields" do
      for {kind, name, types} <- Frame.table() do
        for count <- [0, length(types) - 1, length(types) + 1], count != length(types) do
          body = pack([kind | List.duplicate(1, count)])

          assert Frame.decode(body) ==
                   {:error, "a #{name} frame has #{length(types)} fields, got #{count}"}
        end
      end
    end

    test "refuses a field of another type, and names it" do
      for frame <- @frames, [name | fields] = Tuple.to_list(frame) do
        {kind, ^name, types} = List.keyfind(Frame.table(), name, 1)

        for {type, index} <- Enum.with_index(types), type != :any, wrong <- @wrong[type] do
          body = pack([kind | List.replace_at(fields, index, wrong)])
          assert {:error, why} = Frame.decode(body)
          assert why =~ "field #{index + 1} of a #{name} frame is "
        end
      end
    end

    test "refuses an unknown kind" do
      for kind <- [14, 31, 127, 128, 1_000_000, -1] do
        assert Frame.decode(pack([kind, 1])) == {:error, "unknown frame kind #{kind}"}
      end
    end

    test "refuses what is no array that begins with a kind" do
      for other <- [nil, 1, "ping", %{}, [], ["ping", 1], [true, 1], [12.0, 1], [[12], 1]] do
        assert Frame.decode(pack(other)) ==
                 {:error, "a frame is an array that begins with its kind"}
      end
    end

    test "refuses bytes that are cut or go on" do
      body = body({:ping, 300})
      assert {:error, "1 bytes after the value"} = Frame.decode(body <> <<0>>)
      for size <- 0..(byte_size(body) - 1), do: refused(binary_part(body, 0, size))
    end

    test "takes a frame of 1,024 nested containers and no more" do
      deep = fn levels -> String.duplicate(<<0x91>>, levels) <> <<0xC0>> end
      assert {:ok, {:view_reply, 1, 0, _value}} = Frame.decode(<<0x94, 8, 1, 0>> <> deep.(1_023))
      refused(<<0x94, 8, 1, 0>> <> deep.(1_024))
    end
  end

  describe "call/6" do
    test "makes the bytes of a call from its encoded parts" do
      for count <- [1, 15, 16, 65_536], id <- [1, 200, 70_000] do
        items = Enum.to_list(1..count)
        head = Frame.call_head(["function", "m", "f"], @context)
        encoded = Enum.map(items, &Encoder.encode!/1)
        body = IO.iodata_to_binary(Frame.call(id, head, 3, 2, count, encoded))
        assert body == body({:call, id, ["function", "m", "f"], @context, 3, 2, items})
      end
    end
  end

  describe "peek/1" do
    test "finds a frame's kind and first integer" do
      for frame <- @frames, is_integer(elem(frame, 1)) do
        assert Frame.peek(body(frame)) == {elem(frame, 0), elem(frame, 1)}
      end
    end

    test "finds integers of every encoding" do
      for id <- [0, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296],
          do: assert(Frame.peek(body({:error, id, @error})) == {:error, id})
    end

    test "is an error for anything else" do
      for body <-
            [<<>>, <<0x92>>, <<0x92, 5>>, <<0x92, 99, 1>>, <<0x92, 5, 0xCD, 1>>, "text"] ++
              [pack([5, -1]), pack([5, "1"]), pack([5]), pack(%{5 => 1}), pack([2, %{}])],
          do: assert(Frame.peek(body) == :error)
    end
  end

  describe "second_integer/1" do
    test "finds the second field" do
      for call <- [0, 1, 200, 70_000, 5_000_000_000], id <- [1, 300] do
        body = body({:view_call, id, call, "v", 0, nil, nil})
        assert Frame.second_integer(body) == {:ok, call}
      end
    end

    test "is an error where there is none" do
      for body <- [pack([7, 1]), pack([7, 1, "2"]), pack([7, "1", 2]), <<0x92, 7, 0xCC>>],
          do: assert(Frame.second_integer(body) == :error)
    end
  end

  defp body(frame) do
    assert {:ok, body} = Frame.encode(frame)
    IO.iodata_to_binary(body)
  end

  defp pack(value), do: IO.iodata_to_binary(Encoder.encode!(value))

  defp refused(body) do
    assert {:error, why} = Frame.decode(body)
    assert is_binary(why) and why != ""
  end
end
