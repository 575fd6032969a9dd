defmodule Slither.Python.WorkerErrorTest do
  use ExUnit.Case, async: true

  alias Slither.Python.WorkerError

  test "a report of a fatal signal tells the status where the port closed before it was known" do
    report =
      "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"

    assert WorkerError.told(report) == 139
    assert WorkerError.told("Fatal Python error: Aborted\n") == 134
  end

  test "no other report tells one" do
    for report <- ["", "Fatal Python error: out of memory\n", "Segmentation fault"],
        do: assert(WorkerError.told(report) == nil)
  end
end
