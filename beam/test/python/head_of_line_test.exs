defmodule Slither.Python.HeadOfLineTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Dispatch
  alias Slither.Python.Pool
  alias Slither.Python.Board

  # Batches of one path each, which return when the path's file is there.
  defp hold(pool, paths) do
    Task.async(fn -> Dispatch.run(paths, options(pool, "hold", batch_size: 1)) end)
  end

  defp pids({:ok, items}), do: Enum.map(items, & &1.payload)

  describe "a long call" do
    test "has no other behind it while another worker is free" do
      # Both workers are known for short calls.
      pool = quick_pool(size: 2)
      [one, two] = paths = [path("one"), path("two")]
      run = hold(pool, paths)
      running = [await_running(pool), await_running(pool)]
      assert length(Enum.uniq(running)) == 2
      Enum.each([one, two], &File.write!(&1, ""))
      assert Enum.sort(pids(Task.await(run))) == Enum.sort(running)
    end

    test "does not hold up a short one that comes while both workers are busy" do
      pool = ready_pool(size: 2)
      [one, two] = [path("one"), path("two")]
      long = hold(pool, [one])
      first = await_running(pool)
      other = hold(pool, [two])
      second = await_running(pool)
      assert first != second

      # Nobody knows how long the calls of either worker take: the short one waits for whichever
      # is free first, and goes ahead though the other is still at its long call.
      short = Task.async(fn -> call(pool, "pid", 0) end)
      await_queue(pool, 1)
      File.write!(two, "")
      assert Task.await(short) == {:ok, second}
      assert Task.yield(long, 0) == nil
      File.write!(one, "")
      assert pids(Task.await(long)) == [first]
      assert pids(Task.await(other)) == [second]
    end

    test "has none behind it that comes while it runs, though its worker is known for short ones" do
      pool = quick_pool(size: 2)
      long = hold(pool, [held = path("held")])
      running = await_running(pool)
      until = System.monotonic_time(:millisecond) + 10
      await_time(until)

      for _ <- 1..20 do
        short = Dispatch.run([0, 0], options(pool, "pid", batch_size: 1, max_in_flight: 2))
        assert [other, other] = pids(short)
        assert other != running
      end

      File.write!(held, "")
      assert pids(Task.await(long)) == [running]
    end

    test "waits for a worker that starts, rather than behind another" do
      pool = ready_pool(size: 1)
      [one, two] = [path("one"), path("two")]
      first = hold(pool, [one])
      _pid = await_running(pool)
      second = hold(pool, [two])
      await_queue(pool, 1)
      assert {:ok, %{workers: [%{calls: 1}]}} = Pool.status(pool)
      for path <- [one, two], do: File.write!(path, "")
      assert [_] = pids(Task.await(first))
      assert [_] = pids(Task.await(second))
    end
  end

  # Looks until as many calls wait, or the test's own time is over.
  defp await_queue(pool, count) do
    {:ok, %{queue: queue}} = Pool.status(pool)
    if queue == count, do: :ok, else: await_queue(pool, count)
  end

  # That time passes is what the test is about.
  defp await_time(until) do
    if System.monotonic_time(:millisecond) < until, do: await_time(until), else: :ok
  end

  describe "the pace of a worker" do
    test "is short only where its calls are known to be" do
      board = Board.new(2)
      refute Board.short?(board, 0, 1)
      Board.took(board, 0, 100)
      assert Board.short?(board, 0, 1)
      refute Board.short?(board, 1, 1)
    end

    test "is long after a long call, and forgets it by halves" do
      board = Board.new(1)
      Board.took(board, 0, 100)
      Board.took(board, 0, 100_000)
      refute Board.short?(board, 0, 1)
      assert Board.long?(board, 0, 1)
      for _ <- 1..5, do: Board.took(board, 0, 100)
      assert Board.short?(board, 0, 1)
    end

    test "is that of all calls before another, together" do
      board = Board.new(1)
      Board.took(board, 0, 2_000)
      assert Board.short?(board, 0, 2)
      refute Board.long?(board, 0, 2)
      refute Board.short?(board, 0, 3)
      assert Board.long?(board, 0, 3)
    end

    test "is long while a call takes longer than those before it, where there is another worker" do
      board = Board.new(2)
      Board.took(board, 0, 100)
      Board.run(board, 0, -1_000)
      assert Board.short?(board, 0, 1, -996)
      refute Board.short?(board, 0, 1, -994)
      Board.put_size(board, 1)
      assert Board.short?(board, 0, 1, -994)
      Board.run(board, 0, nil)
      assert Board.short?(board, 0, 1, -994)
    end

    test "is unknown for a worker that takes the place of another" do
      board = Board.new(1)
      Board.took(board, 0, 100)
      Board.run(board, 0, -1_000)
      Board.reset(board, 0)
      refute Board.short?(board, 0, 1)
      refute Board.long?(board, 0, 1)
    end
  end
end
