defmodule Slither.BridgeTest do
  use ExUnit.Case, async: true

  alias Slither.{Bridge, Context, Dispatch, Pipe}
  alias Slither.Test.{Pools, Telemetry}

  @pool __MODULE__

  defmodule Features do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :features, type: :set, read_concurrency: true}]

    @impl true
    def views do
      [
        %{name: :bridge_test_feature, scope: :session, handler: &look_up/2},
        %{name: :bridge_test_context, scope: :session, handler: &context/2},
        %{
          name: :bridge_test_global,
          scope: :global,
          handler: fn params -> %{"got" => params} end
        },
        %{name: :bridge_test_raise, scope: :global, handler: fn _ -> raise "view broke" end},
        %{name: :bridge_test_exit, scope: :global, handler: fn _ -> exit(:gone) end},
        %{name: :bridge_test_pid, scope: :global, handler: fn _ -> self() end},
        %{
          name: :bridge_test_slow,
          scope: :global,
          timeout_ms: 30,
          handler: fn _ -> Process.sleep(:infinity) end
        },
        %{
          name: :bridge_test_batch,
          mode: :batch,
          scope: :global,
          handler: fn list, _ -> Enum.map(list, & &1["n"]) end
        },
        %{name: :bridge_test_gate, scope: :global, handler: &gate/2}
      ]
    end

    @impl true
    def load(tables) do
      :ets.insert(tables[:features], {"user:42", %{tier: "gold"}})
      :ok
    end

    defp look_up(%{"key" => key}, _context) do
      case Slither.Store.Server.get(__MODULE__, :features, key) do
        nil -> %{"error" => "not_found"}
        value -> %{"value" => value}
      end
    end

    defp context(_params, context) do
      %{
        "pipe" => context.pipe,
        "stage" => context.stage,
        "session" => context.session_id,
        "metadata" => context.metadata,
        "worker" => context.runtime.worker,
        "view" => context.runtime.view
      }
    end

    defp gate(_params, context) do
      test = context.metadata.test
      send(test, {:view_entered, self()})

      receive do
        :go -> %{"gone" => true}
      end
    end
  end

  setup_all do
    start_supervised!({Slither.Store.Server, Features})
    {:ok, pool: Pools.start!(@pool)}
  end

  defp python(function, options \\ []),
    do: Keyword.merge([module: "view_handlers", function: function, pool: @pool], options)

  defp call!(requests, function \\ "call", options \\ []) do
    {:ok, items} = Dispatch.run(requests, python(function, options))
    Enum.map(items, & &1.payload)
  end

  defp request(view, params \\ %{}), do: %{"view" => view, "params" => params}

  test "a Python handler gets the Elixir handler's map" do
    assert call!(["user:42", "user:7"], "look_up") ==
             [%{"value" => %{"tier" => "gold"}}, %{"error" => "not_found"}]
  end

  test "the handler sees the context of the run that asks" do
    options = [session_id: "bridge-session", metadata: %{"user" => 7}]
    assert [seen] = call!([request("bridge_test_context")], "call", options)
    assert %{"session" => "bridge-session", "metadata" => %{"user" => 7}} = seen
    assert %{"worker" => worker, "view" => "bridge_test_context", "pipe" => nil} = seen
    assert worker in [0, 1]

    stage = {:stage, 1, :ask, :python, python("call")}
    definition = Pipe.build!(:asking, [stage])
    {:ok, outputs} = Slither.run_pipe(definition, [request("bridge_test_context")])
    assert [%{payload: %{"pipe" => "asking", "stage" => "ask"}}] = outputs.default
  end

  test "many parameters go in one call, to scalar and to batch views" do
    params = for n <- 1..100, do: %{"n" => n}
    assert [answers] = call!([request("bridge_test_batch", params)], "call_many")
    assert answers == Enum.to_list(1..100)
    assert [answers] = call!([request("bridge_test_global", params)], "call_many")
    assert answers == Enum.map(params, &%{"got" => &1})
    assert [7] = call!([request("bridge_test_batch", %{"n" => 7})])
  end

  test "unknown view, failing handler and timeout are three exceptions that name the view" do
    requests = [
      request("bridge_test_glbal"),
      request("bridge_test_raise"),
      request("bridge_test_exit"),
      request("bridge_test_pid"),
      request("bridge_test_slow")
    ]

    assert [unknown, raised, exited, unsendable, slow] = call!(requests, "outcome")
    assert %{"error" => "UnknownView", "view" => "bridge_test_glbal"} = unknown
    assert unknown["message"] =~ "bridge_test_global"
    assert %{"error" => "ViewFailed", "view" => "bridge_test_raise"} = raised
    assert raised["message"] =~ "view broke"
    assert %{"error" => "ViewFailed", "view" => "bridge_test_exit"} = exited
    assert %{"error" => "ViewFailed", "view" => "bridge_test_pid"} = unsendable
    assert unsendable["message"] =~ "a pid can't be sent"
    assert %{"error" => "ViewTimeout", "view" => "bridge_test_slow"} = slow
    assert slow["message"] =~ "0.03 s"
  end

  test "a slow view holds up neither other workers nor the worker's owner" do
    test = self()

    gate =
      Task.async(fn -> call!([request("bridge_test_gate")], "call", metadata: %{test: test}) end)

    assert_receive {:view_entered, view}
    assert call!(["user:42"], "look_up") == [%{"value" => %{"tier" => "gold"}}]
    assert {:ok, %{workers: [_, _]}} = Slither.Python.Pool.status(@pool)
    send(view, :go)
    assert Task.await(gate) == [%{"gone" => true}]
  end

  test "a session view has ended for a thread that outlives its call; a global one has not" do
    for {view, expected} <- [
          {"bridge_test_context", "SessionEnded: view 'bridge_test_context'"},
          {"bridge_test_global", "{'got': {}}"}
        ] do
      [go, answer] = for name <- ["go", "answer"], do: Pools.path(name)
      for fifo <- [go, answer], do: {_, 0} = System.cmd("mkfifo", [fifo])
      call!([%{"view" => view, "go" => go, "answer" => answer}], "call_when_told")
      # The call is over; opening a pipe for writing waits for its reader.
      File.write!(go, "now")
      assert File.read!(answer) =~ expected
    end
  end

  test "a call's own timeout shortens the view's" do
    request = Map.put(request("bridge_test_gate"), "timeout", 0.02)
    test = self()
    options = [metadata: %{test: test}]
    assert [%{"error" => "ViewTimeout"}] = call!([request], "outcome", options)
  end

  test "each call emits start and stop, a failing one an exception" do
    events = for name <- [:start, :stop, :exception], do: [:slither, :bridge, :view, name]
    Telemetry.listen(events)
    call!([request("bridge_test_global"), request("bridge_test_raise")], "outcome")
    facts = %{store: Features, mode: :scalar, scope: :global, pool: @pool}

    for {event, view} <- [
          start: "bridge_test_global",
          stop: "bridge_test_global",
          exception: "bridge_test_raise"
        ] do
      assert_receive {:event, [_, _, _, ^event], measurements,
                      %{view: ^view, pool: @pool} = metadata}

      assert Map.take(metadata, Map.keys(facts)) == facts
      assert is_binary(metadata.session)
      assert measurements.count == 1
    end
  end

  test "views can be called from Elixir" do
    assert {:ok, %{"got" => 1}} = Bridge.call(:bridge_test_global, 1)

    assert {:ok, %{"value" => _}} =
             Bridge.call(:bridge_test_feature, %{"key" => "user:42"}, %Context{})

    assert {:error, %{"kind" => "unknown_view"}} = Bridge.call(:nowhere, %{})
    assert {:error, %{"kind" => "view_failed"}} = Bridge.call(:bridge_test_raise, %{})
  end
end
