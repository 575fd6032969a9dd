defmodule Slither.Dashboard.ServerTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Slither.Dashboard
  alias Slither.Test.{Browser, JSON}

  # A dashboard of the test's own, on a port that is free.
  defp start(options \\ []) do
    name = :"dashboard_#{System.unique_integer([:positive])}"
    pid = start_supervised!({Dashboard, [name: name, port: 0] ++ options}, id: name)
    %{name: name, pid: pid, url: Dashboard.url(name)}
  end

  # Something to show that waits for `release/1`, and says who makes it.
  defp slow(test), do: fn -> send(test, {:making, self()}) && receive(do: ({:show, it} -> it)) end

  defp release(shown) do
    assert_receive {:making, maker}, 5_000
    send(maker, {:show, shown})
    maker
  end

  defp later(fun), do: Task.async(fun)

  test "serves the page, its files, a snapshot and metrics" do
    %{url: url} =
      start(snapshot: fn -> %{verdict: %{text: "é"}} end, metrics: fn -> ["a ", "1\n"] end)

    assert url =~ ~r{\Ahttp://127\.0\.0\.1:\d+/\z}

    assert {200, %{"content-type" => "text/html; charset=utf-8"}, page} = Browser.get(url, "/")
    assert page =~ "<!doctype html>"
    assert {200, %{"content-type" => "text/javascript" <> _}, _code} = Browser.get(url, "/app.js")
    assert {200, %{"content-type" => "text/css" <> _}, _css} = Browser.get(url, "/style.css")

    # What the code imports is there as well.
    for file <- Path.wildcard("beam/lib/slither/dashboard/page/*.js"),
        [_all, name] <- Regex.scan(~r{from "\./(\w+\.js)"}, File.read!(file)),
        do:
          assert(
            {200, %{"content-type" => "text/javascript" <> _}, _code} =
              Browser.get(url, "/" <> name)
          )

    assert {204, _headers, ""} = Browser.get(url, "/favicon.ico")
    assert {200, _headers, "ok\n"} = Browser.get(url, "/health")

    assert {200, headers, ~s({"verdict":{"text":"é"}})} = Browser.get(url, "/snapshot")
    assert headers["content-type"] == "application/json"
    assert {200, headers, "a 1\n"} = Browser.get(url, "/metrics")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
  end

  test "what it says is kept by nobody, framed by nobody and has nothing of another host" do
    %{url: url} = start()

    for path <- ["/", "/snapshot", "/nothing", "/" <> String.duplicate("a", 3_000)] do
      assert {_status, headers, _body} = Browser.get(url, path)
      assert headers["cache-control"] == "no-store"
      assert headers["content-security-policy"] =~ "default-src 'self'"
      assert headers["x-content-type-options"] == "nosniff"
      assert headers["x-frame-options"] == "DENY"
      assert headers["server"] == nil
    end
  end

  test "the head of an answer says its length, and has no body" do
    %{url: url} = start()
    assert {200, %{"content-length" => length}, page} = Browser.get(url, "/")
    assert {200, %{"content-length" => ^length}, ""} = Browser.get(url, "/", [], "HEAD")
    assert String.to_integer(length) == byte_size(page)
  end

  test "nothing but to look: any other method is refused" do
    %{url: url} = start()

    # Some `httpd` itself does not know.
    for method <- ~w(POST PUT DELETE PATCH OPTIONS CONNECT TRACE BREW get) do
      assert {status, _headers, _body} = Browser.get(url, "/snapshot", [], method)
      assert {method, status in [405, 411, 501]} == {method, true}
    end

    assert {405, %{"allow" => "GET, HEAD"}, _body} = Browser.get(url, "/", [], "DELETE")
  end

  test "no path leads to a file" do
    %{url: url} = start()

    for path <- ~w(/../../etc/passwd /%2e%2e/%2e%2e/etc/passwd /..%2f..%2fetc/passwd //etc/passwd
                   /app.js/../../../mix.exs /page/index.html /index.html /app.js%00 /%c0%ae%c0%ae/etc
                   http://localhost/etc/passwd) do
      assert {status, _headers, body} = Browser.get(url, path)
      assert {path, status in [400, 403, 404]} == {path, true}
      refute body =~ "root:"
    end
  end

  test "what is no request of HTTP costs nobody anything" do
    %{url: url} = start()

    for bytes <- [
          <<0, 255, 0, 13, 10, 13, 10>>,
          "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
          "GET / HTTP/1.1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
          "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
          ["GET / HTTP/1.1\r\nHost: localhost\r\nX: ", String.duplicate("a", 40_000), "\r\n\r\n"],
          ["GET /", String.duplicate("a", 40_000)],
          [
            "GET / HTTP/1.1\r\nHost: localhost\r\n",
            for(i <- 1..5_000, do: ["X#{i}: 1\r\n"]),
            "\r\n"
          ]
        ] do
      # A side that closes with bytes unread may cost the other one what was said.
      with {status, _headers, _body} <-
             url |> Browser.open() |> Browser.say(bytes) |> Browser.answer(),
           do: assert(status in [400, 408, 411, 413, 414, 505])
    end

    assert {200, _headers, _page} = Browser.get(url, "/")
  end

  test "a page that has its name lead to loopback is refused, and so is one that fetches" do
    %{url: url} = start(snapshot: fn -> %{secret: 1} end)
    assert {403, _headers, body} = Browser.get(url, "/snapshot", [{"Host", "evil.example"}])
    refute body =~ "secret"
    cross = [{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Mode", "no-cors"}]
    assert {403, _headers, _body} = Browser.get(url, "/snapshot", cross)
  end

  test "elsewhere than on loopback it takes the token that was made, and keeps it in a cookie" do
    log = capture_log(fn -> send(self(), start(ip: "0.0.0.0")) end)
    assert_received %{url: url}
    assert %{"token" => token} = URI.decode_query(URI.parse(url).query)
    assert log =~ url

    assert {401, headers, _body} = Browser.get(url, "/snapshot")
    assert headers["www-authenticate"] == "Bearer"
    assert {401, _headers, _body} = Browser.get(url, "/?token=wrong")
    assert {200, _headers, "ok\n"} = Browser.get(url, "/health")

    assert {303, %{"location" => "/"} = headers, ""} = Browser.get(url, "/?token=#{token}")
    [cookie | _attributes] = String.split(headers["set-cookie"], ";")
    assert {200, _headers, _page} = Browser.get(url, "/", [{"Cookie", cookie}])
    assert {200, _headers, _json} = Browser.get(url, "/snapshot", [{"Cookie", cookie}])
    bearer = [{"Authorization", "Bearer #{token}"}]
    assert {200, _headers, _text} = Browser.get(url, "/metrics", bearer)
  end

  test "a token that was given is told to no log" do
    token = "one-of-the-users-own"
    Logger.put_module_level(Dashboard.Server, :notice)
    on_exit(fn -> Logger.delete_module_level(Dashboard.Server) end)
    log = capture_log(fn -> send(self(), start(ip: "0.0.0.0", token: token)) end)
    assert_received %{url: url, pid: pid}
    assert log =~ "dashboard: http://0.0.0.0:"
    refute log =~ token
    refute url =~ token
    # Nor to a crash report.
    refute inspect(:sys.get_state(pid), limit: :infinity, structs: false) =~ token
  end

  test "what many ask for at a time is made once, and serves those who come within a moment" do
    %{url: url} = start(snapshot: slow(self()), fresh: 60_000)
    viewers = for _ <- 1..20, do: later(fn -> Browser.get(url, "/snapshot") end)
    release(%{made: "once"})
    for {200, _headers, body} <- Task.await_many(viewers), do: assert(body == ~s({"made":"once"}))
    assert {200, _headers, ~s({"made":"once"})} = Browser.get(url, "/snapshot")
    refute_received {:making, _maker}
  end

  test "what was made is made anew once it is no more fresh" do
    test = self()
    %{url: url, pid: pid} = start(snapshot: fn -> send(test, :made) && %{} end, fresh: 1)
    assert {200, _headers, "{}"} = Browser.get(url, "/snapshot")
    assert_received :made
    wait_until(fn -> :sys.get_state(pid).once.made == %{} end)
    assert {200, _headers, "{}"} = Browser.get(url, "/snapshot")
    assert_received :made
  end

  test "a snapshot that raises, exits or throws is told to who asked, and the next is made" do
    test = self()

    raising = fn ->
      send(test, {:making, self()})

      receive do
        :raise -> raise "no idea"
        :exit -> exit(:gone)
        :throw -> throw(:ball)
        :kill -> Process.exit(self(), :kill)
      end
    end

    %{url: url, pid: pid} = start(snapshot: raising, fresh: 1)

    for {how, status, words} <- [
          {:raise, 500, "(RuntimeError) no idea"},
          {:exit, 500, "gone"},
          {:throw, 500, "ball"},
          {:kill, 504, "took longer"}
        ] do
      wait_until(fn -> :sys.get_state(pid).once.made == %{} end)
      viewer = later(fn -> Browser.get(url, "/snapshot") end)
      assert_receive {:making, maker}, 5_000
      send(maker, how)
      assert {^status, _headers, body} = Task.await(viewer)
      assert body =~ words
    end

    assert {200, _headers, _page} = Browser.get(url, "/")
  end

  test "a snapshot that never comes is given up" do
    %{url: url} = start(snapshot: slow(self()), patience: 50)
    viewer = later(fn -> Browser.get(url, "/snapshot") end)
    assert_receive {:making, maker}, 5_000
    monitor = Process.monitor(maker)
    assert {504, _headers, "This took longer than 50 ms to tell.\n"} = Task.await(viewer)
    assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, 5_000
  end

  test "the stack of a worker that is there, or why there is none" do
    stack = fn
      "gpu", 1 -> {:ok, %{worker: 1, stack: "File …"}}
      _pool, _worker -> {:error, %Slither.Error{reason: :unknown_worker, message: "no such one"}}
    end

    %{url: url} = start(stack: stack)
    assert {200, _headers, json} = Browser.get(url, "/stack?pool=gpu&worker=1")
    assert JSON.read!(json) == %{"stack" => "File …", "worker" => 1}
    assert {404, _headers, "no such one\n"} = Browser.get(url, "/stack?pool=gpu&worker=2")

    for query <- ["", "?pool=gpu", "?pool=gpu&worker=", "?pool=gpu&worker=1x"] do
      assert {400, _headers, _body} = Browser.get(url, "/stack" <> query)
    end
  end

  test "a pool that nobody knows makes no atom" do
    %{url: url} = start()
    name = "unheard_of_#{System.unique_integer([:positive])}"
    assert {404, _headers, body} = Browser.get(url, "/stack?pool=#{name}&worker=0")
    assert body =~ "no pool #{name} runs"
    assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
  end

  test "more than it takes at one time is refused, and the rest go on" do
    test = self()
    %{url: url} = start(stack: fn _pool, _worker -> slow(test).() end)
    asked = for i <- 1..16, do: later(fn -> Browser.get(url, "/stack?pool=a&worker=#{i}") end)
    makers = for _ <- asked, do: assert_receive({:making, maker}, 5_000) && maker
    assert {503, _headers, _body} = Browser.get(url, "/stack?pool=a&worker=17")
    assert {200, _headers, _page} = Browser.get(url, "/")
    for maker <- makers, do: send(maker, {:show, {:ok, %{}}})
    for answer <- Task.await_many(asked), do: assert({200, _headers, "{}"} = answer)
  end

  test "connections that say nothing, or stop in the middle, are closed and hold up nobody" do
    %{url: url} = start(max_clients: 3)

    held =
      for bytes <- [
            "",
            "GET / HTTP/1.1\r\nHost",
            "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
          ],
          do: url |> Browser.open() |> Browser.say(bytes)

    # Later releases say why.
    for socket <- held do
      answer = Browser.answer(socket)
      assert answer == nil or match?({408, _headers, _body}, answer)
    end

    assert {200, _headers, _page} = Browser.get(url, "/")
  end

  test "a viewer that takes nothing of a long answer is left, and others are served" do
    long = fn -> String.duplicate("a", 20_000_000) end
    %{url: url} = start(snapshot: long)
    assert {200, _headers, body} = Browser.get(url, "/snapshot")
    assert byte_size(body) == 20_000_002

    %{url: url} = start(snapshot: long, slow: 500)
    deaf = Browser.open(url)
    Browser.say(deaf, "GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert {200, _headers, _page} = Browser.get(url, "/")
    # What it has not taken is nowhere any more: the connection is gone, not only closed.
    wait_until(fn -> match?({:error, _reason}, :gen_tcp.send(deaf, "x")) end)
  end

  test "a port that is named and taken is an error; none that is named, the next" do
    %{url: url} = start()
    port = URI.parse(url).port
    assert {:error, {error, _child}} = start_supervised({Dashboard, port: port, name: :taken_one})
    assert Exception.message(error) =~ "dashboard: port #{port} is taken (name another, or none"

    urls =
      for name <- [:any_one, :any_two],
          do: start_supervised!({Dashboard, name: name}, id: name) && Dashboard.url(name)

    [one, two] = for url <- urls, do: URI.parse(url).port
    assert one in 4040..4059 and two in 4040..4059 and one != two
  end

  test "an address that this machine has not is an error" do
    options = [ip: "192.0.2.1", port: 0, name: :nowhere]
    assert {:error, {error, _child}} = start_supervised({Dashboard, options})
    assert Exception.message(error) =~ "this machine has no address 192.0.2.1"
  end

  test "its end closes what it listens on, at once, with viewers in it" do
    %{url: url, name: name} = start(snapshot: slow(self()))

    viewer =
      later(fn ->
        url
        |> Browser.open()
        |> Browser.say("GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n")
        |> Browser.answer()
      end)

    assert_receive {:making, _maker}, 5_000
    :ok = stop_supervised(name)
    answer = Task.await(viewer)
    assert answer == nil or match?({503, _headers, _body}, answer)
    assert_raise MatchError, fn -> Browser.open(url) end
  end

  test "it outlives the end of its web server" do
    %{url: url, pid: pid} = start()

    log =
      capture_log(fn ->
        Process.exit(:sys.get_state(pid).httpd, :kill)
        wait_until(fn -> answers?(url) end)
      end)

    assert log =~ "dashboard: its web server has ended: killed"
    assert Process.alive?(pid)
  end

  defp answers?(url) do
    match?({200, _headers, _page}, Browser.get(url, "/"))
  rescue
    MatchError -> false
  end

  defp wait_until(done?) do
    unless done?.() do
      receive do
      after
        10 -> wait_until(done?)
      end
    end
  end
end
