defmodule Slither.Watch.Gauges do
  @moduledoc false
  # What metrics say that nobody counts, as it can be read: of pools, workers, sessions, stores and
  # open runs. Called by `Slither.Metrics`, in the process of whoever asks for metrics.

  alias Slither.Metrics.{Definitions, Runs, Series}
  alias Slither.Store.Directory
  alias Slither.Watch.Pools

  @states ~w(free busy starting spare draining stopping)
  @places [:waiting, :queued, :running, :retrying]
  @definitions for definition <- Definitions.all(),
                   definition.scraped?,
                   do: {definition.metric, definition}

  @doc "The samples of all that is read now, those of one metric together."
  @spec read() :: [Series.sample()]
  def read do
    values = Enum.group_by(values(), &elem(&1, 0))

    for {metric, definition} <- @definitions,
        {labels, value} <- added(definition, Map.get(values, metric, [])),
        do: definition |> Series.sample(labels) |> Map.put(:value, value)
  end

  # Two names that read the same are one.
  defp added(definition, values) do
    values
    |> Enum.group_by(fn {_metric, labels, _value} -> Series.texts(definition, labels) end)
    |> Enum.sort()
    |> Enum.map(fn {labels, same} -> {labels, same |> Enum.map(&elem(&1, 2)) |> Enum.sum()} end)
  end

  defp values, do: pools() ++ tables() ++ inside() ++ build()

  ## Pools

  defp pools do
    for {name, status, sessions} <- Pools.asked(),
        value <- pool(name, status) ++ [{:sessions, {name}, length(sessions)}],
        do: value
  end

  defp pool(name, status) do
    states = Enum.frequencies_by(status.workers, &state/1)
    most = status.max_queue

    [
      {:pool_oldest_wait_seconds, {name}, (status.oldest_wait || 0) / 1_000},
      {:pool_busy_seconds_total, {name}, seconds(status.busy_time)},
      {:pool_queue, {name}, status.queue}
    ] ++
      for(most when is_integer(most) <- [most], do: {:pool_max_queue, {name}, most}) ++
      for(state <- @states, do: {:pool_workers, {name, state}, Map.get(states, state, 0)}) ++
      for %{worker: worker, rss: rss} when rss != nil <- status.workers,
          do: {:worker_resident_memory_bytes, {name, worker}, rss}
  end

  defp state(%{status: :ready, runs: nil}), do: "free"
  defp state(%{status: :ready}), do: "busy"
  defp state(%{status: status}), do: to_string(status)

  defp seconds(native), do: System.convert_time_unit(native, :native, :microsecond) / 1_000_000

  ## What else there is

  # A store that is being reloaded may take its tables away just now.
  defp tables do
    for store <- Directory.stores(),
        directory = Directory.get(store),
        {name, %{tid: tid}} <- directory.tables,
        rows = :ets.info(tid, :size),
        is_integer(rows),
        do: {:table_rows, {store, name}, rows}
  end

  defp inside do
    for %{facts: facts, inside: inside} <- Runs.all(),
        {stage, where} <- Enum.zip(facts.stages, inside),
        place <- @places,
        do: {:items_inside, {facts.pipe || "", stage.name, place}, Map.fetch!(where, place)}
  end

  defp build do
    version = to_string(Application.spec(:slither, :vsn))
    [{:build_info, {version, System.version(), System.otp_release()}, 1}]
  end
end
