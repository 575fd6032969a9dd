defmodule Slither.StreamCallTest do
  use ExUnit.Case, async: true

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.{Error, Session}
  alias Slither.Python.Pool

  @moduletag :capture_log

  setup_all do
    name = unique(:stream_call)
    start_supervised!({Pool, name: name, size: 1, paths: [handlers()]})
    %{pool: name}
  end

  defp stream(pool, function, args, options \\ []),
    do: Slither.stream_call("giving_handlers", function, args, [pool: pool] ++ options)

  # What the generator has told, once it has told that it is closed.
  defp closed(path) do
    await(fn ->
      lines =
        if File.exists?(path), do: String.split(File.read!(path), "\n", trim: true), else: []

      if "closed" in lines, do: lines
    end)
  end

  describe "values" do
    test "come as a generator gives them, plain or asynchronous", %{pool: pool} do
      for function <- ["count", "acount"], n <- [0, 1, 5, 2_500] do
        assert Enum.to_list(stream(pool, function, [n])) == Enum.to_list(0..(n - 1)//1)
      end
    end

    test "come of any iterator, of a list, and of keyword arguments", %{pool: pool} do
      options = [pool: pool, kwargs: %{step: 5}]

      assert Enum.take(Slither.stream_call("itertools", "count", [10], options), 3) == [
               10,
               15,
               20
             ]

      split = Slither.stream_call("builtins", "str.split", ["a b"], pool: pool)
      assert Enum.to_list(split) == ["a", "b"]
      assert Enum.to_list(split) == ["a", "b"], "a stream can be read again"
    end

    test "are not drawn before somebody reads, nor far ahead", %{pool: pool} do
      path = path("drawn")
      numbers = stream(pool, "count", [1_000_000], kwargs: %{path: path})
      refute File.exists?(path)
      assert Enum.take(numbers, 10) == Enum.to_list(0..9)
      assert length(closed(path)) <= 1_001
    end

    test "of two streams come side by side from one worker, with other calls between", %{
      pool: pool
    } do
      pairs =
        Enum.zip_with(stream(pool, "count", [3_000]), stream(pool, "acount", [3_000]), fn a, b ->
          if rem(a, 1_000) == 0, do: assert(Slither.call!("math", "sqrt", [4], pool: pool) == 2.0)
          {a, b}
        end)

      assert pairs == for(n <- 0..2_999, do: {n, n})
    end

    test "come to many readers at once", %{pool: pool} do
      1..10
      |> Enum.map(fn n -> Task.async(fn -> Enum.sum(stream(pool, "count", [n * 500])) end) end)
      |> Task.await_many(patience())
      |> Enum.zip(1..10)
      |> Enum.each(fn {sum, n} -> assert sum == Enum.sum(0..(n * 500 - 1)) end)
    end

    test "have the state of their session", %{pool: pool} do
      assert Enum.take(stream(pool, "remembers", [2_000], session: "giving"), 3) == [1, 2, 3]
      assert [after_that] = Enum.take(stream(pool, "remembers", [2_000], session: "giving"), 1)
      assert after_that > 3
      assert Session.stop("giving") == :ok
    end
  end

  describe "a stream that is read no further closes the generator" do
    test "where the reader stops", %{pool: pool} do
      for function <- ["count", "acount"] do
        path = path(function)
        assert Enum.take(stream(pool, function, [100_000, path]), 2) == [0, 1]
        assert closed(path)
      end
    end

    test "where the reader raises", %{pool: pool} do
      path = path("raised")

      assert_raise RuntimeError, "enough", fn ->
        Enum.each(stream(pool, "count", [100_000, path]), fn _ -> raise "enough" end)
      end

      assert closed(path)
    end

    test "where the reader dies", %{pool: pool} do
      path = path("died")
      test = self()

      reader =
        spawn(fn ->
          Enum.each(stream(pool, "count", [100_000, path]), fn n ->
            if n == 0, do: send(test, :reading)
            if n == 10, do: Process.sleep(:infinity)
          end)
        end)

      assert_receive :reading, patience()
      Process.exit(reader, :kill)
      assert closed(path)
    end

    test "where the reader dies while an asynchronous generator waits" do
      pool = ready_pool(cancel_grace: patience())
      path = path("waiting")
      reader = spawn(fn -> Stream.run(stream(pool, "waits_after", [1, path])) end)
      os_pid = await_running(pool)
      Process.exit(reader, :kill)
      assert closed(path)
      assert Slither.call!("os", "getpid", [], pool: pool) == os_pid
    end

    test "and leaves nothing in the reader's mailbox, nor in the pool", %{pool: pool} do
      assert Enum.take(stream(pool, "count", [100_000]), 2) == [0, 1]
      assert_raise Error, fn -> Enum.to_list(stream(pool, "raises_after", [3])) end
      assert Enum.to_list(stream(pool, "count", [3])) == [0, 1, 2]
      assert {:messages, []} = Process.info(self(), :messages)
      {:ok, handle} = Pool.handle(pool)
      state = :sys.get_state(handle.scheduler)
      assert {state.ledger.parked, state.ledger.leases} == {%{}, %{}}
      refute Enum.any?(state.runs, fn {_run, %{owner: owner}} -> owner == self() end)
    end
  end

  describe "reading raises, after the values before" do
    defp read(stream) do
      me = self()
      error = assert_raise Error, fn -> Enum.each(stream, &send(me, {:value, &1})) end
      {values(), error}
    end

    defp values do
      receive do
        {:value, value} -> [value | values()]
      after
        0 -> []
      end
    end

    test "an exception of the function", %{pool: pool} do
      assert {[0, 1], %Error{reason: :python_exception} = error} =
               read(stream(pool, "raises_after", [2]))

      assert error.message == "ValueError: after 2"
      assert error.python.traceback =~ "giving_handlers.py"
      assert {[], %Error{reason: :python_exception}} = read(stream(pool, "raises_after", [0]))
      assert {[], %Error{reason: :python_exception}} = read(stream(pool, "count", []))
    end

    test "values that can't cross, either way", %{pool: pool} do
      assert {[1], %Error{reason: :not_encodable}} = read(stream(pool, "unsendable", []))
      assert {[], %Error{reason: :not_encodable}} = read(stream(pool, "count", [self()]))
    end

    test "a function that gives none, or is not there", %{pool: pool} do
      assert {[], %Error{reason: :wrong_result} = error} = read(stream(pool, "number", []))
      assert error.message =~ "for one value return a list of one"
      assert {[], %Error{reason: :import_failed}} = read(stream(pool, "nothing", []))
    end

    test "a worker that dies, of which another takes the place" do
      pool = ready_pool()
      assert {values, %Error{reason: :worker_died}} = read(stream(pool, "dies_after", [3]))
      # What had not left the worker died with it.
      assert values == Enum.take([0, 1, 2], length(values))
      assert Enum.to_list(stream(pool, "count", [2])) == [0, 1]
    end

    test "a worker that dies between two chunks" do
      pool = ready_pool()

      {[0], error} =
        pool
        |> stream("count", [100_000])
        |> Stream.map(fn value ->
          if value == 0 do
            os_pid = hd(os_pids(pool, :ready))
            System.cmd("kill", ["-9", "#{os_pid}"])
            await_down(pool, os_pid)
          end

          value
        end)
        |> Stream.filter(&(&1 in [0, 1_000]))
        |> read()

      assert error.reason == :worker_died
    end

    test "a value that takes too long" do
      pool = ready_pool()
      assert {[0, 1], error} = read(stream(pool, "hangs_after", [2], timeout: 1_500))
      assert error.reason == :timeout
    end

    test "a pool that is not there, or stops" do
      assert {[], %Error{reason: :unknown_pool}} = read(stream(:nowhere, "count", [1]))
      pool = ready_pool()

      {[0], error} =
        pool
        |> stream("count", [100_000])
        |> Stream.map(fn value -> value == 0 && stop_supervised!(pool) && 0 end)
        |> Stream.filter(& &1)
        |> read()

      assert error.reason == :pool_unavailable
    end
  end

  test "mistakes raise at once", %{pool: pool} do
    for {args, options} <- [
          {[1], timout: 5},
          {5, []},
          {[1], kwargs: %{1 => 2}},
          {[1], timeout: -1}
        ] do
      assert_raise Error, ~r"Slither.stream_call/4", fn ->
        stream(pool, "count", args, options)
      end
    end

    assert_raise Error, fn -> Slither.stream_call("", "f") end
  end

  describe "a worker that is to leave" do
    test "stays until its streams are read, while new ones serve" do
      pool = ready_pool(size: 1)
      old = hd(os_pids(pool, :ready))

      values =
        pool
        |> stream("pids", [3_000])
        |> Stream.with_index()
        |> Enum.map(fn {os_pid, index} ->
          if index == 0 do
            assert Pool.restart(pool) == :ok
            assert Slither.call!("os", "getpid", [], pool: pool) != old
          end

          os_pid
        end)

      assert Enum.uniq(values) == [old]
      assert await_down(pool, old) == :restart
    end

    test "leaves where the stream is read no further" do
      pool = ready_pool(size: 1)
      old = hd(os_pids(pool, :ready))
      path = path("left")
      test = self()

      reader =
        spawn(fn ->
          Enum.each(stream(pool, "count", [100_000, path]), fn n ->
            if n == 0, do: send(test, :reading)
            if n == 10, do: Process.sleep(:infinity)
          end)
        end)

      assert_receive :reading, patience()
      assert Pool.restart(pool) == :ok

      assert [%{status: :draining, os_pid: ^old} | _] =
               Enum.sort_by(status(pool).workers, & &1.status)

      Process.exit(reader, :kill)
      assert closed(path)
      assert await_down(pool, old) == :restart
    end

    test "with max_calls it goes on, and each stream counts for one" do
      pool = ready_pool(size: 1, max_calls: 2)
      first = Enum.uniq(stream(pool, "pids", [3_000]))
      second = Enum.uniq(stream(pool, "pids", [3_000]))
      third = Enum.uniq(stream(pool, "pids", [1]))
      assert [[one], [one], [other]] = [first, second, third]
      assert one != other
    end
  end
end
