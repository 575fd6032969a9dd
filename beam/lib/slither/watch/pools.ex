defmodule Slither.Watch.Pools do
  @moduledoc false
  # The pools of a snapshot, their workers and sessions: asked of the pools, all at once. Called by
  # `Slither.Watch.Server`, in its process, and by `Slither.Watch.Gauges`.

  alias Slither.Python.Pool
  alias Slither.Session
  alias Slither.Watch.{Asked, Words}

  # ms for which all of them are waited for.
  @patience 2_000

  @doc "All pools, those first whose oldest call has waited longest, with their sessions."
  @spec all() :: {pools :: [map], sessions :: [map]}
  def all do
    answers =
      for {name, status, sessions} <- asked(),
          do: {pool(status, sessions), Enum.map(sessions, &session(name, &1))}

    {pools, sessions} = Enum.unzip(answers)
    {Enum.sort_by(pools, &{-(&1.oldest_wait || -1), &1.name}), Enum.concat(sessions)}
  end

  @doc "What each pool says of itself, with its sessions; one that does not answer is left out."
  @spec asked() :: [{name :: term, status :: map, sessions :: [map]}]
  def asked do
    questions = for {name, _handle} <- Pool.all(), do: {name, fn -> ask(name) end}

    for {name, {:ok, status, sessions}} <- Asked.all(questions, @patience),
        do: {name, status, sessions}
  end

  defp ask(name) do
    with {:ok, status} <- Pool.status(name),
         {:ok, sessions} <- Session.list(name),
         do: {:ok, status, sessions}
  end

  defp pool(status, sessions) do
    workers = Enum.map(status.workers, &worker/1)
    error = status.error && why(Exception.message(status.error))

    %{
      name: Words.name(status.name),
      size: status.size,
      range: [status.range.first, status.range.last],
      ready: Enum.count(workers, &(&1.status == "ready")),
      busy: Enum.count(workers, &(&1.runs != nil)),
      busy_share: status[:busy_share],
      queue: status.queue,
      max_queue: finite(status[:max_queue]),
      oldest_wait: status[:oldest_wait],
      since_free: status[:since_free],
      error: error,
      started: status.started,
      died: status.died,
      sessions: length(sessions),
      workers: workers
    }
  end

  # What the sentence that tells it says already: whose workers, and that these can't start.
  defp why(message),
    do: String.replace(message, ~r/^(pool \S+: )?(a Python worker can't start: )?/, "")

  defp finite(most) when is_integer(most), do: most
  defp finite(_infinity), do: nil

  defp worker(worker) do
    %{
      worker: worker.worker,
      status: Words.name(worker.status),
      os_pid: worker.os_pid,
      rss: worker.rss,
      age: worker.age,
      served: worker.served,
      calls: worker.calls,
      sessions: worker.sessions,
      runs: runs(worker[:runs]),
      said: for(said <- worker[:said] || [], do: said(said))
    }
  end

  defp runs(nil), do: nil

  defp runs(runs) do
    %{
      call: runs.call,
      pipe: Words.name(runs.pipe),
      stage: Words.name(runs.stage),
      run: runs.run,
      batch: runs.batch,
      attempt: runs.attempt,
      items: runs.items,
      since: runs.since,
      deadline: finite(runs.deadline),
      stalled: runs[:stalled] || false
    }
  end

  defp said({level, text}), do: %{level: Words.name(level), text: text}
  defp said(%{level: level, text: text}), do: %{level: Words.name(level), text: text}

  defp session(pool, session) do
    %{
      pool: Words.name(pool),
      id: session.id,
      worker: session.worker,
      status: Words.name(session.status)
    }
  end
end
