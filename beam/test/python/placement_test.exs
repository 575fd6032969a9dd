defmodule Slither.Python.PlacementTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.Error
  alias Slither.Pool.Settings
  alias Slither.Python.{Environment, Placement, Pool}
  alias Slither.Python.Placement.{Cpus, Gpus}

  doctest Slither.Python.Placement.Cpus
  doctest Slither.Python.Placement.Gpus

  @moduletag :capture_log

  defp settings(options) do
    {:ok, checked} = Pool.check([name: :placed] ++ options)
    Settings.new(checked, nil)
  end

  defp plan!(options, inherited \\ %{}) do
    {:ok, plan} = Placement.new(settings(options), inherited)
    plan
  end

  # The places of workers that start one after the other, all to stay.
  defp places(plan, count) do
    Enum.reduce(1..count, [], fn _, held ->
      held ++ [{Placement.choose(plan, count, held), true}]
    end)
    |> Enum.map(&elem(&1, 0))
  end

  describe "GPUs" do
    test "go one to each worker, and are shared evenly where there are fewer" do
      assert for(place <- places(plan!(gpus: [0, 1, 2]), 2), do: place.gpus) == [["0"], ["1"]]

      gpus = for place <- places(plan!(gpus: ["GPU-a", "MIG-b/1/0"]), 5), do: place.gpus
      assert Enum.frequencies(gpus) == %{["GPU-a"] => 3, ["MIG-b/1/0"] => 2}
    end

    test "go several to each worker where the option says so" do
      assert for(place <- places(plan!(gpus: [[0, 1], [2, 3]]), 2), do: place.gpus) ==
               [["0", "1"], ["2", "3"]]
    end

    test "that are visible already are those that there are" do
      visible = %{"CUDA_VISIBLE_DEVICES" => "GPU-a7, 3"}
      assert plan!([gpus: :auto], visible).gpus == [["GPU-a7"], ["3"]]
      assert plan!([gpus: [1]], visible).gpus == [["3"]]
      # The pool's own variable goes before BEAM's, and may take it away.
      assert plan!([gpus: :auto, env: [CUDA_VISIBLE_DEVICES: "5"]], visible).gpus == [["5"]]
      assert plan!([gpus: [4], env: [CUDA_VISIBLE_DEVICES: nil]], visible).gpus == [["4"]]

      assert {:error, %Error{reason: :invalid_option} = error} =
               Placement.new(settings(gpus: [0, 2]), visible)

      assert Exception.message(error) ==
               "pool :placed: option :gpus names GPU 2, and CUDA_VISIBLE_DEVICES leaves 2, which " <>
                 "count from 0: GPU-a7,3"
    end

    test "that there are none of are told, and nothing is set" do
      for visible <- ["", "-1", "NoDevFiles"] do
        plan = plan!([gpus: :auto], %{"CUDA_VISIBLE_DEVICES" => visible})
        assert %{gpus: nil, notes: [note]} = plan
        assert note =~ "has found no GPU to share out: CUDA_VISIBLE_DEVICES=#{visible}"
        assert [%{gpus: nil}] = places(plan, 1)
      end

      assert {:ok, nil, ["gpus: :auto has found no GPU to share out: there is none"]} =
               Gpus.share(:auto, nil, fn -> 0 end)
    end

    test "are counted by their devices, or by what the driver lists" do
      root = path("root")

      for name <- ~w(nvidia0 nvidia1 nvidiactl nvidia-uvm nvidia-caps/nvidia-cap1),
          do: touch(root, "dev/#{name}")

      assert Gpus.count(root) == 2
      assert Gpus.share(:auto, nil, fn -> Gpus.count(root) end) == {:ok, [["0"], ["1"]], []}

      other = path("other")

      for bus <- ["0000:01:00.0", "0000:02:00.0"],
          do: touch(other, "proc/driver/nvidia/gpus/#{bus}/information")

      assert Gpus.count(other) == 2
    end
  end

  describe "cpus" do
    test "are spread over the workers and the spares" do
      root = machine("0-3,8", [])
      assert {:ok, {:spread, [0, 1, 2, 3, 8]}, []} = Cpus.share(:spread, root)
      plan = %Placement{cpus: {:spread, [0, 1, 2, 3, 8]}}
      assert for(%{cpus: cpus} <- places(plan, 2), do: cpus) == [[0, 1, 2], [3, 8]]
      assert for(%{cpus: cpus} <- places(plan, 5), do: cpus) == [[0], [1], [2], [3], [8]]
      # Two workers each on two of them.
      few = for %{cpus: cpus} <- places(%Placement{cpus: {:spread, [0, 1]}}, 4), do: cpus
      assert few == [[0], [1], [0], [1]]
    end

    test "are those of the option, and of the machine's" do
      root = machine("0-1", online: "0-7")
      assert Cpus.share([[1, 0], 6..7], root) == {:ok, [[0, 1], [6, 7]], []}

      assert Cpus.share([[0], [9, 8]], root) ==
               {:error, :cpus, "names cpus that there are not: 8, 9 (0, 1, 2, 3, 4, 5, 6, 7 are)"}
    end

    test "of a cgroup are all that there are" do
      newer =
        machine("0-1",
          online: "0-7",
          cgroup: "0::/a/b\n",
          files: [{"a/b/cpuset.cpus.effective", "0-3"}]
        )

      assert {:error, :cpus, _text} = Cpus.share([[4]], newer)

      older =
        machine("0-1",
          online: "0-7",
          cgroup: "3:cpuset:/c\n1:cpu,cpuacct:/d\n0::/\n",
          files: [{"cpuset/c/cpuset.effective_cpus", "0-2"}]
        )

      assert {:ok, [[2]], []} = Cpus.share([[2]], older)
      assert {:error, :cpus, _text} = Cpus.share([[3]], older)
    end

    test "whose time is limited get fewer threads" do
      newer = machine("0-7", cgroup: "0::/a\n", files: [{"a/cpu.max", "250000 100000\n"}])
      assert Cpus.quota(newer) == 2.5

      assert Cpus.quota(machine("0-7", cgroup: "0::/\n", files: [{"cpu.max", "max 100000\n"}])) ==
               nil

      files = [{"cpu/d/cpu.cfs_quota_us", "400000\n"}, {"cpu/d/cpu.cfs_period_us", "100000\n"}]
      assert Cpus.quota(machine("0-7", cgroup: "1:cpu:/d\n", files: files)) == 4.0

      plan = %Placement{cpus: {:spread, Enum.to_list(0..7)}}
      assert for(%{threads: threads} <- places(plan, 2), do: threads) == [4, 4]
      assert for(%{threads: threads} <- places(%{plan | quota: 2.5}, 2), do: threads) == [1, 1]
      assert for(%{threads: threads} <- places(%{plan | quota: 6.0}, 2), do: threads) == [3, 3]
    end

    test "that the system does not tell of are left to all, and that is said" do
      empty = path("empty")
      assert {:ok, nil, [note]} = Cpus.share(:spread, empty)
      assert note =~ "does not say"
      assert {:ok, nil, [^note]} = Cpus.share([[0]], empty)
    end

    test "of this machine are told" do
      assert {:ok, {:spread, [_ | _] = cpus}, []} = Cpus.share(:spread)
      assert Cpus.share([cpus]) == {:ok, [cpus], []}
    end
  end

  describe "a place" do
    @plan %Placement{gpus: [["0"], ["1"], ["2"]], cpus: [[0, 1], [2, 3], [4, 5]]}

    defp place(index),
      do: %{
        gpus: Enum.at(@plan.gpus, index),
        cpus: Enum.at(@plan.cpus, index),
        threads: 2,
        each: nil
      }

    defp chosen(held), do: Enum.find_index(0..2, &(place(&1) == Placement.choose(@plan, 3, held)))

    test "is that of the worker that is gone" do
      assert chosen([{place(0), true}, {place(2), true}]) == 1
    end

    test "beside one that drains is another, while one is free" do
      assert chosen([{place(0), false}, {place(1), true}]) == 2
    end

    test "is that of one that leaves, where all are as full" do
      assert chosen([{place(0), true}, {place(1), false}, {place(2), true}]) == 1
      # Two that have not left yet are more than one that stays.
      assert chosen([{place(0), false}, {place(0), false}, {place(1), true}, {place(2), true}]) ==
               1
    end

    test "follows cpus that are spread anew: what fewest workers run on" do
      plan = %Placement{cpus: {:spread, [0, 1, 2, 3]}}
      old = Placement.choose(plan, 2, [])
      assert old.cpus == [0, 1]
      # For four workers each cpu is a place.
      assert Placement.choose(plan, 4, [{old, true}]).cpus == [2]
    end
  end

  describe "each" do
    defp own(options, slot) do
      settings = settings(options)
      plan = plan!(options)
      Placement.own(%{settings | plan: plan, place: Placement.choose(plan, 2, [])}, slot)
    end

    test "gives a worker variables of its own, by its number" do
      each = fn slot -> [env: [PORT: 9_000 + slot, OMP_NUM_THREADS: "7", HOME: nil]] end
      assert {:ok, settings} = own([each: each, env: [PORT: "1", LANG: "C"]], 3)
      variables = Map.new(Environment.variables(settings, 3, %{"HOME" => "/root"}))
      assert %{~c"PORT" => ~c"9003", ~c"LANG" => ~c"C", ~c"HOME" => false} = variables
      assert variables[~c"OMP_NUM_THREADS"] == ~c"7"
      assert variables[~c"SLITHER_WORKER"] == ~c"3"
      # A library takes OpenMP's number where its own is not set.
      refute is_map_key(variables, ~c"OPENBLAS_NUM_THREADS")
      # Those of a worker that started this BEAM.
      assert variables[~c"SLITHER_CPUS"] == false
    end

    test "is a list, too, of which each worker gets one" do
      list = [[env: [A: "a"]], %{"env" => %{"A" => "b"}}, []]
      plan = plan!(each: list)
      assert plan.each == [%{"A" => "a"}, %{"A" => "b"}, %{}]
      assert for(place <- places(plan, 4), do: place.each) == [0, 1, 2, 0]
      assert {:error, error} = Pool.check(name: :p, each: [[env: [A: {}]]])
      assert Exception.message(error) =~ "pool :p: option :each takes a function of arity 1, or"
    end

    test "that raises, or gives something else, is told" do
      for {each, why} <- [
            {fn slot -> Map.fetch!(%{}, slot) end, ~r/raised \*\* \(KeyError\) key 2 not found/},
            {fn _ -> throw(:ball) end, ~r/raised \*\* \(throw\) :ball/},
            {fn _ -> :none end, ~r/gave :none, not \[env: …\]/},
            {fn _ -> [evn: []] end, ~r/gave \[evn: \[\]\], not/},
            {fn _ -> [env: [{"A=B", "1"}]] end, ~r/not \[env: …\]/},
            {fn _ -> [env: %{A: [1]}] end, ~r/not \[env: …\]/}
          ] do
        assert {:error, %Error{reason: :invalid_option} = error} = own([each: each], 2)
        assert error.message =~ why
        assert error.message =~ "pool :placed: each: "
        assert error.message =~ "for worker 2"
        assert error.details == %{option: :each, worker: 2}
      end
    end
  end

  describe "workers" do
    test "run where they are placed, before they import anything" do
      {:ok, {:spread, [cpu | _]}, []} = Cpus.share(:spread)
      each = fn slot -> [env: [SLITHER_OWN: "own #{slot}"]] end

      pool =
        ready_pool(
          size: 2,
          start: :spawn,
          preload: ["placed_handlers"],
          each: each,
          cpus: [[cpu]],
          gpus: ["GPU-a", "GPU-b"],
          env: [CUDA_VISIBLE_DEVICES: nil]
        )

      names = ~w(SLITHER_WORKER CUDA_VISIBLE_DEVICES SLITHER_OWN OMP_NUM_THREADS)
      assert {:ok, %{workers: workers, notes: []}} = Pool.status(pool)

      for {gpu, %{worker: slot} = worker} <- Enum.zip(["GPU-a", "GPU-b"], workers) do
        assert %{gpus: [^gpu], cpus: [^cpu]} = worker
        assert %{} = found = found(pool, slot, names)
        assert found["worker"] == slot
        assert found["cpus"] == [cpu]
        assert found["imported"] == [cpu]

        assert Enum.map(names, &found[&1]) == ["#{slot}", gpu, "own #{slot}", "1"]
      end
    end

    # Sessions spread over the workers.
    defp found(pool, slot, names) do
      Enum.find_value(["a", "b"], fn session ->
        options = [session_id: "#{pool} #{session}"]
        target = ["function", "placed_handlers", "place"]
        {:ok, [found | _], _errors} = Pool.call(pool, target, names, options)
        if found["worker"] == slot, do: found
      end)
    end

    test "have a place that is free, though one drains" do
      pool = ready_pool(size: 2, gpus: [0, 1, 2], env: [CUDA_VISIBLE_DEVICES: nil])
      bound = fn -> call(pool, "identity", 1, session_id: "#{pool} stays") end
      assert bound.() == {:ok, 1}
      assert Pool.restart(pool) == :ok
      assert {:ok, %{workers: workers}} = Pool.status(pool)
      held = for %{status: :ready, gpus: [gpu]} <- workers, do: gpu
      assert length(Enum.uniq(held)) == 2
      Slither.Session.stop("#{pool} stays")
    end

    test "that each can't place are not started, and the pool says why" do
      pool = start_pool(each: fn slot -> raise "no port for #{slot}" end)
      assert {:error, %Error{reason: :pool_unavailable} = error} = Pool.await_ready(pool)
      assert Exception.message(error) =~ "each: raised ** (RuntimeError) no port for 0"
      assert {:ok, %{error: %Error{details: %{option: :each}}}} = Pool.status(pool)
    end

    test "of a pool whose options ask for what is not there are not started at all" do
      options = [name: unique(:nowhere), cpus: [[8_000]]]
      assert {:error, %Error{reason: :invalid_option} = error} = Pool.start_link(options)
      assert Exception.message(error) =~ "option :cpus names cpus that there are not: 8000"
    end
  end

  # A machine's files; `allowed` are the cpus of this process.
  defp machine(allowed, facts) do
    root = path("machine")
    write(root, "proc/self/status", "Name:\tbeam\nCpus_allowed_list:\t#{allowed}\n")
    write(root, "proc/self/cgroup", facts[:cgroup] || "0::/\n")
    if facts[:online], do: write(root, "sys/devices/system/cpu/online", facts[:online] <> "\n")
    for {file, text} <- facts[:files] || [], do: write(root, "sys/fs/cgroup/#{file}", text)
    root
  end

  defp touch(root, path), do: write(root, path, "")

  defp write(root, path, text) do
    path = Path.join(root, path)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, text)
  end
end
