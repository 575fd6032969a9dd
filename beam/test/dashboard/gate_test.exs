defmodule Slither.Dashboard.GateTest do
  use ExUnit.Case, async: true

  alias Slither.Dashboard.{Gate, Options, Request}

  doctest Gate
  doctest Request

  @token "a-token-of-one's-own" |> String.replace("'", "_")

  defp gate(options \\ []) do
    {:ok, options} = Options.check(options)
    Gate.new(options, 4040)
  end

  defp request(headers, uri) do
    headers =
      for {name, value} <- headers, do: {String.to_charlist(name), String.to_charlist(value)}

    Request.new(~c"GET", String.to_charlist(uri), headers)
  end

  defp status(gate, headers, uri \\ "/") do
    case Gate.check(gate, request(headers, uri)) do
      {:error, {status, _why}} -> status
      {:token, _cookie} -> :token
      :ok -> :ok
    end
  end

  test "on loopback, it is asked for by a name of loopback, on any port" do
    for host <-
          ~w(localhost localhost:4040 LOCALHOST:9 127.0.0.1:4040 127.8.9.1 [::1]:4040 [::1]),
        do: assert({host, status(gate(), [{"host", host}])} == {host, :ok})

    for host <-
          ~w(evil.example:4040 localhost.evil.example 127.0.0.1.evil.example 10.0.0.1 ::1) ++
            ["", "localhost:4040:1", "a localhost", "127.0.0.1@evil.example"],
        do: assert({host, status(gate(), [{"host", host}])} == {host, 403})

    assert status(gate(), []) == 400
    assert status(gate(), [{"host", "localhost"}, {"host", "evil.example"}]) == 400
    assert status(gate(hosts: ["Page.example"]), [{"host", "page.EXAMPLE:443"}]) == :ok
  end

  test "pages of other sites may link to it, and fetch nothing" do
    from = &[{"host", "localhost"}, {"sec-fetch-site", &1}, {"sec-fetch-mode", &2}]

    for site <- ["cross-site", "same-site"],
        uri <- ["/", "/snapshot", "/stack?pool=a&worker=1"] do
      assert status(gate(), from.(site, "no-cors"), uri) == 403
      assert status(gate(), from.(site, "cors"), uri) == 403
    end

    assert status(gate(), from.("cross-site", "navigate"), "/") == :ok
    assert status(gate(), from.("cross-site", "navigate"), "/stack?pool=a&worker=1") == 403
    assert status(gate(), from.("same-origin", "cors"), "/snapshot") == :ok
    assert status(gate(), from.("none", "navigate"), "/metrics") == :ok
  end

  test "elsewhere it takes a token: in the address, as a bearer or in the cookie that is given for it" do
    gate = gate(ip: "0.0.0.0", token: @token)
    assert status(gate, [{"host", "any.example"}]) == 401
    assert status(gate, [], "/?token=#{@token}") == :token
    assert {:token, cookie} = Gate.check(gate, request([], "/?token=#{@token}"))
    assert cookie =~ "; HttpOnly; SameSite=Lax"
    [pair | _attributes] = String.split(cookie, ";")
    assert status(gate, [{"cookie", pair}]) == :ok
    assert status(gate, [{"cookie", "a=1; #{pair}; b=2"}]) == :ok
    assert status(gate, [{"cookie", "a=1"}, {"cookie", pair}]) == :ok
    assert status(gate, [{"authorization", "Bearer #{@token}"}]) == :ok
    assert status(gate, [{"authorization", "bearer  #{@token} "}]) == :ok
  end

  test "nothing that is not the token opens it" do
    gate = gate(ip: "0.0.0.0", token: @token)
    short = binary_part(@token, 0, byte_size(@token) - 1)
    changed = "b" <> binary_part(@token, 1, byte_size(@token) - 1)

    for wrong <- ["", short, changed, @token <> "a", String.upcase(@token), "\0", "é"] do
      assert status(gate, [{"authorization", "Bearer #{wrong}"}]) == 401
      assert status(gate, [{"cookie", "slither_4040=#{wrong}"}]) == 401
      assert status(gate, [], "/?token=#{URI.encode_www_form(wrong)}") == 401
    end

    assert status(gate, [{"authorization", "Basic #{@token}"}]) == 401
    assert status(gate, [{"authorization", @token}]) == 401
    assert status(gate, [{"cookie", "slither_4041=#{@token}"}]) == 401
    twice = {"authorization", "Bearer #{@token}"}
    assert status(gate, [twice, twice]) == 401
    assert status(gate, [], "/?token=%zz") == 401
  end

  test "a token on loopback is asked for, too" do
    gate = gate(token: @token)
    assert status(gate, [{"host", "localhost"}]) == 401
    assert status(gate, [{"host", "localhost"}, {"authorization", "Bearer #{@token}"}]) == :ok
    assert status(gate, [{"host", "evil.example"}, {"authorization", "Bearer #{@token}"}]) == 403
  end

  test "no print of a gate shows its token" do
    refute inspect(gate(token: @token)) =~ @token
  end
end
