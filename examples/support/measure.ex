defmodule Slither.Examples.Measure do
  @moduledoc """
  Runs the Slither half of an example, and measures it.
  """

  alias Slither.Examples.Memory
  alias Slither.Python.Pool
  alias Slither.Telemetry

  # ms that workers may take to start, imports included.
  @patience 120_000

  @typedoc """
  `start_ms` until all workers were ready, `ms` for the work after that, the highest memory in
  bytes of BEAM and its workers, and how many workers died and were replaced.
  """
  @type figures :: %{
          start_ms: float,
          ms: float,
          peak_memory: pos_integer | nil,
          restarts: non_neg_integer
        }

  @doc """
  Starts children (stores, pools) under a supervisor, waits until the pools' workers are ready, and
  runs `work`. Returns the figures and what `work` returned; all is stopped again.
  """
  @spec run([Supervisor.child_spec() | {module, term}], [Pool.name()], (() -> result)) ::
          {:ok, figures, result} | {:error, Exception.t()}
        when result: term
  def run(children, pools, work) do
    # What an earlier example left behind is not this one's.
    for process <- Process.list(), do: :erlang.garbage_collect(process)

    deaths = :counters.new(1, [])
    id = {__MODULE__, make_ref()}
    event = [:slither, :pool, :worker, :down]
    :ok = Telemetry.attach(id, event, &__MODULE__.down/4, {deaths, pools})
    sampler = Memory.start(System.pid())

    try do
      with {:ok, start_ms, supervisor} <- start(children, pools) do
        {ms, result} = timed(work, supervisor)

        figures = %{
          start_ms: start_ms,
          ms: ms,
          peak_memory: Memory.stop(sampler),
          restarts: :counters.get(deaths, 1)
        }

        {:ok, figures, result}
      end
    after
      Telemetry.detach(id)
      Process.unlink(sampler)
      Process.exit(sampler, :kill)
    end
  end

  @doc false
  def down(_event, _measurements, %{pool: pool, reason: reason}, {deaths, pools}) do
    # The others were told to leave.
    told = [:max_requests, :max_calls, :max_rss, :max_age, :restart, :resize, :shutdown]
    if pool in pools and reason not in told, do: :counters.add(deaths, 1, 1)
  end

  defp start(children, pools) do
    began = System.monotonic_time()

    with {:ok, supervisor} <- started(children) do
      case ready(pools) do
        :ok ->
          {:ok, ms_since(began), supervisor}

        {:error, error} ->
          Supervisor.stop(supervisor)
          {:error, error}
      end
    end
  end

  defp started(children) do
    case Supervisor.start_link(children, strategy: :one_for_one) do
      {:ok, supervisor} -> {:ok, supervisor}
      {:error, {:shutdown, {:failed_to_start_child, _id, reason}}} -> {:error, exception(reason)}
    end
  end

  defp exception(reason) when is_exception(reason), do: reason
  defp exception({reason, _child}) when is_exception(reason), do: reason
  defp exception(reason), do: RuntimeError.exception(inspect(reason))

  # A pool is ready with its first worker: here, all are waited for.
  defp ready(pools) do
    Enum.find_value(pools, :ok, fn pool ->
      with :ok <- Pool.await_ready(pool, @patience), :ok <- all_up(pool) do
        nil
      end
    end)
  end

  defp all_up(pool) do
    {:ok, status} = Pool.status(pool)

    cond do
      status.error -> {:error, status.error}
      Enum.all?(status.workers, &(&1.status != :starting)) -> :ok
      true -> receive after: (5 -> all_up(pool))
    end
  end

  defp timed(work, supervisor) do
    began = System.monotonic_time()
    result = work.()
    {ms_since(began), result}
  after
    Supervisor.stop(supervisor)
  end

  defp ms_since(began) do
    System.convert_time_unit(System.monotonic_time() - began, :native, :microsecond) / 1_000
  end
end
