defmodule Slither.Python.RlimitsTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.Python.{Pool, Rlimits}

  doctest Rlimits

  # RLIMIT_CORE and RLIMIT_NOFILE, which have these numbers on Linux.
  defp limit(pool, name) do
    assert {:ok, number} =
             Slither.call("resource", "__getattribute__", ["RLIMIT_#{name}"], pool: pool)

    assert {:ok, pair} = Slither.call("resource", "getrlimit", [number], pool: pool)
    pair
  end

  describe "a worker" do
    test "is held to its limits, and what it starts, too" do
      pool = ready_pool(rlimits: [nofile: 200, core: {0, 0}, cpu: {1_000, :infinity}])
      assert {200, hard} = limit(pool, "NOFILE")
      assert hard == -1 or hard >= 200
      assert limit(pool, "CORE") == {0, 0}
      assert limit(pool, "CPU") == {1_000, -1}
      assert {:ok, "200"} = Slither.call("subprocess", "getoutput", ["ulimit -n"], pool: pool)
    end

    test "that asks for more addresses than it may have gets a MemoryError" do
      pool = ready_pool(rlimits: [as: 2_000_000_000])
      assert {:error, error} = Slither.call("builtins", "bytearray", [4_000_000_000], pool: pool)
      assert error.python.type == "MemoryError"
      assert {:ok, 1} = Slither.call("builtins", "abs", [-1], pool: pool)
    end

    test "is held to them by what it imports first" do
      pool = start_pool(rlimits: [as: 400_000_000], preload: ["large_at_start"])
      assert {:error, error} = Pool.await_ready(pool, patience())
      assert Exception.message(error) =~ "MemoryError"
    end

    test "that is over its time of cores says so" do
      pool = ready_pool(rlimits: [cpu: 1])
      assert {:error, error} = Slither.call("holding_handlers", "spin", [], pool: pool)
      assert error.reason == :worker_died
      assert Exception.message(error) =~ "SIGXCPU"
      assert error.hint =~ "rlimits: [cpu: …]"
    end
  end

  describe "a pool" do
    test "whose limit is beyond what the system allows does not start, and says which" do
      pool = start_pool(rlimits: [nofile: 1_000_000_000_000])
      assert {:error, error} = Pool.await_ready(pool, patience())
      message = Exception.message(error)
      assert message =~ "rlimits: nofile=1000000000000 is beyond the hard limit, which is "
    end

    test "refuses names and values that are none" do
      for wrong <- [
            [nofil: 1],
            [as: -1],
            [as: 1.5],
            [as: {2, 1}],
            [as: {:infinity, 1}],
            [as: "much"],
            [as: [1]],
            %{"nofil" => 1},
            7
          ] do
        assert {:error, error} = Pool.start_link(name: unique(:p), rlimits: wrong)
        assert error.reason == :invalid_option

        assert error.message =~
                 "option :rlimits takes limits by the names of resources (:as, :core"
      end
    end

    test "takes a driver's, which are data" do
      assert Rlimits.valid?(%{"as" => nil, "nofile" => [1, nil]})

      assert Rlimits.new(%{"as" => nil, "nofile" => [1, nil]}) == %{
               "as" => [nil],
               "nofile" => [1, nil]
             }

      assert Rlimits.new(nil) == nil
    end
  end
end
