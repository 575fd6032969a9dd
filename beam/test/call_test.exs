defmodule Slither.CallTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO
  import Slither.Test.Pools

  alias Slither.{Bytes, Error}

  setup_all do
    # One pool for all tests here, whose calls are all short.
    %{pool: name} = %{pool: unique(:call)}
    start_supervised!({Slither.Python.Pool, name: name, size: 2, paths: [handlers()]})
    %{pool: name}
  end

  describe "call" do
    test "runs any function that can be imported, once, with its arguments", %{pool: pool} do
      assert Slither.call("math", "pow", [2, 3], pool: pool) == {:ok, 8.0}
      assert Slither.call(:math, :pow, [2, 3], pool: pool) == {:ok, 8.0}
      assert Slither.call("os.path", "join", ["a", "b"], pool: pool) == {:ok, "a/b"}
      assert Slither.call("builtins", "len", [[1, 2]], pool: pool) == {:ok, 2}
      assert {:ok, pid} = Slither.call("os", "getpid", [], pool: pool)
      assert is_integer(pid)
    end

    test "names methods of classes by dotted names", %{pool: pool} do
      arguments = ["2024-02-29T12:00:00+00:00"]

      assert {:ok, time} =
               Slither.call("datetime", "datetime.fromisoformat", arguments, pool: pool)

      assert DateTime.truncate(time, :second) == ~U[2024-02-29 12:00:00Z]

      assert Slither.call("builtins", "bytes.fromhex", ["ff"], pool: pool) ==
               {:ok, %Bytes{data: <<255>>}}

      assert Slither.call("builtins", "str.upper", ["a"], pool: pool) == {:ok, "A"}
    end

    test "takes keyword arguments as a map, of atoms or strings", %{pool: pool} do
      for kwargs <- [%{indent: 1}, %{"indent" => 1}] do
        options = [kwargs: kwargs, pool: pool]
        assert Slither.call("json", "dumps", [[1]], options) == {:ok, "[\n 1\n]"}
      end

      assert Slither.call("builtins", "dict", [], kwargs: %{a: 1}, pool: pool) ==
               {:ok, %{"a" => 1}}
    end

    test "refuses keyword arguments of which one would be lost, or that are no map", %{pool: pool} do
      twice = [kwargs: %{"c" => 2, c: 3}, pool: pool]

      assert {:error, %Error{reason: :invalid_argument} = error} =
               Slither.call("m", "f", [], twice)

      assert error.message =~ ~s(has "c" twice)
      listed = [kwargs: [a: 1], pool: pool]

      assert {:error, %Error{reason: :invalid_option} = error} =
               Slither.call("m", "f", [], listed)

      assert error.message =~ "option :kwargs takes a map, such as %{a: 1}, got [a: 1]"
    end

    test "awaits a coroutine", %{pool: pool} do
      assert Slither.call("asyncio", "sleep", [0], kwargs: %{result: "up"}, pool: pool) ==
               {:ok, "up"}
    end

    test "gives an exception with its type, message and traceback", %{pool: pool} do
      assert {:error, %Error{reason: :python_exception} = error} =
               Slither.call("fractions", "Fraction", ["ten"], pool: pool)

      assert error.message == "ValueError: Invalid literal for Fraction: 'ten'"
      assert %{type: "ValueError", traceback: traceback} = error.python
      assert traceback =~ "fractions.py"
    end

    test "says what can't be called, and why", %{pool: pool} do
      for {module, function, words} <- [
            {"no_such_module", "f", "no module is named 'no_such_module'"},
            {"math", "sqrd", "did you mean sqrt"},
            {"math", "pi", "math.pi is of type float, not a function"}
          ] do
        assert {:error, %Error{reason: :import_failed} = error} =
                 Slither.call(module, function, [1], pool: pool)

        assert Exception.message(error) =~ words
      end
    end

    test "says which value can't cross, on its way there or back", %{pool: pool} do
      assert {:error, %Error{reason: :not_encodable} = there} =
               Slither.call("builtins", "len", [self()], pool: pool)

      assert Exception.message(there) =~ "payload[0][0]"

      assert {:error, %Error{reason: :not_encodable} = back} =
               Slither.call("builtins", "object", [], pool: pool)

      assert Exception.message(back) =~ "object"
    end

    test "refuses what is no call before anything is sent" do
      for {arguments, reason, words} <- [
            {["math", "sqrt", 16], :invalid_argument,
             "takes a list of arguments, got 16 (write [16] for a function of one argument)"},
            {["math", "sqrt", [1 | 2]], :invalid_argument, "takes a list of arguments"},
            {[nil, "sqrt", []], :invalid_argument, "the module's name is a string or an atom"},
            {["math", 1, []], :invalid_argument, "the function's name is a string or an atom"},
            {["math", "", []], :invalid_argument, "the function's name"},
            {["math", "sqrt", [], [timout: 1]], :unknown_option, "Did you mean :timeout?"},
            {["math", "sqrt", [], [timeout: 0]], :invalid_option, "option :timeout takes"},
            {["math", "sqrt", [], [kwargs: [a: 1]]], :invalid_option,
             "option :kwargs takes a map"},
            {["math", "sqrt", [], [kwargs: %{1 => 1}]], :invalid_argument,
             "names as keys, got 1"},
            {["math", "sqrt", [1], [pool: :nowhere]], :unknown_pool, "no pool :nowhere"}
          ] do
        assert {:error, %Error{reason: ^reason} = error} = apply(Slither, :call, arguments)
        assert Exception.message(error) =~ words
      end
    end

    test "that runs too long is ended with its worker" do
      pool = ready_pool()

      assert {:error, %Error{reason: :timeout}} =
               Slither.call("time", "sleep", [60], pool: pool, timeout: 50)

      assert Slither.call("math", "sqrt", [16], pool: pool) == {:ok, 4.0}
    end

    test "waits for a worker for at most queue_timeout" do
      pool = ready_pool(window: 1)
      task = Slither.async("time", "sleep", [60], pool: pool)
      await_calls(pool, 1)

      assert {:error, %Error{reason: :queue_timeout}} =
               Slither.call("math", "sqrt", [16], pool: pool, queue_timeout: 1)

      Task.shutdown(task, :brutal_kill)
    end

    test "waits no longer where calls were short so far" do
      pool = quick_pool()
      task = Slither.async("time", "sleep", [60], pool: pool)
      await_calls(pool, 1)

      assert {:error, %Error{reason: :queue_timeout}} =
               Slither.call("math", "sqrt", [16], pool: pool, queue_timeout: 1)

      Task.shutdown(task, :brutal_kill)
    end

    test "of a session runs where its state is" do
      pool = ready_pool(size: 2)
      options = [pool: pool, session: "mine"]
      pids = for _ <- 1..4, do: Slither.call!("os", "getpid", [], options)
      assert [_one] = Enum.uniq(pids)
      assert {:ok, [%{id: "mine"}]} = Slither.Session.list(pool)
      assert Slither.Session.stop("mine") == :ok
    end
  end

  test "call! gives the value, or raises the error", %{pool: pool} do
    assert Slither.call!("math", "pow", [2, 3], pool: pool) == 8.0

    assert_raise Error, ~r/ValueError: invalid literal for int/, fn ->
      Slither.call!("builtins", "int", ["ten"], pool: pool)
    end
  end

  describe "async and await" do
    test "run calls side by side", %{pool: pool} do
      tasks = for n <- 1..5, do: Slither.async("math", "factorial", [n], pool: pool)
      assert Enum.map(tasks, &Slither.await/1) == for(n <- [1, 2, 6, 24, 120], do: {:ok, n})
    end

    test "give errors as values", %{pool: pool} do
      task = Slither.async("math", "sqrt", [-1], pool: pool)
      assert {:error, %Error{reason: :python_exception}} = Slither.await(task)
      task = Slither.async("math", "sqrt", 16, pool: pool)
      assert {:error, %Error{reason: :invalid_argument}} = Slither.await(task)
    end

    test "say that an answer was taken before, and wait for none that can't come", %{pool: pool} do
      task = Slither.async("math", "sqrt", [16], pool: pool)
      assert Slither.await(task) == {:ok, 4.0}

      assert_raise ArgumentError, ~r"Slither.await/2: the answer was taken", fn ->
        Slither.await(task)
      end

      assert_raise ArgumentError, ~r"Slither.await/2: the answer was taken", fn ->
        Slither.await(task, 60_000)
      end

      Process.flag(:trap_exit, true)
      task = Slither.async("time", "sleep", [60], pool: pool)
      Process.exit(task.pid, :gone)
      assert {:gone, _call} = catch_exit(Slither.await(task))
      task = Slither.async("math", "sqrt", [16], pool: pool)
      assert_receive {:EXIT, pid, :normal} when pid == task.pid, patience()
      assert Slither.await(task, 0) == {:ok, 4.0}
    end

    test "refuse what is no time, and another's call", %{pool: pool} do
      task = Slither.async("math", "sqrt", [16], pool: pool)

      for wrong <- [-5, :x, 1.5, 0x100000000] do
        assert_raise ArgumentError, ~r"Slither.await/2: timeout takes milliseconds", fn ->
          Slither.await(task, wrong)
        end
      end

      other = Task.async(fn -> catch_error(Slither.await(task)) end)
      assert Exception.message(Task.await(other, patience())) =~ "another process began this call"
      assert Slither.await(task) == {:ok, 4.0}
    end

    test "cancel a call that is late, and free its worker" do
      pool = ready_pool(cancel_grace: 1)
      task = Slither.async("time", "sleep", [60], pool: pool)
      await_calls(pool, 1)
      assert {:error, %Error{reason: :timeout} = error} = Slither.await(task, 1)
      assert Exception.message(error) =~ "within 1 ms, and was cancelled"
      assert Slither.call("math", "sqrt", [16], pool: pool) == {:ok, 4.0}
    end
  end

  describe "help" do
    test "prints a function's parameters and documentation", %{pool: pool} do
      text = capture_io(fn -> assert Slither.help("json", "dumps", pool: pool) == :ok end)
      assert text =~ "json.dumps(obj, *, skipkeys=False"
      assert text =~ "Serialize ``obj`` to a JSON formatted"
    end

    test "tells of functions in C, of methods, and of what a module has", %{pool: pool} do
      text = capture_io(fn -> Slither.help("builtins", "str.upper", pool: pool) end)
      assert text =~ "builtins.str.upper(self, /)"
      text = capture_io(fn -> Slither.help("json", nil, pool: pool) end)
      assert text =~ ~r/^json\n/
      assert text =~ "  dumps  Serialize"
    end

    test "says what is not there", %{pool: pool} do
      assert {:error, %Error{reason: :import_failed}} = Slither.help("json", "dumb", pool: pool)
      assert {:error, %Error{reason: :unknown_option}} = Slither.help("json", "dumps", pol: 1)
    end
  end

  # Returns once the pool's workers hold so many calls.
  defp await_calls(pool, count) do
    {:ok, %{workers: workers}} = Slither.Python.Pool.status(pool)

    unless workers |> Enum.map(& &1.calls) |> Enum.sum() >= count do
      :erlang.yield()
      await_calls(pool, count)
    end
  end
end
