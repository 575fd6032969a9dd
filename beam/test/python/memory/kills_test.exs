defmodule Slither.Python.Memory.KillsTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError}
  alias Slither.Python.{Environment, Obituary}
  alias Slither.Python.Memory.Kills

  # Where a cgroup with a limit of memory can be made on this machine, and the file that limits it.
  @places [
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
    {"/sys/fs/cgroup", "memory.max"}
  ]
  @place Enum.find(@places, fn {folder, file} ->
           group = Path.join(folder, "slither-probe-#{System.pid()}")

           made? =
             File.mkdir(group) == :ok and File.write(Path.join(group, file), "9000000") == :ok

           _ = File.rmdir(group)
           made?
         end)

  # A file system of a machine that has these files.
  defp root(files) do
    root = path("root")

    for {name, text} <- files do
      file = Path.join(root, name)
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, text)
    end

    root
  end

  defp counted(count), do: "low 0\noom 9\noom_kill #{count}\noom_group_kill 7\n"

  describe "told/1" do
    test "names the file of the process's cgroup where it has counted more" do
      root =
        root(%{
          "proc/7/cgroup" => "0::/a.slice/b.scope\n",
          "sys/fs/cgroup/a.slice/b.scope/memory.events" => counted(2),
          "proc/vmstat" => counted(40)
        })

      kills = Kills.new(7, 0, root)
      file = Path.join(root, "sys/fs/cgroup/a.slice/b.scope/memory.events")
      assert Kills.told(kills) == nil
      File.write!(file, counted(3))
      assert Kills.told(kills) == file
    end

    test "finds version 1's, one that a container sees as its own, and the machine's" do
      v1 = "sys/fs/cgroup/memory/jobs/memory.oom_control"
      inside = "sys/fs/cgroup/memory.events"
      text = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
      lines = "9:memory:/jobs\n0::/\n"
      first = root(%{"proc/7/cgroup" => lines, v1 => text})
      assert Kills.new(7, 0, first).file == Path.join(first, v1)
      second = root(%{"proc/7/cgroup" => "0::/elsewhere\n", inside => counted(0)})
      assert Kills.new(7, 0, second).file == Path.join(second, inside)
      third = root(%{"proc/7/cgroup" => "0::/\n", "proc/vmstat" => counted(4)})
      assert Kills.new(7, 0, third).file == Path.join(third, "proc/vmstat")
      assert Kills.new(7, 0, root(%{"proc/vmstat" => "nr_free_pages 1\n"})) == nil
    end

    test "forgets what was counted long before the end, and bears that the file is gone" do
      root = root(%{"proc/vmstat" => counted(1)})
      file = Path.join(root, "proc/vmstat")
      kills = Kills.new(7, 0, root)
      File.write!(file, counted(2))
      kills = Kills.look(kills, 500)
      assert kills.seen == [1]
      kills = Enum.reduce([1_000, 2_000], kills, &Kills.look(&2, &1))
      assert Kills.told(kills) == file
      kills = Kills.look(kills, 3_000)
      assert kills.seen == [2, 2, 2]
      assert Kills.told(kills) == nil
      File.rm!(file)
      assert Kills.look(kills, 4_000).seen == [2, 2, 2]
      assert Kills.told(kills) == nil
      assert Kills.look(nil, 0) == nil
      assert Kills.told(nil) == nil
    end
  end

  test "a kill that the kernel has counted is told as its own" do
    died = Obituary.ended(%{pool: :p, worker: 3, os_pid: 77}, 137, false)
    assert Obituary.killed_by_kernel(died, nil) == died
    told = Obituary.killed_by_kernel(died, "/sys/fs/cgroup/memory.events")

    assert told.message ==
             "Python worker 3 (pid 77) died: killed by signal 9 (SIGKILL) by the kernel, for want of memory"

    assert told.hint =~ "oom_kill has risen in /sys/fs/cgroup/memory.events"
    assert told.details.out_of_memory == "/sys/fs/cgroup/memory.events"
  end

  unless @place, do: @tag(skip: "needs the right to make a cgroup with a limit of memory")

  test "one of a worker in a cgroup that is too small is told so" do
    {folder, limit} = @place
    group = Path.join(folder, "slither-test-#{System.pid()}-#{unique(:group)}")
    File.mkdir!(group)
    on_exit(fn -> File.rmdir(group) end)
    File.write!(Path.join(group, limit), "150000000")
    {:ok, python} = Environment.interpreter(nil)

    script = "echo $$ >'#{group}/cgroup.procs'\nexec '#{python}' \"$@\""
    pool = ready_pool(python: interpreter(script))
    options = options(pool, "take", module: "memory_handlers", each: true)

    assert {:error, %DispatchError{reason: :worker_died} = error, []} =
             Dispatch.run([300], options)

    assert Exception.message(error) =~ "(SIGKILL) by the kernel, for want of memory"
    assert error.cause.details.out_of_memory =~ group
  end

  test "a worker goes before BEAM where the memory of the machine runs out, with all it starts" do
    score = fn path -> path |> File.read!() |> String.trim() |> String.to_integer() end
    own = score.("/proc/self/oom_score_adj")
    pool = ready_pool()
    read = ["cat", "/proc/self/oom_score_adj"]

    assert {:ok, text} =
             Slither.call("subprocess", "getoutput", [Enum.join(read, " ")], pool: pool)

    assert String.to_integer(text) == min(own + 800, 1_000)
    assert {:ok, os_pid} = Slither.call("os", "getpid", [], pool: pool)
    assert score.("/proc/#{os_pid}/oom_score_adj") == min(own + 800, 1_000)
  end
end
