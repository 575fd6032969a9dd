defmodule Slither.DoctorTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools, only: [path: 1]

  alias Slither.Doctor

  doctest Slither.Doctor

  defp findings(pools), do: pools |> Doctor.findings() |> Enum.to_list()

  defp interpreter(script) do
    path = path("python")
    File.write!(path, "#!/bin/sh\n#{script}\n")
    File.chmod!(path, 0o755)
    path
  end

  test "what is installed is told, in a line each" do
    found = findings([])
    assert for({good, _what, _found} <- found, not good, do: good) == []

    assert for({_good, what, _found} <- found, do: what) ==
             ~w(Elixir OTP Python slither msgpack uv)

    found = Map.new(found, fn {_good, what, text} -> {what, text} end)
    assert found["Elixir"] == System.version()
    assert found["OTP"] =~ ~r/^#{System.otp_release()} at /
    assert found["Python"] =~ ~r/^3\.\d+\.\d+ at .*python/
    assert found["slither"] =~ ~r{^\d+\.\d+\.\d+ in .*python/slither$}
    assert found["msgpack"] =~ ~r/^\d+\.\d+\.\d+/
    assert found["uv"] =~ ~r/^uv \d+.* at /
  end

  test "a pool is told with its interpreter" do
    assert {true, "pool good", found} = List.last(findings(good: [size: 3]))
    assert found =~ ~r/^3 workers of .*python/
  end

  test "a pool's environment is told before it is built" do
    file = path("requirements.txt")
    File.write!(file, "some-package\n")
    assert {true, "pool envs", found} = List.last(findings(envs: [python: {:uv, file}]))
    assert found =~ "the environment of #{file} is not built yet"
  end

  test "a pool that another file of the configuration takes out is not looked at" do
    for none <- [nil, false, [], [odd: false, gone: nil]], do: assert(length(findings(none)) == 6)

    for wrong <- [:none, [:odd], [odd: 2]] do
      assert {false, "pools", found} = List.last(findings(wrong))
      assert found =~ "pools: takes options by name, or false, got #{inspect(wrong)}"
    end

    assert {false, "pools", found} = List.last(findings(odd: [], odd: []))
    assert found =~ "pool :odd is there twice"
  end

  test "a pool that can't work is told with what it lacks, and how to get it" do
    bare =
      interpreter("echo python 3 9 1; echo executable /bare; echo 'no_msgpack ImportError()'")

    pools = [
      bare: [python: bare],
      gone: [python: "no-such-python"],
      odd: [sise: 2],
      broken: [python: interpreter("echo out of order; exit 7")]
    ]

    assert [
             {false, "pool bare", "Python: 3.9.1 at /bare is too old" <> _},
             {false, "pool bare", "slither: it can't be imported; " <> slither},
             {false, "pool bare", "msgpack: ImportError(); " <> msgpack},
             {false, "pool gone", gone},
             {false, "pool odd", odd},
             {false, "pool broken", broken}
           ] = pools |> findings() |> Enum.drop(6)

    assert slither =~ "#{bare} -m pip install slither-beam"
    assert msgpack =~ "#{bare} -m pip install 'msgpack>=1.0.8'"
    assert gone =~ ~s(no Python interpreter "no-such-python")
    assert odd =~ "Did you mean :size?"
    assert broken =~ "ended with status 7: out of order"
  end
end
