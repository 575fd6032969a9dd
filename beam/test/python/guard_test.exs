defmodule Slither.Python.GuardTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.Python.{Guard, OSProcess}
  alias Slither.Test.Holders

  setup do
    %{guard: start_supervised!(Guard)}
  end

  test "has no shell before it has a process to watch", %{guard: guard} do
    assert :sys.get_state(guard).os_pid == nil
    victim(guard)
    assert alive?(:sys.get_state(guard).os_pid)
  end

  test "kills a process with its group, and no other", %{guard: guard} do
    {victim, holders} = victim(guard)
    {other, others} = victim(guard)
    Guard.kill(guard, victim)
    Holders.await_end(holders)
    assert alive?(other) and Holders.held?(others)
    Guard.kill(guard, other)
    Holders.await_end(others)
  end

  test "kills what a process has left behind, once it is told that it ended", %{guard: guard} do
    {victim, holders} = victim(guard)
    signal(victim, "KILL")
    assert ends?(victim) and Holders.held?(holders)
    Guard.release(guard, victim)
    Holders.await_end(holders)
  end

  test "kills what the end of its owner left without one", %{guard: guard} do
    {victim, holders} = started()
    {:ok, owner} = Agent.start(fn -> Guard.watch(guard, victim, OSProcess.since(victim)) end)
    Process.exit(owner, :kill)
    Holders.await_end(holders)
  end

  test "kills all when it ends, but not what it was told to release", %{guard: guard} do
    {victim, holders} = victim(guard)
    {released, _} = victim(guard)
    signal(released, "KILL")
    assert ends?(released)
    Guard.release(guard, released)
    shell = :sys.get_state(guard).os_pid
    stop_supervised!(Guard)
    Holders.await_end(holders)
    assert ends?(shell) and ends?(victim)
  end

  for name <- ["TERM", "INT", "HUP", "QUIT"] do
    test "is not ended by SIG#{name}", %{guard: guard} do
      {victim, holders} = victim(guard)
      shell = :sys.get_state(guard).os_pid
      # It has said that it is there once it has done something.
      {other, others} = victim(guard)
      Guard.kill(guard, other)
      Holders.await_end(others)
      signal(shell, unquote(name))
      Guard.kill(guard, victim)
      Holders.await_end(holders)
      assert :sys.get_state(guard).os_pid == shell
    end
  end

  for name <- ["KILL", "STOP"] do
    test "does what it was told though its shell meets SIG#{name}", %{guard: guard} do
      many = for _ <- 1..5, do: victim(guard)
      shell = :sys.get_state(guard).os_pid
      signal(shell, unquote(name))
      for {victim, _holders} <- many, do: Guard.kill(guard, victim)
      for {_victim, holders} <- many, do: Holders.await_end(holders)
      assert ends?(shell)
      assert :sys.get_state(guard).os_pid != shell
    end
  end

  test "knows a process again that its shell has lost", %{guard: guard} do
    {_victim, holders} = victim(guard)
    shell = :sys.get_state(guard).os_pid
    signal(shell, "KILL")
    assert ends?(shell)
    # Whoever is asked after the report of that has acted on it.
    new = new_shell(guard, shell)
    stop_supervised!(Guard)
    Holders.await_end(holders)
    assert ends?(new)
  end

  test "spares a process whose pid is that of one which started at another time", %{guard: guard} do
    {victim, holders} = victim(guard, 1)
    {known, ends} = victim(guard)
    Guard.kill(guard, victim)
    Guard.release(guard, victim)
    # Whoever does the next has done these.
    Guard.kill(guard, known)
    Holders.await_end(ends)
    assert alive?(victim) and Holders.held?(holders)
    :ok = Guard.watch(guard, victim, 0)
    Guard.kill(guard, victim)
    Holders.await_end(holders)
  end

  test "watches a process twice, for one owner or two, and lets go of each", %{guard: guard} do
    {victim, holders} = victim(guard)
    since = OSProcess.since(victim)
    :ok = Guard.watch(guard, victim, since)
    {:ok, owner} = Agent.start(fn -> Guard.watch(guard, victim, since) end)
    Process.exit(owner, :kill)
    Holders.await_end(holders)
    Guard.release(guard, victim)
    # Whoever is asked after these has done them.
    assert alive?(:sys.get_state(guard).os_pid)
    {_other, others} = victim(guard)
    stop_supervised!(Guard)
    Holders.await_end(others)
  end

  test "keeps nobody waiting for ever who has a process watched", %{guard: guard} do
    :ok = :sys.suspend(guard)
    assert Guard.watch(guard, 4_000_000, 1, 10) == :late
    stop_supervised!(Guard)
    assert Guard.watch(guard, 4_000_000, 1) == :late
  end

  test "takes orders for processes it does not know, and does nothing", %{guard: guard} do
    Guard.kill(guard, 4_000_000)
    Guard.release(guard, 4_000_000)
    assert :sys.get_state(guard).os_pid == nil
  end

  defp new_shell(guard, old) do
    case :sys.get_state(guard).os_pid do
      pid when pid in [nil, old] -> new_shell(guard, old)
      pid -> pid
    end
  end

  defp victim(guard, since \\ nil) do
    {os_pid, holders} = started()
    :ok = Guard.watch(guard, os_pid, since || OSProcess.since(os_pid))
    {os_pid, holders}
  end

  # A process and its child, which hold a pipe; the process leads its group, as any of a port.
  defp started do
    {path, holders} = Holders.open()
    script = "exec 5>'#{path}'; sleep 1000 & echo held >&5; wait"
    port = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", script]])
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    Holders.await_line(holders, "held")
    {os_pid, holders}
  end
end
