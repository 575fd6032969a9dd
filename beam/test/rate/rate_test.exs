defmodule Slither.RateTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools, only: [unique: 1]

  alias Slither.{DispatchError, Error, Rate, Receipt, Testing}
  alias Slither.Rate.Server

  defp pool(functions, options) do
    name = unique(:rated)
    start_supervised!({Testing.Pool, [name: name, functions: functions] ++ options}, id: name)
    name
  end

  defp rate(options) do
    name = unique(:rate)
    start_supervised!({Rate, [name: name] ++ options}, id: {:rate, name})
    name
  end

  # Tells this test of each batch, and when it began.
  defp noted(pool_options \\ [], fun \\ & &1) do
    me = self()

    function = fn rows ->
      send(me, {:batch, System.monotonic_time(:millisecond), rows})
      Enum.map(rows, fun)
    end

    pool(%{"m.f" => function}, pool_options)
  end

  defp batches(found \\ []) do
    receive do
      {:batch, at, rows} -> batches([{at, rows} | found])
    after
      0 -> Enum.reverse(found)
    end
  end

  defp dispatch(pool, items, options),
    do: Slither.dispatch(items, [module: "m", function: "f", pool: pool] ++ options)

  test "a dispatch takes at least as long as its rate says, keeps its order, and cuts its batches" do
    pool = noted()
    began = System.monotonic_time(:millisecond)
    rate = [items: 10, per: 100, burst: 3]
    assert {:ok, items, receipt} = dispatch(pool, 1..20, rate: rate, receipt: true)
    assert System.monotonic_time(:millisecond) - began >= 170
    assert Enum.map(items, & &1.payload) == Enum.to_list(1..20)
    batches = batches()
    assert Enum.map(batches, &length(elem(&1, 1))) == [3, 3, 3, 3, 3, 3, 2]
    assert %Receipt{out: 20, batches: 7, times: times} = receipt
    assert System.convert_time_unit(times.rate, :native, :millisecond) >= 160
    assert Receipt.table(receipt) =~ "rate"
  end

  test "a weight is what an item takes, and one that is too heavy is paid for afterwards" do
    pool = noted()
    began = System.monotonic_time(:millisecond)
    rate = [items: 1, per: 10, burst: 4, weight: & &1.payload]
    assert {:ok, items} = dispatch(pool, [1, 2, 1, 9, 1, 3], rate: rate)
    assert Enum.map(items, & &1.payload) == [1, 2, 1, 9, 1, 3]
    assert Enum.map(batches(), &elem(&1, 1)) == [[1, 2, 1], [9], [1, 3]]
    # 4 at once, 4 more for the large one, and 9 before the last 4 have theirs.
    assert System.monotonic_time(:millisecond) - began >= 130
  end

  test "an item whose weight can't be told fails alone" do
    pool = noted()
    rate = [items: 1_000, per: 10, weight: fn item -> 10 / item.payload end]
    assert {:ok, items} = dispatch(pool, [1, 0, 2], rate: rate, on_error: :skip)
    assert [%{payload: 1}, %{meta: %{error: error}}, %{payload: 2}] = items
    assert %DispatchError{reason: :weight_failed} = error
  end

  test "runs and calls share a bucket that has a name, and status tells of it" do
    pool = noted([], fn [n] -> n end)
    name = rate(items: 20, per: 100, burst: 2)
    me = self()

    calls =
      for n <- 1..8 do
        Task.async(fn -> Slither.call("m", "f", [n], pool: pool, rate: name) end)
      end

    # A call's function gets its arguments: the one of this test takes a list of rows.
    assert Enum.all?(Task.await_many(calls), &match?({:error, _}, &1))
    assert {:ok, %{items: 20, per: 100, burst: 2, waiting: 0, paused: 0}} = Rate.status(name)
    assert {:ok, %{tokens: tokens}} = Rate.status(Atom.to_string(name))
    assert tokens < 2.5
    assert me == self()
  end

  test "two runs of one name together keep to it, and each gets on" do
    pool = noted(size: 4)
    figures = [items: 30, per: 100, burst: 2]
    name = rate(figures)
    run = fn n -> Task.async(fn -> dispatch(pool, List.duplicate(n, 15), rate: name) end) end
    tasks = Enum.map(1..3, run)
    for task <- tasks, do: assert({:ok, items} = Task.await(task, 60_000)) && items
    batches = batches()
    assert Enum.sum(for {_at, rows} <- batches, do: length(rows)) == 45
    # At half of the time each has about its share: none has waited for the others.
    first = batches |> Enum.flat_map(&elem(&1, 1)) |> Enum.take(30) |> Enum.frequencies()
    assert Map.keys(first) == [1, 2, 3]
    {from, to} = batches |> Enum.map(&elem(&1, 0)) |> Enum.min_max()
    assert to - from >= 100
  end

  test "whoever waits for tokens holds no worker, and no time of a call counts" do
    pool = noted(size: 1)
    rate = [items: 1, per: 300, burst: 1]
    options = [rate: rate, queue_timeout: 100, timeout: 200]
    run = Task.async(fn -> dispatch(pool, [1, 2], options) end)
    assert_receive {:batch, _at, [1]}, 60_000
    # The run waits for its second token. Its worker is there for others.
    assert {:ok, [%{payload: 3}]} = dispatch(pool, [3], [])
    assert {:ok, [%{payload: 1}, %{payload: 2}]} = Task.await(run, 60_000)
    assert [{_, [3]}, {_, [2]}] = batches()
  end

  test "a run that ends gives its place up, and tokens that it has not used go back" do
    pool = noted()
    name = rate(items: 1, per: 60_000, burst: 2)
    {:ok, server, _figures} = Server.find(Atom.to_string(name))
    assert {:ok, [_one, _two]} = dispatch(pool, [1, 2], rate: name)
    run = spawn(fn -> dispatch(pool, [3], rate: name) end)
    await(fn -> match?({:ok, %{waiting: 1}}, Rate.status(name)) end)
    Process.exit(run, :kill)
    await(fn -> match?({:ok, %{waiting: 0}}, Rate.status(name)) end)
    # Nobody watches who has gone.
    await(fn -> Process.info(server, :monitors) == {:monitors, []} end)
    stream = Slither.Dispatch.stream([4], module: "m", function: "f", pool: pool, rate: name)
    task = Task.async(fn -> Enum.take(stream, 1) end)
    await(fn -> match?({:ok, %{waiting: 1}}, Rate.status(name)) end)
    Server.give_back(server, 1)
    assert [%{payload: 4}] = Task.await(task, 60_000)
  end

  test "a run's own bucket ends with it" do
    pool = noted()
    before = buckets()
    assert {:ok, _items} = dispatch(pool, [1, 2], rate: [items: 100, per: 10])
    await(fn -> buckets() -- before == [] end)
    run = spawn(fn -> dispatch(pool, 1..3, rate: [items: 1, per: 60_000]) end)
    assert_receive {:batch, _at, [1]}, 60_000
    Process.exit(run, :kill)
    await(fn -> buckets() -- before == [] end)
  end

  defp buckets do
    for pid <- Process.list(),
        {:dictionary, words} <- [Process.info(pid, :dictionary)],
        words[:"$initial_call"] == {Server, :init, 1},
        do: pid
  end

  test "a bucket that is started again serves who waits for it" do
    pool = noted()
    name = rate(items: 1, per: 60_000, burst: 1)
    {:ok, server, _figures} = Server.find(Atom.to_string(name))
    run = Task.async(fn -> dispatch(pool, [1, 2], rate: name) end)
    assert_receive {:batch, _at, [1]}, 60_000
    await(fn -> match?({:ok, %{waiting: 1}}, Rate.status(name)) end)
    Process.exit(server, :kill)
    assert {:ok, [%{payload: 1}, %{payload: 2}]} = Task.await(run, 60_000)
  end

  describe "when the other side says later" do
    defp later(ms, reason \\ :handler_failure),
      do: %Error{reason: reason, message: "too many", details: %{retry_after: ms}}

    # Refuses each item as often as it says, with the time that it says.
    defp refusing(times) do
      counts = :counters.new(1, [])
      me = self()

      one = fn row ->
        send(me, {:batch, System.monotonic_time(:millisecond), [row]})
        :counters.add(counts, 1, 1)
        if :counters.get(counts, 1) <= times, do: raise(later(120)), else: row
      end

      pool(%{"m.f" => one}, size: 1)
    end

    test "the bucket is paused, and the item goes again though no policy would have it" do
      pool = refusing(2)
      name = rate(items: 1_000, per: 10)
      id = unique(:paused)
      me = self()

      tell = fn _event, measurements, facts, _config ->
        send(me, {:paused, measurements, facts})
      end

      :ok = Slither.Telemetry.attach(id, [:slither, :rate, :paused], tell, nil)
      on_exit(fn -> Slither.Telemetry.detach(id) end)
      began = System.monotonic_time(:millisecond)
      assert {:ok, items, receipt} = dispatch(pool, 1..3, each: true, rate: name, receipt: true)
      # Both are of one call, which was refused once.
      assert System.monotonic_time(:millisecond) - began >= 120
      assert Enum.map(items, & &1.payload) == [1, 2, 3]
      assert Enum.all?(items, &(&1.meta[:attempts] in [nil, 1]))
      assert %Receipt{out: 3, failed: 0, errors: none} = receipt
      assert none == %{}
      text = Atom.to_string(name)
      assert_receive {:paused, %{pause: pause, waiting: _}, %{rate: ^text}}
      assert System.convert_time_unit(pause, :native, :millisecond) == 120
    end

    test "one that is refused too often has failed, by its policy" do
      pool = refusing(1_000)
      rate = [items: 1_000, per: 10, refusals: 2]
      options = [each: true, rate: rate, on_error: :skip]
      assert {:ok, [%{meta: %{error: error}}]} = dispatch(pool, [1], options)
      assert %DispatchError{reason: :handler_failure, attempts: 1} = error
      assert length(batches()) == 3
    end

    test "a whole batch that is refused goes again as one, and is not split" do
      me = self()
      counts = :counters.new(1, [])

      function = fn rows ->
        send(me, {:batch, 0, rows})
        :counters.add(counts, 1, 1)
        if :counters.get(counts, 1) == 1, do: raise(later(50)), else: rows
      end

      pool = pool(%{"m.f" => function}, size: 1)
      options = [rate: [items: 1_000, per: 10], isolate: true]
      assert {:ok, [_, _, _]} = dispatch(pool, [1, 2, 3], options)
      assert [{0, [1, 2, 3]}, {0, [1, 2, 3]}] = batches()
    end

    test "without a rate it is a failure as any other, but a policy waits for as long" do
      pool = refusing(1)

      assert {:error, %DispatchError{reason: :handler_failure}, []} =
               dispatch(pool, [1], each: true)

      pool = refusing(1)
      began = System.monotonic_time(:millisecond)
      policy = {:retry, max_attempts: 2, base_ms: 1}
      assert {:ok, [%{payload: 1}]} = dispatch(pool, [1], each: true, on_error: policy)
      assert System.monotonic_time(:millisecond) - began >= 120
    end

    test "a single call goes again, and all who share its bucket wait" do
      pool = refusing(1)
      name = rate(items: 1_000, per: 10)
      began = System.monotonic_time(:millisecond)
      task = Task.async(fn -> Slither.call("m", "f", [1], pool: pool, rate: name) end)
      await(fn -> match?({:ok, %{paused: time}} when time > 0, Rate.status(name)) end)
      assert {:ok, [%{payload: 2}]} = dispatch(pool, [2], each: true, rate: name)
      assert {:ok, 1} = Task.await(task, 60_000)
      assert System.monotonic_time(:millisecond) - began >= 120
    end
  end

  test "names that don't run, and options that make no sense, are told" do
    pool = noted()

    assert {:error, %Error{reason: :unknown_rate} = error, []} =
             dispatch(pool, [1], rate: :nobody)

    assert Exception.message(error) =~ ~s(rate "nobody": is not running)
    assert {:error, %Error{reason: :unknown_rate}} = Slither.call("m", "f", [], rate: :nobody)
    assert {:error, %Error{reason: :unknown_rate}} = Rate.status("nobody")

    for wrong <- [[items: 0, per: 1], [items: 1], [items: 1, per: 1, weigth: 1], 5, true, {5, []}] do
      assert {:error, %Error{reason: :invalid_option, message: message}, []} =
               dispatch(pool, [1], rate: wrong)

      assert message =~ "option :rate takes [items: n, per: ms], the name of a Slither.Rate"
    end

    assert {:error, %Error{reason: :invalid_option}} =
             Slither.call("m", "f", [], rate: [items: 1, per: 1])

    assert {:error, %Error{message: message}} = Rate.start_link(name: :a, items: 1)
    assert message =~ "option :per is required"
    name = rate(items: 1, per: 1)
    assert {:error, {:already_started, _}} = Rate.start_link(name: name, items: 1, per: 1)
  end

  defp await(fun, left \\ 6_000) do
    cond do
      fun.() -> :ok
      left == 0 -> flunk("it did not come")
      true -> Process.sleep(10) && await(fun, left - 1)
    end
  end
end
