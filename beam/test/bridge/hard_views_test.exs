defmodule Slither.Bridge.HardViewsTest do
  # Views that misbehave, and callers that do.
  use ExUnit.Case, async: true

  alias Slither.{Bridge, Context, Dispatch}
  alias Slither.Test.{Pools, Stores, Telemetry}

  @pool __MODULE__

  setup_all do
    {:ok, pool: Pools.start!(@pool)}
  end

  defp view(name, handler, options \\ []),
    do: Map.merge(%{name: name, scope: :global, handler: handler}, Map.new(options))

  # Enters, tells whom the params name, and waits to be let go.
  defp gate(test) do
    fn params ->
      send(test, {:entered, self(), params})
      receive do: (:go -> params)
    end
  end

  defp serve(views), do: Stores.start(views: views)

  defp call!(function, requests, options \\ []) do
    given = [module: "view_handlers", function: function, pool: @pool, batch_size: 100]
    {:ok, items} = Dispatch.run(requests, Keyword.merge(given, options))
    Enum.map(items, & &1.payload)
  end

  defp request(view, params \\ %{}), do: %{"view" => view, "params" => params}

  defp monitor(pid) do
    ref = Process.monitor(pid)
    fn -> assert_receive({:DOWN, ^ref, :process, ^pid, _reason}, Pools.patience()) end
  end

  defp listen do
    Telemetry.listen(for e <- [:start, :stop, :exception], do: [:slither, :bridge, :view, e])
  end

  test "whatever a handler does, its caller gets an answer and its store goes on" do
    store =
      serve([
        view(:hard_raise, fn _ -> raise "broke" end),
        view(:hard_throw, fn _ -> throw(:broke) end),
        view(:hard_exit, fn _ -> exit(:broke) end),
        view(:hard_exit_normal, fn _ -> exit(:normal) end),
        view(:hard_kill, fn _ -> Process.exit(self(), :kill) end),
        view(:hard_end_normal, fn _ -> Process.exit(self(), :normal) end),
        view(:hard_linked, fn _ -> spawn_link(fn -> exit(:broke) end) && gate(self()).(1) end),
        view(:hard_arity, fn %{"no" => such} -> such end),
        view(:hard_improper, fn _ -> [1 | 2] end),
        view(:hard_bits, fn _ -> <<1::3>> end),
        view(:hard_struct, fn _ -> %{__struct__: "x"} end),
        view(:hard_deep, fn _ -> Enum.reduce(1..2_000, 0, fn _, deep -> [deep] end) end),
        view(:hard_text, fn _ -> <<255>> end),
        view(:hard_store, fn _ -> Slither.Store.Server.put(:no_such_store, :t, 1, 1) end)
      ])

    names = for %{name: name} <- Stores.spec(store).views, do: to_string(name)
    answers = call!("outcome", Enum.map(names, &request/1))

    for {name, answer} <- Enum.zip(names, answers) do
      assert %{"error" => "ViewFailed", "view" => ^name, "message" => message} = answer
      assert message =~ name
    end

    assert Slither.Store.Server.put(store, :items, 1, 1) == :ok
    assert Enum.all?(names, &match?({:ok, _}, Slither.Store.Views.fetch(&1)))
  end

  test "a batch view that gives no list, or one of another length, is refused" do
    serve([
      view(:hard_no_list, fn _ -> :none end, mode: :batch),
      view(:hard_short, fn list -> tl(list) end, mode: :batch),
      view(:hard_improper_list, fn _ -> [1 | 2] end, mode: :batch),
      view(:hard_one_fails, fn n -> 1 / n end),
      view(:hard_same, & &1)
    ])

    requests = [
      request("hard_no_list", [1]),
      request("hard_short", [1, 2]),
      request("hard_improper_list", [1]),
      request("hard_one_fails", [1, 0]),
      request("hard_same", []),
      request("hard_same", [1, nil])
    ]

    assert [no_list, short, improper, one_fails, none, two] = call!("map_outcome", requests)
    assert no_list["message"] =~ "a view of mode :batch returns a list, got :none"
    assert short["message"] =~ "it returned 1 values for 2 parameters"
    assert %{"error" => "ViewFailed"} = improper
    assert one_fails["message"] =~ "bad argument in arithmetic"
    assert [none, two] == [%{"value" => []}, %{"value" => [1, nil]}]
  end

  test "nothing of one call is there in the next" do
    leave = fn _ ->
      seen = {Process.get(:left), Process.info(self(), :message_queue_len)}
      Process.put(:left, :something)
      send(self(), :left)
      Process.flag(:trap_exit, true)
      inspect(seen)
    end

    serve([view(:hard_leave, leave)])
    requests = List.duplicate(request("hard_leave"), 20)

    assert Enum.uniq(call!("outcome", requests)) == [
             %{"value" => inspect({nil, {:message_queue_len, 0}})}
           ]
  end

  test "as many as 64 of a worker run at once, the rest is refused at once" do
    test = self()
    serve([view(:hard_test_gate, gate(test), timeout_ms: 60_000)])
    pool = Pools.ready_pool(size: 1)
    go = Pools.path("go")
    {_, 0} = System.cmd("mkfifo", [go])
    request = %{"count" => 64, "more" => 6, "go" => go}
    asked = Task.async(fn -> call!("at_once", [request], pool: pool) end)

    running =
      for _ <- 1..64 do
        assert_receive {:entered, pid, _number}, Pools.patience()
        pid
      end

    assert length(Enum.uniq(running)) == 64
    File.write!(go, "now")
    Pools.await_running(pool)
    refute_received {:entered, _pid, _number}
    for pid <- running, do: send(pid, :go)
    assert [[answered, refused]] = Task.await(asked, Pools.patience())
    assert Enum.map(answered, & &1["value"]) == Enum.to_list(0..63)
    assert [%{"error" => "ViewBusy", "message" => message}] = Enum.uniq(refused)
    assert message =~ "64 view calls of this worker"
  end

  test "a handler ends when its worker is killed, and when the worker's owner is" do
    test = self()
    serve([view(:hard_test_gate, gate(test), timeout_ms: 60_000)])
    pool = Pools.ready_pool(size: 1)

    ask = fn options ->
      given = [module: "view_handlers", function: "call", pool: pool] ++ options
      Task.async(fn -> Dispatch.run([request("hard_test_gate")], given) end)
    end

    late = ask.(timeout: 200)
    assert_receive {:entered, handler, _}, Pools.patience()
    ended = monitor(handler)
    assert {:error, _error, _} = Task.await(late, Pools.patience())
    ended.()

    Pools.await_up(pool)
    killed = ask.([])
    assert_receive {:entered, handler, _}, Pools.patience()
    ended = monitor(handler)
    {:links, links} = Process.info(handler, :links)
    [owner] = for pid <- links, is_pid(pid), worker?(pid), do: pid
    Process.exit(owner, :kill)
    ended.()
    assert {:error, _error, _} = Task.await(killed, Pools.patience())
  end

  defp worker?(pid) do
    {:dictionary, words} = Process.info(pid, :dictionary)
    match?({Slither.Python.Worker, _, _}, words[:"$initial_call"])
  end

  test "a view that is started is told to stop or to fail, even when it is killed" do
    listen()

    serve([
      view(:hard_told_slow, fn _ -> Process.sleep(:infinity) end, timeout_ms: 20),
      view(:hard_told_kill, fn _ -> Process.exit(self(), :kill) end, mode: :batch),
      view(:hard_told_raise, fn _ -> raise "broke" end, scope: :session),
      view(:hard_told_fine, fn n -> n end)
    ])

    names = ~w(hard_told_slow hard_told_kill hard_told_raise hard_told_fine)

    for name <- names do
      [answer] = call!("map_outcome", [request(name, [1, 2])], session_id: "told")
      prefix = [:slither, :bridge, :view]
      assert_receive {:event, [_, _, _, :start] = start, measured, %{view: ^name} = started}
      assert start == prefix ++ [:start]
      assert %{system_time: _, count: 2} = measured

      assert %{scope: _, mode: _, store: _, pool: @pool, worker: _, session: "told"} = started
      assert_receive {:event, [_, _, _, last], %{duration: duration, count: 2}, ended}
      assert duration > 0
      # What ends has all that the start had.
      assert Map.take(ended, Map.keys(started)) == started

      case name do
        "hard_told_fine" ->
          assert last == :stop

        "hard_told_slow" ->
          assert {last, ended.reason} == {:exception, :view_timeout}
          assert ended.error =~ "did not answer within 0.02 s"
          assert answer["error"] == "ViewTimeout"

        _ ->
          assert {last, ended.reason} == {:exception, :view_failed}
          assert answer["message"] =~ ended.error
      end

      refute_received {:event, _, _, %{view: ^name}}
    end
  end

  test "a thread that outlives its session's call does not get the next session's views" do
    serve([view(:hard_session, fn _, context -> context.session_id end, scope: :session)])
    pool = Pools.ready_pool(size: 1)
    request = request("hard_session")
    call!("leave_thread", [request], pool: pool, session_id: "first")

    assert [%{"left" => left, "own" => %{"value" => "second"}}] =
             call!("let_thread_go", [request], pool: pool, session_id: "second")

    assert %{"error" => "SessionEnded"} = left
  end

  test "a run that is killed leaves no session views, however long its handler goes on" do
    serve([view(:hard_session, fn _, context -> context.session_id end, scope: :session)])
    pool = Pools.ready_pool(size: 1, cancel_grace: 60_000)
    path = Pools.path("answer")
    {_, 0} = System.cmd("mkfifo", [path])
    request = Map.put(request("hard_session"), "path", path)
    {:ok, run} = Task.start(fn -> call!("ask_when_cancelled", [request], pool: pool) end)
    Pools.await_running(pool)
    Process.exit(run, :kill)
    assert File.read!(path) == "SessionEnded"
  end

  test "views are gone with their store, for whoever asks next" do
    store = serve([view(:hard_gone, fn _ -> 1 end)])
    assert [%{"value" => 1}] = call!("outcome", [request("hard_gone")])
    stop_supervised!({Slither.Store.Server, store})
    Stores.until(fn -> Slither.Store.Views.fetch("hard_gone") == :error end)
    assert [%{"error" => "UnknownView"}] = call!("outcome", [request("hard_gone")])
  end

  test "a worker that reads no answers is still held to its time" do
    name = :"hard_frozen_#{System.unique_integer([:positive])}"
    store = Stores.start(tables: [%{name: name, python: :read}])
    Slither.Store.Server.put(store, name, "much", String.duplicate("x", 500_000))
    pool = Pools.ready_pool(size: 1)
    request = %{"table" => to_string(name), "key" => "much", "times" => 20}
    given = [module: "view_handlers", function: "ask_and_freeze", pool: pool, timeout: 2_000]
    assert {:error, error, _} = Dispatch.run([request], given)
    assert Exception.message(error) =~ "ran for more than 2000 ms"
    # Another takes its place.
    Pools.await_up(pool)
  end

  test "from Elixir, a view has its own process and its time, too" do
    listen()
    test = self()

    serve([
      view(:hard_own, fn _ -> inspect(self()) end),
      view(:hard_own_slow, gate(test), timeout_ms: 20),
      view(:hard_own_kill, fn _ -> Process.exit(self(), :kill) end),
      view(:hard_own_link, fn _ -> spawn_link(fn -> exit(:broke) end) && gate(test).(1) end)
    ])

    assert {:ok, pid} = Bridge.call(:hard_own, nil)
    assert pid != inspect(self())
    assert {:error, %{"kind" => "view_timeout"}} = Bridge.call(:hard_own_slow, nil, %Context{})
    assert_received {:entered, handler, nil}
    refute Process.alive?(handler)
    assert {:error, %{"kind" => "view_failed"}} = Bridge.call(:hard_own_kill, nil)
    assert {:error, %{"kind" => "view_failed"}} = Bridge.call(:hard_own_link, nil)
    assert_received {:event, [_, _, _, :exception], _, %{reason: :view_timeout, worker: nil}}
  end
end
