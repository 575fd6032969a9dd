defmodule Slither.Metrics.HandlersTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Metrics.{Handlers, Series, Text}
  alias Slither.Python.Pool
  alias Slither.Test.Prometheus

  # The values of a pool's series by the name and what follows the label of the pool.
  defp read(pool) do
    pool = to_string(pool)

    for %{labels: [{"pool", ^pool} | labels]} = sample <- Handlers.read(), into: %{} do
      value = sample[:value] || Map.take(sample, [:buckets, :count, :sum])
      {Enum.join([sample.name | Keyword.values(atoms(labels))], "/"), value}
    end
  end

  defp atoms(labels), do: for({name, value} <- labels, do: {String.to_atom(name), value})

  defp counter(name, value, labels \\ [], values \\ []),
    do: ["counter", name, "Help.", labels, [], [[values, value]]]

  defp refused(pool, reason), do: Series.get(:handler_metrics_refused_total, {"#{pool}", reason})

  describe "what workers tell" do
    test "is added up over all that do so at once, whole numbers and others" do
      pool = unique(:added)

      1..8
      |> Enum.map(fn worker ->
        Task.async(fn ->
          for _ <- 1..200 do
            rows = [counter("t_a_total", 2), counter("t_b_total", 0.25, ["kind"], ["x"])]
            histogram = ["histogram", "t_c", "Help.", [], [1, 10], [[[], [[1, 0, 2], 0.5]]]]
            Handlers.take(pool, worker, [histogram | rows])
          end
        end)
      end)
      |> Task.await_many()

      assert read(pool) == %{
               "t_a_total" => 3_200.0,
               "t_b_total/x" => 400.0,
               "t_c" => %{buckets: [{1, 1_600}, {10, 1_600}], count: 4_800, sum: 800.0}
             }
    end

    test "of a gauge is so until the process that told it ends" do
      pool = unique(:gauges)
      test = self()

      owner = fn worker, value ->
        spawn(fn ->
          Handlers.take(pool, worker, [["gauge", "t_level", "Help.", [], [], [[[], value]]]])
          send(test, :told)
          receive do: (:end -> :ok)
        end)
      end

      first = owner.(0, 1.5)
      assert_receive :told
      second = owner.(1, :infinity)
      assert_receive :told
      assert read(pool) == %{"t_level/0" => 1.5, "t_level/1" => :infinity}

      # The next worker of a slot may have begun before the last one has ended.
      third = owner.(0, 7)
      assert_receive :told
      finish(first)
      assert read(pool) == %{"t_level/0" => 7, "t_level/1" => :infinity}
      Enum.each([second, third], &finish/1)
      assert read(pool) == %{}
    end

    test "beyond 1,000 series of a pool is refused, and counted" do
      pool = unique(:many)
      series = for number <- 1..(Handlers.most() + 5), do: [["#{number}"], 1]
      Handlers.take(pool, 0, [["counter", "t_many_total", "Help.", ["id"], [], series]])
      assert map_size(read(pool)) == Handlers.most()
      assert refused(pool, :series) == 5

      # What is there goes on; names that are new have no room either.
      Handlers.take(pool, 0, [["counter", "t_many_total", "Help.", ["id"], [], [[["7"], 2]]]])
      Handlers.take(pool, 0, [counter("t_more_total", 1)])
      assert read(pool)["t_many_total/7"] == 3.0
      assert refused(pool, :series) == 6

      # The worker itself refuses more, too, and tells how many.
      Handlers.take(pool, 0, [["refused", "", "", [], [], [[[], 4]]]])
      assert refused(pool, :series) == 10
    end

    test "is refused where the name is of another type elsewhere, or Slither's own" do
      pool = unique(:clash)
      Handlers.take(pool, 0, [["histogram", "t_clash", "Help.", [], [1], [[[], [[1, 0], 1]]]]])
      Handlers.take(pool, 0, [["gauge", "t_clash", "Help.", [], [], [[[], 1]]]])
      Handlers.take(pool, 0, [["histogram", "t_clash", "Help.", [], [2], [[[], [[1, 0], 1]]]]])
      Handlers.take(pool, 0, [counter("slither_mine_total", 1)])
      assert read(pool) == %{"t_clash" => %{buckets: [{1, 1}], count: 1, sum: 1.0}}
      assert refused(pool, :type) == 3
    end

    test "is kept where there is no float for the sum" do
      pool = unique(:large)
      for _ <- 1..2, do: Handlers.take(pool, 0, [counter("t_large_total", 1.0e308)])
      assert read(pool) == %{"t_large_total" => 1.0e308}
      assert refused(pool, :value) == 1
    end
  end

  defp finish(process) do
    ref = Process.monitor(process)
    send(process, :end)
    assert_receive {:DOWN, ^ref, :process, _pid, _reason}, patience()
  end

  describe "whoever has an answer" do
    test "finds it counted, one by one" do
      pool = ready_pool()

      for item <- 1..200 do
        assert {:ok, ^item} = run(pool, "count", item)
        assert %{"handlers_rows_total" => rows, "handlers_level/0" => level} = read(pool)
        assert {rows, level} == {item, item}
      end

      assert %{
               "handlers_halves_total/even" => 50.0,
               "handlers_halves_total/odd" => 50.0,
               "handlers_sizes_bytes" => %{buckets: [{1, 1}, {10, 10}], count: 200, sum: 20_100}
             } = read(pool)
    end

    test "finds it counted, of many workers" do
      pool = ready_pool(size: 2)
      options = options(pool, "count", module: "metric_handlers", batch_size: 7)
      assert {:ok, results} = Slither.dispatch(1..1_000, options)
      assert length(results) == 1_000
      assert read(pool)["handlers_rows_total"] == 1_000
    end

    test "finds it counted, result by result of a handler that yields" do
      pool = ready_pool()

      options =
        [batch_size: 50, max_in_flight: 1] ++ options(pool, "yields", module: "metric_handlers")

      1..50
      |> Slither.Dispatch.stream(options)
      |> Enum.each(fn item ->
        assert read(pool)["handlers_rows_total"] >= item.payload
      end)
    end
  end

  describe "a counter" do
    test "goes on where a worker's replacement goes on, to the last word of the one before" do
      pool = ready_pool(max_requests: 5, shutdown: patience())
      before = watch(pool)
      calls = for _ <- 1..3, reduce: 0, do: (calls -> calls + recycled(pool, 0))
      assert %{"handlers_rows_total" => ^calls, "handlers_stops_total" => 3} = read(pool)
      assert unwatch(before) == :rose
    end

    test "never goes back though workers are killed at work, nor does a gauge outlive its worker" do
      pool = ready_pool(size: 2)
      before = watch(pool)

      for round <- 1..5 do
        assert {:ok, ^round} = run(pool, "count", round)
        assert {:error, %{reason: :worker_died}} = run(pool, "count_and_end", round)
        assert {:ok, [os_pid | _]} = run_all(pool, "pid", [1])
        signal(os_pid, "KILL")
        await_down(pool, os_pid)
      end

      # What a worker that was killed had not told is lost with its answer; what it had told is not.
      assert read(pool)["handlers_rows_total"] == 5
      assert unwatch(before) == :rose
      assert :ok = stop_supervised(pool)
      assert Map.keys(read(pool)) |> Enum.filter(&(&1 =~ "level")) == []
      assert read(pool)["handlers_rows_total"] == 5
    end

    test "of a worker that is told to leave is told to the end" do
      pool = ready_pool(shutdown: patience())
      assert {:ok, 1} = run(pool, "count", 1)
      assert :ok = stop_supervised(pool)
      assert %{"handlers_stops_total" => 1, "handlers_rows_total" => 1} = read(pool)
    end
  end

  @tag :prometheus
  test "Prometheus takes what handlers count, beside what Slither does" do
    pool = ready_pool()
    assert {:ok, 3} = run(pool, "count", 3)
    of_pool = &({"pool", to_string(pool)} in &1.labels)
    text = Slither.Metrics.read() |> Enum.filter(of_pool) |> Text.of() |> IO.iodata_to_binary()
    assert Prometheus.promtool!(["check", "metrics"], text) == ""

    for line <- [
          "# HELP handlers_rows_total Rows that were counted.",
          "# TYPE handlers_sizes_bytes histogram",
          ~s(handlers_rows_total{pool="#{pool}"} 1),
          ~s(handlers_halves_total{pool="#{pool}",kind="odd"} 0.5),
          ~s(handlers_level{pool="#{pool}",worker="0"} 3.0),
          ~s(handlers_sizes_bytes_bucket{pool="#{pool}",le="1"} 0),
          ~s(handlers_sizes_bytes_bucket{pool="#{pool}",le="+Inf"} 1),
          ~s(handlers_sizes_bytes_sum{pool="#{pool}"} 3)
        ] do
      assert line in String.split(text, "\n")
    end
  end

  test "a handler that puts an id into a label fills no memory, and its pool says so" do
    pool = ready_pool()
    assert {:ok, _results} = run_all(pool, "many", Enum.to_list(1..1_500))
    assert map_size(read(pool)) <= Handlers.most()
    assert refused(pool, :series) >= 500
    assert {:ok, 1} = run(pool, "count", 1)
    assert {:ok, %{died: 0}} = Pool.status(pool)
  end

  # Calls until the worker has been replaced; how many that took.
  defp recycled(pool, calls) do
    receive do
      {:down, ^pool, %{reason: reason}} ->
        assert reason == :max_requests
        calls
    after
      0 ->
        assert {:ok, 1} = run(pool, "count", 1)
        recycled(pool, calls + 1)
    end
  end

  defp run(pool, function, item) do
    with {:ok, [result]} <- run_all(pool, function, [item]), do: {:ok, result}
  end

  defp run_all(pool, function, items) do
    options = options(pool, function, module: "metric_handlers", batch_size: 2_000)

    case Slither.dispatch(items, options) do
      {:ok, results} -> {:ok, Enum.map(results, & &1.payload)}
      {:error, error, _partial} -> {:error, error}
    end
  end

  # Reads all the time, and says whether anything that only rises ever went back.
  defp watch(pool), do: Task.async(fn -> watch(pool, %{}, 0) end)

  defp watch(pool, before, reads) do
    now = for {name, value} <- read(pool), name =~ "_total", into: %{}, do: {name, value}

    back =
      for {name, value} <- before, Map.get(now, name, -1) < value, do: {name, value, now[name]}

    receive do
      {:stop, from} -> send(from, {:watched, if(reads > 10, do: back, else: :unseen)})
    after
      1 -> if back == [], do: watch(pool, now, reads + 1), else: receive_stop(back)
    end
  end

  defp receive_stop(back) do
    receive do: ({:stop, from} -> send(from, {:watched, back}))
  end

  defp unwatch(task) do
    send(task.pid, {:stop, self()})
    assert_receive {:watched, back}, patience()
    Task.await(task)
    if back == [], do: :rose, else: back
  end
end
