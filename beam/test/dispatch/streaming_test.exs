defmodule Slither.Dispatch.StreamingTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError}
  alias Slither.Dispatch.Strategies.KeyPartition
  alias Slither.Protocol.{Block, Encoded}
  alias Slither.Python.Pool
  alias Slither.Test.Telemetry

  defmodule Rows do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :stream_rows, type: :set, python: :read}]

    @impl true
    def views, do: [%{name: :stream_test_view, scope: :global, handler: & &1}]

    @impl true
    def load(tables) do
      :ets.insert(tables[:stream_rows], for(n <- 1..40, do: {"k#{n}", n}))
      :ok
    end
  end

  defp python(pool, function, options \\ []) do
    [module: "stream_handlers", function: function, pool: pool, timeout: patience()]
    |> Keyword.merge(options)
  end

  defp payloads(items), do: Enum.map(items, & &1.payload)

  # A file that a handler waits for with a result; the test opens it by writing to it.
  defp gate do
    fifo = path("gate")
    {_, 0} = System.cmd("mkfifo", [fifo])
    fifo
  end

  defp open(gate), do: File.write!(gate, "go")

  # Reads a stream, and opens a gate after each item that has one. Were results held back until
  # their batch is done, none would ever be opened.
  defp walk(stream, gates) do
    Enum.map(stream, fn %{payload: payload} ->
      if gate = gates[payload], do: open(gate)
      payload
    end)
  end

  # Takes `count` results; gives them and a function that takes the rest.
  defp take(stream, count) do
    next = &Enumerable.reduce(stream, &1, fn item, [] -> {:suspend, [item.payload]} end)

    Enum.reduce(1..count, {[], next}, fn _, {taken, next} ->
      {:suspended, [payload], next} = next.({:cont, []})
      {taken ++ [payload], next}
    end)
  end

  defp rest(next) do
    case next.({:cont, []}) do
      {:suspended, [payload], next} -> [payload | rest(next)]
      {_done_or_halted, []} -> []
    end
  end

  describe "a stream over a handler that yields" do
    test "has each result before the next is made" do
      pool = ready_pool()
      [a, b] = [gate(), gate()]
      stream = Dispatch.stream([1, a, 2, b, 3], python(pool, "gated"))
      assert walk(stream, %{1 => a, 2 => b}) == [1, a, 2, b, 3]
    end

    test "has all results once and in order" do
      pool = ready_pool(size: 2)

      for name <- ["numbers", "async_numbers"], size <- [1, 2, 7, 64, 1_000] do
        stream = Dispatch.stream(1..1_000, python(pool, name, batch_size: size))
        assert payloads(stream) == Enum.to_list(1..1_000)
      end
    end

    test "with :preserve has those of a later batch when its turn comes, not when it ends" do
      pool = ready_pool(size: 2)
      [a, b] = [gate(), gate()]
      stream = Dispatch.stream([1, a, 2, 3, b, 4], python(pool, "gated", batch_size: 3))
      assert walk(stream, %{1 => a, 3 => b}) == [1, a, 2, 3, b, 4]
    end

    test "with :as_completed has those of every batch at once" do
      pool = ready_pool(size: 2)
      [a, b] = [gate(), gate()]
      options = python(pool, "gated", batch_size: 2, ordering: :as_completed)
      # Both batches wait with their last result.
      {first, next} = [1, a, 2, b] |> Dispatch.stream(options) |> take(2)
      assert Enum.sort(first) == [1, 2]
      for gate <- [a, b], do: open(gate)
      assert Enum.sort(rest(next)) == Enum.sort([a, b])
    end

    test "keeps the order where the batches of a group overlap" do
      pool = ready_pool(size: 2)
      options = [strategy: KeyPartition, key_fn: &rem(&1.payload, 3), batch_size: 5, window: 60]
      stream = Dispatch.stream(1..300, python(pool, "numbers", options))
      assert payloads(stream) == Enum.to_list(1..300)
    end

    test "goes on while views and tables are asked" do
      start_supervised!({Slither.Store.Server, Rows})
      pool = ready_pool()
      keys = Enum.map(1..40, &"k#{&1}")
      stream = Dispatch.stream(keys, python(pool, "tables"))
      assert payloads(stream) == for(n <- 1..40, do: [%{"key" => "k#{n}"}, n])
    end

    test "keeps to max_in_flight_bytes" do
      pool = ready_pool(size: 2)
      options = python(pool, "numbers", batch_size: 20, max_in_flight_bytes: 4_000)

      for ordering <- [:preserve, :as_completed] do
        stream = Dispatch.stream(1..2_000, [ordering: ordering] ++ options)
        assert Enum.sort(payloads(stream)) == Enum.to_list(1..2_000)
      end
    end
  end

  describe "a run over a handler that yields" do
    test "leaves results encoded where it is to" do
      pool = ready_pool()
      assert {:ok, items} = Dispatch.run(1..100, python(pool, "numbers", raw: true))
      assert payloads(items) == for(n <- 1..100, do: %Encoded{data: <<n>>})
    end

    test "counts a batch once, with all of its items" do
      pool = ready_pool()
      Telemetry.listen_own([[:slither, :dispatch, :batch, :stop]])
      options = python(pool, "numbers", batch_size: 50, receipt: true)
      assert {:ok, items, receipt} = Dispatch.run(1..100, options)
      assert payloads(items) == Enum.to_list(1..100)
      assert %{in: 100, out: 100, failed: 0, batches: 2, late: 0, duplicate: 0} = receipt

      for _ <- 1..2 do
        assert_receive {:event, _, %{size: 50, failed: 0, result_bytes: bytes}, %{pool: ^pool}}
        assert bytes > 50
      end

      refute_received {:event, _, _, %{pool: ^pool}}
    end

    test "finds a batch size as for any other" do
      pool = ready_pool()
      options = python(pool, "numbers", batch_size: :auto, batch_time: 5)
      assert {:ok, items} = Dispatch.run(1..2_000, options)
      assert payloads(items) == Enum.to_list(1..2_000)
    end
  end

  describe "Pool.call/4" do
    test "gives the results of all parts in one" do
      pool = ready_pool()
      target = ["function", "stream_handlers", "numbers"]
      values = Enum.to_list(1..100)
      assert Pool.call(pool, target, values) == {:ok, values, %{}}

      rows = for n <- 1..40, do: %{"n" => n, "log" => "/dev/null", "act" => act(n)}
      target = ["function", "stream_handlers", "scripted"]
      assert {:ok, results, errors} = Pool.call(pool, target, rows)
      assert results == for(n <- 1..40, do: if(rem(n, 3) != 0, do: n))
      assert Enum.sort(Map.keys(errors)) == Enum.to_list(2..39//3)
      assert Enum.uniq(Enum.map(errors, fn {_, e} -> e.reason end)) == [:handler_failure]
    end

    test "joins the parts of a block" do
      pool = ready_pool()
      values = Enum.to_list(1..100)
      target = ["function", "stream_handlers", "numbers"]
      # Small integers are encoded as they are.
      block = %Block{count: 100, data: :binary.list_to_bin(values)}
      assert Pool.call(pool, target, [block]) == {:ok, [block], %{}}

      assert {:error, %{reason: :python_exception}} =
               Pool.call(pool, ["function", "stream_handlers", "raises_first_time"], [block])
    end

    defp act(n), do: if(rem(n, 3) == 0, do: "fail", else: "ok")
  end

  describe "a consumer that reads no further" do
    setup do
      made = path("made")
      File.write!(made, "")
      {:ok, made: made}
    end

    defp rows(made, count, more \\ %{}),
      do: for(n <- 1..count, do: Map.merge(%{"n" => n, "made" => made}, more))

    defp made(path), do: File.stat!(path).size

    test "keeps the handler near it, and closes it when it leaves", %{made: made} do
      pool = start_pool(cancel_grace: patience())
      os_pid = await_up(pool)
      closed = gate()
      rows = rows(made, 1_000, %{"closed" => closed})
      stream = Dispatch.stream(rows, python(pool, "counted", batch_size: 1_000))

      # The handler is at most 16 results ahead of what was taken, and that 16 of what was read.
      read =
        stream
        |> Stream.with_index(1)
        |> Stream.each(fn {_item, read} -> assert made(made) <= read + 33 end)
        |> Enum.take(300)

      assert length(read) == 300
      assert File.read!(closed) == Integer.to_string(os_pid)
      assert made(made) < 1_000
      assert {:ok, [%{payload: ^os_pid}]} = Dispatch.run([0], python(pool, "pids"))
    end

    test "closes it when it dies", %{made: made} do
      pool = start_pool(cancel_grace: patience())
      os_pid = await_up(pool)
      closed = gate()
      test = self()

      reader =
        spawn(fn ->
          rows(made, 1_000, %{"closed" => closed})
          |> Dispatch.stream(python(pool, "counted", batch_size: 1_000))
          |> Enum.each(fn item ->
            send(test, {:read, item.payload})
            receive do: (:never -> :ok)
          end)
        end)

      assert_receive {:read, 1}, patience()
      Process.exit(reader, :kill)
      assert File.read!(closed) == Integer.to_string(os_pid)
      assert {:ok, [%{payload: ^os_pid}]} = Dispatch.run([0], python(pool, "pids"))
    end

    test "uses up none of the call's time", %{made: made} do
      pool = start_pool()
      os_pid = await_up(pool)
      options = python(pool, "counted", batch_size: 100, timeout: 1_500)
      {[1], next} = rows(made, 100) |> Dispatch.stream(options) |> take(1)
      # Longer than the call may take. It is time itself that is under test.
      refute_receive {:down, ^pool, _metadata}, 2_000
      assert rest(next) == Enum.to_list(2..100)
      assert {:ok, [%{payload: ^os_pid}]} = Dispatch.run([0], python(pool, "pids"))
    end

    test "holds up nobody else", %{made: made} do
      for window <- [1, 2] do
        pool = quick_pool(window: window)
        options = python(pool, "counted", batch_size: 100)
        {[1], next} = rows(made, 100) |> Dispatch.stream(options) |> take(1)
        assert {:ok, [_]} = Dispatch.run([0], python(pool, "pids"))
        assert rest(next) == Enum.to_list(2..100)
      end
    end

    test "does not hold up itself, where it needs the worker that waits for it" do
      for window <- [1, 2] do
        pool = quick_pool(window: window)
        stream = Dispatch.stream(1..200, python(pool, "numbers", batch_size: 200))

        read =
          Enum.map(stream, fn %{payload: n} ->
            assert {:ok, [%{payload: ^n}]} = Dispatch.run([n], python(pool, "numbers"))
            n
          end)

        assert read == Enum.to_list(1..200)
      end
    end

    test "does not hold up the restart of its pool", %{made: made} do
      pool = quick_pool()
      {:ok, %{workers: [%{os_pid: os_pid}]}} = Pool.status(pool)
      options = python(pool, "counted", batch_size: 100)
      {[1], next} = rows(made, 100) |> Dispatch.stream(options) |> take(1)
      assert Pool.restart(pool) == :ok
      assert rest(next) == Enum.to_list(2..100)
      assert {:ok, [%{payload: other}]} = Dispatch.run([0], python(pool, "pids"))
      assert other != os_pid
    end

    test "does not hold up the stop of its pool", %{made: made} do
      pool = start_pool(shutdown: patience())
      os_pid = await_up(pool)
      options = python(pool, "counted", batch_size: 100)
      {[1], next} = rows(made, 100) |> Dispatch.stream(options) |> take(1)
      stop_supervised!(pool)
      refute alive?(os_pid)
      assert rest(next) == Enum.to_list(2..100)
    end
  end

  describe "a pipe over handlers that yield" do
    test "passes results on before their batch ends, and may share one worker" do
      for window <- [1, 2] do
        pool = quick_pool(window: window)

        statements = [
          {:stage, :one, :python, python(pool, "numbers", batch_size: 100)},
          {:stage, :more, :beam, handler: fn item, _context -> item.payload + 1 end},
          {:stage, :two, :python, python(pool, "numbers", batch_size: 30)},
          {:stage, :three, :python, python(pool, "async_numbers", batch_size: 7)}
        ]

        statements = for statement <- statements, do: put_line(statement)
        definition = Slither.Pipe.build!(:streaming, statements)
        assert {:ok, outputs, receipt} = Slither.run_pipe(definition, 1..700, receipt: true)
        assert payloads(outputs.default) == Enum.to_list(2..701)
        assert %{in: 700, out: 700, failed: 0} = receipt
      end
    end

    test "has them at its output while the handler works" do
      pool = ready_pool()
      a = gate()
      stage = {:stage, 1, :one, :python, python(pool, "gated")}
      definition = Slither.Pipe.build!(:streaming, [stage])
      stream = Slither.Pipe.Runner.stream(definition, [1, a, 2])
      assert stream |> Stream.map(&elem(&1, 1)) |> walk(%{1 => a}) == [1, a, 2]
    end

    defp put_line(statement), do: Tuple.insert_at(statement, 1, 1)
  end

  describe "a reader that rests" do
    test "holds no worker, nor what it calls for each item" do
      pool = ready_pool(size: 1, window: 1)
      options = [module: "slither_test_handlers", function: "identity", pool: pool, batch_size: 7]

      for ordering <- [:preserve, :as_completed] do
        read =
          1..200
          |> Dispatch.stream([ordering: ordering] ++ options)
          |> Enum.map(fn item ->
            if rem(item.payload, 10) == 0, do: {:ok, 2.0} = sqrt(pool)
            item.payload
          end)

        assert Enum.sort(read) == Enum.to_list(1..200)
      end
    end

    test "takes no worker from another stream that is read in turn with it" do
      pool = ready_pool(size: 1, window: 1)

      # Of long batches and of short ones, of which a worker holds several.
      for function <- ["identity", "sleep_a_little"] do
        options = [module: "slither_test_handlers", function: function, pool: pool]

        [one, other] =
          for size <- [3, 5], do: Dispatch.stream(1..60, [batch_size: size] ++ options)

        pairs = one |> Enum.zip(other) |> Enum.map(fn {a, b} -> {a.payload, b.payload} end)
        assert pairs == for(n <- 1..60, do: {n, n})
      end
    end

    defp sqrt(pool), do: Slither.call("math", "sqrt", [4], pool: pool, queue_timeout: patience())
  end

  describe "what was yielded" do
    test "stands when the worker dies" do
      pool = ready_pool()
      a = gate()
      options = python(pool, "dies_after", on_error: :skip)
      stream = Dispatch.stream([1, a, 2, "die", 3], options)

      read =
        Enum.map(stream, fn item ->
          # Once the first is here, the next may be made: it goes with what follows it.
          if item.payload == 1, do: open(a)
          {item.payload, item.meta[:error] && item.meta.error.reason}
        end)

      assert [{1, nil}, second, third, {"die", :worker_died}, {3, :worker_died}] = read
      assert elem(second, 0) == a and elem(third, 0) == 2
    end

    test "stands when its call runs over its time" do
      pool = ready_pool()
      options = python(pool, "gated", timeout: 500, on_error: :skip)
      assert [one, two] = Enum.to_list(Dispatch.stream([1, gate()], options))
      assert one.payload == 1 and one.meta == %{}
      assert %DispatchError{reason: :timeout} = two.meta.error
    end

    test "of a later batch waits for one that is tried again, in a pool of one worker" do
      pool = quick_pool()
      retry = {:retry, max_attempts: 2, base_ms: 20, jitter: false}
      options = python(pool, "raises_first_time", batch_size: 50, on_error: retry)
      assert payloads(Dispatch.stream(1..200, options)) == Enum.to_list(1..200)
    end
  end
end
