defmodule Slither.Protocol.Frame do
  @moduledoc false
  # The frames of `protocol/PROTOCOL.md`, each a tuple `{name, field, …}`. One table drives encoding,
  # decoding and the checks. Whatever process writes to a transport or reads from it calls this. Pure.

  alias Slither.Protocol.{Block, Counted, Decoder, Encoded, Encoder, Facts, Raised, Splitter}

  @version 2
  @max_frame 268_435_456
  # What a frame may nest: a value's own limit, and some for the frame around it.
  @max_depth 1_024

  @frames [
    {0, :hello, [:int, :map]},
    {1, :welcome, [:int, :map]},
    {2, :ready, [:map]},
    {3, :failed, [:error]},
    {4, :call, [:int, :list, :map, :int, :int, :list]},
    {5, :result, [:int, :list, {:maybe, :map}, :timing]},
    {6, :error, [:int, :error]},
    {7, :view_call, [:int, :int, :string, :mode, :any, {:maybe, :int}]},
    {8, :view_reply, [:int, :int, :any]},
    {9, :log, [:int, :level, :string, :string, :int, {:maybe, :facts}]},
    {10, :progress, [:int, :int, {:maybe, :int}]},
    {11, :part, [:int, :int, :list, {:maybe, :map}]},
    {12, :ping, [:int]},
    {13, :pong, [:int]},
    {15, :shutdown, [:int]},
    {16, :credit, [:int, :int]},
    {17, :cancel, [:int]},
    {18, :table_call, [:int, :int, :string, :string, :list]},
    {19, :session, [:int, :string]},
    {20, :metrics, [:int, :counts]},
    {21, :spans, [:int, :int, :list]},
    {27, :modules, [:modules]},
    # Between BEAM and a driver: a Python program that has started it.
    {32, :start, [:int, :string, :map]},
    {33, :feed, [:int, :int, :int, :bytes]},
    {34, :more, [:int, :int]},
    {35, :take, [:int, :int]},
    {36, :end, [:int]},
    {37, :outputs, [:int, {:maybe, :string}, :int, :int, :bytes, {:maybe, :map}]},
    {38, :done, [:int, :map, {:maybe, :error}]},
    {39, :request, [:int, :string, :map]},
    {40, :kill, [:int, :int]},
    {41, :trace, [:int, :int, :string]}
  ]

  @levels ~w(debug info warning error critical)

  @kinds Map.new(@frames, fn {kind, name, types} -> {kind, {name, types}} end)
  @names Map.new(@frames, fn {kind, name, types} -> {name, {kind, types}} end)

  @doc "The protocol's version."
  @spec version :: pos_integer
  def version, do: @version

  @doc "The largest frame, in bytes, unless a pool says otherwise."
  @spec max_frame :: pos_integer
  def max_frame, do: @max_frame

  @doc "The table of frames: kind, name, field types."
  @spec table :: [{non_neg_integer, atom, list}]
  def table, do: @frames

  @doc "A frame's body."
  @spec encode(tuple) :: {:ok, iodata} | {:error, String.t()}
  def encode(frame) do
    [name | fields] = Tuple.to_list(frame)
    {kind, _types} = Map.fetch!(@names, name)
    Encoder.encode([kind | fields], Atom.to_string(name))
  end

  @doc "The body of a frame whose fields are known to be encodable."
  @spec encode!(tuple) :: iodata
  def encode!(frame) do
    {:ok, body} = encode(frame)
    body
  end

  @doc "What is the same in every call of a run: its target and context, encoded once."
  @spec call_head([String.t()], map) :: binary
  def call_head(target, context) do
    IO.iodata_to_binary([Encoder.encode!(target), Encoder.encode!(context)])
  end

  @doc "What `call_head/2` has encoded of a context without a `trace`, with that."
  @spec traced(binary, String.t()) :: binary
  def traced(head, trace) do
    {:ok, context} = Splitter.skip(head, 1)
    target = binary_part(head, 0, byte_size(head) - byte_size(context))
    <<8::4, count::4, entries::binary>> = context
    IO.iodata_to_binary([target, <<8::4, count + 1::4>>, entries | encoded("trace", trace)])
  end

  defp encoded(name, value), do: [Encoder.encode!(name), Encoder.encode!(value)]

  @doc "The target of what `call_head/2` has encoded."
  @spec call_target(binary) :: [String.t()]
  def call_target(head) do
    {:ok, context} = Splitter.skip(head, 1)
    {:ok, target} = Decoder.decode(binary_part(head, 0, byte_size(head) - byte_size(context)))
    target
  end

  @doc "The context of what `call_head/2` has encoded."
  @spec call_context(binary) :: map
  def call_context(head) do
    {:ok, encoded} = Splitter.skip(head, 1)
    {:ok, context} = Decoder.decode(encoded)
    context
  end

  @doc "A call's body from its encoded head and its encoded items."
  @spec call(pos_integer, binary, non_neg_integer, pos_integer, pos_integer, iodata) :: iodata
  def call(id, head, batch, attempt, count, items) do
    [
      <<0x97, 4>>,
      Encoder.encode!(id),
      head,
      Encoder.encode!(batch),
      Encoder.encode!(attempt),
      Encoder.array(count)
      | items
    ]
  end

  @doc "The body of a view reply, which somebody waits for."
  @spec view_reply(pos_integer, 0 | 1, term) :: {:ok, iodata} | {:error, String.t()}
  def view_reply(id, status, value) do
    with {:ok, encoded} <- Encoder.encode(value, "the answer") do
      {:ok, [<<0x94, 8>>, Encoder.encode!(id), status | encoded]}
    end
  end

  @doc "An outputs frame's body from its encoded values."
  @spec outputs(pos_integer, String.t() | nil, non_neg_integer, pos_integer, iodata, map | nil) ::
          iodata
  def outputs(id, output, first, count, values, errors) do
    size = IO.iodata_length(values)

    [
      <<0x97, 37>>,
      Encoder.encode!(id),
      Encoder.encode!(output),
      Encoder.encode!(first),
      Encoder.encode!(count),
      <<0xC6, size::32>>,
      values | Encoder.encode!(errors)
    ]
  end

  @doc "The kind and the first integer field of a body, without decoding it."
  @spec peek(binary) :: {atom, non_neg_integer} | :error
  def peek(<<tag, kind, rest::binary>>) when tag > 0x91 and tag < 0xA0 do
    with %{^kind => {name, _types}} <- @kinds,
         {id, _rest} <- Decoder.uint(rest) do
      {name, id}
    else
      _ -> :error
    end
  end

  def peek(_body), do: :error

  @doc "The second integer field of a body whose first field is one."
  @spec second_integer(binary) :: {:ok, non_neg_integer} | :error
  def second_integer(<<_array, _kind, rest::binary>>) do
    with {_first, rest} <- Decoder.uint(rest), {second, _rest} <- Decoder.uint(rest) do
      {:ok, second}
    end
  end

  @doc "A body's frame, or why it is none."
  @spec decode(binary) :: {:ok, tuple} | {:error, String.t()}
  def decode(body) do
    case Decoder.decode(body, @max_depth) do
      {:ok, [kind | fields]} when is_integer(kind) -> check(kind, fields)
      {:ok, _other} -> {:error, "a frame is an array that begins with its kind"}
      {:error, why} -> {:error, why}
    end
  end

  @doc "As `decode/1`, with each result of a result or a part left encoded."
  @spec decode_raw(binary) :: {:ok, tuple} | {:error, String.t()}
  def decode_raw(body),
    do: decode_results(body, &Encoded.split/2, fn results, _count, _errors -> results end)

  @doc "As `decode/1`, with all results of a result or a part as one block."
  @spec decode_block(binary) :: {:ok, tuple} | {:error, String.t()}
  def decode_block(body) do
    decode_results(body, &whole/2, fn data, count, errors ->
      %Block{count: count, data: data, errors: errors}
    end)
  end

  defp whole(bytes, count) do
    with {:ok, rest} <- Splitter.skip(bytes, count),
         do: {:ok, binary_part(bytes, 0, byte_size(bytes) - byte_size(rest)), rest}
  end

  # `split` takes the results off the bytes, `wrap` makes of them what stands in the frame. Before
  # them come one or two numbers, behind them the fields that are decoded.
  defp decode_results(<<0x95, kind, rest::binary>>, split, wrap) when kind in [5, 11] do
    {numbers, tail} = if kind == 5, do: {1, 0x92}, else: {2, 0x91}

    with {:ok, before, count, values} <- before_results(rest, numbers, []),
         {:ok, results, rest} <- split.(values, count),
         {:ok, [errors | _] = fields} <- Decoder.decode(<<tail, rest::binary>>, @max_depth),
         {:ok, frame} <- check(kind, before ++ [[] | fields]) do
      {:ok, put_elem(frame, numbers + 1, wrap.(results, count, errors))}
    else
      :error -> {:error, "a malformed #{elem(@kinds[kind], 0)} frame"}
      {:error, why} -> {:error, why}
    end
  end

  defp decode_results(body, _split, _wrap), do: decode(body)

  defp before_results(bytes, 0, done) do
    with {count, values} <- Decoder.array_header(bytes),
         do: {:ok, Enum.reverse(done), count, values}
  end

  defp before_results(bytes, numbers, done) do
    with {number, rest} <- Decoder.uint(bytes),
         do: before_results(rest, numbers - 1, [number | done])
  end

  defp check(kind, fields) do
    case @kinds do
      %{^kind => {name, types}} ->
        case wrong(types, fields, 1) do
          nil -> {:ok, List.to_tuple([name | fields])}
          :count -> {:error, miscounted(name, types, fields)}
          index -> {:error, mistyped(name, index, types, fields)}
        end

      _ ->
        {:error, "unknown frame kind #{kind}"}
    end
  end

  defp wrong([type | types], [field | fields], index),
    do: if(type?(type, field), do: wrong(types, fields, index + 1), else: index)

  defp wrong([], [], _index), do: nil
  defp wrong(_types, _fields, _index), do: :count

  defp miscounted(name, types, fields),
    do: "a #{name} frame has #{length(types)} fields, got #{length(fields)}"

  defp mistyped(name, index, types, fields) when length(types) == length(fields) do
    got = inspect(Enum.at(fields, index - 1), limit: 5, printable_limit: 40)
    "field #{index} of a #{name} frame is #{got}, not #{describe(Enum.at(types, index - 1))}"
  end

  defp mistyped(name, _index, types, fields), do: miscounted(name, types, fields)

  defp type?(:int, value), do: is_integer(value) and value >= 0
  defp type?(:string, value), do: is_binary(value)
  defp type?(:list, value), do: is_list(value)
  defp type?(:bytes, value), do: is_struct(value, Slither.Bytes)
  defp type?(:map, value), do: plain_map?(value)
  defp type?(:any, _value), do: true
  defp type?(:mode, value), do: value in [0, 1]
  defp type?(:level, value), do: value in @levels

  defp type?(:facts, value), do: plain_map?(value) and Facts.valid?(value)

  defp type?(:counts, value), do: Counted.valid?(value)

  defp type?(:modules, value), do: is_list(value) and Enum.all?(value, &module?/1)

  defp type?(:timing, [_, _, _] = value), do: Enum.all?(value, &type?(:int, &1))
  defp type?(:timing, _value), do: false

  defp type?({:maybe, type}, value), do: value == nil or type?(type, value)

  defp type?(:error, %{"kind" => kind, "message" => message} = error),
    do:
      plain_map?(error) and is_binary(kind) and is_binary(message) and
        (not is_map_key(error, "raised") or Raised.valid?(error["raised"]))

  defp type?(:error, _value), do: false

  # A module's name, and the path, the size and the checksum of its file.
  defp module?([name, path, size, checksum]),
    do:
      type?(:string, name) and type?(:bytes, path) and type?(:int, size) and type?(:int, checksum)

  defp module?(_other), do: false

  defp plain_map?(value), do: is_map(value) and not is_map_key(value, :__struct__)

  defp describe({:maybe, type}), do: "#{describe(type)} or nil"
  defp describe(:int), do: "an integer of 0 or more"
  defp describe(:error), do: "a map with a kind and a message"
  defp describe(:facts), do: "a map of what is known of a log record"
  defp describe(:mode), do: "0 or 1"
  defp describe(:level), do: "one of #{Enum.join(@levels, ", ")}"
  defp describe(:counts), do: "a list of metrics"
  defp describe(:modules), do: "a list of modules"
  defp describe(:timing), do: "a list of three integers"
  defp describe(type), do: "a #{type}"
end
