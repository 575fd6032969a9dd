defmodule Slither.Driver.Status do
  @moduledoc false
  # What a driver's pool does now, in the words of the protocol: the answer to its request `status`.
  # Runs in the process of that request.

  alias Slither.Python.Pool
  alias Slither.Watch.Stages

  @facts [:size, :ready, :busy, :busy_share, :queue, :max_queue, :oldest_wait, :since_free] ++
           [:started, :died, :notes]
  @of_worker [:worker, :status, :calls, :sessions, :served, :age, :rss, :cpu, :gpus, :cpus]
  @of_call [:call, :run, :session, :batch, :attempt, :items, :since, :deadline, :stalled]

  @of_stage [:pipe, :stage, :items, :failed, :skipped, :routed, :calls]

  @doc "The status of the driver's pool."
  @spec read() :: {:ok, map} | {:error, Slither.Error.t()}
  def read do
    with {:ok, status} <- Pool.status(:default) do
      facts = %{
        "error" => if(status.error, do: Exception.message(status.error)),
        "range" => [status.range.first, status.range.last],
        "changed" => status.changed && changed(status.changed),
        "busy_time" => System.convert_time_unit(status.busy_time, :native, :millisecond),
        "workers" => Enum.map(status.workers, &worker/1),
        "stages" => Enum.map(Stages.all(), &stage/1)
      }

      {:ok, Map.merge(named(status, @facts), facts)}
    end
  end

  defp changed(%{from: from, to: to, why: why, ago: ago}),
    do: %{"from" => from, "to" => to, "why" => "#{why}", "ago" => ago}

  defp worker(worker) do
    Map.merge(named(worker, @of_worker), %{
      "pid" => worker.os_pid,
      "runs" => worker.runs && call(worker.runs),
      "said" => for(%{level: level, text: text} <- worker.said, do: [level, text])
    })
  end

  defp call(call) do
    Map.merge(named(call, @of_call), %{"pipe" => name(call.pipe), "stage" => name(call.stage)})
  end

  defp stage(stage) do
    Map.merge(named(stage, @of_stage), %{
      "errors" => for({reason, count} <- stage.errors, into: %{}, do: {"#{reason}", count}),
      "times" => for({phase, time} <- stage.times, into: %{}, do: {"#{phase}", micros(time)}),
      "p50" => stage.p50 && micros(stage.p50),
      "p95" => stage.p95 && micros(stage.p95)
    })
  end

  defp micros(time), do: System.convert_time_unit(round(time), :native, :microsecond)

  defp name(nil), do: nil
  defp name(name), do: to_string(name)

  defp named(facts, names), do: for(name <- names, into: %{}, do: {"#{name}", facts[name]})
end
