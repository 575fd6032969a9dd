defmodule Slither.Proof.Chaos do
  @moduledoc false
  # A run of fixed length, undisturbed and then while its workers are killed, stopped, hung,
  # starved of memory and crashed. Both give the same, item for item.

  alias Slither.Dispatch
  alias Slither.Proof
  alias Slither.Proof.Chaos.{Account, Disturber, Traps}
  alias Slither.Proof.{Events, Peak, Processes}
  alias Slither.Python.Pool
  alias Slither.Store.Server

  @options [
    items: {200_000, "items of the run"},
    every: {100, "ms from one blow to the next, on average"},
    blows: {1_000_000, "blows at most"},
    workers: {4, "workers of the pool"},
    spare: {2, "workers beyond them that have started and wait"},
    batch: {100, "items of a batch"},
    in_flight: {32, "batches that are out at once"},
    timeout: {300, "ms a batch may run"},
    seed: {nil, "what is random follows from it"}
  ]

  @python Path.expand("python", __DIR__)
  @patience 10_000

  @doc "The script."
  @spec main([String.t()]) :: no_return
  def main(arguments) do
    Proof.mute()
    Proof.main("chaos", @options, &run/1, arguments)
  end

  @doc "Runs it; options as the script's, `alone: true` where nobody else uses the VM."
  @spec run(Enumerable.t()) :: Proof.report()
  def run(given \\ []) do
    options = Proof.defaults(@options, given)
    options = Map.put(options, :everything, options.items >= 100_000)
    {:ok, store} = Server.start_link(Traps)
    plain = pass(options, false)
    disturbed = pass(options, true)
    :ok = GenServer.stop(store)
    Account.report(plain, disturbed, options)
  end

  defp pass(options, disturbed?) do
    token = Processes.token()
    pool = :"chaos_#{System.unique_integer([:positive])}"
    events = Events.start(pool)
    {:ok, supervisor} = Pool.start_link(pool_options(pool, token, options))
    :ok = Pool.await_ready(pool)
    peak = Peak.start(token)
    target = Map.merge(Map.take(options, [:every, :blows, :seed]), %{pool: pool, token: token})
    disturber = if disturbed?, do: Disturber.start(target)
    started = System.monotonic_time(:millisecond)
    {results, error} = dispatch(pool, options, started)
    ms = System.monotonic_time(:millisecond) - started
    blows = if disturber, do: Disturber.stop(disturber), else: []
    peak = Peak.stop(peak)
    :ok = Supervisor.stop(supervisor)
    {left, gone_ms} = Processes.await_none(token, @patience)

    %{
      results: results,
      error: error,
      ms: ms,
      blows: blows,
      events: Events.stop(events),
      peak: peak,
      left: left,
      gone_ms: gone_ms
    }
  end

  defp pool_options(pool, token, options) do
    [
      name: pool,
      size: options.workers,
      spare: options.spare,
      paths: [@python],
      env: Processes.env(token),
      startup_timeout: 30_000,
      shutdown: 1_000
    ]
  end

  # The consumer sees each result as it comes.
  defp dispatch(pool, options, started) do
    stream =
      Dispatch.stream(1..options.items,
        pool: pool,
        module: "chaos_handlers",
        function: "digest",
        batch_size: options.batch,
        max_in_flight: options.in_flight,
        timeout: options.timeout,
        on_error: {:retry, max_attempts: 1_000, base_ms: 5, max_ms: 50}
      )

    consume(stream, fn n ->
      ms = System.monotonic_time(:millisecond) - started

      if options[:alone] && rem(n, 20_000) == 0,
        do: IO.puts("#{Proof.seconds(ms)} s: #{n} items")
    end)
  end

  defp consume(stream, tell) do
    seen = :ets.new(:seen, [:ordered_set, :private])

    error =
      try do
        stream
        |> Stream.with_index()
        |> Enum.each(fn {item, n} ->
          :ets.insert(seen, {n, item.payload})
          tell.(n + 1)
        end)

        nil
      rescue
        error -> error
      end

    results = for {_n, payload} <- :ets.tab2list(seen), do: payload
    :ets.delete(seen)
    {results, error}
  end
end
