# How the cost of an item changes with how much of everything there is: items, workers, the size
# of batches, batches in flight, bytes of a payload. Each is a plot, with Pool.imap on the same
# axes where it has the same knob. `mix run beam/bench/scale.exs --small` takes a tenth.
Code.require_file("bench.ex", __DIR__)
Code.require_file("peers.ex", __DIR__)

defmodule Slither.Bench.Scale do
  import Slither.Bench
  alias Slither.Bench.Peers
  alias Slither.{Bytes, Dispatch}
  alias Slither.Python.Pool

  @python Path.join(__DIR__, "python")
  @batch 64

  def run(arguments) do
    small? = "--small" in arguments
    Logger.configure(level: :warning)
    Process.flag(:trap_exit, true)
    peers = Peers.start(@python)
    for n <- [1, 2, 4, 8, 16], do: start(n)
    most = if small?, do: 5, else: 7
    rounds = if small?, do: 3, else: 5
    count = if small?, do: 10_000, else: 50_000

    series = [
      items(Enum.map(3..most, &Integer.pow(10, &1)), rounds, peers),
      workers([1, 2, 4, 8, 16], count, rounds, peers),
      batches([1, 4, 16, 64, 256, 1_024, 4_096], count, rounds, peers),
      in_flight([1, 2, 4, 8, 16, 32, 64], count, rounds),
      payloads(Enum.map(1..if(small?, do: 7, else: 8), &Integer.pow(10, &1)), rounds, peers)
    ]

    plot(series)
  end

  defp start(size) do
    {:ok, _} = Pool.start_link(name: name(size), size: size, paths: [@python])
    :ok = Pool.await_ready(name(size))
  end

  defp name(size), do: :"scale_#{size}"

  defp items(counts, rounds, peers) do
    rows =
      for count <- counts do
        # The longest are long enough to say all in one round.
        rounds = if count >= 1_000_000, do: 1, else: rounds
        memory = :erlang.memory(:total)
        ours = median(rounds, fn -> stream(dicts(count), 2, []) / count end)
        grown = (:erlang.memory(:total) - memory) / 1.0e6
        imap = median(rounds, fn -> imap(peers, count, 2, @batch, 0) / count end)
        {count, [ours, imap], grown}
      end

    for {count, _, grown} <- rows,
        do: IO.puts("  #{count} items: BEAM's memory grew by #{Float.round(grown, 1)} MB")

    costs = for {_, [ours, _], _} <- rows, do: ours
    # The first thousand still warm up.
    [_ | costs] = costs

    series("items", "items", "µs an item", ["Slither", "Pool.imap"], rows, [
      {"largest / smallest cost of an item, from 10^4 on", Enum.max(costs) / Enum.min(costs),
       "<=", 1.1}
    ])
  end

  defp workers(sizes, count, rounds, peers) do
    rows =
      for size <- sizes do
        ours =
          median(rounds, fn -> stream(dicts(count), size, max_in_flight: 2 * size) / count end)

        imap = median(rounds, fn -> imap(peers, count, size, @batch, 0) / count end)
        {size, [ours, imap], nil}
      end

    series("workers", "workers", "µs an item", ["Slither", "Pool.imap"], rows, [])
  end

  defp batches(sizes, count, rounds, peers) do
    rows =
      for size <- sizes do
        # Of one item a batch, fewer say as much.
        count = if size < 16, do: div(count, 10), else: count
        ours = median(rounds, fn -> stream(dicts(count), 2, batch_size: size) / count end)
        imap = median(rounds, fn -> imap(peers, count, 2, size, 0) / count end)
        {size, [ours, imap], nil}
      end

    series("batches", "items in a batch", "µs an item", ["Slither", "Pool.imap"], rows, [])
  end

  defp in_flight(sizes, count, rounds) do
    rows =
      for size <- sizes do
        {size, [median(rounds, fn -> stream(dicts(count), 2, max_in_flight: size) / count end)],
         nil}
      end

    series("in_flight", "batches in flight", "µs an item", ["Slither"], rows, [])
  end

  defp payloads(sizes, rounds, peers) do
    rows =
      for size <- sizes do
        count = 100_000_000 |> div(size) |> max(2) |> min(2_000)
        payload = Bytes.new(:rand.bytes(size))
        options = [batch_size: 1, max_in_flight: 4]

        ours =
          median(rounds, fn -> stream(List.duplicate(payload, count), 2, options) / count end)

        imap = median(rounds, fn -> imap(peers, count, 2, 1, size) / count end)
        {size, [ours, imap], nil}
      end

    series("payloads", "bytes of a payload", "µs an item", ["Slither", "Pool.imap"], rows, [])
  end

  # µs that a stream takes.
  defp stream(items, workers, options) do
    target = [module: "bench_items", function: "same_batch", pool: name(workers)]
    {time, _} = :timer.tc(fn -> items |> Dispatch.stream(target ++ options) |> Stream.run() end)
    time
  end

  defp dicts(count) do
    Stream.map(0..(count - 1), fn n ->
      %{"id" => n, "text" => "some text of the item #{n}", "score" => n / 3}
    end)
  end

  defp imap(peers, count, workers, chunk, size),
    do: 1.0e6 * Peers.ask(peers, "imap #{count} #{workers} #{chunk} #{size}")

  defp median(rounds, fun), do: summary(for _ <- 1..rounds, do: fun.()).median

  defp series(name, x, y, lines, rows, claims) do
    results =
      for {at, values, _} <- rows, {line, value} <- Enum.zip(lines, values), into: %{} do
        {"#{line}, #{at} #{x}", %{median: value, min: value, max: value}}
      end

    report("Scale: #{x}", y, results, claims)

    %{
      name: name,
      x: x,
      y: y,
      lines: lines,
      points: for({at, values, _} <- rows, do: [at | values])
    }
  end

  # The plots are drawn by matplotlib, where it is installed.
  defp plot(series) do
    File.mkdir_p!("_build/bench")
    path = "_build/bench/scale.json"
    File.write!(path, "[" <> Enum.map_join(series, ",\n", &json/1) <> "]\n")
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    {output, status} = System.cmd(python, [Path.join(@python, "plot.py"), path])
    IO.puts(output)
    if status != 0, do: exit({:shutdown, 1})
  end

  defp json(series) do
    points = Enum.map_join(series.points, ",", &"[#{Enum.join(&1, ",")}]")
    lines = Enum.map_join(series.lines, ",", &inspect/1)

    ~s({"name":#{inspect(series.name)},"x":#{inspect(series.x)},"y":#{inspect(series.y)},) <>
      ~s("lines":[#{lines}],"points":[#{points}]})
  end
end

Slither.Bench.Scale.run(System.argv())
