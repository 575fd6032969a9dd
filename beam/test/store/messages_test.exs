defmodule Slither.Store.MessagesTest do
  # The sentences of stores, of views and tables as Python is told them, of the codec and of
  # environments, as `messages.txt` has them.
  use ExUnit.Case, async: true

  alias Slither.{Bridge, Bytes, Context, Error, Protocol, Tensor}
  alias Slither.Protocol.Frame
  alias Slither.Python.Env
  alias Slither.Store.Server
  alias Slither.Test.{Snapshot, Stores}

  @expected Path.expand("messages.txt", __DIR__)

  defmodule Empty do
    @behaviour Slither.Store
    def tables, do: [%{name: :rows}]
    def load(_tables), do: {:error, :no_data}
  end

  defmodule Odd do
    def tables, do: [%{name: :rows}]
    def load(_tables), do: :odd
  end

  defmodule Full do
    @behaviour Slither.Store
    def tables do
      [
        %{name: :rows, python: :read, as: "messages_rows"},
        %{name: :wide, keypos: 2},
        %{name: :bag, type: :bag},
        %{name: :ordered, type: :ordered_set, python: :read_write, as: "messages_ordered"}
      ]
    end

    def views do
      [
        %{name: "messages_ends", handler: fn _ -> exit(:gone) end, scope: :global},
        %{name: "messages_throws", handler: fn _ -> throw(:ball) end, scope: :global},
        %{name: "messages_batch", mode: :batch, handler: fn rows -> tl(rows) end, scope: :global},
        %{name: "messages_text", mode: :batch, handler: fn _ -> "text" end, scope: :global},
        %{
          name: "messages_slow",
          handler: fn _ -> Process.sleep(:infinity) end,
          timeout_ms: 20,
          scope: :global
        },
        %{name: "messages_session", handler: fn _ -> 1 end}
      ]
    end

    def load(tables) do
      :ets.insert(tables[:rows], [{1, :text}, {2, :whole, :record}])
      :ok
    end
  end

  setup do
    Process.flag(:trap_exit, true)
    start_supervised!({Server, Full})
    :ok
  end

  defp said(fun) do
    case fun.() do
      {:error, error} when is_exception(error) -> error
      {:error, %{"kind" => kind, "message" => message}} -> "#{kind}: #{message}"
      {:error, text} when is_binary(text) -> text
      other -> "-> #{inspect(other)}"
    end
  rescue
    error -> error
  end

  defp line(name, fun) do
    text =
      case said(fun) do
        %Error{reason: reason} = error ->
          "#{inspect(reason)} #{Exception.message(error)}"

        error when is_exception(error) ->
          "#{inspect(error.__struct__)} #{Exception.message(error)}"

        text ->
          text
      end

    # Where a failure happened is no part of what is said of it.
    text = text |> String.split("\n") |> hd()
    "#{name}: #{String.replace(text, ~r/#PID<[^>]*>/, "PID")}"
  end

  defp starts do
    for {options, start} <- [
          {[tables: []], []},
          {[tables: [:rows]], []},
          {[tables: [[name: :a], [name: :a]]], []},
          {[tables: [[name: :a, type: :heap]]], []},
          {[tables: [[name: :a, tll: 5]]], []},
          {[tables: [[name: :a, python: :read, type: :bag]]], []},
          {[tables: [[name: :a, durable: true]]], []},
          {[tables: [[name: :a, durable: true]]], [dir: "/dev/null/x"]},
          {[views: %{}], []},
          {[views: [[name: "a"]]], []},
          {[views: [[name: :a, handler: &is_nil/1], [name: "a", handler: &is_nil/1]]], []},
          {[views: [[name: "messages_slow", handler: &is_nil/1]]], []},
          {[tables: [[name: :x, python: :read, as: "messages_ordered"]]], []},
          {[], [sync: 0]},
          {[], [on_load_eror: :stop]}
        ] do
      line("start #{inspect(options)} #{inspect(start)}", fn ->
        Server.start_link(Stores.define(options), start)
      end)
      |> String.replace(~r/Slither.Test.Stores.Store\d+/, "STORE")
      |> String.replace(~r/#Function<[^>]*>/, "FUN")
    end ++
      [
        line("start of no store", fn -> Server.start_link(Enum) end),
        line("start of one that fails", fn -> Server.start_link(Empty) end),
        line("start of an odd one", fn -> Server.start_link(Odd) end),
        line("start twice", fn -> {:error, {:already_started, _}} = Server.start_link(Full) end)
      ]
  end

  defp calls do
    many = for n <- 1..20, do: n

    for {name, fun} <- [
          {"unknown store", fn -> Server.get(Fall, :rows, 1) end},
          {"unknown table", fn -> Server.get(Full, :row, 1) end},
          {"get!", fn -> Server.get!(Full, :rows, many) end},
          {"match", fn -> Server.match(Full, :rows, {:"$1", :_, make_ref()}) end},
          {"select", fn -> Server.select(Full, :rows, [:odd]) end},
          {"put wide", fn -> Server.put(Full, :wide, 1, {1}) end},
          {"put other key", fn -> Server.put(Full, :wide, 1, {1, 2}) end},
          {"put no tuple", fn -> Server.put(Full, :wide, 1, :no) end},
          {"bulk", fn -> Server.bulk_insert(Full, :rows, [{1, 1}, :no]) end},
          {"update bag", fn -> Server.update(Full, :bag, 1, & &1) end},
          {"update no function", fn -> Server.update(Full, :rows, 1, :fun) end},
          {"update whole", fn -> Server.update(Full, :rows, 2, fn _ -> :no end) end},
          {"counter bag", fn -> Server.update_counter(Full, :bag, 1, 1) end},
          {"counter wide", fn -> Server.update_counter(Full, :wide, 1, 1) end},
          {"counter float", fn -> Server.update_counter(Full, :rows, 1, 1.5) end},
          {"counter text", fn -> Server.update_counter(Full, :rows, 1, 1) end},
          {"counter nothing", fn -> Server.update_counter(Full, :rows, 3, 1) end},
          {"stream", fn -> Server.stream(Full, :row) end},
          {"watch", fn -> Server.watch(Full, :row) end},
          {"reload", fn -> Server.reload(Fall) end}
        ],
        do: name |> line(fun) |> String.replace(~r/(running stores: ).*/, "\\1…)")
  end

  defp bridge do
    context = %Context{session_id: "s"}

    for {name, fun} <- [
          {"unknown view", fn -> Bridge.call("messages_sloww", %{}, context) end},
          {"ends", fn -> Bridge.call("messages_ends", %{}, context) end},
          {"throws", fn -> Bridge.call("messages_throws", %{}, context) end},
          {"batch", fn -> Bridge.call("messages_batch", 1, context) end},
          {"text", fn -> Bridge.call("messages_text", 1, context) end},
          {"slow", fn -> Bridge.call("messages_slow", 1, context) end},
          {"session", fn -> Bridge.serve(facts("messages_session", 0, 1), & &1) end},
          {"map of no list", fn -> Bridge.serve(facts("messages_text", 1, 1), & &1) end},
          {"unknown table", fn -> table("messages_order", "get", [1]) end},
          {"read only", fn -> table("messages_rows", "put", [[[1, 1]]]) end},
          {"no operation", fn -> table("messages_rows", "sort", []) end},
          {"arguments", fn -> table("messages_rows", "get", [1, 2, 3]) end},
          {"counter", fn -> table("messages_ordered", "update_counter", [1, 1, nil]) end},
          {"no scan", fn -> table("messages_rows", "scan", [123]) end}
        ],
        do: name |> line(fun) |> String.replace(~r/(Known views|Declared): [^.]*/, "\\1: …")
  end

  defp facts(view, mode, params) do
    asked = System.monotonic_time()
    worker = %{pool: :messages, worker: 0, run: nil, timeout: nil}
    Map.merge(worker, %{view: view, mode: mode, params: params, asked: asked})
  end

  defp table(name, op, arguments), do: Bridge.table(name, op, arguments, self())

  defp codec do
    deep = Enum.reduce(1..1_001, 1, fn _, inner -> [inner] end)
    {:ok, date} = Date.new(2024, 1, 1)

    values = [
      self: self(),
      fun: &is_nil/1,
      ref: make_ref(),
      bits: <<1::3>>,
      latin: <<255>>,
      improper: [1 | 2],
      keys: %{1 => 1, 1.0 => 2},
      key: %{[self()] => 1},
      map_key: %{%{} => 1},
      tensor_key: %{Tensor.new(:int8, {1}, [1]) => 1},
      date: date,
      time: ~T[01:02:03],
      naive: ~N[2024-01-01 01:02:03],
      set: MapSet.new(),
      range: 1..2,
      struct: %Context{},
      odd: %{__struct__: 5},
      year: %DateTime{~U[2024-01-01 00:00:00Z] | year: 0},
      tensor: %Tensor{dtype: :int8, shape: {2}, data: <<1>>},
      dtype: %Tensor{dtype: :int7, shape: {1}, data: <<1>>},
      shape: %Tensor{dtype: :int8, shape: [1], data: <<1>>},
      bytes: %Bytes{data: 1},
      big: Bitwise.bsl(1, 600_000)
    ]

    packed =
      for {name, value} <- values,
          do: line("pack #{name}", fn -> Protocol.pack([%{"a" => value}]) end)

    packed =
      packed ++
        [line("pack deep", fn -> Protocol.pack(deep) end) |> String.replace(~r/(\[0\])+/, "[0]…")]

    bytes = [
      nothing: "",
      short: <<0xA5, "ab">>,
      more: <<1, 1>>,
      reserved: <<0xC1>>,
      latin: <<0xA1, 255>>,
      count: <<0x93, 1>>,
      twice: <<0x82, 1, 1, 1, 1>>,
      keys: <<0x82, 1, 1, 0xCB, 1.0::float, 1>>,
      deep: :binary.copy(<<0x91>>, 1_001) <> <<1>>,
      big: <<0xD4, 1, 0>>,
      small: <<0xD5, 1, 0, 1>>,
      datetime: <<0xD4, 2, 0>>,
      tensor: <<0xD4, 3, 0>>,
      dtype: <<0xC7, 16, 3, 4, "int7", 0, 0::80>>,
      unknown: <<0xD4, 99, 0>>,
      fixext: <<0xD4>>
    ]

    packed ++
      for({name, bytes} <- bytes, do: line("unpack #{name}", fn -> Protocol.unpack(bytes) end))
  end

  defp frames do
    bodies = [
      <<1>>,
      <<0x90>>,
      <<0x91, 99>>,
      <<0x92, 12, 0xC0>>,
      <<0x93, 12, 1, 1>>,
      <<0x92, 3, 1>>,
      <<0x95, 5, 1, 0x91, 1, 0xC0, 0x91, 1>>,
      <<0x97, 7, 1, 1, 0xA1, "v", 5, 1, 0xC0>>,
      <<0x97, 9, 1, 0xA3, "odd", 0xA1, "l", 0xA1, "t", 1, 0xC0>>,
      <<0x95, 5, 0xC0>>,
      <<0x95, 11, 1, 0xC0>>,
      <<0x95, 5, 1, 0x92, 1>>
    ]

    for body <- bodies,
        {name, decode} <- [
          all: &Frame.decode/1,
          raw: &Frame.decode_raw/1,
          block: &Frame.decode_block/1
        ],
        do: line("frame #{name} #{inspect(body)}", fn -> decode.(body) end)
  end

  defp environments do
    file = Slither.Test.Pools.path("requirements.txt")
    File.write!(file, "no-such-package\n")

    for {name, fun} <- [
          {"no file", fn -> Env.ensure({:uv, "no/requirements.txt"}) end},
          {"a folder", fn -> Env.ensure({:uv, "."}) end},
          {"no tuple", fn -> Env.ensure("requirements.txt") end},
          {"option", fn -> Env.ensure({:uv, file}, timeot: 1) end},
          {"interpreter", fn -> Env.ensure({:uv, file}, python: "no-python") end}
        ],
        do: line(name, fun)
  end

  @tag :capture_log
  test "mistakes are told in the same words" do
    said =
      for {group, lines} <- [
            starts: starts(),
            calls: calls(),
            bridge: bridge(),
            codec: codec(),
            frames: frames(),
            environments: environments()
          ],
          line <- lines,
          do: "#{group}: #{line}"

    Snapshot.assert_same(said, @expected)
  end
end
