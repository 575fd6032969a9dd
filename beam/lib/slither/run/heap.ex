defmodule Slither.Run.Heap do
  @moduledoc false
  # Room for results, in the process that collects them. Where many are collected, a heap that is
  # large from the start is not copied again and again as it grows. For a few results it would be a
  # waste: the caller keeps the large heap until its next garbage collection.

  @words 1_000_000
  @few 500

  @doc """
  Runs a function that collects the results of `input`: in a large heap if that is a list of many, or
  from when `grow/1` is told of many.
  """
  @spec for_results(term, (() -> result)) :: result when result: term
  def for_results(input, fun) do
    {:min_heap_size, previous} = Process.info(self(), :min_heap_size)
    if is_list(input) and not few?(input, @few), do: Process.flag(:min_heap_size, @words)

    try do
      fun.()
    after
      Process.flag(:min_heap_size, previous)
    end
  end

  defp few?([_ | _], 0), do: false
  defp few?([_ | items], left), do: few?(items, left - 1)
  defp few?(_end, _left), do: true

  @doc "So many results are there. Only for what `for_results/2` runs."
  @spec grow(non_neg_integer) :: :ok
  def grow(count) when count > @few do
    Process.flag(:min_heap_size, @words)
    :ok
  end

  def grow(_few), do: :ok
end
