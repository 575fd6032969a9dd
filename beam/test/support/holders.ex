defmodule Slither.Test.Holders do
  @moduledoc false
  # A named pipe that processes hold open for writing: its reader sees the end when the last of
  # them is gone, whatever it was and whoever its parent was.

  import ExUnit.Assertions

  alias Slither.Test.Pools

  # It only fails: 2 s is what is promised, on a machine that has time.
  @bound 20_000

  @doc "A pipe, and the port that reads it."
  @spec open() :: {Path.t(), port}
  def open do
    path = Pools.path("held")
    {_output, 0} = System.cmd("mkfifo", [path])
    cat = System.find_executable("cat")
    options = [:binary, :exit_status, :hide, line: 1_000, args: [path]]
    {path, Port.open({:spawn_executable, cat}, options)}
  end

  @doc "Waits until a holder has written this line."
  @spec await_line(port, String.t()) :: :ok
  def await_line(reader, line) do
    assert_receive {^reader, {:data, {:eol, ^line}}}, Pools.patience()
    :ok
  end

  @doc "Waits until no process holds the pipe; ms that took."
  @spec await_end(port) :: non_neg_integer
  def await_end(reader) do
    started = System.monotonic_time(:millisecond)
    assert_receive {^reader, {:exit_status, 0}}, @bound
    System.monotonic_time(:millisecond) - started
  end

  @doc "Whether somebody still holds it, as far as is known."
  @spec held?(port) :: boolean
  def held?(reader) do
    receive do
      {^reader, {:exit_status, _status}} -> false
    after
      0 -> true
    end
  end
end
