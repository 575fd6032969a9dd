defmodule Slither.Driver.Status do
  @moduledoc false
  # What a driver's pool does now, in the words of the protocol: the answer to its request `status`.
  # Runs in the process of that request.

  alias Slither.Python.Pool

  @facts [:size, :ready, :busy, :busy_share, :queue, :max_queue, :oldest_wait, :since_free] ++
           [:started, :died]
  @of_worker [:worker, :status, :calls, :sessions, :served, :age, :rss, :cpu]
  @of_call [:call, :run, :session, :batch, :attempt, :items, :since, :deadline, :stalled]

  @doc "The status of the driver's pool."
  @spec read() :: {:ok, map} | {:error, Slither.Error.t()}
  def read do
    with {:ok, status} <- Pool.status(:default) do
      facts = %{
        "error" => if(status.error, do: Exception.message(status.error)),
        "busy_time" => System.convert_time_unit(status.busy_time, :native, :millisecond),
        "workers" => Enum.map(status.workers, &worker/1)
      }

      {:ok, Map.merge(named(status, @facts), facts)}
    end
  end

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

  defp name(nil), do: nil
  defp name(name), do: to_string(name)

  defp named(facts, names), do: for(name <- names, into: %{}, do: {"#{name}", facts[name]})
end
