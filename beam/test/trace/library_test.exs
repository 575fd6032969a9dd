defmodule Slither.Trace.LibraryTest do
  # Spans by the library `:opentelemetry`, of which a stand-in has the functions that are called. It is
  # known to the whole VM for as long as these tests run.
  use ExUnit.Case, async: false

  alias Slither.Test.Pools
  alias Slither.Trace
  alias Slither.Trace.{Library, Mode}

  @pool __MODULE__
  @trace 0x4BF92F3577B34DA6A3CE929D0E0E4736
  @span 0x00F067AA0BA902B7
  @parent "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

  # A span's context is `{:span, trace, id, flags}`, and a context a map. What is called is told.
  @modules [
    otel_ctx:
      quote do
        def new, do: %{}
      end,
    otel_tracer:
      quote do
        def current_span_ctx, do: Process.get(:current_span, :undefined)
        def set_current_span(context, span), do: Map.put(context, :span, span)
        def from_remote_span(trace, id, flags), do: {:span, trace, id, flags}

        def start_span(_context, :tracer, "math.cos", _options), do: raise("no span")

        def start_span(context, :tracer, name, options) do
          {:span, trace, above, _flags} = context[:span] || {:span, 7, nil, 1}
          span = {:span, trace, :erlang.unique_integer([:positive]), 1}
          tell({:started, name, span, above, options})
          span
        end

        defp tell(what), do: send(:persistent_term.get(:library_test), what)
      end,
    otel_span:
      quote do
        def is_valid({:span, _trace, _id, _flags}), do: true

        def hex_span_ctx({:span, trace, id, flags}) do
          hex = fn number, size ->
            Base.encode16(<<number::size(size)>>, case: :lower)
          end

          %{
            otel_trace_id: hex.(trace, 128),
            otel_span_id: hex.(id, 64),
            otel_trace_flags: "0#{flags}"
          }
        end

        def set_attributes(span, attributes), do: tell({:attributes, span, attributes})
        def add_event(span, name, attributes), do: tell({:event, span, name, attributes})
        def set_status(span, :error, message), do: tell({:error, span, message})
        def end_span(span, time), do: tell({:ended, span, time})
        defp tell(what), do: send(:persistent_term.get(:library_test), what)
      end,
    opentelemetry:
      quote do
        def get_tracer(:slither), do: :tracer
        def links(contexts), do: contexts
      end
  ]

  setup_all do
    for {name, code} <- @modules, do: Module.create(name, code, Macro.Env.location(__ENV__))
    assert Library.look()
    assert Trace.children() == {:ok, []}

    on_exit(fn ->
      for {name, _code} <- @modules, do: :code.delete(name) && :code.purge(name)
      refute Library.look()
      Mode.set(nil)
    end)

    {:ok, pool: Pools.start!(@pool)}
  end

  setup do
    :persistent_term.put(:library_test, self())
  end

  test "a call is a span of the library's, below its current one" do
    Process.put(:current_span, {:span, @trace, @span, 1})
    assert Trace.current() == @parent
    assert Slither.call("math", "sqrt", [9], pool: @pool) == {:ok, 3.0}
    assert_received {:started, "math.sqrt", span, @span, %{kind: :client} = options}
    assert {:span, @trace, _id, 1} = span
    assert options.attributes["rpc.method"] == "math.sqrt"
    assert_received {:attributes, ^span, %{"slither.worker" => _}}
    assert_received {:ended, ^span, time}
    assert options.start_time < time
    assert abs(System.monotonic_time() - time) < System.convert_time_unit(60, :second, :native)
    refute_received {:error, _span, _message}
  end

  test "an error is its status, and an event" do
    Trace.with_parent(@parent, fn ->
      assert {:error, _} = Slither.call("math", "sqrt", [-1], pool: @pool)
    end)

    assert_received {:error, span, "math domain error" <> _}
    assert_received {:event, ^span, "exception", %{"exception.type" => "ValueError"}}
    assert_received {:ended, ^span, _time}
  end

  test "Python is told of the library's span" do
    Trace.with_parent(@parent, fn ->
      {:ok, told} = Slither.call("trace_handlers", "seen", [], pool: @pool)
      assert_received {:started, "trace_handlers.seen", {:span, @trace, id, 1}, @span, _options}
      assert told == "00-4bf92f3577b34da6a3ce929d0e0e4736-#{hex(id)}-01"
    end)
  end

  test "what the library raises costs the call nothing" do
    log =
      ExUnit.CaptureLog.capture_log(fn ->
        Trace.with_parent(@parent, fn ->
          assert Slither.call("math", "cos", [0], pool: @pool) == {:ok, 1.0}
        end)
      end)

    assert log =~ "a span could not be recorded by the library :opentelemetry"
  end

  test "without a current span there is none" do
    assert Trace.current() == nil
    assert Slither.call("math", "sqrt", [9], pool: @pool) == {:ok, 3.0}
    refute_received {:started, _name, _span, _above, _options}
  end

  defp hex(id), do: Base.encode16(<<id::64>>, case: :lower)
end
