defmodule Slither.Pipe.ResumeTest do
  use ExUnit.Case, async: true

  alias Slither.{Error, PipeError}
  alias Slither.Pipe.{Checkpoint, Runner}
  alias Slither.Run.Finished
  alias Slither.Test.{FunExecutor, Pools, VMs}

  @moduletag :tmp_dir
  # Every record waits for the disk, and the disk for whoever else uses it.
  @moduletag timeout: 600_000

  setup %{tmp_dir: dir}, do: {:ok, path: Path.join(dir, "run.checkpoint")}

  defp pipe(statements) do
    lined = for s <- statements, do: Tuple.insert_at(s, 1, 1)
    definition = Slither.Pipe.build!(:sample, lined)
    definition
  end

  defp fake(fun, options \\ []) do
    base = [executor: FunExecutor, executor_options: [fun: fun], batch_size: 2, max_in_flight: 1]
    {:stage, :fake, :python, Keyword.merge(base, options)}
  end

  defp beam(fun), do: {:stage, :beam, :beam, [handler: fun]}

  # Remembers what it was given.
  defp noting(reply \\ &{:ok, &1}) do
    test = self()
    fn payloads -> send(test, {:ran, payloads}) && reply.(payloads) end
  end

  defp ran do
    receive do
      {:ran, payloads} -> payloads ++ ran()
    after
      0 -> []
    end
  end

  defp run!(definition, input, path, resume \\ :same) do
    {:ok, outputs} = Runner.run(definition, input, checkpoint: path, resume: resume)
    payloads(outputs)
  end

  defp payloads(outputs),
    do: Map.new(outputs, fn {name, items} -> {name, Enum.map(items, & &1.payload)} end)

  defp failing_at(n), do: noting(&if(n in &1, do: {:error, :bad}, else: {:ok, &1}))

  describe "run/3 with checkpoint:" do
    test "gives what the run without it gives, and again without running anything", %{path: path} do
      definition = pipe([fake(noting())])
      assert run!(definition, 1..9, path) == %{default: Enum.to_list(1..9)}
      assert ran() == Enum.to_list(1..9)
      assert run!(definition, 1..9, path) == %{default: Enum.to_list(1..9)}
      assert ran() == []
    end

    test "goes on after a failed run where that one ended", %{path: path} do
      assert {:error, %PipeError{}, partial} =
               Runner.run(pipe([fake(failing_at(7))]), 1..10, checkpoint: path)

      assert payloads(partial) == %{default: [1, 2, 3, 4, 5, 6]}
      assert ran() == Enum.to_list(1..8)
      # The handler was mended.
      assert run!(pipe([fake(noting())]), 1..10, path, :anyway) == %{default: Enum.to_list(1..10)}
      assert ran() == Enum.to_list(7..10)
    end

    test "hands on what was recorded where the first of the rest fails again", %{path: path} do
      definition = pipe([beam(&if(&1.payload == 4, do: {:error, :bad}, else: &1.payload))])

      for _attempt <- 1..2 do
        assert {:error, %PipeError{item: 3}, partial} =
                 Runner.run(definition, 1..6, checkpoint: path)

        assert payloads(partial) == %{default: [1, 2, 3]}
      end
    end

    test "pulls an input that has grown, and runs what is new", %{path: path} do
      definition = pipe([fake(noting())])
      run!(definition, 1..3, path)
      assert run!(definition, 1..5, path) == %{default: [1, 2, 3, 4, 5]}
      assert ran() == [1, 2, 3, 4, 5]
    end

    test "an input is finished when all that was made of it is", %{path: path} do
      many = {:stage, :many, :beam, [cardinality: :many, handler: &[&1.payload, -&1.payload]]}
      skip = fn item -> if item.payload == 2, do: {:skip, :two}, else: item.payload end

      # Batches of 3: [1, -1, -2], [3, -3, 4], …
      stages = fn fun -> pipe([many, beam(skip), fake(fun, batch_size: 3)]) end

      assert {:error, _error, partial} =
               Runner.run(stages.(failing_at(-3)), 1..5, checkpoint: path)

      assert payloads(partial) == %{default: [1, -1, -2]}
      assert ran() == [1, -1, -2, 3, -3, 4]

      assert run!(stages.(noting()), 1..5, path, :anyway) == %{
               default: [1, -1, -2, 3, -3, 4, -4, 5, -5]
             }

      assert ran() == [3, -3, 4, -4, 5, -5]
    end

    test "an input of which only a part is out runs again as a whole", %{path: path} do
      many = {:stage, :many, :beam, [cardinality: :many, handler: &[&1.payload, -&1.payload]]}
      stages = fn fun -> pipe([many, fake(fun, batch_size: 3)]) end

      assert {:error, _error, partial} =
               Runner.run(stages.(failing_at(-2)), 1..3, checkpoint: path)

      # 2 got through, -2 did not: without the rest of it, it is not handed on.
      assert payloads(partial) == %{default: [1, -1]}
      ran()
      assert run!(stages.(noting()), 1..3, path, :anyway) == %{default: [1, -1, 2, -2, 3, -3]}
      assert ran() == [2, -2, 3, -3]
    end

    test "remembers skipped and routed items too", %{path: path} do
      statements = fn policy, fun ->
        pipe([fake(fun, batch_size: 1), {:output, :bad}, {:on_error, :*, policy}])
      end

      assert run!(statements.({:route, :bad}, failing_at(2)), 1..3, path) ==
               %{bad: [2], default: [1, 3]}

      ran()

      assert run!(statements.({:route, :bad}, noting()), 1..3, path, :anyway) == %{
               bad: [2],
               default: [1, 3]
             }

      assert ran() == []
      skipping = Path.rootname(path) <> ".skip"
      assert run!(statements.(:skip, failing_at(2)), 1..3, skipping).default == [1, 3]
      ran()
      assert run!(statements.(:skip, noting()), 1..3, skipping, :anyway).default == [1, 3]
      assert ran() == []
    end

    test "results that complete out of order are each there once", %{path: path} do
      slow = fn [n | _] = payloads ->
        # The first batch runs out of time.
        if n == 1, do: receive(do: (:never -> :ok)), else: {:ok, payloads}
      end

      options = [ordering: :as_completed, max_in_flight: 3, timeout: 50]
      definition = fn fun -> pipe([fake(fun, options), {:on_error, :*, :halt}]) end
      assert {:error, _timeout, _partial} = Runner.run(definition.(slow), 1..6, checkpoint: path)
      outputs = run!(definition.(noting()), 1..6, path, :anyway)
      assert Enum.sort(outputs.default) == Enum.to_list(1..6)
      assert [1, 2 | _] = Enum.sort(ran())
    end

    test "runs long inputs without Python, recording as it goes", %{path: path} do
      definition = pipe([beam(&(&1.payload + 1))])
      assert run!(definition, 1..2_000, path).default == Enum.to_list(2..2_001)
      assert run!(definition, 1..2_000, path).default == Enum.to_list(2..2_001)
    end
  end

  describe "stream/3 with checkpoint:" do
    test "hands on what is recorded; the next stream gives it again, and the rest", %{path: path} do
      definition = pipe([fake(noting())])
      stream = Runner.stream(definition, 1..10, checkpoint: path)
      assert [default: %{payload: 1}, default: %{payload: 2}] = Enum.take(stream, 2)
      before = ran()
      assert Enum.map(stream, fn {:default, item} -> item.payload end) == Enum.to_list(1..10)
      assert ran() == Enum.to_list(3..10)
      assert Enum.take(before, 2) == [1, 2]
    end
  end

  describe "a checkpoint is refused" do
    test "when it is another pipe's, saying what differs", %{path: path} do
      run!(pipe([beam(& &1.payload)]), 1..3, path)
      other = pipe([fake(noting()), {:output, :more}])
      assert {:error, %Error{} = error, _} = Runner.run(other, 1..3, checkpoint: path)
      assert error.reason == :other_checkpoint
      assert ["order of stages", "outputs", "stage :beam" | _] = error.details.different
      assert "stage :fake option :executor" in error.details.different
      assert Exception.message(error) =~ "different: order of stages, outputs, stage :beam"

      assert_raise Error, fn ->
        other |> Runner.stream([1], checkpoint: path) |> Enum.to_list()
      end
    end

    test "when options change results, but not when they only tune", %{path: path} do
      run!(pipe([fake(noting())]), 1..3, path)
      tuned = pipe([fake(noting(), batch_size: 1, timeout: 5_000)])
      assert run!(tuned, 1..3, path) == %{default: [1, 2, 3]}

      changed = pipe([fake(noting(), module: "other")])
      assert {:error, %{reason: :other_checkpoint}, _} = Runner.run(changed, [], checkpoint: path)
      options = [checkpoint: path, metadata: %{model: 2}]
      assert {:error, error, _} = Runner.run(pipe([fake(noting())]), [], options)
      assert error.details.different == ["option :metadata"]
    end

    test "when the file is something else, and is left as it is", %{path: path, tmp_dir: dir} do
      File.write!(path, "precious")
      definition = pipe([beam(& &1.payload)])
      assert {:error, error, _} = Runner.run(definition, [1], checkpoint: path)
      assert error.reason == :not_a_checkpoint
      assert File.read!(path) == "precious"

      assert {:error, error, _} = Runner.run(definition, [1], checkpoint: dir)
      assert error.reason == :checkpoint_failed
      assert {:error, error, _} = Runner.run(definition, [1], checkpoint: :here)
      assert Exception.message(error) =~ "option :checkpoint takes a string"
    end

    test "when a handler's code is another, by the name of its stage", %{path: path} do
      run!(pipe([beam(&(&1.payload + 1))]), 1..3, path)
      other = pipe([beam(&(&1.payload + 2))])
      assert {:error, error, partial} = Runner.run(other, 1..4, checkpoint: path)
      assert error.reason == :other_checkpoint
      assert error.details.different == ["stage :beam option :handler"]
      assert partial == %{default: []}
      # What is finished stays as it is; from here on the file is the other pipe's.
      assert run!(other, 1..4, path, :anyway) == %{default: [2, 3, 4, 6]}
      assert run!(other, 1..4, path) == %{default: [2, 3, 4, 6]}
    end

    test "when what a handler has captured is another", %{path: path} do
      adding = fn n -> pipe([beam(&(&1.payload + n))]) end
      run!(adding.(1), 1..3, path)
      assert run!(adding.(1), 1..3, path) == %{default: [2, 3, 4]}

      assert {:error, %{reason: :other_checkpoint}, _} =
               Runner.run(adding.(2), [], checkpoint: path)
    end

    test "when the input is another, by the first position; nothing runs, nothing comes out",
         %{path: path} do
      definition = pipe([fake(noting())])

      assert {:error, _error, _partial} =
               Runner.run(pipe([fake(failing_at(7))]), 1..9, checkpoint: path)

      run!(definition, 1..9, path, :anyway)
      ran()

      for {input, at} <- [
            {[1, 2, 0, 4, 5, 6, 7, 8, 9, 10], 2},
            {2..12, 0},
            {Enum.to_list(1..8) ++ [0], 8},
            {1..8, 8},
            {[], 0}
          ] do
        assert {:error, error, partial} = Runner.run(definition, input, checkpoint: path)
        assert {error.reason, error.details.position} == {:other_input, at}
        assert partial == %{default: []}
        assert ran() == []

        assert_raise Error, fn ->
          definition |> Runner.stream(input, checkpoint: path) |> Enum.take(1)
        end
      end

      assert run!(definition, 11..21, path, :anyway) == %{default: Enum.to_list(1..9) ++ [20, 21]}
      assert ran() == [20, 21]
    end

    test "when an input of which not all is finished is another: the rest does not run before",
         %{path: path} do
      slow = noting(&if(3 in &1, do: receive(do: (:never -> :ok)), else: {:ok, &1}))
      options = [ordering: :as_completed, max_in_flight: 5, batch_size: 1, timeout: 300]
      stages = &pipe([fake(&1, options)])
      assert {:error, _timeout, partial} = Runner.run(stages.(slow), 1..5, checkpoint: path)
      assert Enum.sort(payloads(partial).default) == [1, 2, 4, 5]
      ran()
      options = [checkpoint: path, resume: :anyway]
      {:ok, _} = Runner.run(stages.(noting()), [1, 2, 3], options)
      assert ran() == [3]
    end

    test "when it has results for an output that is gone, whatever is asked for", %{path: path} do
      routed = &pipe([beam(fn item -> {:route, :odd, item.payload} end), {:output, :odd}, &1])
      run!(routed.({:output, :even}), 1..3, path)
      plain = pipe([beam(& &1.payload)])
      options = [checkpoint: path, resume: :anyway]
      assert {:error, %{reason: :other_checkpoint} = error, _} = Runner.run(plain, 1..3, options)

      assert Exception.message(error) =~
               "results for outputs that the pipe does not declare: :odd"
    end

    test "when an earlier version wrote it, and is left as it is", %{path: path} do
      File.write!(path, "slither-checkpoint 1\nrecords")
      assert {:error, error, _} = Runner.run(pipe([fake(noting())]), [1], checkpoint: path)
      assert error.reason == :old_checkpoint
      assert File.read!(path) == "slither-checkpoint 1\nrecords"
    end

    test "under another name of the same file, while a run uses it", %{path: path} do
      definition = pipe([beam(& &1.payload)])
      File.ln_s!(path, path <> ".link")

      [refused] =
        definition
        |> Runner.stream([1], checkpoint: path)
        |> Enum.map(fn _ -> Runner.run(definition, [1], checkpoint: path <> ".link") end)

      assert {:error, %Error{reason: :checkpoint_in_use}, _} = refused
    end

    test "while a run of another VM uses it, with who that is", %{path: path} do
      other = open_vm(path)
      assert_receive {^other, {:data, {:eol, "got " <> _}}}, Pools.patience()
      {:os_pid, pid} = Port.info(other, :os_pid)
      definition = pipe([beam(& &1.payload)])
      assert {:error, error, _} = Runner.run(definition, [1], checkpoint: path)
      assert error.reason == :checkpoint_in_use
      assert Exception.message(error) =~ ~r/in use by the BEAM with process id \d+ on /
      {_, 0} = System.cmd("kill", ["-9", to_string(pid)], stderr_to_stdout: true)
      ended(other, 0)
    end

    test "while another run uses it", %{path: path} do
      definition = pipe([beam(& &1.payload)])

      [refused] =
        definition
        |> Runner.stream([1], checkpoint: path)
        |> Enum.map(fn _ -> Runner.run(definition, [1], checkpoint: path) end)

      assert {:error, %Error{reason: :checkpoint_in_use}, _} = refused
      assert run!(definition, [1], path) == %{default: [1]}
    end
  end

  describe "the file" do
    test "may end anywhere: what is whole before that counts", %{path: path} do
      definition = pipe([fake(noting())])
      run!(definition, 1..8, path)
      bytes = File.read!(path)
      ran()

      for size <- Enum.take_every(0..byte_size(bytes), 17) do
        File.write!(path, binary_part(bytes, 0, size))
        assert run!(definition, 1..8, path) == %{default: Enum.to_list(1..8)}
        again = ran()
        assert again == Enum.take(Enum.to_list(1..8), -length(again))
        assert rem(length(again), 2) == 0
      end
    end

    test "may end in zeros, as after a power cut", %{path: path} do
      definition = pipe([fake(noting())])
      run!(definition, 1..4, path)
      ran()
      File.write!(path, :binary.copy(<<0>>, 100_000), [:append])
      assert run!(definition, 1..6, path) == %{default: Enum.to_list(1..6)}
      assert ran() == [5, 6]
    end

    test "damaged before its end is an error that says where, not a shorter result",
         %{path: path} do
      definition = pipe([fake(noting())])
      run!(definition, 1..8, path)
      {:ok, file} = :file.open(path, [:read, :write, :raw, :binary])
      middle = div(File.stat!(path).size, 2)
      {:ok, <<byte>>} = :file.pread(file, middle, 1)
      :ok = :file.pwrite(file, middle, <<Bitwise.bxor(byte, 255)>>)
      :file.close(file)
      assert {:error, error, _} = Runner.run(definition, 1..8, checkpoint: path)
      assert error.reason == :checkpoint_damaged
      assert Exception.message(error) =~ ~r/is damaged at byte \d+, before its end/
    end

    test "keeps what is finished and its outputs in one record", %{path: path} do
      item = Slither.Item.wrap(:a)
      open = fn -> Checkpoint.open(path, [{"name", 1}], [:default], :same) end
      digests = for n <- 0..5, do: {n, <<n::64>>}
      [zero, one, two, _three, _four, five] = digests
      {:ok, checkpoint} = open.()
      {:ok, checkpoint} = Checkpoint.append(checkpoint, [two, zero, one], [{[1], :default, item}])
      {:ok, checkpoint} = Checkpoint.append(checkpoint, [five], [])
      Checkpoint.close(checkpoint)
      {:ok, checkpoint} = open.()
      assert checkpoint.done == [{0, 2, <<0::64, 1::64, 2::64>>}, {5, 5, <<5::64>>}]
      assert {:ok, outputs, next} = Checkpoint.outputs(checkpoint, Checkpoint.first(checkpoint))
      assert outputs == [{[1], :default, item}]
      assert {:ok, [], last} = Checkpoint.outputs(checkpoint, next)
      assert Checkpoint.outputs(checkpoint, last) == :done
      Checkpoint.close(checkpoint)
    end
  end

  test "what is finished is the set of its positions, each with its digest" do
    for _round <- 1..200 do
      positions = Enum.take_random(0..25, :rand.uniform(20))
      finished = Finished.new(for n <- positions, do: {n, <<n::64>>})
      assert Finished.union(Enum.shuffle(finished)) == finished
      assert Finished.last(finished) == Enum.max(positions)

      {members, _rest} =
        Enum.flat_map_reduce(0..30, finished, fn n, finished ->
          {digest, finished} = Finished.pop(finished, n)
          {if(digest == nil, do: [], else: [{n, digest}]), finished}
        end)

      assert members == for(n <- Enum.sort(positions), do: {n, <<n::64>>})
    end
  end

  # The limit is of a file's size, which is what a full disk does to it.
  test "a checkpoint that can't be written stops the run; with room, the next one goes on",
       %{path: path} do
    # Blocks of 512 or 1,024 bytes, as the shell has it. A signal tells of the limit, too.
    run = fn before ->
      vm = VMs.open("full_checkpoint.exs", [path], before)
      ended = VMs.wait_for(vm, "ended ")
      given = vm |> VMs.wait_for("given ") |> VMs.term()
      VMs.rest(vm, nil, fn _line, nil -> nil end)
      {ended, given}
    end

    {ended, given} = run.("trap '' XFSZ; ulimit -f 128")
    assert ended =~ "checkpoint_failed checkpoint #{path}: can't be used: file too large"
    assert length(given) in 1..999
    assert {"whole", whole} = run.(":")
    assert Enum.map(whole, &elem(&1, 0)) == Enum.to_list(1..1_000)
    # What was handed on had been recorded, and comes again as it was.
    assert Enum.take(whole, length(given)) == given
  end

  @count 300

  test "a BEAM that is killed at random moments: in the end, the undisturbed run's result",
       %{path: path} do
    assert {:done, undisturbed} = path |> Kernel.<>(".undisturbed") |> open_vm() |> listen(:never)
    {killed, kills} = kill_until_done(path, 0, 0)
    assert killed == undisturbed
    assert kills > 0
    assert Enum.sort(killed.aside) == Enum.filter(1..@count, &(rem(&1, 10) == 2))
  end

  # Starts VMs, one after the other, until one says that it is done. Each first says again what
  # is recorded, and is killed at some moment after that.
  defp kill_until_done(path, recorded, kills) do
    case path |> open_vm() |> listen(recorded + :rand.uniform(80)) do
      {:done, outputs} -> {outputs, kills}
      {:killed, said} -> kill_until_done(path, max(said, recorded), kills + 1)
    end
  end

  defp open_vm(path) do
    script = Path.expand("../support/resumable_run.exs", __DIR__)
    paths = for path <- :code.get_path(), path = to_string(path), path =~ "_build", do: path
    pa = Enum.flat_map(paths, &["-pa", &1])
    args = pa ++ [script, path, Pools.handlers(), to_string(@count)]
    options = [:binary, :exit_status, :hide, :stderr_to_stdout, line: 1_000_000, args: args]
    Port.open({:spawn_executable, System.find_executable("elixir")}, options)
  end

  defp listen(port, limit, got \\ 0, said \\ [])

  defp listen(port, limit, limit, _said) do
    # It waits for leave to go on, so it is there to be killed.
    {:os_pid, pid} = Port.info(port, :os_pid)
    {_, 0} = System.cmd("kill", ["-9", to_string(pid)], stderr_to_stdout: true)
    ended(port, limit)
  end

  defp listen(port, limit, got, said) do
    receive do
      {^port, {:data, {:eol, "done " <> result}}} ->
        assert_receive {^port, {:exit_status, 0}}, Pools.patience()
        {:done, result |> Base.decode64!() |> :erlang.binary_to_term()}

      {^port, {:data, {:eol, "got " <> _item}}} when got + 1 == limit ->
        listen(port, limit, limit, said)

      {^port, {:data, {:eol, "got " <> _item}}} ->
        Port.command(port, "\n")
        listen(port, limit, got + 1, said)

      {^port, {:data, {_end, line}}} ->
        listen(port, limit, got, [line | said])

      {^port, {:exit_status, status}} ->
        flunk("the VM ended with #{status}: #{said |> Enum.reverse() |> Enum.join("\n")}")
    after
      Pools.patience() * 2 -> flunk("the VM said nothing")
    end
  end

  defp ended(port, got) do
    receive do
      {^port, {:data, {:eol, "got " <> _item}}} -> ended(port, got + 1)
      {^port, {:data, _line}} -> ended(port, got)
      {^port, {:exit_status, _status}} -> {:killed, got}
    after
      Pools.patience() -> flunk("the VM did not die")
    end
  end
end
