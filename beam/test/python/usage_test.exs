defmodule Slither.Python.UsageTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Generators, only: [check_all: 3]

  alias Slither.Python.{Board, Usage}

  doctest Usage

  defp seconds(n), do: round(n * System.convert_time_unit(1, :second, :native))

  # Calls and pauses by turns, as `{begin, end}`, from a moment like those of this node's clock.
  defp spans do
    start = -seconds(:rand.uniform(1_000_000))

    {spans, _end} =
      Enum.map_reduce(1..:rand.uniform(20), start, fn _, from ->
        begun = from + seconds(:rand.uniform() * pick([0.001, 1, 20]))
        ended = begun + seconds(:rand.uniform() * pick([0.001, 1, 20]))
        {{begun, ended}, ended}
      end)

    spans
  end

  defp pick(choices), do: Enum.random(choices)

  defp turned(spans, turn) do
    for {begun, ended} <- spans, reduce: 0 do
      number -> number |> turn.(true, begun) |> turn.(false, ended)
    end
  end

  test "the time is that of all calls, at any moment" do
    check_all(200, &spans/0, fn spans ->
      total = spans |> Enum.map(fn {begun, ended} -> ended - begun end) |> Enum.sum()
      number = turned(spans, &Usage.turn_time/3)
      {_begun, last} = List.last(spans)
      assert Usage.time(number, last) == total
      assert Usage.time(number, last + seconds(1_000)) == total
      at_one = Usage.turn_time(number, true, last + 5)
      assert Usage.busy?(at_one) and not Usage.busy?(number)
      assert Usage.time(at_one, last + 12) == total + 7
    end)
  end

  test "the share counts each moment less, the longer ago it is" do
    check_all(200, &spans/0, fn spans ->
      {_begun, last} = List.last(spans)
      now = last + seconds(:rand.uniform() * 5)
      number = turned(spans, &Usage.turn_share/3)

      # The sum over the calls of what is left, at their ends, of the weight of all that was before.
      weight = fn moment -> :math.exp(-(now - moment) / seconds(5)) end

      expected =
        spans |> Enum.map(fn {begun, ended} -> weight.(ended) - weight.(begun) end) |> Enum.sum()

      assert_in_delta Usage.share(number, now), expected, 1.0e-6
    end)
  end

  test "a share is one of 0 to 1 however long nothing changes" do
    for busy? <- [true, false], after_s <- [0, 10, 1_000, 10_000_000] do
      number = Usage.turn_share(0, busy?, -seconds(5))
      share = Usage.share(number, -seconds(5) + seconds(after_s))
      assert share >= 0.0 and share <= 1.0
      if after_s >= 1_000, do: assert(share == if(busy?, do: 1.0, else: 0.0))
    end

    # Of a clock that has gone on less than the one that wrote.
    assert Usage.share(Usage.turn_share(0, true, 1_000), 0) == 0.0
  end

  describe "a board" do
    test "adds up its workers, those that are gone too" do
      board = Board.new(2)
      t = System.monotonic_time() - seconds(100)
      for slot <- 0..1, do: Board.reset(board, slot)
      assert Board.busy_time(board) == 0 and Board.busy_share(board) == 0.0
      Board.begin(board, 0, t)
      Board.rest(board, 0, t + 10)
      Board.rest(board, 0, t + 1_000)
      assert Board.busy_time(board) == 10
      Board.begin(board, 1, t + 20)
      Board.leave(board, 1, t + 25)
      assert Board.busy_time(board) == 15
      Board.reset(board, 1)
      refute Board.at_call?(board, 1)
      assert Board.busy_time(board) == 15
      Board.begin(board, 1, t)
      assert Board.at_call?(board, 1)
      assert Board.busy_time(board) >= 15 + seconds(100)
      # One of two places, for ever so long.
      assert_in_delta Board.busy_share(board), 0.5, 0.01
    end

    test "knows when a worker was free last" do
      board = Board.new(2)
      ms = seconds(0.001)
      t = System.monotonic_time() + seconds(1)
      # None was, before one is ready: that is the moment when the pool began.
      assert Board.last_free(board, [], 0, t) < t
      for slot <- 0..1, do: Board.reset(board, slot)
      assert Board.last_free(board, [0, 1], 0, t) == nil
      Board.begin(board, 0, t)
      assert Board.last_free(board, [0, 1], 3, t) == nil
      Board.begin(board, 1, t + ms)
      assert Board.last_free(board, [0, 1], 0, t + 9 * ms) == t + ms
      # The next call comes at once: nobody was free between them.
      Board.rest(board, 0, t + 10 * ms)
      assert Board.last_free(board, [0, 1], 1, t + 11 * ms) == t + ms
      assert Board.last_free(board, [0, 1], 0, t + 11 * ms) == nil
      Board.begin(board, 0, t + 12 * ms)
      assert Board.last_free(board, [0, 1], 0, t + 13 * ms) == t + ms
      # After a pause that is one, it was.
      Board.rest(board, 0, t + 20 * ms)
      assert Board.last_free(board, [0, 1], 1, t + 80 * ms) == nil
      Board.begin(board, 0, t + 80 * ms)
      assert Board.last_free(board, [0, 1], 1, t + 90 * ms) == t + 80 * ms
      # A worker that dies at a call was not free until then; one that dies at none was.
      Board.leave(board, 0, t + 100 * ms)
      assert Board.last_free(board, [1], 1, t + 110 * ms) == t + 80 * ms
      Board.rest(board, 1, t + 120 * ms)
      Board.leave(board, 1, t + 200 * ms)
      assert Board.last_free(board, [], 1, t + 210 * ms) == t + 200 * ms
    end

    test "never says less than before, while a worker begins and ends calls" do
      board = Board.new(1)
      Board.reset(board, 0)
      test = self()

      writer =
        spawn_link(fn ->
          send(test, :begun)
          turn(board)
        end)

      assert_receive :begun, 60_000

      Enum.reduce(1..2_000, 0, fn _, before ->
        time = Board.busy_time(board)
        assert time >= before
        time
      end)

      Process.unlink(writer)
      Process.exit(writer, :kill)
    end

    defp turn(board) do
      Board.begin(board, 0, System.monotonic_time())
      Board.rest(board, 0, System.monotonic_time())
      turn(board)
    end
  end
end
