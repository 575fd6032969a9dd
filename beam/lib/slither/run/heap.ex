defmodule Slither.Run.Heap do
  @moduledoc false
  # Room for results. Where many are collected, a heap that is large from the start saves copying
  # it again and again while it grows; a few fit any heap, and a large one, which the caller keeps
  # until it next collects its garbage, costs more than they do.

  @words 1_000_000
  @few 500

  @doc "Runs a function in a heap that is made for the results of `input`."
  @spec for_results(term, (() -> result)) :: result when result: term
  def for_results(input, fun) do
    if is_list(input) and few?(input, @few), do: fun.(), else: large(fun)
  end

  defp few?([_ | _], 0), do: false
  defp few?([_ | items], left), do: few?(items, left - 1)
  defp few?(_end, _left), do: true

  defp large(fun) do
    previous = Process.flag(:min_heap_size, @words)

    try do
      fun.()
    after
      Process.flag(:min_heap_size, previous)
    end
  end
end
