defmodule Slither.Python.VoiceTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{DispatchError, Telemetry}
  alias Slither.Python.Obituary.LastWords
  alias Slither.Python.Pool

  describe "what Python says" do
    test "is logged with the logger, the pool, the worker, the run and the batch" do
      pool = ready_pool()
      listen(pool)
      options = voice(pool, "speak", batch_size: 1)
      pipe = Slither.Pipe.build!(:spoken, [{:stage, 1, :say, :python, options}])
      assert {:ok, _outputs} = Slither.run_pipe(pipe, ["a", "b"])

      for {batch, item} <- [{0, "a"}, {1, "b"}],
          {level, logger, text} <- [
            {:error, "mine", "logged #{item}"},
            {:critical, "mine", "critical #{item}"},
            {:warning, "py.warnings", "warned #{item}"},
            {:info, "stdout", "printed #{item}"}
          ] do
        {_level, _line, metadata} = await_line(level, text)
        assert %{pool: ^pool, worker: 0, batch: ^batch, call: call} = metadata
        assert %{python_logger: ^logger, stage: :say, pipe: :spoken, run: run} = metadata
        assert is_integer(call) and is_binary(run) and is_integer(metadata.os_pid)
      end

      refute_received {:log, :debug, "debugged" <> _, _metadata}
    end

    test "says where a record was made, and in which process" do
      pool = ready_pool()
      listen(pool)
      assert {:ok, 1} = say(pool, "explain", 1)
      {_level, text, metadata} = await_line(:error, "explained 1")
      assert [_, _, _ | _] = lines = String.split(text, "\n")
      assert List.last(lines) == "KeyError: 'k'"
      assert Path.basename("#{metadata.file}") == "voice_handlers.py"
      assert %{function: "explain", line: line, python_pid: os_pid, os_pid: os_pid} = metadata
      assert metadata.python_record["lineno"] == line
      assert metadata.python_record["extra"] == %{"order" => 17}
    end

    test "includes exceptions that nobody catches" do
      pool = ready_pool()
      listen(pool)
      assert {:ok, 1} = say(pool, "fail_unseen", 1)

      {_level, text, metadata} = await_line(:error, "uncaught exception in thread the-thread")
      assert text =~ "ValueError: in a thread"
      assert text =~ ~r/voice_handlers.py", line \d+, in run/
      assert %{python_logger: "threading", batch: 0} = metadata

      {_level, text, metadata} = await_line(:error, "Exception ignored in: <function _Unlucky")
      assert text =~ "ValueError: nobody sees it"
      assert metadata.python_logger == "unraisable"
    end

    test "is what log_level: lets through" do
      pool = ready_pool(log_level: :error)
      listen(pool)
      assert {:ok, 1} = say(pool, "speak", 1)
      assert {_level, _text, _metadata} = await_line(:error, "logged 1")
      await_line(:critical, "critical 1")
      assert levels() == []

      pool = ready_pool(log_level: :debug)
      listen(pool)
      assert {:ok, 1} = say(pool, "speak", 1)
      assert {_level, _text, _metadata} = await_line(:debug, "debugged 1")
      levels()

      pool = ready_pool(log_level: :none)
      listen(pool)
      assert {:ok, 1} = say(pool, "speak", 1)
      assert levels() == []
    end

    test "has a level that is checked" do
      assert {:error, error} = Pool.start_link(name: unique(:p), log_level: :loud)
      assert Exception.message(error) =~ "option :log_level takes one of :debug, :info"
    end

    test "is dropped in a flood, and what was is counted, though nothing follows" do
      pool = ready_pool()
      listen(pool)
      assert {:ok, 100_000} = say(pool, "flood", 100_000)
      assert {logged, dropped} = await_all(100_000)
      assert dropped > 0 and logged >= 200
    end

    test "becomes telemetry where it is progress, with the batch" do
      pool = ready_pool()
      test = self()

      report = fn _event, measurements, metadata, _config ->
        if metadata.pool == pool, do: send(test, {:at, measurements, metadata})
      end

      :ok = Telemetry.attach(pool, [:slither, :worker, :progress], report, nil)
      on_exit(fn -> Telemetry.detach(pool) end)
      assert {:ok, _results} = Slither.dispatch(1..4, voice(pool, "report", batch_size: 2))

      for batch <- 0..1, done <- 1..2 do
        assert_receive {:at, %{done: ^done, total: 2}, %{batch: ^batch} = metadata}
        assert %{pool: ^pool, worker: 0, call: _, os_pid: _, run: _} = metadata
      end
    end
  end

  test "a handler may write to and close descriptors 3 and 4" do
    pool = ready_pool()
    listen(pool)
    assert {:ok, 1} = say(pool, "abuse_descriptors", 1)
    assert {:ok, 1} = say(pool, "speak", 1)
    await_line(:info, "printed 1")
    assert {:ok, %{died: 0}} = Pool.status(pool)
  end

  describe "the account of a worker's death" do
    test "has Python's report of a fatal signal, and the batch it ran" do
      pool = ready_pool()
      options = voice(pool, "crash", batch_size: 1, on_error: :skip)
      assert {:ok, [_one, failed]} = Slither.dispatch([1, 0], options)
      %DispatchError{reason: :worker_died, cause: cause} = failed.meta.error

      assert %{signal: 11, status: 139, batch: 1, attempt: 1, os_pid: _} = cause.details
      assert cause.details.target == ["function", "voice_handlers", "crash"]
      assert cause.details.fatal_error =~ "Fatal Python error: Segmentation fault"
      assert cause.details.fatal_error =~ ~r/voice_handlers.py", line \d+ in crash/

      assert cause.hint =~
               ~r/^a crash in C code; Segmentation fault in string_at \(__init__.py:\d+\), called by crash \(voice_handlers.py:\d+\)$/

      assert Exception.message(failed.meta.error) =~ cause.hint
    end

    test "has the last lines of its standard error, also those that nobody had read" do
      pool = ready_pool()
      assert {:ok, 1} = say(pool, "complain", 1)
      assert {:error, %DispatchError{cause: cause}} = say(pool, "give_up", "abort")
      assert %{signal: 6, stderr: stderr} = cause.details
      assert String.ends_with?(stderr, "\uFFFD: double free or corruption\n")
      assert String.valid?(stderr) and byte_size(stderr) <= 4_200
      refute stderr =~ "complained"
      assert cause.hint =~ "Aborted in give_up (voice_handlers.py"
      assert cause.hint =~ "; last on standard error: \uFFFD: double free or corruption"

      assert {:error, %DispatchError{cause: cause}} = say(pool, "warn_and_leave", 1)
      assert %{signal: nil, status: 3, stderr: "no licence\n", fatal_error: ""} = cause.details
      assert Exception.message(cause) =~ "exit status 3 (last on standard error: no licence)"
    end

    test "is there when it was killed while it waited for room on standard error" do
      pool = ready_pool(preload: ["voice_handlers"])
      options = [timeout: 500]
      assert {:error, %DispatchError{cause: cause}} = say(pool, "fill", 1, options)
      assert %{reason: :timeout, details: %{timeout: 500, batch: 0, stderr: stderr}} = cause
      assert stderr =~ "held up\nheld up\n"
      assert {:ok, 1} = say(pool, "complain", 1)
    end

    test "is there when it died while it started" do
      pool = start_pool(preload: ["slither_crashes"])
      assert {:error, error} = Pool.await_ready(pool)
      assert Exception.message(error) =~ "killed by signal 11 (SIGSEGV)"
      assert Exception.message(error) =~ "Segmentation fault in string_at (__init__.py"
      assert Exception.message(error) =~ "called by <module> (slither_crashes.py:3)"
    end
  end

  describe "LastWords" do
    test "are what is left in a pipe" do
      for {text, last} <- [{"", ""}, {"word", "word"}, {String.duplicate("n", 9_000), "nnn"}] do
        {_path, place, file} = pipe()
        :ok = :file.write(file, text)
        words = hold(place)
        rest = LastWords.read(words)
        assert String.ends_with?(rest, last) and byte_size(rest) == min(byte_size(text), 4_096)
      end
    end

    test "are read where the pipe is full, and something writes on" do
      {path, place, file} = pipe()

      Port.open({:spawn_executable, "/bin/sh"},
        args: ["-c", "exec yes word > '#{path}' 2>/dev/null"]
      )

      assert {:ok, "word" <> _} = :file.read(file, 65_536)
      words = hold(place)
      rest = LastWords.read(words)
      assert byte_size(rest) == 4_096 and rest =~ "word\nword\n"
    end

    test "are nothing where there is no pipe" do
      {_path, [number, device, inode], _file} = pipe()

      for place <- [[number, device, inode + 1], [4_000_000, device, inode], nil, "words", [1, 2]],
          do: assert(hold(place) == nil)

      assert LastWords.hold(nil, [number, device, inode]) == nil
      assert LastWords.read(nil) == ""
    end
  end

  # A pipe of this process, and its place.
  defp pipe do
    path = path("pipe")
    {_output, 0} = System.cmd("mkfifo", [path])
    {:ok, file} = :file.open(path, [:raw, :read, :write, :binary])
    %{inode: inode, major_device: device} = File.stat!(path)
    {:ok, numbers} = File.ls("/proc/self/fd")
    number = Enum.find(numbers, &match?({:ok, ^path}, File.read_link("/proc/self/fd/#{&1}")))
    {path, [String.to_integer(number), device, inode], file}
  end

  defp hold(place), do: LastWords.hold(String.to_integer(System.pid()), place)

  defp voice(pool, function, options),
    do: options(pool, function, [module: "voice_handlers"] ++ options)

  defp say(pool, function, payload, options \\ []),
    do: call(pool, function, payload, [module: "voice_handlers"] ++ options)

  defp await_line(level, text) do
    assert_receive {:log, ^level, line, metadata}
    if line =~ text, do: {level, line, metadata}, else: await_line(level, text)
  end

  # A call's lines are sent before its answer.
  defp levels do
    receive do
      {:log, level, _line, _metadata} -> [level | levels()]
    after
      0 -> []
    end
  end

  defp await_all(total, logged \\ 0, dropped \\ 0)
  defp await_all(total, logged, dropped) when logged + dropped == total, do: {logged, dropped}

  defp await_all(total, logged, dropped) when logged + dropped < total do
    receive do
      {:log, :info, "x", _metadata} ->
        await_all(total, logged + 1, dropped)

      {:log, :warning, line, %{batch: 0}} ->
        [_, count] = Regex.run(~r/^(\d+) log lines and progress reports were dropped$/, line)
        await_all(total, logged, dropped + String.to_integer(count))
    after
      patience() -> flunk("#{logged} logged and #{dropped} dropped of #{total}")
    end
  end
end
