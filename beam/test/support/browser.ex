defmodule Slither.Test.Browser do
  @moduledoc false
  # A client of HTTP that sends what it is told to, as no well-behaved one does.

  @doc "The status, the headers (names in lower case) and the body of what is at `path`."
  def get(url, path, headers \\ [], method \\ "GET") do
    headers = [{"Host", "localhost:#{port(url)}"} | headers] |> Map.new() |> Enum.to_list()
    lines = for {name, value} <- headers, do: [name, ": ", value, "\r\n"]
    url |> open() |> say([method, " ", path, " HTTP/1.1\r\n", lines, "\r\n"]) |> answer()
  end

  @doc "A connection."
  def open(url) do
    %URI{host: host, port: port} = URI.parse(url)
    family = if host =~ ":", do: [:inet6], else: []
    options = [:binary, active: false] ++ family
    {:ok, ip} = host |> String.to_charlist() |> :inet.parse_address()
    {:ok, socket} = :gen_tcp.connect(ip, port, options)
    socket
  end

  @doc "Sends bytes, as long as somebody takes them."
  def say(socket, bytes) do
    _ = :gen_tcp.send(socket, bytes)
    socket
  end

  @doc "All that comes until the other side closes, read as an answer; nil where nothing came."
  def answer(socket) do
    with bytes when bytes != "" <- rest(socket, ""), do: parsed(bytes), else: (_ -> nil)
  end

  defp rest(socket, bytes) do
    case :gen_tcp.recv(socket, 0, 60_000) do
      {:ok, more} -> rest(socket, bytes <> more)
      {:error, reason} when reason in [:closed, :econnreset] -> bytes
    end
  end

  defp parsed(bytes) do
    [head, body] = String.split(bytes, "\r\n\r\n", parts: 2)
    [line | lines] = String.split(head, "\r\n")
    [_version, status | _words] = String.split(line, " ")

    headers =
      for line <- lines, into: %{} do
        [name, value] = String.split(line, ":", parts: 2)
        {String.downcase(name), String.trim(value)}
      end

    {String.to_integer(status), headers, body}
  end

  defp port(url), do: URI.parse(url).port
end
