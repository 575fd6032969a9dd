defmodule Slither.Python.LimitsTest do
  # What decides, without a process, when workers are started and replaced.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  alias Slither.Python.{Environment, Rss}
  alias Slither.Pool.Staff.Backoff
  alias Slither.Python.Board
  alias Slither.Python.Worker.Life

  describe "back-off" do
    test "doubles its pauses, with jitter, up to ten seconds" do
      {delays, _backoff} =
        Enum.map_reduce(1..12, %Backoff{}, fn _round, backoff ->
          {delay, backoff} = Backoff.failed(Backoff.retry(backoff))
          {delay, backoff}
        end)

      for {delay, round} <- Enum.with_index(delays) do
        longest = min(100 * Integer.pow(2, round), 10_000)
        assert delay > div(longest, 2) and delay <= longest
      end
    end

    test "takes failures during a pause for one" do
      {delay, backoff} = Backoff.failed(%Backoff{})
      assert is_integer(delay)
      assert {nil, backoff} = Backoff.failed(backoff)
      assert {nil, backoff} = Backoff.failed(backoff)
      assert backoff.rounds == 1
      assert Backoff.hopeless?(backoff)
    end

    test "lets one worker try after a failure, and all once that is ready" do
      assert Backoff.room(%Backoff{}) == :infinity
      {_delay, backoff} = Backoff.failed(%Backoff{})
      assert Backoff.room(backoff) == 0
      backoff = Backoff.retry(backoff)
      assert Backoff.room(backoff) == 1
      backoff = Backoff.ready(backoff)
      assert Backoff.room(backoff) == :infinity
      refute Backoff.hopeless?(backoff)
    end

    test "holds for workers that end as soon as they are ready, again and again" do
      {nil, backoff} = Backoff.ended(%Backoff{}, true)
      {nil, backoff} = Backoff.ended(Backoff.ready(backoff), true)
      {first, backoff} = Backoff.ended(Backoff.ready(backoff), true)
      assert first in 51..100
      assert Backoff.room(backoff) == 0
      backoff = Backoff.ready(Backoff.retry(backoff))
      assert Backoff.room(backoff) == 1
      {second, backoff} = Backoff.ended(backoff, true)
      assert second in 101..200
      # One that has lived ends the row.
      {nil, backoff} = Backoff.ended(Backoff.retry(backoff), false)
      assert Backoff.room(Backoff.ready(backoff)) == :infinity
    end
  end

  describe "limits of a worker" do
    defp ready(limits, rss \\ nil) do
      settings = Map.merge(%{max_requests: nil, max_rss: nil, max_age: nil}, Map.new(limits))
      Life.ready(%Life{}, settings, rss)
    end

    defp served(life, count), do: life |> Life.served(count) |> elem(0)

    test "are met a little apart, and never late" do
      limits =
        for _ <- 1..500 do
          {[aged: age], %{limits: limits}} = ready(max_requests: 1_000, max_age: 5_000)
          assert limits.age == age
          limits
        end

      requests = Enum.map(limits, & &1.requests)
      assert Enum.min(requests) >= 900 and Enum.max(requests) <= 1_000
      assert length(Enum.uniq(requests)) > 20
      ages = Enum.map(limits, & &1.age)
      assert Enum.min(ages) >= 4_500 and Enum.max(ages) <= 5_000
    end

    test "of calls are met once" do
      {[], life} = ready(max_requests: 3)
      assert Enum.map(1..5, &served(life, &1)) == [[], [], [{:due, :max_requests, 3}], [], []]
    end

    test "of memory are above what a worker takes when it starts" do
      for _ <- 1..200 do
        {[], %{limits: %{rss: limit}} = life} = ready([max_rss: 1_100], 1_000)
        assert limit in 1_090..1_100
        assert Life.measured(life, limit - 1) == []
        assert Life.measured(life, limit) == [{:due, :max_rss, limit}]
      end
    end

    test "of memory do not apply to one that is beyond it from the start" do
      assert {[{:rss_low, 1_000}], life} = ready([max_rss: 1_000], 1_000)
      assert Life.measured(life, 5_000) == []
      assert {[], _life} = ready([max_rss: 1_001], 1_000)
      assert {[], _life} = ready([max_rss: nil], 1_000)
      assert {[], _life} = ready([max_rss: 1_000], nil)
    end

    test "that nobody has set are never met" do
      {[], life} = ready([])
      assert served(life, 1_000_000) == []
      assert Life.measured(life, 1_000_000) == []
    end
  end

  describe "the board" do
    test "count calls and call lanes back, each for itself" do
      board = Board.new(3)
      assert Board.size(board) == 3
      assert Enum.map(1..3, fn _ -> Board.serve(board, 1) end) == [1, 2, 3]
      assert {Board.served(board, 0), Board.served(board, 1), Board.served(board, 2)} == {0, 3, 0}
      Board.recall(board, 1)
      assert Enum.map(0..2, &Board.recalled?(board, &1)) == [false, true, false]
      Board.reset(board, 1)
      assert {Board.served(board, 1), Board.recalled?(board, 1)} == {0, false}
      last = Board.count() - 1
      assert Board.serve(board, last) == 1
      Board.put_size(board, 5)
      assert Board.size(board) == 5
    end
  end

  describe "memory" do
    test "of a process is told by the system" do
      os_pid = String.to_integer(System.pid())
      assert Rss.read(os_pid) > 10_000_000
      assert Rss.read_all([os_pid, 999_999_999]) |> Map.keys() == [os_pid]
    end

    test "is read from what ps prints, too" do
      assert Rss.parse("  123  456\n 7 8 \n\nps: no\n") == %{123 => 456 * 1_024, 7 => 8 * 1_024}
      {lines, 0} = System.cmd("ps", ["-o", "pid=,rss=", "-p", System.pid()])
      assert %{} = found = Rss.parse(lines)
      assert found[String.to_integer(System.pid())] > 10_000_000
    end
  end

  describe "variables" do
    defp variables(size, user, inherited \\ %{}, slot \\ 0) do
      settings = %{size: size, env: user}

      Map.new(Environment.variables(settings, slot, inherited), fn {name, value} ->
        {to_string(name), value && to_string(value)}
      end)
    end

    @libraries ~w(OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS
                  BLIS_NUM_THREADS VECLIB_MAXIMUM_THREADS)

    test "give numerical libraries the cores of one worker" do
      cores = System.schedulers_online()

      for {size, share} <- [{1, cores}, {cores, 1}, {10 * cores, 1}] do
        variables = variables(size, [])
        assert Enum.map(@libraries, &variables[&1]) == List.duplicate("#{share}", 6)
      end
    end

    test "leave the user's own numbers, wherever they were set" do
      assert %{"MKL_NUM_THREADS" => "7", "OPENBLAS_NUM_THREADS" => "1"} =
               variables(1_000, MKL_NUM_THREADS: "7")

      assert %{"MKL_NUM_THREADS" => "7"} = variables(1_000, [{"MKL_NUM_THREADS", 7}])
      refute is_map_key(variables(1_000, [], %{"MKL_NUM_THREADS" => "7"}), "MKL_NUM_THREADS")
      assert %{"MKL_NUM_THREADS" => false} = variables(1_000, MKL_NUM_THREADS: nil)
    end

    test "leave the number of OpenMP to the libraries that go by it" do
      for variables <- [
            variables(1_000, OMP_NUM_THREADS: "7"),
            variables(1_000, [], %{"OMP_NUM_THREADS" => "7"})
          ] do
        assert variables["VECLIB_MAXIMUM_THREADS"] == "1"

        assert Map.keys(variables) -- ["OMP_NUM_THREADS"] == [
                 "PYTHONPATH",
                 "SLITHER_WORKER",
                 "VECLIB_MAXIMUM_THREADS"
               ]
      end
    end

    test "name the worker's slot, whatever the user's name" do
      assert variables(2, [SLITHER_WORKER: "9"], %{}, 1)["SLITHER_WORKER"] == "1"
      # That of a worker that started this BEAM is not handed on.
      assert variables(2, [], %{"SLITHER_WORKER" => "9"}, nil)["SLITHER_WORKER"] == false
    end

    test "have the paths that were there behind our own" do
      own = Application.app_dir(:slither, "priv/python")
      assert variables(1, [], %{})["PYTHONPATH"] == own
      assert variables(1, [], %{"PYTHONPATH" => "/theirs"})["PYTHONPATH"] == "#{own}:/theirs"
      user = [PYTHONPATH: "/mine"]
      assert variables(1, user, %{"PYTHONPATH" => "/theirs"})["PYTHONPATH"] == "#{own}:/mine"
      assert variables(1, [PYTHONPATH: nil], %{"PYTHONPATH" => "/t"})["PYTHONPATH"] == own
    end
  end

  describe "the interpreter" do
    @describetag :tmp_dir

    # A shim that notes each time it runs, and what it was told.
    defp shim(dir, real) do
      shims = Path.join(dir, "shims")
      File.mkdir_p!(shims)
      path = Path.join(shims, "python")

      File.write!(
        path,
        "#!/bin/sh\necho \"$PWD $WHICH\" >> '#{dir}/log'\nexec '#{real}' \"$@\"\n"
      )

      File.chmod!(path, 0o755)
      path
    end

    defp runs(dir), do: dir |> Path.join("log") |> File.read!() |> String.split("\n", trim: true)

    setup %{tmp_dir: dir} do
      {:ok, python} = Environment.interpreter(nil)
      {real, 0} = System.cmd(python, ["-c", "import sys; print(sys.executable)"])
      real = String.trim(real)
      %{shim: shim(dir, real), real: real}
    end

    test "behind a shim is asked for once", %{shim: shim, real: real, tmp_dir: dir} do
      for _ <- 1..3, do: assert(Environment.interpreter(shim) == {:ok, real})
      assert length(runs(dir)) == 1
    end

    test "behind a shim goes by the variables and the folder of the pool", context do
      %{shim: shim, real: real, tmp_dir: dir} = context

      for _ <- 1..2, which <- ["a", "b"] do
        assert Environment.interpreter(shim, [WHICH: which], dir) == {:ok, real}
      end

      assert runs(dir) == ["#{dir} a", "#{dir} b"]
    end

    test "behind a shim that fails is the shim itself", %{shim: shim, tmp_dir: dir} do
      File.write!(shim, "#!/bin/sh\necho once >> '#{dir}/log'\nexit 1\n")
      for _ <- 1..2, do: assert(Environment.interpreter(shim) == {:ok, shim})
      assert length(runs(dir)) == 2
    end

    test "that is a script of the user's stays one", %{tmp_dir: dir} do
      path = Path.join(dir, "python")
      File.write!(path, "#!/bin/sh\nexit 1\n")
      File.chmod!(path, 0o755)
      assert Environment.interpreter(path) == {:ok, path}
      refute File.exists?(Path.join(dir, "log"))
    end
  end
end
