defmodule Slither.Watch do
  @moduledoc """
  What goes on now, in one map: what flows, what waits, what fails, and a verdict in one sentence.

      %{verdict: verdict} = Slither.Watch.snapshot()
      IO.puts(verdict.text)

  The page of `Slither.Dashboard`, `mix slither.top`, `slither top` and `slither diagnose` show it.
  It is made when somebody asks, at most once a second for all who do, and costs nothing else than a
  look at the counters once a second.

  ## The snapshot

  Times are in ms, `at` is Unix time in ms; what is not known is `nil`. All of it can be JSON.

    * `version`, `name` (of the program), `os_pid`, `otp`, `at`, `uptime`;
    * `verdict`: `state`, `text`, `exit` and `evidence`, see below;
    * `totals`: `rate` (items per second), `oldest_wait`, `workers`, `busy`, `failed_share`;
    * `pipes`: those that run, or did within five minutes: `name`, `runs`, `kind` (`"run"`,
      `"server"` for a long-running one), `state`, `in_rate`, `out_rate`, `last_output` (ms ago),
      `held` (for how long outputs have waited that no sink takes), `blocked` (callers that wait to
      push), `delivering` (outputs on their way to sinks), `edges` (`from`, `to`, `output`, `rate`,
      `spark`) and `stages`, each with `name`, `type`, `pool`, `rate`, `spark` (items per second of
      each five seconds of the last five minutes, oldest first), how many items are `waiting` for a
      batch, `queued`, `running` and `retrying`, their `bound`, `p50` and `p95` of the handler, `shares`
      of the time by phase, `items`, `failed`, `skipped` and `routed` since the start, `failed_share`
      of the last half minute, `last_failed` (ms ago) and whether it is the `narrowest`;
    * `stages`: the same of dispatches, calls and gathers outside of pipes, by what they call;
    * `pools`, by their oldest call: `name`, `size`, `ready`, `busy`, `busy_share`, `queue`, `max_queue`,
      `oldest_wait`, `since_free` (for how long no worker has been free), `error` (why none can start),
      `started`, `died`, `sessions` and `workers`, as `Slither.Python.Pool.status/1` has them;
    * `failures`: groups of the last quarter of an hour, with `place`, `reason`, `exception`, `frame`,
      `count`, `share`, `first` and `last` (ms ago), `message`, `traceback`, `replay` (the command that
      runs the batch again, where failures are captured) and `spark`;
    * `stores`, `sessions`, `checkpoints`;
    * `events`: the last two hundred deaths, recycles, starts, restarts, reloads and changes of size,
      newest first.

  ## The verdict

  | state | exit | it says |
  | --- | --- | --- |
  | `failing` | 2 | a pool's workers can't start, or end again and again, or 1 % or more of what a stage got within half a minute failed |
  | `waiting` | 1 | all workers of a pool have been at one call each for longer than such calls take while others wait, or a queue is full, or a pipe is held up by its sink, or by a pool that is not there |
  | `flowing` | 0 | items are decided |
  | `working` | 0 | calls run, or workers start, or a run of a pipe waits for its input or its reader |
  | `idle` | 0 | nothing runs |

  The first that holds is the verdict; `evidence` has all that hold of the first two.
  """

  alias Slither.Error
  alias Slither.Python.Pool
  alias Slither.Watch.{Server, Words}

  @doc """
  What goes on now.

      iex> snapshot = Slither.Watch.snapshot()
      iex> snapshot.verdict.state in ["failing", "waiting", "flowing", "working", "idle"]
      true
      iex> snapshot |> Slither.Json.encode() |> IO.iodata_to_binary() |> String.starts_with?("{")
      true
  """
  @spec snapshot() :: map
  defdelegate snapshot, to: Server

  @doc """
  Where the code of a worker is now, as a map of `Slither.Python.Pool.stacks/1`, by the names that a
  snapshot has.

      iex> {:error, error} = Slither.Watch.stack("nowhere", 0)
      iex> error.reason
      :unknown_pool
  """
  @spec stack(String.t(), non_neg_integer) :: {:ok, map} | {:error, Error.t()}
  def stack(pool, worker) do
    # A name that comes from outside becomes no atom.
    with {:ok, name} <- known(pool), {:ok, workers} <- Pool.stacks(name) do
      case Enum.find(workers, &(&1.worker == worker)) do
        nil -> {:error, unknown(:unknown_worker, "pool #{pool} has no worker #{worker} now")}
        stack -> {:ok, stack}
      end
    end
  end

  defp known(pool) do
    case for {name, _handle} <- Pool.all(), Words.name(name) == pool, do: name do
      [name | _] -> {:ok, name}
      [] -> {:error, unknown(:unknown_pool, "no pool #{pool} runs")}
    end
  end

  defp unknown(reason, message), do: %Error{reason: reason, message: message}
end
