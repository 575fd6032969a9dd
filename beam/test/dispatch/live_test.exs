defmodule Slither.Dispatch.LiveTest do
  use ExUnit.Case, async: true

  alias Slither.{Dispatch, Pipe}
  alias Slither.Pipe.Runner
  alias Slither.Run.Source
  alias Slither.Test.{FunExecutor, GateExecutor, Pools}

  # An input that lets its reader wait, as a queue or a socket does: longer than a run has patience.
  defp slow(pulled) do
    Stream.map(Stream.iterate(1, &(&1 + 1)), fn n ->
      Process.sleep(8)
      :counters.add(pulled, 1, 1)
      n
    end)
  end

  defp counter, do: :counters.new(1, [])

  defp same(options),
    do: [executor: FunExecutor, executor_options: [fun: &{:ok, &1}]] ++ options

  defp stage(name, options), do: %{name: name, options: same(options)}

  defp pipe(stages) do
    statements =
      for {%{name: name, options: options}, line} <- Enum.with_index(stages, 1),
          do: %Pipe.Statement{kind: :stage, line: line, name: name, type: :python, value: options}

    {:ok, definition} = Pipe.Builder.build(:live, statements)
    definition
  end

  for size <- [64, :auto] do
    describe "an input that pauses, batch_size: #{inspect(size)}" do
      test "has its items dispatched as they come" do
        pulled = counter()
        items = pulled |> slow() |> Dispatch.stream(same(batch_size: unquote(size)))
        assert items |> Enum.take(4) |> Enum.map(& &1.payload) == [1, 2, 3, 4]
        # Results come with the next items at the latest, on a busy machine some later.
        assert :counters.get(pulled, 1) <= 40
      end

      test "has its items pass through a pipe as they come" do
        pulled = counter()
        stages = [stage(:a, batch_size: unquote(size)), stage(:b, batch_size: unquote(size))]
        outputs = stages |> pipe() |> Runner.stream(slow(pulled))
        assert outputs |> Enum.take(4) |> Enum.map(fn {_, i} -> i.payload end) == [1, 2, 3, 4]
        assert :counters.get(pulled, 1) <= 40
      end

      test "is all dispatched, in order, where it ends" do
        options = same(batch_size: unquote(size))
        assert {:ok, items} = counter() |> slow() |> Stream.take(9) |> Dispatch.run(options)
        assert Enum.map(items, & &1.payload) == Enum.to_list(1..9)
      end
    end
  end

  test "items wait for a batch to fill while all workers are busy" do
    test = self()

    input =
      Stream.map(1..9, fn n ->
        send(test, {:pulled, n})
        Process.sleep(8)
        n
      end)

    options = [executor: GateExecutor, executor_options: [test: test], batch_size: 4]
    run = Task.async(fn -> Dispatch.run(input, [max_in_flight: 2] ++ options) end)
    assert_receive {:entered, _, first, [1]}, Pools.patience()
    assert_receive {:entered, _, second, [2]}, Pools.patience()
    refute_received {:entered, _, _, _}
    send(first, :release)
    assert_receive {:entered, _, third, more}, Pools.patience()
    assert hd(more) == 3
    for pid <- [second, third], do: send(pid, :release)
    release(run, test)
  end

  defp release(run, test) do
    receive do
      {:entered, _, pid, _} -> send(pid, :release)
      {ref, {:ok, items}} when ref == run.ref -> assert length(items) == 9
    end

    if Process.alive?(run.pid), do: release(run, test)
  end

  describe "a source" do
    test "that is slow gives what there is" do
      source = Source.new(slow(counter()))
      began = Source.now()
      {entries, next, source} = Source.entries(source, 100, 0, & &1)
      assert next == length(entries) and next < 100
      assert Source.pause(source, began, next) > began
      Source.close(source)
    end

    test "that is quick, or at its end, lets nobody wait" do
      assert {[_, _, _], 3, source} = Source.entries(Source.new(1..3), 9, 0, & &1)
      assert source == :done
      assert Source.pause(source, Source.now() - 1_000, 3) == nil
      {[_, _], 2, source} = Source.entries(Source.new(Stream.cycle([1])), 2, 0, & &1)
      assert Source.pause(source, Source.now(), 2) == nil
    end

    test "is waited for by a tenth of its interval, and at most 50 ms" do
      source = Source.new(Stream.cycle([1]))
      assert_in_delta Source.pause(source, Source.now() - 300, 1) - Source.now(), 30, 10
      assert_in_delta Source.pause(source, Source.now() - 9_000, 1) - Source.now(), 50, 10
      assert Source.pause(source, Source.now() - 20, 10) <= Source.now()
    end
  end
end
