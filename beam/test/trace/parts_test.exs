defmodule Slither.Trace.PartsTest do
  # The parts of traces that need no process; the variables of the VM are one for all tests.
  use ExUnit.Case, async: false

  alias Slither.{Bytes, Error}
  alias Slither.Test.Otlp
  alias Slither.Trace.{OTLP, Parent, Settings, Span}

  doctest Parent

  @parent "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

  describe "Parent.parse/1" do
    test "takes later versions, which may say more" do
      assert Parent.parse("01" <> binary_part(@parent, 2, 53)) == Parent.parse(@parent)
      assert Parent.parse("01" <> binary_part(@parent, 2, 53) <> "-more") == Parent.parse(@parent)
      assert Parent.parse(binary_part(@parent, 0, 53) <> "03").sampled?
    end

    test "gives nil for what is none" do
      wrong = [
        nil,
        "",
        @parent <> "-more",
        String.upcase(@parent),
        binary_part(@parent, 0, 54),
        "ff" <> binary_part(@parent, 2, 53),
        "zz" <> binary_part(@parent, 2, 53),
        String.replace(@parent, "4bf92f3577b34da6a3ce929d0e0e4736", String.duplicate("0", 32)),
        String.replace(@parent, "00f067aa0ba902b7", String.duplicate("0", 16)),
        String.replace(@parent, "-01", "-0x")
      ]

      for text <- wrong, do: assert(Parent.parse(text) == nil, inspect(text))
    end
  end

  describe "OTLP.request/3" do
    test "writes every kind of value" do
      values = %{
        "text" => "grün",
        "int" => -3,
        "large" => 0x1_0000_0000_0000_0000,
        "float" => 1.5,
        "true" => true,
        "false" => false,
        "list" => ["a", 1],
        "atom" => :gpu
      }

      span = %Span{
        name: "work",
        kind: :internal,
        id: Parent.parse(@parent),
        start: 1_700_000_000_000_000_001,
        stop: 1_700_000_000_000_000_002,
        attributes: values,
        scope: "mine"
      }

      body = IO.iodata_to_binary(OTLP.request([span], %{"service.name" => "shop"}, "1.2.3"))
      assert [read] = Otlp.spans(body)
      assert %{values | "large" => "18446744073709551616", "atom" => "gpu"} == read.attributes

      assert {read.name, read.kind, read.scope, read.service} ==
               {"work", :internal, "mine", "shop"}

      assert {read.start, read.stop} == {span.start, span.stop}
      assert {read.parent, read.links, read.events, read.failed} == {nil, [], [], false}
    end
  end

  describe "Span" do
    test "finish/3 names an exception of a module by its full name" do
      error = %Error{
        reason: :python_exception,
        message: "no",
        python: %{type: "HTTPError", message: "no", traceback: "Traceback …"},
        details: %{"raised" => [%{"type" => "HTTPError", "module" => "requests.exceptions"}]}
      }

      span = Span.finish(Span.begin(%Span{name: "a", kind: :client}), error, %{"n" => nil})
      assert span.attributes == %{"error.type" => "requests.exceptions.HTTPError"}
      assert span.error == "no"
      assert [{"exception", _time, %{"exception.stacktrace" => "Traceback …"}}] = span.events
    end

    test "finish/3 has the stack of what was killed" do
      error = %Error{reason: :timeout, message: "late", details: %{stack: "in loop", stderr: "x"}}
      span = Span.finish(Span.begin(%Span{name: "a", kind: :client}), error, %{})
      assert [{"exception", _time, facts}] = span.events

      assert facts == %{
               "exception.type" => "timeout",
               "exception.message" => "late",
               "exception.stacktrace" => "in loop"
             }
    end

    test "ids are the span's own, whatever the process has seeded" do
      ids =
        for _ <- 1..2 do
          :rand.seed(:exsss, 1)
          Span.begin(%Span{name: "a", kind: :client}).id
        end

      assert [one, other] = ids
      assert one.trace_id != other.trace_id
      assert one.span_id != other.span_id
    end
  end

  describe "Settings.read/2" do
    setup do
      names = ~w(OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_SERVICE_NAME
                 OTEL_EXPORTER_OTLP_HEADERS OTEL_EXPORTER_OTLP_PROTOCOL OTEL_SDK_DISABLED)

      before = System.get_env()
      Enum.each(names, &System.delete_env/1)

      on_exit(fn ->
        for name <- names,
            do:
              if(value = before[name],
                do: System.put_env(name, value),
                else: System.delete_env(name)
              )
      end)
    end

    test "is off without a configuration and without variables" do
      assert Settings.read(nil, false) == {:off, 0}
      assert Settings.read(false, false) == {:off, nil}
    end

    test "reads the variables, an exact endpoint first" do
      System.put_env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one:4318/")
      assert {:ok, options} = Settings.read(nil, false)
      assert options[:endpoint] == "http://one:4318/v1/traces"
      assert options[:service] == "slither"
      System.put_env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://two:4318/there")
      assert {:ok, options} = Settings.read(true, false)
      assert options[:endpoint] == "http://two:4318/there"
    end

    test "leaves a receiver of gRPC, and what is turned off, alone" do
      System.put_env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one:4317")
      System.put_env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
      assert Settings.read(nil, false) == {:off, 0}
      System.put_env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
      System.put_env("OTEL_SDK_DISABLED", "true")
      assert Settings.read(nil, false) == {:off, 0}
    end

    test "takes options before variables, and adds a path where there is none" do
      System.put_env("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=0,c=x%3Dy")
      options = [endpoint: "https://here", headers: [b: 2], service: "shop"]
      assert {:ok, options} = Settings.read(options, false)
      assert options[:endpoint] == "https://here/v1/traces"
      assert options[:headers].() == %{"a" => "1", "b" => "2", "c" => "x=y"}
      refute inspect(options) =~ "x=y"
    end

    test "leaves spans to the library, where nothing says else" do
      assert Settings.read([sample: 0.5], true) == {:off, 0.5}
      assert {:ok, _options} = Settings.read([endpoint: "http://x"], true)
    end
  end

  describe "what a worker tells of" do
    test "is dropped where it can't be read, and counted" do
      good = %{
        "ids" => [%Bytes{data: <<1::128>>}, %Bytes{data: <<2::64>>}, nil],
        "name" => "a",
        "kind" => 1,
        "start" => 1,
        "end" => 2
      }

      before = dropped()
      wrong = [1, %{}, %{good | "ids" => []}, %{good | "name" => 1}, %{good | "start" => nil}]
      assert Slither.Trace.Received.record(wrong, 3, %{}) == :ok
      assert dropped() == before + 8
    end
  end

  defp dropped, do: Slither.Metrics.Series.get(:trace_spans_total, {:dropped})
end
