defmodule Slither.Test.Otlp do
  @moduledoc false
  # A receiver of spans by OTLP over HTTP, which sends what comes to the test: `{:spans, [span]}`. It
  # reads protobuf by its own rules, knowing nothing of how the exporter writes it.

  import ExUnit.Callbacks

  @kinds %{1 => :internal, 2 => :server, 3 => :client, 4 => :producer, 5 => :consumer}

  @doc "Starts one, and gives its URL; `statuses` are its first answers, before 200."
  @spec start([pos_integer]) :: String.t()
  def start(statuses \\ []) do
    test = self()

    {:ok, socket} =
      :gen_tcp.listen(0, [:binary, active: false, packet: :http_bin, ip: {127, 0, 0, 1}])

    {:ok, port} = :inet.port(socket)
    {:ok, answers} = Agent.start_link(fn -> statuses end)
    pid = spawn_link(fn -> accept(socket, test, answers) end)
    on_exit(fn -> Process.exit(pid, :kill) end)
    "http://127.0.0.1:#{port}"
  end

  defp accept(socket, test, answers) do
    with {:ok, client} <- :gen_tcp.accept(socket) do
      pid = spawn(fn -> serve(client, test, answers) end)
      :ok = :gen_tcp.controlling_process(client, pid)
      accept(socket, test, answers)
    end
  end

  defp serve(client, test, answers) do
    with {:ok, {:http_request, :POST, {:abs_path, "/v1/traces"}, _version}} <-
           :gen_tcp.recv(client, 0) do
      size = head(client, 0)
      :ok = :inet.setopts(client, packet: :raw)
      {:ok, body} = :gen_tcp.recv(client, size)

      status =
        Agent.get_and_update(answers, fn
          [status | rest] -> {status, rest}
          [] -> {200, []}
        end)

      send(test, if(status == 200, do: {:spans, spans(body)}, else: {:refused, status}))
      :gen_tcp.send(client, "HTTP/1.1 #{status} x\r\ncontent-length: 0\r\n\r\n")
      :ok = :inet.setopts(client, packet: :http_bin)
      serve(client, test, answers)
    end
  end

  defp head(client, size) do
    case :gen_tcp.recv(client, 0) do
      {:ok, {:http_header, _, :"Content-Length", _, text}} ->
        head(client, String.to_integer(text))

      {:ok, {:http_header, _, _name, _, _value}} ->
        head(client, size)

      {:ok, :http_eoh} ->
        size
    end
  end

  @doc "The spans of a request's body."
  @spec spans(binary) :: [map]
  def spans(body) do
    for {1, resource} <- fields(body),
        {2, scope} <- fields(resource),
        {2, span} <- fields(scope),
        do: span(fields(span), scope, fields(resource))
  end

  defp span(fields, scope, resource) do
    fields = Enum.map(fields, fn {field, value} -> {:"f#{field}", value} end)
    status = if status = fields[:f15], do: fields(status), else: []

    %{
      trace: hex(fields[:f1]),
      id: hex(fields[:f2]),
      parent: fields[:f4] && hex(fields[:f4]),
      name: fields[:f5],
      kind: @kinds[fields[:f6]],
      start: fields[:f7],
      stop: fields[:f8],
      attributes: attributes(Keyword.get_values(fields, :f9)),
      events: Enum.map(Keyword.get_values(fields, :f11), &event(fields(&1))),
      links: for(link <- Keyword.get_values(fields, :f13), do: hex(get(fields(link), 2))),
      failed: get(status, 3) == 2,
      scope: scope |> fields() |> get(1) |> fields() |> get(1),
      service:
        attributes(for {1, all} <- resource, {1, one} <- fields(all), do: one)["service.name"]
    }
  end

  defp event(fields),
    do: {get(fields, 2), attributes(for {3, attribute} <- fields, do: attribute)}

  defp attributes(encoded) do
    Map.new(encoded, fn one ->
      fields = fields(one)
      [{kind, value}] = fields(get(fields, 2))
      {get(fields, 1), value(kind, value)}
    end)
  end

  defp value(2, bool), do: bool == 1

  defp value(3, number) do
    <<signed::signed-64>> = <<number::64>>
    signed
  end

  defp value(4, number) do
    <<float::float-64>> = <<number::64>>
    float
  end

  defp value(5, list),
    do: for({1, one} <- fields(list), [{kind, value}] = fields(one), do: value(kind, value))

  defp value(_text, value), do: value

  defp get(fields, field), do: with({_field, value} <- List.keyfind(fields, field, 0), do: value)

  @doc "The fields of a message, in order."
  @spec fields(binary) :: [{pos_integer, binary | non_neg_integer}]
  def fields(<<>>), do: []

  def fields(bytes) do
    {tag, rest} = varint(bytes)
    field = div(tag, 8)

    case rem(tag, 8) do
      0 ->
        {number, rest} = varint(rest)
        [{field, number} | fields(rest)]

      1 ->
        <<number::little-64, rest::binary>> = rest
        [{field, number} | fields(rest)]

      2 ->
        {size, rest} = varint(rest)
        <<body::binary-size(size), rest::binary>> = rest
        [{field, body} | fields(rest)]
    end
  end

  defp varint(<<0::1, number::7, rest::binary>>), do: {number, rest}

  defp varint(<<1::1, low::7, rest::binary>>) do
    {high, rest} = varint(rest)
    {high * 128 + low, rest}
  end

  defp hex(bytes), do: Base.encode16(bytes, case: :lower)
end
