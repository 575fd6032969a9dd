defmodule Slither.Watch.Troubles do
  @moduledoc false
  # What failed and what happened lately, as a snapshot tells it. Called by `Slither.Watch.Server`, in
  # its process.

  alias Slither.Pool.Elastic.Need
  alias Slither.Telemetry.{Failures, Happenings}
  alias Slither.Watch.{Counters, Samples, Words}

  # Steps of counts in one of the sixty of a line, and those of the last quarter of an hour.
  @together 3
  @line 60

  @doc "The groups of failures, those that failed last first."
  @spec failures(Samples.counts(), integer) :: [map]
  def failures(counts, now) do
    for group <- Failures.all() do
      {pipe, stage} = place = Counters.place(group.pipe, group.stage)

      %{
        place: if(pipe, do: "#{pipe}.#{stage}", else: stage),
        pipe: pipe,
        stage: stage,
        reason: Words.name(group.reason),
        exception: group.exception,
        frame: group.frame,
        count: group.count,
        share: share(group.count, Map.get(counts, {place, :items}, 0)),
        # It may have failed since the snapshot began.
        first: max(now - group.first, 0),
        last: max(now - group.last, 0),
        message: group.message,
        traceback: group.traceback,
        replay: group.replay,
        spark: spark(group.steps, div(now, Failures.step()))
      }
    end
  end

  # Of all items of the stage since the start.
  defp share(_count, 0), do: nil
  defp share(count, items), do: Float.round(min(count / items, 1.0), 5)

  # How many failed in each quarter of a minute, oldest first.
  defp spark(steps, last) do
    counts =
      Enum.group_by(steps, fn {step, _n} -> div(max(last - step, 0), @together) end, &elem(&1, 1))

    for ago <- (@line - 1)..0, do: counts |> Map.get(ago, []) |> Enum.sum()
  end

  @doc "ms since an item of a stage failed last, by stage."
  @spec last_failed([map]) :: %{optional(Counters.place()) => non_neg_integer}
  def last_failed(failures) do
    failures
    |> Enum.group_by(&{&1.pipe, &1.stage}, & &1.last)
    |> Map.new(fn {place, times} -> {place, Enum.min(times)} end)
  end

  @doc "What happened, newest first."
  @spec events() :: [map]
  def events do
    for happening <- Happenings.all() do
      %{
        at: happening.at,
        kind: Words.name(happening.kind),
        text: text(happening),
        pool: Words.name(happening[:pool]),
        worker: happening[:worker],
        reason: Words.name(happening[:reason])
      }
    end
  end

  defp text(%{kind: kind, worker: worker, pool: pool} = happening) do
    who = "worker #{worker} of pool #{Words.name(pool)}"
    pid = if happening[:os_pid], do: " (pid #{happening.os_pid})", else: ""
    "#{who}#{pid} #{did(kind, happening)}"
  end

  defp text(%{kind: :restart, pipe: pipe, name: name, lost: lost}) do
    of = if name == pipe, do: "", else: ", #{Words.name(pipe)},"
    "pipe #{Words.name(name)}#{of} restarted; #{Words.count(lost, "item")} lost"
  end

  defp text(%{kind: :reload, pool: pool, files: files, error: error}) do
    did = if error, do: "could not reload", else: "reloaded"
    "pool #{Words.name(pool)} #{did}: #{Words.line(Enum.join(files, ", "))} changed"
  end

  defp text(%{kind: :resize, pool: pool, from: from, to: to, why: why}) do
    "pool #{Words.name(pool)} has #{Words.count(to, "worker")} in place of #{from}: " <>
      Need.words(why)
  end

  defp text(%{kind: :reload, store: store, rows: rows}),
    do: "store #{Words.name(store)} reloaded: #{Words.count(rows, "row")}"

  defp text(%{kind: :reload, store: store, reason: reason}),
    do: "store #{Words.name(store)} could not reload: #{Words.line(inspect(reason))}"

  defp did(:start, _happening), do: "is ready"
  defp did(:death, %{reason: :start_failed}), do: "could not start"

  defp did(:death, %{why: why}),
    do: "died: #{why |> String.replace(~r/^.* died: /, "") |> Words.line()}"

  defp did(:death, %{reason: reason}), do: "died: #{Words.name(reason)}"
  defp did(:recycle, %{reason: reason}), do: "is replaced: #{Words.name(reason)} reached"
  defp did(:restart, _happening), do: "is replaced, as the pool restarts"
  defp did(:resize, _happening), do: "leaves, as the pool has another size"
  defp did(:stop, %{reason: :cancelled}), do: "was ended, as its call was cancelled"
  defp did(:stop, _happening), do: "stopped"
end
