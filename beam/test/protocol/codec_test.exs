defmodule Slither.Protocol.CodecTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO
  import Slither.Test.Generators

  alias Slither.{Bytes, Complex, Decimal, Error, FrozenSet, Protocol, Tagged, Tensor}
  alias Slither.Protocol.{Decoder, Encoder}
  alias Slither.Test.Encodables.{Account, Broken, Money, Nest, Point, Twin, User}

  doctest Slither.Protocol
  doctest Slither.Bytes
  doctest Slither.Tensor

  describe "pack/1 and unpack/1" do
    test "bring any value of all types back as it was" do
      check_all(1_000, &any_value/0, fn value ->
        assert {:ok, bytes} = Protocol.pack(value)
        assert {:ok, again} = Protocol.unpack(bytes)
        assert same?(again, value)
        assert Protocol.pack(again) == {:ok, bytes}
      end)
    end

    test "bring any value back as it was" do
      check_all(1_500, &value/0, fn value ->
        assert {:ok, bytes} = Protocol.pack(value)
        assert {:ok, again} = Protocol.unpack(bytes)
        assert same?(again, value)
        assert Protocol.pack(again) == {:ok, bytes}
      end)
    end

    test "bring the rows of a table back, whatever its keys, and among them what is no row of it" do
      check_all(300, &rows/0, fn rows ->
        assert_round_trip(rows)
        {:ok, bytes} = Protocol.pack(rows)
        cut = binary_part(bytes, 0, :rand.uniform(byte_size(bytes)) - 1)
        assert {:error, _why} = Protocol.unpack(cut)
      end)
    end

    test "bring integers of any size back" do
      check_all(2_000, &integer/0, &assert_round_trip/1)
      longest = Bitwise.bsl(1, 8 * 65_536) - 1
      for n <- [longest, -longest], do: assert_round_trip(n)
    end

    test "bring any float back, bit by bit" do
      check_all(2_000, &float/0, &assert_round_trip/1)
      assert_round_trip(-0.0)
    end

    test "bring any text, moment, number, path, array and table back" do
      generators =
        [&text/0, &bytes/0, &datetime/0, &tensor/0, &date/0, &time/0, &naive/0, &time_delta/0] ++
          [&decimal/0, &uuid/0, &complex/0, &zoned/0, &path/0, &array/0, &arrow/0]

      for generator <- generators,
          do: check_all(500, generator, &assert_round_trip/1)
    end

    test "bring text and bytes of each header's lengths back" do
      for size <- [0, 31, 32, 255, 256, 65_535, 65_536] do
        assert_round_trip(String.duplicate("a", size))
        assert_round_trip(Bytes.new(:binary.copy(<<255>>, size)))
        assert_round_trip(List.duplicate(nil, size))
        assert_round_trip(Map.new(many(size, fn -> 0 end), &{&1, nil}))
        assert_round_trip(if size == 0, do: %{}, else: Map.new(1..size, &{&1, nil}))
      end
    end

    test "bring maps with keys of every kind back" do
      check_all(500, fn -> map(2) end, &assert_round_trip/1)
    end

    test "tuples stay tuples and atoms become strings" do
      assert {:ok, bytes} = Protocol.pack(%{key: {:value, {1, nil}}, other: {}})
      assert Protocol.unpack(bytes) == {:ok, %{"key" => {"value", {1, nil}}, "other" => {}}}
    end

    test "tuples of each header's lengths come back" do
      for size <- [0, 1, 14, 15, 16, 65_534, 65_535],
          do: assert_round_trip(Tuple.duplicate(1, size))
    end

    test "a DateTime in a named zone comes back with it, to the microsecond" do
      summer = %DateTime{
        year: 2024,
        month: 7,
        day: 1,
        hour: 12,
        minute: 0,
        second: 0,
        microsecond: {5_000, 3},
        utc_offset: 3_600,
        std_offset: 3_600,
        time_zone: "Europe/Paris",
        zone_abbr: "CEST"
      }

      assert {:ok, bytes} = Protocol.pack(summer)
      assert Protocol.unpack(bytes) == {:ok, %{summer | microsecond: {5_000, 6}}}
    end

    test "times come back to the microsecond, whatever their precision" do
      for {sent, back} <- [
            {~T[01:02:03], ~T[01:02:03.000000]},
            {~T[01:02:03.25], ~T[01:02:03.250000]},
            {~N[2024-01-02 03:04:05], ~N[2024-01-02 03:04:05.000000]}
          ] do
        assert {:ok, bytes} = Protocol.pack(sent)
        assert Protocol.unpack(bytes) == {:ok, back}
      end
    end

    test "a MapSet in a key or a set comes back frozen, a list in a key as a tuple" do
      set = MapSet.new([1])
      frozen = %FrozenSet{set: set}
      assert through(%{set => 1}) == %{frozen => 1}
      assert through(%{{1, [set]} => 1}) == %{{1, [frozen]} => 1}
      assert through(MapSet.new([set])) == MapSet.new([frozen])
      assert through(FrozenSet.new([{set}])) == FrozenSet.new([{frozen}])
    end

    test "a decimal of the library's is sent as one of ours" do
      for {coef, exp, text} <- [{110, -2, "110E-2"}, {:NaN, 0, "NaN"}, {:inf, 0, "Infinity"}] do
        theirs = %{__struct__: :"Elixir.Decimal", sign: 1, coef: coef, exp: exp}
        {:ok, bytes} = Protocol.pack(theirs)
        assert binary_part(bytes, byte_size(bytes), -byte_size(text)) == text
      end
    end
  end

  describe "Slither.Encodable" do
    test "says what is sent for a struct, within others, in lists and as a key" do
      point = %Point{x: 1, y: {2}}
      assert through(point) == %{"x" => 1, "y" => {2}}
      assert through([point, %{a: point}]) == [through(point), %{"a" => through(point)}]
      assert through(%User{id: 5, secret: self()}) == %{"id" => 5}
      account = %Account{id: 1, owner: %User{id: 5}, secret: "s"}
      assert through(account) == %{"id" => 1, "owner" => %{"id" => 5}}
      euro = %Money{currency: :eur, amount: ~D[2024-01-02]}
      assert through(euro) == %Tagged{name: "shop.Money", value: ["eur", ~D[2024-01-02]]}
      assert through(%{%Money{currency: 1, amount: 2} => 3}) |> map_size() == 1
    end

    test "nests as deep as what it gives" do
      deep = Enum.reduce(1..999, [], fn _, inner -> [inner] end)
      assert {:ok, _bytes} = Protocol.pack(%Point{x: tl(deep)})
      assert fault(%Point{x: deep}) =~ "nests more than 1000 containers"
    end

    test "that gives itself for ever, raises or gives what can't be sent is an error with its path" do
      assert fault([%Twin{}]) ==
               "payload[0]: Slither.Encodable of #{inspect(Twin)} gives one struct after the other"

      assert fault(%{"a" => %Broken{why: "no"}}) ==
               "payload[\"a\"]: Slither.Encodable of #{inspect(Broken)} raised ArgumentError: no"

      assert fault([%Point{x: [self()]}]) == "payload[0][:x][0]: a pid can't be sent"
    end

    test "that gives a struct within itself without end is an error, wherever that stands" do
      for as <- [&[&1], &[1, %{"a" => &1, "b" => &1}], &{&1}, &Slither.Tagged.new("n", &1)] do
        nest = %Nest{as: as}
        assert fault([1, nest]) == "payload[1]: nests more than 1000 containers"
        assert fault(%{"a" => {nest}}) == "payload[\"a\"][0]: nests more than 1000 containers"
        # Checking keys comes to no end of it either.
        for keyed <- [%{nest => 1}, MapSet.new([{nest}])],
            do: assert(fault(keyed) =~ "nests more than 1000 containers")
      end

      for as <- [&MapSet.new([&1]), &Slither.FrozenSet.new([[&1]])],
          do: assert(fault([%Nest{as: as}]) == "payload[0]: nests more than 1000 containers")
    end

    test "that is derived with what the struct has not is an error of the compiler's" do
      for {options, words} <- [
            {[only: [:z]], "only: no field :z"},
            {[except: :x], "except: takes a list, got :x"},
            {[just: [:x]], "takes only: or except:"},
            # No field that the author meant to leave out is sent by mistake.
            {:x, "takes only: or except:, got :x"},
            {[:x], "takes only: or except:"}
          ] do
        code =
          quote do
            defmodule Wrong do
              @derive {Slither.Encodable, unquote(options)}
              defstruct [:x]
            end
          end

        # Nobody has known it when the protocol was consolidated, which is warned of.
        capture_io(:stderr, fn ->
          assert_raise ArgumentError, ~r/#{words}/, fn -> Code.eval_quoted(code) end
        end)
      end
    end

    test "knows structs that were made after protocols were consolidated, as in iex" do
      code =
        quote do
          defmodule Later do
            @derive Slither.Encodable
            defstruct [:x]
          end
        end

      capture_io(:stderr, fn -> Code.eval_quoted(code) end)
      assert through(struct!(:"Elixir.Later", x: 1)) == %{"x" => 1}
    end
  end

  describe "unpack/1 of bytes from anywhere" do
    test "never raises, whatever the bytes" do
      check_all(5_000, fn -> :rand.bytes(:rand.uniform(60)) end, &decoded?/1)
    end

    test "never makes an atom" do
      # Other tests load code meanwhile, which makes atoms of its own: not in every round.
      made =
        for _round <- 1..5 do
          names = many(300, &unused_name/0)
          values = [names, Map.new(names, &{&1, &1}), [Map.new(names, &{[&1], 1})]]
          encoded = Enum.map(values, fn value -> packed(fn -> value end) end)
          before = :erlang.system_info(:atom_count)
          Enum.each(encoded, &assert(decoded?(&1)))
          made = :erlang.system_info(:atom_count) - before

          for name <- names,
              do: assert_raise(ArgumentError, fn -> String.to_existing_atom(name) end)

          made
        end

      assert Enum.min(made) < 300
    end

    test "never raises, whatever was changed in an encoding" do
      check_all(1_500, &mutated/0, &decoded?/1)
    end

    test "refuses every part of an encoding, cut at any byte" do
      check_all(200, fn -> packed(fn -> any_value(3) end) end, fn bytes ->
        for size <- Enum.take_random(0..(byte_size(bytes) - 1), 40),
            do: refute(decoded?(binary_part(bytes, 0, size)))

        refute decoded?(bytes <> <<0>>)
      end)
    end

    test "builds nothing for a count that the bytes don't hold" do
      for header <- [<<0xDD>>, <<0xDF>>, <<0xDB>>, <<0xC6>>, <<0xC9>>],
          nested <- [<<>>, String.duplicate(<<0x91>>, 500), <<0xDD, 5::32>>] do
        bytes = nested <> header <> <<0xFFFFFFFF::32>> <> :binary.copy(<<1>>, 1_000)
        assert {:error, _why} = decode_in_small_heap(bytes)
      end

      tensor = <<5, "uint8", 32>> <> :binary.copy(<<0xFF>>, 32 * 8)
      padding = :binary.copy(<<0>>, rem(16 - rem(byte_size(tensor), 16), 16))
      data = tensor <> padding
      assert {:error, why} = decode_in_small_heap(<<0xC8, byte_size(data)::16, 3>> <> data)
      assert why =~ "takes"
    end

    test "takes no more memory than in proportion to the bytes" do
      for filler <- [<<0xC0>>, <<0x90>>, <<0x80>>, <<0xA0>>] do
        count = 100_000
        bytes = <<0xDD, count::32>> <> :binary.copy(filler, count)
        assert {:ok, _list} = decode_in_heap(bytes, 32 * count)
      end
    end
  end

  describe "depth" do
    test "1,000 containers go through, of any kind" do
      for wrap <- [&[&1], &%{"k" => &1}, &[1, &1, 2]] do
        deep = nested(1_000, wrap)
        assert_round_trip(deep)
      end
    end

    test "one more is refused on the way out, with words of a sane length" do
      for depth <- [1_001, 1_002, 3_000], wrap <- [&[&1], &%{"k" => &1}, &{&1}] do
        assert {:error, %Error{reason: :not_encodable, message: message}} =
                 Protocol.pack(nested(depth, wrap))

        assert message =~ ~r/\Apayload.*: nests more than 1000 containers\z/
      end
    end

    test "one more is refused on the way in" do
      for {header, inner} <- [{<<0x91>>, <<0x90>>}, {<<0x81, 0xA1, ?k>>, <<0x80>>}] do
        assert decoded?(String.duplicate(header, 999) <> inner)
        refute decoded?(String.duplicate(header, 1_000) <> inner)
        refute decoded?(String.duplicate(header, 200_000) <> inner)
      end
    end
  end

  describe "what can't be sent" do
    @cases [
      {"a pid", quote(do: self()), "a pid can't be sent"},
      {"a function", quote(do: &is_atom/1), "a function can't be sent"},
      {"a reference", quote(do: make_ref()), "a reference can't be sent"},
      {"a port", quote(do: hd(Port.list())), "a port can't be sent"},
      {"a bitstring", quote(do: <<5::3>>), "a bitstring of 3 bits can't be sent"},
      {"an improper list", quote(do: [1 | 2]), "an improper list can't be sent"},
      {"bytes that are no text", quote(do: <<255, 0>>),
       "a binary that is not UTF-8; wrap it with Slither.Bytes.new/1 to send bytes"},
      {"a lone surrogate", quote(do: <<0xED, 0xA0, 0x80>>),
       "a binary that is not UTF-8; wrap it with Slither.Bytes.new/1 to send bytes"},
      {"a range", quote(do: 1..2), "%Range{} can't be sent; send Enum.to_list(value)"},
      {"a range of dates", quote(do: Date.range(~D[2026-01-01], ~D[2026-01-02])),
       "%Date.Range{} can't be sent; send Enum.to_list(value)"},
      {"a stream", quote(do: Stream.map([1], & &1)),
       "%Stream{} can't be sent; send Enum.to_list(value)"},
      {"a URI", quote(do: %URI{}), "%URI{} can't be sent; send URI.to_string(value)"},
      {"another struct", quote(do: %Slither.Context{}),
       "%Slither.Context{} can't be sent; implement Slither.Encodable for it, or send a map: " <>
         "Map.from_struct(value)"},
      {"a date before the year 1", quote(do: ~D[0000-12-31]),
       "a Date outside the years 1 to 9999"},
      {"a date that is none", quote(do: %{~D[2024-01-01] | day: 32}),
       "a Date outside the years 1 to 9999"},
      {"a time that is none", quote(do: %{~T[00:00:00] | second: 61}),
       "a Time that no clock shows"},
      {"a naive datetime after 9999", quote(do: %{~N[2024-01-01 00:00:00] | year: 10_000}),
       "a NaiveDateTime outside the years 1 to 9999"},
      {"a length of time too long", quote(do: Slither.TimeDelta.new(days: 1_000_000_000)),
       "a TimeDelta of more than 999,999,999 days"},
      {"a decimal of too many digits",
       quote(do: Slither.Decimal.new(String.duplicate("9", 4_301))),
       "a decimal of more than 4,300 digits"},
      {"a decimal too large", quote(do: Slither.Decimal.new("1E+1000001")),
       "a decimal whose exponent is beyond 1,000,000"},
      {"a complex number of integers", quote(do: %Slither.Complex{re: 1, im: 0.0}),
       "a Complex whose parts are no floats; make it by Complex.new/2"},
      {"a UUID of a text", quote(do: %Slither.UUID{data: "550e8400"}),
       "a UUID whose data is not 16 bytes; make it by UUID.new/1"},
      {"a path of no flavour", quote(do: %Slither.Path{data: "a", flavour: :unix}),
       "a path's flavour is :path, :pure_posix or :pure_windows, got :unix"},
      {"a table that is none",
       quote(do: %Slither.Arrow{kind: :csv, columns: [], rows: 0, data: ""}),
       "a table's kind is one of [:table, :record_batch, :pandas, :polars], got :csv"},
      {"a set of two that are one in Python", quote(do: MapSet.new([1, 1.0])),
       "elements 1 and 1.0 are one element in Python"},
      {"a set of a map", quote(do: MapSet.new([%{}])), "a map can't be a key of a map in Python"},
      {"a year before 1", quote(do: %{~U[2024-01-01 00:00:00Z] | year: -1}),
       "a DateTime outside the years 1 to 9999"},
      {"the year 0", quote(do: %{~U[2024-01-01 00:00:00Z] | year: 0}),
       "a DateTime outside the years 1 to 9999"},
      {"a year after 9999", quote(do: %{~U[2024-01-01 00:00:00Z] | year: 10_000}),
       "a DateTime outside the years 1 to 9999"},
      {"a DateTime without its day", quote(do: %{~U[2024-01-01 00:00:00Z] | day: nil}),
       "a DateTime outside the years 1 to 9999"},
      {"an integer too long", quote(do: Bitwise.bsl(1, 8 * 65_536)),
       "an integer of more than 65536 bytes"},
      {"a tensor of a wrong size",
       quote(do: %Slither.Tensor{dtype: :int8, shape: {2}, data: <<1>>}),
       "a int8 tensor of shape {2} takes 2 bytes, got 1"},
      {"a map that says it is a struct", quote(do: %{__struct__: "name"}),
       "a map whose __struct__ is no module can't be sent"},
      {"a tensor as a key", quote(do: %{Slither.Tensor.new(:int8, {1}, [1]) => 1}),
       "a tensor can't be a key of a map in Python"},
      {"a map as a key", quote(do: %{%{} => 1}), "a map can't be a key of a map in Python"}
    ]

    for {name, value, words} <- @cases do
      test "#{name} is refused with its path and what to do" do
        value = unquote(value)
        assert fault(value) == "payload: #{unquote(words)}"
        assert fault([1, %{"a" => value}]) == "payload[1][\"a\"]: #{unquote(words)}"
        assert fault({:ok, %{a: [value]}}) == "payload[1][:a][0]: #{unquote(words)}"
      end
    end

    test "a tensor of an unknown dtype, shape or data says so" do
      ok = Tensor.new(:int8, {1}, [1])
      assert fault(%{ok | dtype: :int4}) =~ "unknown dtype :int4; known: bool, int8"
      assert fault(%{ok | dtype: "int8"}) =~ "unknown dtype \"int8\""
      assert fault(%{ok | shape: [1]}) =~ "a tensor's shape is a tuple of at most 32 sizes"
      assert fault(%{ok | shape: {-1}}) =~ "a tensor's shape is a tuple of at most 32 sizes"
      assert fault(%{ok | shape: Tuple.duplicate(1, 33)}) =~ "at most 32 sizes"
      assert fault(%{ok | shape: {0, Bitwise.bsl(1, 64)}, data: ""}) =~ "at most 32 sizes"
      assert fault(%{ok | data: [1]}) =~ "takes 1 bytes"
    end

    test "a struct whose fields were given by hand is no key or element either" do
      for bad <- [
            %Slither.Complex{re: "x", im: 1.0},
            %Slither.Complex{re: 1.0, im: nil},
            %Slither.Path{data: nil},
            %Slither.Path{data: 1, flavour: :pure_windows},
            %Slither.Arrow{kind: :table, columns: ["a" | "b"], rows: 1, data: ""}
          ],
          value <- [bad, %{bad => 1, 2 => 3}, MapSet.new([bad, 1])],
          do: assert(fault(value) =~ ~r/no floats|a binary, got|names in UTF-8/)
    end

    test "a moment of an hour that no clock has is not sent as one of the next day" do
      for moment <- [~N[2024-01-01 00:00:00], ~U[2024-01-01 00:00:00Z]],
          odd <- [%{hour: 24}, %{minute: 60}, %{second: 60}, %{microsecond: {1_000_000, 6}}],
          do: assert(fault(Map.merge(moment, odd)) =~ "whose time no clock shows")
    end

    test "a value at fault within a key has its own path" do
      assert fault(%{[self()] => 1}) =~ ~r/\Apayload\.key\(\[#PID<.*>\]\)\[0\]: a pid/
    end

    test "an improper list or a year before 1 as a key is refused too" do
      assert fault(%{[1 | 2] => 1}) =~ ~r/\Apayload.*: an improper list can't be sent/
      assert fault(%{%{~U[2024-01-01 00:00:00Z] | year: -1} => 1}) =~ "outside the years"
    end

    test "the path begins where the caller says" do
      assert Encoder.encode([self()], "result") == {:error, "result[0]: a pid can't be sent"}
    end
  end

  describe "keys that are one key in Python" do
    defp pairs,
      do: [
        {1, 1.0},
        {1, true},
        {0, false},
        {1.0, true},
        {:a, "a"},
        {[1], [1.0]},
        {{1}, [1]},
        {1, Decimal.new("1.0")},
        {0.5, Decimal.new("0.50")},
        {Integer.pow(10, 500), Decimal.new("1E+500")},
        {:infinity, Decimal.new("Infinity")},
        {Decimal.new("0.1"), Decimal.new("0.10")},
        {2, Complex.new(2)},
        {MapSet.new([1]), FrozenSet.new([1.0])},
        {Slither.Path.new("a/b"), Slither.Path.new("a//b/.", :pure_posix)},
        {Slither.Path.new("C:/A", :pure_windows), Slither.Path.new("c:\\a", :pure_windows)},
        {[[:a]], [["a"]]},
        {Bitwise.bsl(1, 70), 1.0 * Bitwise.bsl(1, 70)}
      ]

    test "can't share a map" do
      for {one, other} <- pairs() do
        assert fault([%{one => 1, other => 2}]) =~
                 ~r/\Apayload\[0\]: keys .* are one key in Python/
      end

      here = ~U[2024-01-01 10:00:00.000000Z]
      there = datetime(DateTime.to_unix(here), 0, 7_200)
      assert fault(%{here => 1, there => 2}) =~ "are one key in Python"
    end

    test "are moments of one zone whose clocks show the same" do
      summer = %{
        datetime(1_729_989_000, 0, 7_200)
        | time_zone: "Europe/Berlin",
          zone_abbr: "CEST"
      }

      winter = %{datetime(1_729_992_600, 0, 3_600) | time_zone: "Europe/Berlin", zone_abbr: "CET"}
      assert fault(%{summer => 1, winter => 2}) =~ "are one key in Python"
      assert fault(MapSet.new([{1, summer}, {1, winter}])) =~ "are one element in Python"

      assert {:ok, _bytes} =
               Protocol.pack(%{summer => 1, %{winter | time_zone: "Europe/Rome"} => 2})
    end

    test "can't share a map, however many other keys there are" do
      for {one, other} <- pairs(), count <- [1, 20, 33, 200], filler <- [&"k#{&1}", & &1] do
        map = Map.new(10..(10 + count), &{filler.(&1), nil})
        assert fault(Map.merge(map, %{one => 1, other => 2})) =~ "are one key in Python"
      end
    end

    test "that only look alike are taken" do
      for map <- [
            %{nil => 1, "nil" => 2, "None" => 3},
            %{:nan => 1, "nan" => 2},
            %{true => 1, "true" => 2},
            %{1 => 1, "1" => 2, [1] => 3, [[1]] => 4, 1.5 => 5, 2 => 6},
            %{Bytes.new("a") => 1, "a" => 2},
            %{0.1 => 1, Decimal.new("0.1") => 2, Decimal.new("NaN") => 3, nan: 4},
            %{~D[2024-01-01] => 1, ~N[2024-01-01 00:00:00.000000] => 2},
            %{Complex.new(1, 1) => 1, 1 => 2},
            %{Complex.new(:nan, 0) => 1, Complex.new(:nan, 1) => 2, :nan => 3},
            %{Slither.Path.new("a") => 1, "a" => 2, Slither.Path.new("/a") => 3}
          ],
          do: assert_round_trip(map)
    end

    test "can't arrive in one map either" do
      for {one, other} <- pairs() do
        {:ok, <<_, one::binary>>} = Protocol.pack(%{one => 1})
        {:ok, <<_, other::binary>>} = Protocol.pack(%{other => 2})
        assert {:error, _why} = Decoder.decode(<<0x82>> <> one <> other)
      end
    end
  end

  defp assert_round_trip(value) do
    assert {:ok, bytes} = Protocol.pack(value)
    assert {:ok, again} = Protocol.unpack(bytes)
    assert same?(again, value)
  end

  defp through(value) do
    {:ok, bytes} = Protocol.pack(value)
    {:ok, again} = Protocol.unpack(bytes)
    again
  end

  # Floats are compared by their bits: 0.0 == -0.0.
  defp same?(a, b), do: a == b and :erlang.term_to_binary(a) == :erlang.term_to_binary(b)

  defp fault(value) do
    assert {:error, %Error{reason: :not_encodable, message: message}} = Protocol.pack(value)
    message
  end

  defp decoded?(bytes) do
    case Protocol.unpack(bytes) do
      {:ok, _value} -> true
      {:error, %Error{reason: :not_decodable, message: why}} when is_binary(why) -> false
    end
  end

  defp packed(generator) do
    {:ok, bytes} = Protocol.pack(generator.())
    bytes
  end

  defp mutated do
    Enum.reduce(1..:rand.uniform(4), packed(&any_value/0), fn _, bytes ->
      at = :rand.uniform(byte_size(bytes)) - 1
      <<before::binary-size(at), byte, rest::binary>> = bytes

      case :rand.uniform(4) do
        1 ->
          <<before::binary, :rand.uniform(256) - 1, rest::binary>>

        2 ->
          <<before::binary, Bitwise.bxor(byte, Bitwise.bsl(1, :rand.uniform(8) - 1)),
            rest::binary>>

        3 ->
          <<before::binary, byte, byte, rest::binary>>

        4 ->
          <<before::binary, rest::binary, 0>>
      end
    end)
  end

  defp unused_name, do: Base.encode16(:rand.bytes(20))

  defp nested(depth, wrap), do: Enum.reduce(2..depth, wrap.(1), fn _, inner -> wrap.(inner) end)

  defp decode_in_small_heap(bytes), do: decode_in_heap(bytes, 50_000)

  defp cell, do: Enum.random([&integer/0, &text/0, &float/0, fn -> nil end]).()

  # Keys of all lengths around those that are compared as integers; some that differ in one byte.
  defp rows do
    keys = for _ <- 1..:rand.uniform(5), do: String.duplicate("k", :rand.uniform(34) - 1)
    keys = keys |> Enum.uniq() |> Enum.map(&(&1 <> Enum.random(["", "a", "é"])))

    for _ <- 1..:rand.uniform(20) do
      case :rand.uniform(12) do
        1 ->
          value()

        2 ->
          Map.new(tl(keys), &{&1, integer()})

        3 ->
          Map.new(keys, &{String.replace_suffix(&1, "k", "j"), text()})

        _ ->
          Map.new(keys, &{&1, cell()})
      end
    end
  end

  # The process is killed, and the test fails, if decoding takes more words than that.
  defp decode_in_heap(bytes, words) do
    parent = self()
    limit = %{size: words, kill: true, error_logger: false}

    {_pid, monitor} =
      :erlang.spawn_opt(
        fn ->
          outcome = Decoder.decode(bytes)
          send(parent, {:decoded, self(), with({:ok, _value} <- outcome, do: {:ok, []})})
        end,
        [:monitor, max_heap_size: limit]
      )

    assert_receive {:DOWN, ^monitor, :process, pid, :normal}, 30_000
    assert_received {:decoded, ^pid, outcome}
    outcome
  end
end
