defmodule Slither.DriverTest do
  # What of the driver's side is plain data. The whole is tested from Python, which drives it.
  use ExUnit.Case, async: true

  alias Slither.{DispatchError, Error, PipeError, Receipt}
  alias Slither.Driver.{Done, Faults, Options}

  describe "settings" do
    test "are options of the pool, and a level" do
      settings = %{"size" => 3, "python" => "python3", "level" => "warning"}
      settings = Map.put(settings, "log_level", "none")
      assert {:ok, options, :warning} = Options.pool(settings)
      assert {options[:name], options[:size], options[:log_level]} == {:default, 3, :none}
    end

    test "that are unknown or wrong are refused by name" do
      assert {:error, error} = Options.pool(%{"sise" => 3})
      assert Exception.message(error) =~ ~s(no setting is called "sise". Did you mean "size"?)
      assert {:error, error} = Options.pool(%{"size" => 0})

      assert Exception.message(error) =~
               "option :size takes an integer of 1 or more, or a range such as 1..8, got 0"

      assert {:error, error} = Options.pool(%{"log_level" => "loud"})
      assert Exception.message(error) =~ "option :log_level takes one of :debug"
      assert {:error, error} = Options.pool(%{"level" => "loud"})
      assert Exception.message(error) =~ ~s(no level is called "loud")
    end

    test "make no atoms" do
      name = "setting_#{System.unique_integer([:positive])}_never_seen"
      assert {:error, _error} = Options.pool(%{name => 1})
      assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
    end
  end

  describe "a map's spec" do
    test "is options of a dispatch" do
      retry = %{"retry" => %{"max_attempts" => 2, "then" => "skip"}}
      spec = %{"target" => ["each", "m", "f"], "on_error" => retry, "timeout" => nil}
      assert {:ok, options} = Options.map(spec)
      assert options[:on_error] == {:retry, [max_attempts: 2, then: :skip]}
      assert options[:timeout] == :infinity
      assert options[:executor_options] == [target: ["each", "m", "f"]]
    end

    test "that is wrong is refused by name" do
      for {spec, words} <- [
            {%{"orderin" => "preserve"}, ~s(no option is called "orderin". Did you mean)},
            {%{"ordering" => "sorted"},
             ~s(option :ordering takes one of :preserve, :as_completed, got "sorted")},
            {%{"on_error" => "explode"}, ~s(on_error: takes "halt", "skip")},
            {%{"on_error" => %{"retry" => %{"tries" => 1}}}, ~s(on_error.retry)}
          ] do
        assert {:error, error} = Options.map(spec)
        assert Exception.message(error) =~ words
      end
    end
  end

  describe "a fault" do
    test "of a handler carries the exception and the place" do
      cause = %Error{
        reason: :python_exception,
        message: "ValueError: no",
        python: %{type: "ValueError", message: "no", traceback: "Traceback …"},
        details: %{"args" => ["no"], "kind" => "exception", "module" => "builtins"}
      }

      error = %DispatchError{
        reason: :python_exception,
        stage: "s",
        batch: 2,
        item: 7,
        cause: cause
      }

      assert Faults.to_wire(error) == %{
               "kind" => "python_exception",
               "type" => "ValueError",
               "module" => "builtins",
               "args" => ["no"],
               "message" => "no",
               "traceback" => "Traceback …",
               "stage" => "s",
               "batch" => 2,
               "item" => 7,
               "attempts" => 1
             }

      assert %{"pipe" => "p", "kind" => "python_exception", "type" => "ValueError"} =
               Faults.to_wire(%PipeError{pipe: "p", reason: :python_exception, cause: error})
    end

    test "always can be sent" do
      for error <- [
            %Error{reason: :odd, message: "odd", details: %{pid: self(), bytes: <<255>>}},
            %PipeError{pipe: :p, reason: :handler_raised, cause: %RuntimeError{message: "x"}},
            %RuntimeError{message: "x"},
            {:not, :an, :exception},
            Faults.crashed({%RuntimeError{message: "x"}, []}),
            Faults.crashed(:killed)
          ] do
        wire = Faults.to_wire(error)
        assert is_binary(wire["kind"]) and is_binary(wire["message"])
        assert {:ok, _bytes} = Slither.Protocol.pack(wire)
      end
    end
  end

  test "a receipt has names as strings, and times in microseconds" do
    second = System.convert_time_unit(1, :second, :native)
    receipt = %Receipt{in: 3, out: 3, duration: second, stages: [{"a", %Receipt{in: 2}}]}
    wire = Done.receipt(receipt)
    assert %{"in" => 3, "duration" => 1_000_000, "stages" => [["a", %{"in" => 2}]]} = wire
    assert %{"name" => nil, "p50" => nil, "bottleneck" => nil} = wire
    assert {:ok, _bytes} = Slither.Protocol.pack(wire)

    times = %{receipt.times | handler: 2 * second, queue: 3 * second}
    stage = %Receipt{in: 2, name: :a, batches: 1, times: times, p50: second, p95: second}
    wire = Done.receipt(%{receipt | name: :p, stages: [a: stage]})
    assert %{"name" => "p", "stages" => [["a", %{"p50" => 1_000_000, "name" => "a"}]]} = wire

    assert wire["bottleneck"] ==
             %{"what" => "handler", "stage" => "a", "share" => 1.0, "waits" => 1.5}

    assert {:ok, _bytes} = Slither.Protocol.pack(wire)
  end
end
