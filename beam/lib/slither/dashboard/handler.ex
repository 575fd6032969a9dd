defmodule Slither.Dashboard.Handler do
  @moduledoc false
  # Answers a request. `httpd` calls `do/1` in the process of the connection.

  alias Slither.Dashboard.{Gate, Httpd, Page, Request, Server}

  # A tuple of inets' `httpd.hrl`, which a machine that builds this may not have.
  def unquote(:do)(
        {:mod, _init, _data, _type, socket, config, method, _absolute, uri, _version, _line,
         headers, _body, _connection}
      ) do
    facts = Httpd.facts(config)
    request = Request.new(method, uri, headers)
    {status, type, headers, body} = answer(facts, request)

    head =
      [code: status, content_type: String.to_charlist(type)] ++
        [content_length: body |> IO.iodata_length() |> Integer.to_charlist()] ++
        for({name, value} <- headers, do: {String.to_charlist(name), String.to_charlist(value)})

    body = if request.method == "HEAD", do: [], else: {&give/3, [socket, body, facts.slow]}
    {:break, [response: {:response, head, body}]}
  end

  # What the system does not take at once is queued; the next to send waits for that. A connection that
  # is only closed stays with its queue for as long as its viewer reads nothing and stays, too.
  defp give(socket, body, slow) do
    with :ok <- :inet.setopts(socket, send_timeout: slow, high_watermark: 1, low_watermark: 0),
         :ok <- :gen_tcp.send(socket, body),
         :ok <- :gen_tcp.send(socket, "") do
      :sent
    else
      {:error, _reason} ->
        _ = :inet.setopts(socket, linger: {true, 0})
        :gen_tcp.close(socket)
        :close
    end
  end

  @type answer :: {pos_integer, String.t(), [{String.t(), String.t()}], iodata}

  @doc "The status, the content type, further headers and the body."
  @spec answer(%{:gate => Gate.t(), :server => pid, optional(:slow) => pos_integer}, Request.t()) ::
          answer
  def answer(_facts, %Request{method: method}) when method not in ["GET", "HEAD"],
    do: text(405, "There is nothing here but to look.", [{"allow", "GET, HEAD"}])

  # For those who watch over processes: it says that it is there, and nothing else.
  def answer(_facts, %Request{path: "/health"}), do: text(200, "ok")

  def answer(facts, request) do
    case Gate.check(facts.gate, request) do
      :ok -> route(request, facts)
      # The token goes out of the address, which stays in a history and on a screen.
      {:token, cookie} when request.path == "/" -> again([{"set-cookie", cookie}])
      {:token, _cookie} -> route(request, facts)
      {:error, {401, why}} -> text(401, why, [{"www-authenticate", "Bearer"}])
      {:error, {status, why}} -> text(status, why)
    end
  end

  defp again(headers), do: text(303, "", [{"location", "/"} | headers])

  # Browsers ask for it by themselves.
  defp route(%{path: "/favicon.ico"}, _facts), do: text(204, "")

  defp route(%{path: "/snapshot"}, facts), do: made(facts, :snapshot, "application/json")

  defp route(%{path: "/metrics"}, facts),
    do: made(facts, :metrics, "text/plain; version=0.0.4; charset=utf-8")

  defp route(%{path: "/stack", query: %{"pool" => pool, "worker" => worker}}, facts) do
    case Integer.parse(worker) do
      {slot, ""} -> made(facts, {:stack, pool, slot}, "application/json")
      _other -> text(400, "A worker is a number.")
    end
  end

  defp route(%{path: "/stack"}, _facts), do: text(400, "Name one: /stack?pool=default&worker=0")

  defp route(%{path: path}, _facts) do
    case Page.fetch(path) do
      {:ok, {type, bytes}} -> {200, type, [], bytes}
      :error -> text(404, "There is no such page.")
    end
  end

  defp made(facts, key, type) do
    case Server.get(facts.server, key) do
      {:ok, body} -> {200, type, [], body}
      {:error, {status, why}} -> text(status, why)
    end
  end

  defp text(status, text, headers \\ []),
    do: {status, "text/plain; charset=utf-8", headers, if(text == "", do: "", else: [text, "\n"])}
end
