defmodule Slither.Dashboard.OptionsTest do
  use ExUnit.Case, async: true

  alias Slither.Dashboard.Options

  doctest Options

  test "true and a port stand for options" do
    {:ok, any} = Options.check(true)
    assert {any.ports, any.named} == {Enum.to_list(4040..4059), false}
    assert Options.check(4041) == Options.check(port: 4041)
  end

  test "a token is made where others may come in and none is given" do
    {:ok, here} = Options.check([])
    assert {here.loopback, here.token, here.made} == {true, nil, false}

    for ip <- ["0.0.0.0", "::", {192, 168, 0, 1}, "fe80::1"] do
      {:ok, one} = Options.check(ip: ip)
      {:ok, other} = Options.check(ip: ip)
      assert {one.loopback, one.made} == {false, true}
      assert byte_size(one.token) == 32
      assert one.token != other.token
    end

    {:ok, given} = Options.check(ip: "0.0.0.0", token: "one-that-is-given")
    assert {given.token, given.made} == {"one-that-is-given", false}

    for ip <- ["127.0.0.1", "127.9.9.9", "::1"],
        do: assert({:ok, %{loopback: true}} = Options.check(ip: ip))
  end

  test "an error says what an option takes" do
    for {options, words} <- [
          {[port: -1], "option :port takes a port (0 to 65535; 0 for any that is free), got -1"},
          {[ip: "localhost"], "option :ip takes an IP address, as a tuple or a string"},
          {[ip: {1, 2, 3}], "option :ip takes an IP address, as a tuple or a string"},
          {[token: "short"], "option :token takes a string of 16 or more letters"},
          {[token: "with spaces in it all over"], "option :token takes"},
          {[prot: 1], "unknown option :prot. Did you mean :port?"},
          {"4040", "takes a keyword list"}
        ] do
      assert {:error, error} = Options.check(options)
      assert Exception.message(error) =~ words
    end
  end

  test "a map of strings is read as options are" do
    quiet = &Options.check([tell: false] ++ &1)
    assert Options.from_wire(%{"port" => 1, "ip" => "::1"}) == quiet.(port: 1, ip: "::1")
    assert Options.from_wire(true) == quiet.([])
    assert Options.from_wire(4041) == quiet.(port: 4041)
    assert {:error, _error} = Options.from_wire("yes")
    assert {:error, error} = Options.from_wire(%{"prot" => 1})
    assert Exception.message(error) =~ ~s(no option is called "prot". Did you mean "port"?)
  end
end
