defmodule Slither.Python.OrphansTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.Python.Guard
  alias Slither.Test.{Holders, VMs}

  # A VM starts slowly on a busy machine.
  @moduletag timeout: 300_000

  @ways ["idle", "sleep", "spin", "c with gil", "backtracking"]

  describe "when BEAM ends, no worker is left, nor what it started," do
    for {name, ending} <- [
          {"after System.stop/0", "stop"},
          {"after System.halt/1", "halt"},
          {"after SIGTERM", ["TERM"]},
          {"after kill -9", ["KILL"]},
          {"when it is stopped, and then killed", ["STOP", "KILL"]}
        ] do
      test name do
        {vm, guard, holders} = busy(for way <- @ways, do: way <> ", with child")
        finish(vm, unquote(ending))
        Holders.await_end(holders)
        assert ends?(guard)
        VMs.rest(vm, nil, fn _line, nil -> nil end)
      end
    end
  end

  test "when their guard is killed together with BEAM, no worker is left" do
    {vm, guard, holders} = busy(@ways)
    {:os_pid, beam} = Port.info(vm, :os_pid)
    # Stopped, BEAM can't start another, as it would.
    for {pid, name} <- [{beam, "STOP"}, {guard, "KILL"}, {beam, "KILL"}], do: signal(pid, name)
    Holders.await_end(holders)
  end

  defp busy(ways) do
    {path, holders} = Holders.open()
    vm = VMs.open("busy_vm.exs", [handlers(), path | ways])
    guard = vm |> VMs.wait_for("guard ") |> String.to_integer()
    for way <- ways, do: Holders.await_line(holders, way)
    {vm, guard, holders}
  end

  defp finish(vm, line) when is_binary(line), do: Port.command(vm, line <> "\n")

  defp finish(vm, signals) do
    {:os_pid, beam} = Port.info(vm, :os_pid)
    Enum.each(signals, &signal(beam, &1))
  end

  describe "when a worker ends alone, nothing that it started is left," do
    for how <- ["sleep", "spin", "c with gil", "c without gil", "fork", "spawn", "subprocess"] do
      test "killed in #{how}" do
        pool = quick_pool()
        {path, holders} = Holders.open()
        task = Task.async(fn -> hold(pool, path, unquote(how)) end)
        Holders.await_line(holders, unquote(how))
        signal(await_running(pool), "KILL")
        assert {:error, %{reason: :worker_died}} = Task.await(task, patience())
        Holders.await_end(holders)
      end

      test "over its time in #{how}" do
        pool = quick_pool(preload: ["holding_handlers"])
        {path, holders} = Holders.open()
        assert {:error, %{reason: :timeout}} = hold(pool, path, unquote(how), timeout: 1_000)
        Holders.await_end(holders)
      end
    end

    test "stopped, and over its time" do
      pool = quick_pool(preload: ["holding_handlers"])
      {path, holders} = Holders.open()
      task = Task.async(fn -> hold(pool, path, "sleep", timeout: 1_000) end)
      signal(await_running(pool), "STOP")
      assert {:error, %{reason: :timeout}} = Task.await(task, patience())
      Holders.await_end(holders)
    end

    test "killed, where a script had started it" do
      {:ok, python} = Slither.Python.Environment.interpreter(nil)
      pool = quick_pool(python: interpreter("'#{python}' \"$@\"; exit $?"))
      {path, holders} = Holders.open()
      task = Task.async(fn -> hold(pool, path, "subprocess") end)
      Holders.await_line(holders, "subprocess")
      signal(await_running(pool), "KILL")
      assert {:error, %{reason: :worker_died}} = Task.await(task, patience())
      Holders.await_end(holders)
    end

    test "or told to stop" do
      pool = quick_pool()
      {path, holders} = Holders.open()
      assert {:ok, _result} = hold(pool, path, "idle")
      stop_supervised!(pool)
      Holders.await_end(holders)
    end

    test "or without its owner" do
      pool = quick_pool()
      {path, holders} = Holders.open()
      task = Task.async(fn -> hold(pool, path, "c with gil") end)
      Holders.await_line(holders, "c with gil")
      Process.exit(owner(pool), :kill)
      assert {:error, %{reason: :worker_died}} = Task.await(task, patience())
      Holders.await_end(holders)
    end
  end

  test "the guard's own end costs the workers, but no row of a store, and the next one guards" do
    {path, holders} = Holders.open()
    vm = VMs.open("guardless_vm.exs", [handlers(), path])
    assert VMs.wait_for(vm, "row ") == "1"
    assert VMs.wait_for(vm, "guard ") == "true"
    Holders.await_end(holders)
    VMs.rest(vm, nil, fn _line, nil -> nil end)
  end

  test "the guard that was killed is replaced, and knows the workers there are" do
    pool = quick_pool()
    {path, holders} = Holders.open()
    task = Task.async(fn -> hold(pool, path, "spin") end)
    Holders.await_line(holders, "spin")
    first = :sys.get_state(Guard).os_pid
    signal(first, "KILL")
    assert ends?(first)
    signal(await_running(pool), "KILL")
    assert {:error, %{reason: :worker_died}} = Task.await(task, patience())
    Holders.await_end(holders)
    assert :sys.get_state(Guard).os_pid != first
  end

  defp hold(pool, path, how, options \\ []),
    do: call(pool, "hold", [path, how], [module: "holding_handlers"] ++ options)

  defp owner(pool) do
    {:ok, %{scheduler: scheduler}} = Slither.Python.Pool.handle(pool)
    {:monitors, monitors} = Process.info(scheduler, :monitors)
    # The test itself may be watched, too, and has ports.
    pids = for {:process, pid} <- monitors, pid != self(), do: pid
    Enum.find(pids, &match?([_ | _], for({:port, _} = p <- links(&1), do: p)))
  end

  defp links(pid) do
    {:links, links} = Process.info(pid, :links)
    for link <- links, is_port(link), do: {:port, link}
  end
end
