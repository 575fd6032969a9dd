defmodule Slither.TraceTest do
  # Spans of the VM's own exporter, as a receiver sees them. Who records is known to all processes, so
  # that no other test runs beside these.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Slither.{Gather, Item, Pipe, Session, Trace}
  alias Slither.Metrics.Series
  alias Slither.Test.{Otlp, Pools}

  doctest Slither.Trace

  @pool __MODULE__
  @trace "4bf92f3577b34da6a3ce929d0e0e4736"
  @span "00f067aa0ba902b7"
  @parent "00-#{@trace}-#{@span}-01"
  @other "00-#{String.reverse(@trace)}-#{String.reverse(@span)}-01"

  setup_all do
    # Its workers are told that somebody takes their spans.
    :ok = Trace.configure(endpoint: Otlp.start())
    pool = Pools.start!(@pool, preload: ["flow_handlers"])
    :ok = Trace.configure(false)
    {:ok, pool: pool}
  end

  setup do
    on_exit(fn -> :ok = Trace.configure(false) end)
  end

  defp record(options \\ []) do
    url = Otlp.start()
    :ok = Trace.configure([endpoint: url, interval: 3_600_000] ++ options)
  end

  # What has ended is with the receiver when the flush is.
  defp spans do
    assert Trace.flush() == :ok
    received([])
  end

  defp received(spans) do
    receive do
      {:spans, more} -> received(spans ++ more)
    after
      0 -> Enum.sort_by(spans, & &1.start)
    end
  end

  defp call(parent, module, function, args, options \\ []),
    do:
      Trace.with_parent(parent, fn ->
        Slither.call(module, function, args, [pool: @pool] ++ options)
      end)

  test "what a handler logs has the ids of its call's span" do
    record()
    Pools.listen(@pool)
    options = [pool: @pool, module: "voice_handlers", function: "explain"]
    assert {:ok, _items} = Slither.dispatch([1], options ++ [metadata: %{trace: @parent}])
    assert_receive {:log, :error, "explained 1" <> _, metadata}, Pools.patience()
    assert [span] = Enum.filter(spans(), &(&1.kind == :client))
    assert {metadata.trace_id, metadata.span_id} == {@trace, span.id}
  end

  describe "a single call" do
    test "is a client span, below the one of its caller" do
      record()
      assert call(@parent, "math", "sqrt", [9]) == {:ok, 3.0}
      assert [span] = Enum.filter(spans(), &(&1.kind == :client))
      assert {span.trace, span.parent, span.name} == {@trace, @span, "math.sqrt"}

      assert %{
               "rpc.system.name" => "slither",
               "rpc.method" => "math.sqrt",
               "slither.pool" => pool,
               "slither.worker" => worker,
               "slither.attempt" => 1,
               "slither.items" => 1
             } = span.attributes

      assert pool == to_string(@pool)
      assert worker in [0, 1]
      refute span.failed
      assert span.start < span.stop
      assert span.service == "slither"
    end

    test "that fails has the type of its exception, and the traceback" do
      record()
      assert {:error, %{reason: :python_exception}} = call(@parent, "math", "sqrt", [-1])
      assert [span] = Enum.filter(spans(), &(&1.kind == :client))
      assert span.failed
      assert span.attributes["error.type"] == "ValueError"
      assert [{"exception", %{"exception.stacktrace" => text}}] = span.events
      assert text =~ "ValueError"
    end

    test "whose worker is killed is ended here, with the stack" do
      record()
      assert {:error, %{reason: :timeout}} = call(@parent, "time", "sleep", [3_600], timeout: 200)
      assert [span] = Enum.filter(spans(), &(&1.kind == :client))
      assert {span.name, span.attributes["error.type"]} == {"time.sleep", "timeout"}
      assert [{"exception", %{"exception.type" => "timeout"} = facts}] = span.events
      assert facts["exception.message"] =~ "200 ms"
    end

    test "that gets no worker has a span that says so" do
      record()
      {:ok, handle} = Slither.Python.Pool.handle(@pool)
      {gone, monitor} = spawn_monitor(fn -> :ok end)
      assert_receive {:DOWN, ^monitor, :process, ^gone, _reason}
      target = ["apply", "math", "sqrt"]

      Trace.with_parent(@parent, fn ->
        assert {:error, %{reason: :pool_unavailable}} =
                 Slither.Pool.Call.run(%{handle | scheduler: gone}, target, [[[9], %{}]], [])
      end)

      assert [span] = spans()
      assert {span.kind, span.parent, span.name} == {:client, @span, "math.sqrt"}
      assert span.attributes["error.type"] == "pool_unavailable"
    end

    test "in a task is below what its caller is" do
      record()
      task = Trace.with_parent(@parent, fn -> Slither.async("math", "sqrt", [9], pool: @pool) end)
      assert Slither.await(task) == {:ok, 3.0}
      assert [span] = Enum.filter(spans(), &(&1.kind == :client))
      assert span.parent == @span
    end
  end

  describe "a context" do
    test "is that of a block, and the one before it afterwards" do
      assert Trace.current() == nil

      Trace.with_parent(@parent, fn ->
        assert Trace.current() == @parent
        Trace.with_parent(nil, fn -> assert Trace.current() == nil end)
        catch_throw(Trace.with_parent(@other, fn -> throw(:out) end))
        assert Trace.current() == @parent
      end)

      assert Trace.current() == nil
    end

    test "that is not sampled has no spans, nor has a call without one" do
      record()
      assert {:ok, 3.0} = call("00-#{@trace}-#{@span}-00", "math", "sqrt", [9])
      assert {:ok, 3.0} = call(nil, "math", "sqrt", [9])
      assert {:ok, 3.0} = call("order 17", "math", "sqrt", [9])
      assert spans() == []
    end

    test "of its own begins with a call, for the part that is the sample" do
      record(sample: 1)
      for _ <- 1..2, do: assert({:ok, 3.0} = call(nil, "math", "sqrt", [9]))
      roots = Enum.filter(spans(), &(&1.kind == :client))
      assert [nil, nil] = Enum.map(roots, & &1.parent)
      assert [one, other] = Enum.map(roots, & &1.trace)
      assert one != other
    end
  end

  describe "a dispatch" do
    test "has a span for each batch and attempt, by its metadata" do
      record()

      assert {:ok, _items} =
               Slither.dispatch([1, 2, 3],
                 module: "flow_handlers",
                 function: "double",
                 pool: @pool,
                 batch_size: 2,
                 metadata: %{trace: @parent}
               )

      clients = Enum.filter(spans(), &(&1.kind == :client))
      assert Enum.map(clients, & &1.attributes["slither.items"]) |> Enum.sort() == [1, 2]
      assert Enum.uniq(Enum.map(clients, &{&1.trace, &1.parent})) == [{@trace, @span}]
      assert Enum.all?(clients, & &1.attributes["slither.run"])
    end

    test "begins a span as its batch begins to wait" do
      record()

      {:ok, _} =
        Slither.dispatch([1],
          module: "flow_handlers",
          function: "double",
          pool: @pool,
          metadata: %{trace: @parent}
        )

      spans = spans()
      client = Enum.find(spans, &(&1.kind == :client))
      server = Enum.find(spans, &(&1.kind == :server))
      assert client.start < server.start
      assert server.stop < client.stop
      assert server.parent == client.id
    end
  end

  test "a gather's call is below its only caller, and linked to several" do
    record()
    name = {:traced, make_ref()}

    start_supervised!(
      {Gather, name: name, module: "flow_handlers", function: "double", pool: @pool}
    )

    assert {:ok, 2} = Trace.with_parent(@parent, fn -> Gather.call(name, 1) end)
    assert [span] = Enum.filter(spans(), &(&1.kind == :client))
    assert {span.trace, span.parent, span.links} == {@trace, @span, []}
  end

  describe "a push" do
    setup do
      record()
      test = self()
      name = {:traced, make_ref()}

      stage =
        {:stage, 1, :double, :python,
         module: "flow_handlers", function: "double", pool: @pool, batch_size: 4}

      definition = Slither.Pipe.build!(:traced, [stage])
      sinks = [default: &send(test, {:out, &1})]
      start_supervised!({Pipe, {definition, name: name, sinks: sinks, flush_after: 5}})
      {:ok, name: name}
    end

    test "is a producer, and its batch a consumer below it", %{name: name} do
      Trace.with_parent(@parent, fn -> assert Pipe.push(name, [1, 2]) == :ok end)
      for _ <- 1..2, do: assert_receive({:out, _item}, Pools.patience())
      assert [producer, consumer, server] = spans()
      assert {producer.kind, producer.parent} == {:producer, @span}
      assert {producer.name, consumer.name} == {"push traced", "process traced"}
      assert {consumer.kind, consumer.parent} == {:consumer, producer.id}
      assert consumer.links == [producer.id]
      assert {server.kind, server.parent} == {:server, consumer.id}

      assert %{
               "messaging.system" => "slither",
               "messaging.operation.name" => "push",
               "messaging.operation.type" => "send",
               "messaging.destination.name" => "traced",
               "messaging.batch.message_count" => 2
             } = producer.attributes

      assert %{
               "messaging.operation.type" => "process",
               "messaging.destination.name" => "traced",
               "rpc.method" => "flow_handlers.double",
               "slither.pipe" => "traced",
               "slither.stage" => "double"
             } = consumer.attributes
    end

    test "of several callers is linked to all, and below none", %{name: name} do
      for parent <- [@parent, @other],
          do: Trace.with_parent(parent, fn -> assert Pipe.push(name, [1, 2]) == :ok end)

      for _ <- 1..4, do: assert_receive({:out, _item}, Pools.patience())
      spans = spans()
      producers = for %{kind: :producer} = span <- spans, do: span.id
      consumers = for %{kind: :consumer} = span <- spans, do: span
      linked = Enum.flat_map(consumers, & &1.links)
      assert Enum.sort(Enum.uniq(linked)) == Enum.sort(producers)
      assert Enum.all?(consumers, &(&1.parent in [nil | &1.links]))
    end

    test "that is refused has an error", %{name: name} do
      items = Enum.to_list(1..2_000)
      Trace.with_parent(@parent, fn -> assert {:error, _} = Pipe.push(name, items) end)
      assert [%{kind: :producer, failed: true} = span] = spans()
      assert span.attributes["error.type"] == "too_many_items"
    end

    test "without a context has no span, and its items are as they were", %{name: name} do
      assert Pipe.push(name, [1, %Item{id: "own", payload: 2}]) == :ok
      items = for _ <- 1..2, do: assert_receive({:out, item}, Pools.patience()) && item
      assert length(items) == 2
      assert spans() == []
    end

    test "of items that bring a context keeps theirs", %{name: name} do
      item = Item.put_meta(Item.wrap(1), trace: @other)
      assert Pipe.push(name, [item]) == :ok
      assert_receive {:out, _item}, Pools.patience()
      assert [%{kind: :consumer, parent: parent}, %{kind: :server}] = spans()
      assert parent == String.reverse(@span)
    end
  end

  describe "a receiver" do
    test "that is busy is asked again, and nothing is lost" do
      url = Otlp.start([503])
      :ok = Trace.configure(endpoint: url, interval: 3_600_000)

      log =
        capture_log(fn ->
          assert {:ok, 3.0} = call(@parent, "math", "sqrt", [9])
          assert {:error, :not_sent} = Trace.flush()
          assert_receive {:refused, 503}
          assert [_client] = Enum.filter(spans(), &(&1.kind == :client))
        end)

      assert log =~ "traces can't be sent to #{url}/v1/traces: it answers 503"
    end

    test "that refuses what it gets has it dropped, and counted" do
      url = Otlp.start([400])
      :ok = Trace.configure(endpoint: url, interval: 3_600_000)
      before = dropped()

      capture_log(fn ->
        assert {:ok, 3.0} = call(@parent, "math", "sqrt", [9])
        Trace.flush()
      end)

      assert dropped() > before
      assert spans() == []
    end

    test "that takes nothing costs no more than the queue has room for" do
      record(max_queue: 2)
      before = dropped()
      for _ <- 1..5, do: assert({:ok, 3.0} = call(@parent, "math", "sqrt", [9]))
      assert length(spans()) == 2
      assert dropped() - before >= 3
    end
  end

  defp dropped, do: Series.get(:trace_spans_total, {:dropped})

  test "nobody records: a context goes to Python as it is" do
    assert {:ok, @parent} = call(@parent, "trace_handlers", "seen", [])
    assert {:ok, nil} = call(nil, "trace_handlers", "seen", [])
    assert Trace.flush() == {:error, :off}
  end

  test "options that can't be are errors" do
    assert {:error, %{message: "option :endpoint takes a URL" <> _}} =
             Trace.configure(endpoint: "here")

    assert {:error, %{message: "option :sample takes a number from 0 to 1" <> _}} =
             Trace.configure(sample: 2)

    assert {:error, %{reason: :unknown_option}} = Trace.configure(endpont: "http://x")
  end

  test "a session's end is no call of anybody's, and has no span" do
    record(sample: 1)
    id = "traced-#{System.unique_integer([:positive])}"
    assert {:ok, 3.0} = call(nil, "math", "sqrt", [9], session: id)
    assert Session.stop(id) == :ok
    assert [_one] = Enum.filter(spans(), &(&1.kind == :client))
  end
end
