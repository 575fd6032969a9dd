defmodule Slither.Examples.Progress do
  @moduledoc """
  A line that counts, on a terminal; nothing where there is none.
  """

  @every 50
  @width 30

  @doc "Begins a line that counts up to `total`."
  def start(what, total) do
    %{what: what, total: total, done: :counters.new(1, []), show: IO.ANSI.enabled?()}
  end

  @doc "Counts `count` more."
  def step(progress, count \\ 1) do
    before = :counters.get(progress.done, 1)
    :counters.add(progress.done, 1, count)
    if progress.show, do: show(progress, before, before + count)
    :ok
  end

  @doc "Takes the line away."
  def stop(progress), do: if(progress.show, do: IO.write("\r\e[K"), else: :ok)

  defp show(progress, before, done) do
    if div(before, @every) != div(done, @every) or done == progress.total do
      filled = div(done * @width, max(progress.total, 1))
      bar = String.duplicate("#", filled) <> String.duplicate("-", @width - filled)
      IO.write("\r  [#{bar}] #{done} of #{progress.total} #{progress.what}")
    end
  end
end
