defmodule Slither.Python.Obituary.Stack do
  @moduledoc false
  # Where the threads of a Python process were, out of what its faulthandler has written: pure. For
  # the worker's owner, which reads that when it asks a worker, and when a worker has crashed.

  # A thread, and a frame of it. Python 3.14 names threads by itself.
  @thread ~r/^(?:Current thread|Thread) 0x([0-9a-f]+)(?: \[.*\])? \(most recent call first\):$/
  @frame ~r/^  File "(.*)", line (\d+|\?\?\?) in (.+)$/
  # Files whose frames are Slither's own, or stand below those.
  @own ~r{/slither/_|/slither/worker\.py$|^<frozen runpy>$|/runpy\.py$}
  @below ~r{/threading\.py$}
  # Those by which a handler's code waits for BEAM.
  @leading ~r{/slither/(_|(store|views|worker)\.py$)}
  # How many frames a sentence names, and the most bytes that are kept of all threads but one.
  @places 3
  @most 16_384

  @enforce_keys [:text, :places]
  defstruct @enforce_keys

  @typedoc """
  `text` has each thread, the main one first, innermost frames first. `places` are the innermost of
  the main thread, as a sentence names them.
  """
  @type t :: %__MODULE__{text: String.t(), places: [String.t()]}
  # A thread's identity, whether the report is from it, and its lines.
  @typep thread :: %{id: non_neg_integer, current?: boolean, lines: [String.t()]}

  @doc "Of a report, the main thread's identity, and the names of threads by theirs."
  @spec new(binary, non_neg_integer, %{optional(non_neg_integer) => String.t()}) :: t
  def new(report, main, names) do
    threads = for thread <- threads(readable(report)), do: %{thread | lines: cut(thread.lines)}
    {first, others} = Enum.split_with(threads, &(&1.id == main))

    texts =
      for %{lines: [_ | _]} = thread <- first ++ others,
          do: Enum.join([heading(thread.id, main, names) | thread.lines], "\n") <> "\n"

    %__MODULE__{text: limit(texts), places: places(for(%{lines: lines} <- first, do: lines))}
  end

  @doc "The innermost frames of the thread that a crash was in, as a sentence names them."
  @spec crashed_at(binary) :: [String.t()]
  def crashed_at(report) do
    for(%{current?: true} = thread <- threads(report), do: thread.lines)
    |> Enum.take(1)
    |> List.flatten()
    |> frames()
    |> Enum.take_while(fn {file, _line, _name} -> not own?(file) end)
    |> named()
  end

  @doc "As much of a report of a crash as is kept: the thread it was in, and others as there is room."
  @spec shorten(binary) :: binary
  def shorten(report) when byte_size(report) <= @most, do: report

  def shorten(report) do
    {current, others} =
      report
      |> String.split("\n\n")
      |> Enum.split_with(&(&1 =~ ~r/^(Fatal Python|Current thread)/))

    limit(for(part <- current ++ others, do: part <> "\n"))
  end

  @doc "Bytes as text."
  @spec readable(binary) :: String.t()
  def readable(bytes) do
    if String.valid?(bytes) do
      bytes
    else
      for char <- String.codepoints(bytes), into: "" do
        if String.valid?(char), do: char, else: "\uFFFD"
      end
    end
  end

  @spec threads(binary) :: [thread]
  defp threads(report) do
    for part <- String.split(report, "\n\n"),
        [heading | lines] <- [String.split(part, "\n", trim: true)],
        [_, id] <- [Regex.run(@thread, heading)] do
      {id, ""} = Integer.parse(id, 16)
      %{id: id, current?: String.starts_with?(heading, "Current"), lines: lines}
    end
  end

  # Without the outermost frames, which are Slither's own; nothing is left of its own threads.
  defp cut(lines) do
    files = for {file, _line, _name} <- frames(lines), do: file

    if Enum.any?(files, &own?/1) and Enum.all?(files, &(own?(&1) or &1 =~ @below)),
      do: [],
      else: lines |> Enum.reverse() |> Enum.drop_while(&own_line?/1) |> Enum.reverse()
  end

  defp own_line?(line), do: Enum.any?(frames([line]), fn {file, _line, _name} -> own?(file) end)
  defp own?(file), do: file =~ @own

  defp frames(lines) do
    for line <- lines, [_, file, at, name] <- [Regex.run(@frame, line)], do: {file, at, name}
  end

  defp heading(main, main, _names), do: "Main thread (most recent call first):"

  defp heading(id, _main, names) do
    name = names[id] || "0x" <> Integer.to_string(id, 16)
    "Thread #{name} (most recent call first):"
  end

  # A handler that waits for BEAM is in Slither's frames: its own place is the next one.
  defp places(threads) do
    threads
    |> List.flatten()
    |> frames()
    |> Enum.drop_while(fn {file, _line, _name} -> file =~ @leading end)
    |> Enum.take_while(fn {file, _line, _name} -> not own?(file) end)
    |> named()
  end

  defp named(frames) do
    for {file, line, name} <- Enum.take(frames, @places),
        do: "#{name} (#{Path.basename(file)}:#{line})"
  end

  # The first part is kept whole.
  defp limit([]), do: ""

  defp limit([first | others]) do
    {kept, _size} =
      Enum.flat_map_reduce(others, byte_size(first), fn text, size ->
        size = size + byte_size(text)
        if size > @most, do: {[], size}, else: {[text], size}
      end)

    left = length(others) - length(kept)
    more = if left > 0, do: ["and #{left} more\n"], else: []
    Enum.join([first | kept] ++ more, "\n")
  end
end
