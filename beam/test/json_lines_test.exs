defmodule Slither.JsonLinesTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.JsonLines
  alias Slither.Test.JSON

  doctest JsonLines

  @trace "4bf92f3577b34da6a3ce929d0e0e4736"
  @span "00f067aa0ba902b7"
  @noon {{2030, 1, 2}, {12, 0, 0, 7}}

  # As Logger does, of whichever version.
  defp line(level, message, metadata) do
    format = Logger.Formatter.compile({JsonLines, :format})

    line =
      format
      |> Logger.Formatter.format(level, message, @noon, metadata)
      |> IO.chardata_to_string()

    assert [json, ""] = String.split(line, "\n")
    JSON.read!(json)
  end

  defp ready do
    pool = ready_pool()
    listen(pool)
    pool
  end

  defp spoken(pool, function, options) do
    options = options(pool, function, [module: "voice_handlers"] ++ options)
    assert {:ok, _results} = Slither.dispatch([1], options)
  end

  defp logged(level, text) do
    receive do
      {:log, ^level, message, metadata} ->
        if message =~ text,
          do: line(level, message, Map.to_list(metadata)),
          else: logged(level, text)
    after
      patience() -> flunk("nothing says #{text}")
    end
  end

  test "a line of Python's record says who logged it, where, and in which call and trace" do
    pool = ready()
    trace = "00-#{@trace}-#{@span}-01"
    spoken(pool, "explain", metadata: %{trace: trace}, session_id: "s-7")
    name = to_string(pool)
    file = Path.join(handlers(), "voice_handlers.py")

    assert %{
             "level" => "error",
             "logger" => "mine",
             "message" => "explained 1",
             "file" => ^file,
             "line" => line,
             "function" => "explain",
             "process" => os_pid,
             "os_pid" => os_pid,
             "thread" => "MainThread",
             "pool" => ^name,
             "worker" => 0,
             "call" => call,
             "batch" => 0,
             "run" => "run" <> _,
             "session" => "s-7",
             "trace_id" => @trace,
             "span_id" => @span,
             "order" => 17,
             "exception" => "Traceback (most recent call last)" <> _ = exception,
             "time" => time
           } = found = logged(:error, "explained")

    assert is_integer(line) and is_integer(call) and is_integer(os_pid)
    assert exception =~ "KeyError: 'k'"
    assert {:ok, %DateTime{}, 0} = DateTime.from_iso8601(time)

    assert Map.keys(found) --
             ~w(level logger message file line function process os_pid thread pool
                                 worker call batch run session trace_id span_id order exception time application) ==
             []
  end

  test "a line that was printed has no place, and a trace that is none of W3C is as it is" do
    pool = ready()
    spoken(pool, "speak", metadata: %{trace: "order 17"})

    assert %{"logger" => "stdout", "message" => "printed 1", "trace" => "order 17"} =
             found = logged(:info, "printed")

    assert %{"worker" => 0, "batch" => 0} = found
    assert Map.take(found, ~w(file line function trace_id pid)) == %{}
  end

  test "a line of BEAM's own says which process and function logged it" do
    found =
      line(:warning, ["no ", "worker"],
        pid: self(),
        mfa: {Slither.Pool, :handle, 1},
        file: ~c"pool.ex",
        line: 3,
        gl: self(),
        time: 1_000_000,
        pool: :gpu,
        reason: {:shutdown, 1}
      )

    assert found == %{
             "time" => "1970-01-01T00:00:01.000000Z",
             "level" => "warning",
             "message" => "no worker",
             "file" => "pool.ex",
             "line" => 3,
             "function" => "Slither.Pool.handle/1",
             "pid" => inspect(self()),
             "pool" => "gpu",
             "reason" => "{:shutdown, 1}"
           }
  end

  test "whatever is logged is one line" do
    for message <- ["two\nlines", <<255>>, ["a", 0x2028], ""] do
      assert %{"message" => _} =
               line(:info, message, python_logger: "x", odd: {fn -> 1 end, make_ref()})
    end
  end
end
