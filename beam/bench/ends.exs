# How long what must end takes to end: from a call's deadline to its error and to its worker's
# death, and from a signal that ends BEAM to the death of the last worker's last child.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Ends do
  alias Slither.Python.Pool
  alias Slither.Telemetry

  @rounds 20
  @timeout 200
  @calls ["sleep", "spin", "C with the GIL", "backtracking", "sum(range())", "stopped", "print"]
  @deaths ["sleep", "spin", "C with the GIL", "subprocess"]
  @python Path.join(__DIR__, "python")

  def run([]) do
    Logger.configure(level: :emergency)
    calls = for way <- @calls, do: {way, overshoots(way)}

    IO.puts("\nFrom the deadline of a call to its error, and to the death of its worker\n")
    for {way, ms} <- calls, {to, values} <- ms, do: print("#{way}, #{to}", values)

    IO.puts("\nFrom a signal to BEAM to the end of its workers, and of what they had started\n")
    for signal <- ["KILL", "TERM"], do: print(signal, for(_ <- 1..@rounds, do: death(signal)))
  end

  # In a VM of its own: takes the calls that it dies with.
  def run(["hold", path]) do
    Logger.configure(level: :emergency)
    Process.flag(:trap_exit, true)
    size = length(@deaths)
    {:ok, _} = Pool.start_link(name: :ends, size: size, window: 1, paths: [@python])
    for way <- @deaths, do: spawn(fn -> call(way, path, :infinity) end)
    receive do: (:never -> :ok)
  end

  defp overshoots(way) do
    Process.flag(:trap_exit, true)
    {:ok, pool} = Pool.start_link(name: :ends, size: 1, paths: [@python], preload: ["ends"])
    events = [[:slither, :worker, :progress], [:slither, :pool, :worker, :down]]
    :ok = Telemetry.attach(__MODULE__, events, &__MODULE__.event/4, self())
    rounds = for _ <- 1..@rounds, do: overshoot(way)
    Telemetry.detach(__MODULE__)
    Supervisor.stop(pool, :kill)
    %{"error" => Enum.map(rounds, &elem(&1, 0)), "death" => Enum.map(rounds, &elem(&1, 1))}
  end

  def event(event, _measurements, metadata, test),
    do: send(test, {List.last(event), metadata, System.monotonic_time()})

  # From when the call was handed over, so that some of its way to Python counts, too.
  defp overshoot(way) do
    :ok = Pool.await_ready(:ends)
    {:ok, _, _} = Pool.call(:ends, ["function", "ends", "warm"], [1])
    started = System.monotonic_time()
    task = Task.async(fn -> {call(way, nil, @timeout), System.monotonic_time()} end)
    os_pid = receive do: ({:progress, %{os_pid: os_pid}, _at} -> os_pid)
    if way == "stopped", do: System.cmd("kill", ["-STOP", "#{os_pid}"])
    {{:error, %{reason: :timeout}}, answered} = Task.await(task, :infinity)
    ended = receive do: ({:down, %{os_pid: ^os_pid}, at} -> at)
    {ms(answered - started) - @timeout, ms(ended - started) - @timeout}
  end

  defp call(way, path, timeout) do
    Pool.call(:ends, ["function", "ends", "stay"], [[way, path]], timeout: timeout)
  end

  defp death(signal) do
    path = Path.join(System.tmp_dir!(), "slither-ends-#{System.pid()}")
    File.rm(path)
    {_, 0} = System.cmd("mkfifo", [path])
    options = [:binary, :exit_status, :hide, line: 100]
    cat = Port.open({:spawn_executable, System.find_executable("cat")}, [args: [path]] ++ options)

    code = "Application.ensure_all_started(:slither); Code.require_file(#{inspect(__ENV__.file)})"
    args = Enum.flat_map(:code.get_path(), &["-pa", to_string(&1)]) ++ ["-e", code, "hold", path]
    elixir = System.find_executable("elixir")
    vm = Port.open({:spawn_executable, elixir}, [:stderr_to_stdout, {:args, args} | options])

    for _ <- @deaths do
      receive do
        {^cat, {:data, {:eol, "held"}}} -> :ok
        {^vm, {:exit_status, status}} -> raise "the VM ended with #{status}"
      end
    end

    {:os_pid, os_pid} = Port.info(vm, :os_pid)
    signalled = System.monotonic_time()
    System.cmd("kill", ["-#{signal}", "#{os_pid}"])
    gone = receive do: ({^cat, {:exit_status, 0}} -> System.monotonic_time())
    receive do: ({^vm, {:exit_status, _}} -> :ok)
    File.rm(path)
    ms(gone - signalled)
  end

  defp ms(native), do: System.convert_time_unit(native, :native, :microsecond) / 1_000

  defp print(name, values) do
    s = Slither.Bench.summary(values)

    [median, min, max] =
      for v <- [s.median, s.min, s.max], do: :erlang.float_to_binary(v, decimals: 1)

    IO.puts("  #{String.pad_trailing(name, 28)} median #{median} ms, #{min} to #{max}")
  end
end

Slither.Bench.Ends.run(System.argv())
