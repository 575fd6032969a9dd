# Arrays and bytes of 8 KB, 1 MB and 64 MB there and back, each in a call by itself: MB a second,
# against what Python's pools do with the same; and the memory that the largest takes.
Code.require_file("bench.ex", __DIR__)
Code.require_file("peers.ex", __DIR__)

defmodule Slither.Bench.Payloads do
  import Slither.Bench
  alias Slither.Bench.Peers
  alias Slither.{Bytes, Tensor}

  @python Path.join(__DIR__, "python")
  @pools ["Pool.imap", "Pool.map", "ProcessPoolExecutor.map", "joblib", "mpire"]
  # Bytes of a payload, and how many of them a round sends.
  @sizes [{"8 KB", 8_000, 2_000}, {"1 MB", 1_000_000, 64}, {"64 MB", 64_000_000, 4}]

  def run(rounds \\ 5) do
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)
    {:ok, _} = Slither.Python.Pool.start_link(name: :payloads, size: 2, paths: [@python])
    :ok = Slither.Python.Pool.await_ready(:payloads)
    peers = Peers.start(@python)

    for kind <- ["arrays", "bytes"], {label, size, count} <- @sizes do
      payloads = for _ <- 1..count, do: payload(kind, size)
      run = fn -> dispatch(payloads) end
      run.()

      ours = [{"Slither.dispatch", fn -> rate(size * count, run) end}]

      theirs =
        for name <- @pools,
            do: {name, fn -> Peers.ask(peers, "payloads #{name} #{kind} #{size} #{count}") end}

      results = rounds(rounds, ours ++ theirs)
      best = @pools |> Enum.map(&results[&1].median) |> Enum.max()
      claim = {"dispatch / the best pool", results["Slither.dispatch"].median / best, ">=", 1.0}
      report("#{label} #{kind} there and back", "MB/s", results, [claim])
    end

    memory()
  end

  defp payload("bytes", size), do: Bytes.new(:rand.bytes(size))

  defp payload("arrays", size),
    do: %Tensor{dtype: :float64, shape: {div(size, 8)}, data: :rand.bytes(size)}

  defp dispatch(payloads) do
    options = [module: "bench_items", function: "same_batch", pool: :payloads, batch_size: 1]
    {:ok, _} = Slither.dispatch(payloads, options)
  end

  defp rate(bytes, fun) do
    {time, _} = :timer.tc(fun)
    bytes / time
  end

  # One array of 64 MB at a time: what BEAM and the worker hold at most, beyond what they held
  # before, in arrays. To make one takes memory of its own; what was freed before is given back, so
  # that it is not used again unseen.
  defp memory do
    {:ok, _} = Slither.Python.Pool.start_link(name: :payload, size: 1, paths: [@python])
    :ok = Slither.Python.Pool.await_ready(:payload)
    options = [module: "bench_items", function: "same_batch", pool: :payload, batch_size: 1]
    {:ok, _} = Slither.dispatch([payload("arrays", 8_000)], options)
    {:ok, %{workers: [%{os_pid: worker}]}} = Slither.Python.Pool.status(:payload)
    size = 64_000_000

    one =
      for {name, pid} <- [{"BEAM", System.pid()}, {"the worker", worker}] do
        array = payload("arrays", size)
        array = %{array | data: :binary.copy(array.data)}
        for process <- Process.list(), do: :erlang.garbage_collect(process)
        File.write("/proc/#{pid}/clear_refs", "5")
        before = high_water(pid)
        task = Task.async(fn -> {:ok, [_]} = Slither.dispatch([array], options) end)
        Task.await(task, :infinity)
        {name, (high_water(pid) - before) / size}
      end

    IO.puts("\nMemory that one array of 64 MB takes there and back, beside itself, in arrays\n")
    for {name, arrays} <- one, do: IO.puts("  #{String.pad_trailing(name, 28)} #{arrays}")
  end

  defp high_water(pid) do
    [_, kilobytes] = Regex.run(~r/VmHWM:\s+(\d+) kB/, File.read!("/proc/#{pid}/status"))
    String.to_integer(kilobytes) * 1_024
  end
end

Slither.Bench.Payloads.run()
