defmodule Slither.Run.HeapTest do
  use ExUnit.Case, async: true

  alias Slither.Run.Heap
  alias Slither.Test.FunExecutor

  @executor [executor: FunExecutor, executor_options: [fun: &__MODULE__.same/1]]

  def same(payloads), do: {:ok, payloads}

  defp large?, do: Process.info(self(), :min_heap_size) |> elem(1) >= 1_000_000

  # What a run leaves in the process that made it.
  defp left(run) do
    fn ->
      run.()
      refute large?()
      {:total_heap_size, words} = Process.info(self(), :total_heap_size)
      words
    end
    |> Task.async()
    |> Task.await()
  end

  test "a run of one item leaves a small heap, whatever its input is" do
    statement = {:stage, 1, :same, :python, @executor}
    pipe = Slither.Pipe.build!(:heap_of_one, [statement])

    for input <- [[1], 1..1, Stream.map([1], & &1)] do
      assert left(fn -> {:ok, [_]} = Slither.dispatch(input, @executor) end) < 50_000
      assert left(fn -> {:ok, _} = Slither.run_pipe(pipe, input) end) < 50_000
    end
  end

  test "many results have a large one while they are collected, from the start for a list" do
    assert Heap.for_results(Enum.to_list(1..501), fn -> large?() end)
    refute Heap.for_results(Enum.to_list(1..500), fn -> large?() end)

    refute Heap.for_results(1..1000, fn ->
             Heap.grow(500)
             large?()
           end)

    assert Heap.for_results(1..1000, fn ->
             Heap.grow(501)
             large?()
           end)

    refute large?()
  end

  test "what the function raises leaves the heap as it was" do
    assert_raise ArgumentError, fn ->
      Heap.for_results(Enum.to_list(1..501), fn -> raise ArgumentError end)
    end

    refute large?()
  end
end
