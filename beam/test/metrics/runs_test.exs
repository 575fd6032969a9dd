defmodule Slither.Metrics.RunsTest do
  # The board of runs: what is open, what it looks like, and where its items are while it waits.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Dispatch, Pipe}
  alias Slither.Metrics.Runs
  alias Slither.Pipe.Runner

  defp of(pid), do: Enum.find(Runs.all(), &(&1.pid == pid))

  # The executor of a stage tells of each batch, and waits.
  defp holding(test) do
    fun = fn payloads ->
      send(test, {:running, self(), payloads})

      receive do
        :go -> {:ok, payloads}
      end
    end

    [executor: Slither.Test.FunExecutor, executor_options: [fun: fun]]
  end

  defp go do
    assert_receive {:running, batch, _payloads}, patience()
    send(batch, :go)
  end

  # What the board says once it says that.
  defp await(pid, expected) do
    row = of(pid)

    if row && Enum.map(row.inside, &Map.take(&1, Map.keys(hd(expected)))) == expected do
      row
    else
      :erlang.yield()
      await(pid, expected)
    end
  end

  test "a pipe's run is on it with its graph, and where its items are as long as it waits" do
    name = unique(:board)

    statements = [
      {:output, 1, :high},
      {:output, 1, :bad},
      {:stage, 1, :hold, :python, [batch_size: 2, max_in_flight: 2] ++ holding(self())},
      {:on_error, 1, :hold, {:route, :bad}},
      {:stage, 1, :route, :router, routes: [{&(&1.payload > 3), :high}]}
    ]

    pipe = Pipe.build!(name, statements)
    run = Task.async(fn -> Runner.run(pipe, 1..5) end)
    inside = %{waiting: 0, queued: 0, running: 4, retrying: 0}
    idle = %{waiting: 0, queued: 0, running: 0, retrying: 0}
    assert %{facts: facts} = await(run.pid, [inside, idle])
    assert Runs.definitions()[name] == %{stages: facts.stages, edges: facts.edges}
    assert %{kind: :pipe, pipe: ^name, name: nil, run: "run-" <> _} = facts
    assert_in_delta facts.started, System.system_time(:millisecond), patience()

    assert [%{name: :hold, type: :python, bound: 4}, %{name: :route, type: :router, bound: nil}] =
             facts.stages

    assert Enum.sort(facts.edges) ==
             Enum.sort(
               [{"in", :hold}, {:hold, :route}, {:route, :default}] ++
                 [{:hold, :bad}, {:route, :high}]
             )

    # Two answers one after the other: the last of what they change is told though nothing comes
    # after it.
    for _batch <- 1..2, do: go()
    await(run.pid, [%{inside | running: 1}, idle])
    go()
    assert {:ok, %{high: [_four, _five]}} = Task.await(run, patience())
    assert of(run.pid) == nil
  end

  test "a dispatch and a stream are a graph of one stage, and leave it when they end" do
    held = [batch_size: 1, max_in_flight: 3] ++ holding(self())
    run = Task.async(fn -> Dispatch.run(1..3, held) end)
    assert %{facts: facts} = await(run.pid, [%{waiting: 0, queued: 0, running: 3}])
    assert %{kind: :dispatch, pipe: nil, stages: [%{bound: 3}], edges: []} = facts
    for _batch <- 1..3, do: go()
    assert {:ok, [_, _, _]} = Task.await(run, patience())
    assert of(run.pid) == nil

    reader = Task.async(fn -> 1..3 |> Dispatch.stream(held) |> Enum.take(1) end)
    assert %{facts: %{kind: :stream}} = await(reader.pid, [%{waiting: 0, queued: 0, running: 3}])
    go()
    assert [_item] = Task.await(reader, patience())
    assert of(reader.pid) == nil
  end

  test "a long-running pipe is on it by its name, as long as it runs" do
    name = unique(:board)
    held = [batch_size: 1, max_in_flight: 1] ++ holding(self())
    pipe = Pipe.build!(unique(:board_pipe), [{:stage, 1, :hold, :python, held}])
    start_supervised!({Pipe, {pipe, name: name}}, id: name)
    {:ok, server, _counts} = Slither.Pipe.Names.find(:server, name)
    assert %{facts: %{kind: :server, name: ^name}} = of(server)
    :ok = Pipe.push(name, [1, 2])
    await(server, [%{running: 1}])
    for _item <- 1..2, do: go()
    :ok = Pipe.drain(name)
    await(server, [%{running: 0, queued: 0, waiting: 0}])
    :ok = stop_supervised(name)
    assert of(server) == nil
  end

  test "the graphs of the last hundred pipes are kept" do
    facts = fn pipe ->
      %{kind: :pipe, run: nil, pipe: pipe, name: nil, started: 0, stages: [], edges: []}
    end

    for n <- 1..150, do: facts.("many_#{n}") |> Runs.open() |> Runs.close()
    kept = Runs.definitions()
    assert map_size(kept) <= 100
    assert is_map_key(kept, "many_150")
  end
end
