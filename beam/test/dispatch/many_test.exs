defmodule Slither.Dispatch.ManyTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError, Error, Item}

  defp python(pool, function, options \\ []) do
    [module: "many_handlers", function: function, pool: pool, cardinality: :many]
    |> Keyword.merge(timeout: patience())
    |> Keyword.merge(options)
  end

  defp payloads(items), do: Enum.map(items, & &1.payload)

  defp rows(counts),
    do: for({count, n} <- Enum.with_index(counts), do: %{"n" => n, "count" => count})

  defp values(rows),
    do: for(%{"n" => n, "count" => count} <- rows, at <- 0..(count - 1)//1, do: [n, at])

  setup_all do
    {:ok, pool: start!(__MODULE__)}
  end

  test "each value becomes an item, in the order of the input", %{pool: pool} do
    assert {:ok, items, receipt} =
             Dispatch.run(["a b", "", "c"], python(pool, "split", receipt: true))

    assert [%Item{id: {first, 0}, payload: "a"}, %Item{id: {first, 1}, payload: "b"}, last] =
             items

    assert %Item{id: {_last, 0}, payload: "c"} = last
    assert %{in: 3, expanded: 1, out: 3, skipped: 1, failed: 0} = receipt
  end

  for function <- ~w(scripted one_scripted async_scripted) do
    test "values beyond a chunk follow (#{function})", %{pool: pool} do
      rows = rows([2_500, 0, 1, 3_000, 0])

      for options <- [
            [batch_size: 1],
            [batch_size: 2],
            [batch_size: 64],
            [max_in_flight_bytes: 1_000]
          ] do
        assert {:ok, items, receipt} =
                 Dispatch.run(rows, python(pool, unquote(function), [receipt: true] ++ options))

        assert payloads(items) == values(rows)
        assert %{in: 5, expanded: 5_498, out: 5_501, skipped: 2, failed: 0} = receipt
      end

      stream = Dispatch.stream(rows, python(pool, unquote(function), ordering: :as_completed))
      assert stream |> payloads() |> Enum.sort() == values(rows)
    end
  end

  test "an item that fails after some values has given these", %{pool: pool} do
    rows = [%{"n" => 0, "count" => 5, "fail" => 3}, %{"n" => 1, "count" => 2}]
    given = [[0, 0], [0, 1], [0, 2]]

    assert {:error, %DispatchError{reason: :python_exception, attempts: 1}, partial} =
             Dispatch.run(rows, python(pool, "scripted"))

    assert payloads(partial) == given

    assert {:ok, items, receipt} =
             Dispatch.run(rows, python(pool, "scripted", on_error: :skip, receipt: true))

    assert [[0, 0], [0, 1], [0, 2], %{"n" => 0}, [1, 0], [1, 1]] = payloads(items)
    assert %{skipped: true, error: %DispatchError{}} = Enum.at(items, 3).meta
    assert %{in: 2, expanded: 4, out: 5, skipped: 1, failed: 0} = receipt
  end

  test "an item is tried again only if it gave nothing", %{pool: pool} do
    retry = {:retry, max_attempts: 3, base_ms: 1, then: :skip}
    once = path("once")
    nothing = %{"n" => 0, "count" => 2, "fail" => 0, "once" => once}
    something = %{"n" => 1, "count" => 3, "fail" => 1, "once" => once}

    assert {:ok, items, receipt} =
             Dispatch.run(
               [nothing, something, %{"n" => 2, "count" => 1}],
               python(pool, "scripted", on_error: retry, receipt: true)
             )

    assert [[0, 0], [0, 1], [1, 0], %{"n" => 1}, [2, 0]] = payloads(items)
    assert %{attempts: 2} = hd(items).meta
    assert %{retries: 1, in: 3, expanded: 2, out: 4, skipped: 1, failed: 0} = receipt
  end

  test "with a worker that dies, what had not begun goes again" do
    pool = start_pool(size: 1)
    log = path("log")
    begun = %{"n" => 0, "count" => 1_500, "fail" => 1_200, "how" => "kill", "log" => log}

    rows = [
      begun,
      %{"n" => 1, "count" => 2, "log" => log},
      %{"n" => 2, "count" => 1, "log" => log}
    ]

    assert {:ok, items, receipt} =
             Dispatch.run(rows, python(pool, "scripted", on_error: :skip, receipt: true))

    {first, rest} = Enum.split_while(payloads(items), &is_list/1)
    assert first == for(at <- 0..(length(first) - 1), do: [0, at])
    assert length(first) in 1..1_200
    assert [%{"n" => 0}, [1, 0], [1, 1], [2, 0]] = rest
    assert Enum.at(items, length(first)).meta.error.reason == :worker_died
    assert %{skipped: 1, failed: 0} = receipt
    assert File.read!(log) == "begin 0\nbegin 1\nbegin 2\n"
  end

  test "a call over its time fails the item whose values it drew" do
    pool = start_pool(size: 1)
    slow = %{"n" => 0, "count" => 1_500, "fail" => 1_200, "how" => "sleep"}
    options = [on_error: :skip, timeout: 1_000]

    assert {:ok, items} =
             Dispatch.run([slow, %{"n" => 1, "count" => 1}], python(pool, "scripted", options))

    assert [%{"n" => 0}, [1, 0]] = items |> payloads() |> Enum.drop_while(&match?([0, _], &1))
    assert Enum.find(items, & &1.meta[:skipped]).meta.error.reason == :timeout
  end

  test "a function that gives no lists says so for each item", %{pool: pool} do
    assert {:ok, items} = Dispatch.run([1, "text"], python(pool, "wrong", on_error: :skip))

    for item <- items do
      assert %DispatchError{cause: %Error{} = error} = item.meta.error
      assert error.message =~ "for one value return a list of one"
    end
  end

  test "an item that can't be sent fails alone", %{pool: pool} do
    rows = [%{"n" => 0, "count" => 1_200}, self(), %{"n" => 2, "count" => 1}]
    assert {:ok, items} = Dispatch.run(rows, python(pool, "scripted", on_error: :skip))
    assert length(items) == 1_202
    assert [bad, %{payload: [2, 0]}] = Enum.drop(items, 1_200)
    assert bad.meta.error.reason == :not_encodable
  end

  test "goes with commands, and with sessions", %{pool: pool} do
    command = [executor: Dispatch.Executors.Snakepit, command: "double_many"]
    pool2 = start_pool(preload: ["many_handlers"])

    assert {:ok, items} = Dispatch.run([1, 2], command ++ [pool: pool2, cardinality: :many])

    assert payloads(items) == [1, 1, 2, 2]

    rows = rows([1_500, 1_500, 3, 2_000])
    options = python(pool, "scripted", session_id: "s-#{System.unique_integer()}", batch_size: 1)
    assert {:ok, items} = Dispatch.run(rows, options)
    assert payloads(items) == values(rows)
  end

  test "a worker that is to be replaced stays until what it has begun is drawn" do
    pool = start_pool(size: 1, max_requests: 2)
    rows = rows([2_500, 2_500, 1, 2_500])
    assert {:ok, items} = Dispatch.run(rows, python(pool, "scripted", batch_size: 1))
    assert payloads(items) == values(rows)
    test = self()

    reader =
      spawn_link(fn ->
        items =
          rows([100_000])
          |> Dispatch.stream(python(pool, "scripted"))
          |> Stream.each(fn %{payload: [0, at]} ->
            if at == 0, do: send(test, :begun) && receive(do: (:go -> :ok))
          end)
          |> Enum.count()

        send(test, {:count, items})
      end)

    assert_receive :begun, patience()
    restarted = Task.async(fn -> Slither.Python.Pool.restart(pool) end)
    send(reader, :go)
    assert_receive {:count, 100_000}, patience()
    assert :ok = Task.await(restarted, patience())
  end

  test "a call that fails is captured, to be run again" do
    dir = path("captured")
    pool = start_pool(capture_failures: dir)
    row = %{"n" => 0, "count" => 3}
    assert {:error, _failure, []} = Dispatch.run([row, 5], python(pool, "broken"))
    assert [file] = Path.wildcard(Path.join(dir, "*"))
    python = System.find_executable("python") || "python3"
    environment = [{"PYTHONPATH", "#{handlers()}:#{Path.expand("../../../python", __DIR__)}"}]

    {told, _} =
      System.cmd(python, ["-m", "slither.replay", file], env: environment, stderr_to_stdout: true)

    assert told =~ "KeyError"
  end

  test "raw results are refused", %{pool: pool} do
    assert {:error, %Error{reason: :invalid_option, message: message}, []} =
             Dispatch.run([1], python(pool, "split", raw: true))

    assert message =~ "raw: true"

    assert {:error, %Error{message: message}, []} =
             Dispatch.run([1], python(pool, "split", cardinality: 2))

    assert message =~ ":many"
  end

  test "a reader that rests holds no worker, nor what it calls for each value" do
    pool = ready_pool(size: 1, window: 1)
    rows = rows([3_000, 3_000])
    options = python(pool, "scripted")

    for ordering <- [:preserve, :as_completed] do
      count =
        rows
        |> Dispatch.stream([ordering: ordering] ++ options)
        |> Enum.reduce(0, fn _item, count ->
          if rem(count, 500) == 10,
            do: {:ok, 2.0} = Slither.call("math", "sqrt", [4], pool: pool, queue_timeout: 60_000)

          count + 1
        end)

      assert count == 6_000
    end

    # Two streams of one worker that are read in turn.
    [one, other] = for _ <- 1..2, do: Dispatch.stream(rows, options)
    assert one |> Enum.zip(other) |> length() == 6_000
  end

  describe "an item that makes a million" do
    # What a handler's file says that it made, once it is closed.
    defp await_closed(path) do
      case with {:ok, text} <- File.read(path), do: String.split(text) do
        [count, "closed"] -> String.to_integer(count)
        _not_yet -> Process.sleep(10) && await_closed(path)
      end
    end

    for {how, options} <- [
          preserve: [],
          as_completed: [ordering: :as_completed],
          session: [session_id: "s"]
        ] do
      test "stops with its reader (#{how})", %{pool: pool} do
        path = path("made")
        options = python(pool, "counting", unquote(options))
        stream = Dispatch.stream([%{"path" => path}, %{"path" => path <> "2"}], options)
        assert stream |> Enum.take(10) |> payloads() == Enum.to_list(0..9)
        assert await_closed(path) <= 5_000
      end
    end

    test "is closed where the run ends with a failure, and where its process dies", %{pool: pool} do
      path = path("made")

      assert catch_throw(
               Dispatch.stream([%{"path" => path}], python(pool, "counting"))
               |> Enum.each(fn _ -> throw(:stop) end)
             ) == :stop

      assert await_closed(path) <= 5_000
      path = path("other")
      test = self()

      reader =
        spawn(fn ->
          Dispatch.stream([%{"path" => path}], python(pool, "counting"))
          |> Enum.each(fn _ ->
            send(test, :reads)
            Process.sleep(:infinity)
          end)
        end)

      assert_receive :reads, patience()
      Process.exit(reader, :kill)
      assert await_closed(path) <= 5_000
    end
  end
end
