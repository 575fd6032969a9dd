defmodule Slither.Proof.Soak do
  @moduledoc false
  # A long run at full load: what BEAM and each worker hold stays flat.

  alias Slither.Proof
  alias Slither.Proof.{Events, Processes}
  alias Slither.Proof.Soak.{Features, Flat, Load, Sample}
  alias Slither.Python.Pool
  alias Slither.Store.Server

  @options [
    minutes: {10, "how long it goes on"},
    workers: {2, "workers of the pool"}
  ]

  @python Path.expand("python", __DIR__)
  @every 5_000
  @patience 10_000

  @doc "The script."
  @spec main([String.t()]) :: no_return
  def main(arguments) do
    Proof.mute()
    Proof.main("soak", @options, &run/1, arguments)
  end

  @doc "Runs it; options as the script's."
  @spec run(Enumerable.t()) :: Proof.report()
  def run(given \\ []) do
    options = Proof.defaults(@options, given)
    logged = listen()
    {:ok, store} = Server.start_link(Features)
    token = Processes.token()
    events = Events.start(:soak, :workers)
    {:ok, supervisor} = Pool.start_link(pool(token, options))
    :ok = Pool.await_ready(:soak)
    {load, loops} = Load.start(:soak)
    samples = samples(load, options.minutes * 60_000)
    done = Load.stop(load, loops)
    :ok = Supervisor.stop(supervisor)
    :ok = GenServer.stop(store)
    {left, _ms} = Processes.await_none(token, @patience)
    report(samples, Map.put(done, :logged, :counters.get(logged, 1)), Events.stop(events), left)
  end

  # Workers are replaced by and by, where the pool can do that.
  defp pool(token, options) do
    base = [name: :soak, size: options.workers, paths: [@python], env: Processes.env(token)]
    more = base ++ [max_requests: 5_000]
    if match?({:ok, _}, Pool.check(more)), do: more, else: base
  end

  defp samples(load, length) do
    started = System.monotonic_time(:millisecond)

    Stream.iterate(1, &(&1 + 1))
    |> Stream.map(fn n ->
      at = n * @every
      receive after: (max(0, started + at - System.monotonic_time(:millisecond)) -> :ok)
      sample = Sample.take(:soak)
      if rem(n, 6) == 0, do: IO.puts(line(at, sample, Load.counts(load)))
      {at, sample}
    end)
    |> Enum.take(div(length, @every))
  end

  defp line(at, sample, counts) do
    "#{Proof.seconds(at)} s: #{counts.items} items, BEAM #{Proof.mb(sample["memory total"])} MB, " <>
      "#{sample["processes"]} processes, #{sample["ports"]} ports, #{sample["atoms"]} atoms, " <>
      "#{sample["BEAM fds"]} fds"
  end

  defp report(samples, done, events, left) do
    rows = Flat.rows(samples)
    steep = for %{flat?: false, name: name} <- rows, do: name
    downs = for {:down, _, _, %{reason: reason}} <- events, do: reason
    lines = Enum.map_join(rows, "\n", &words/1)
    idle = for {name, 0} <- done, name != :sessions_lost, do: name

    %{
      figures: [
        {"done", Proof.counts(done)},
        {"workers that ended", "#{length(downs)}: #{Proof.counts(Enum.frequencies(downs))}"},
        {"measures", "median at first and at last, change a minute, what is allowed\n#{lines}"}
      ],
      checks: [
        {"all measures stay flat", steep == [] and rows != [], Enum.join(steep, ", ")},
        {"everything was done", idle == [], Enum.map_join(idle, ", ", &to_string/1)},
        {"no worker is left", left == [], inspect(left)}
      ],
      samples: for({at, sample} <- samples, do: Map.put(sample, "ms", at))
    }
  end

  defp words(row) do
    shown = fn number -> number |> show(Flat.kind(row.name)) |> String.pad_leading(12) end
    mark = if row.flat?, do: "", else: "  TOO MUCH"

    "  #{String.pad_trailing(row.name, 20)} #{shown.(row.early)} #{shown.(row.late)}" <>
      " #{shown.(row.slope)} #{shown.(row.allowed)}#{mark}"
  end

  defp show(bytes, kind) when kind in [:memory, :rss], do: "#{Proof.mb(bytes)} MB"
  defp show(number, _kind), do: "#{Float.round(number / 1, 1)}"

  # What is logged is formatted and handed on, and goes nowhere.
  defp listen do
    logged = :counters.new(1, [])
    Logger.configure(level: :info)
    :ok = :logger.add_handler(:soak, __MODULE__, %{config: logged})
    logged
  end

  @doc false
  @spec log(:logger.log_event(), map) :: :ok
  def log(event, %{config: logged}) do
    _ = :logger_formatter.format(event, %{})
    :counters.add(logged, 1, 1)
  end
end
