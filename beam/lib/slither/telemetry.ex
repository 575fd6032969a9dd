defmodule Slither.Telemetry do
  @moduledoc """
  Events of runs, stages, batches, stores, views, pools and workers.

  Where the `:telemetry` application is loaded, events go through it and `attach/4` and
  `detach/1` are its own. Elsewhere this module offers the same contract: a handler
  `fun.(event, measurements, metadata, config)` runs in the process that emits, and a handler
  that raises is detached and logged.

  Times are in native units (`System.convert_time_unit/3`).

  | event | measurements | metadata |
  | --- | --- | --- |
  | `[:slither, :dispatch, :batch, :start]` | `system_time`, `size` | `run`, `pipe`, `stage`, `pool`, `module`, `function`, `target`, `batch`, `attempt` |
  | `[:slither, :dispatch, :batch, :stop]` | `duration`, `size`, `batch_size` (the one asked for, or found by `:auto`), `failed`, `rate`, `queue`, `encode`, `wire`, `decode`, `handler`, `bytes` and `result_bytes` (of the call and its answer, as encoded), `held_bytes` (what the run holds for the stage, measured where `max_in_flight_bytes` is set) | the same, `worker` |
  | `[:slither, :dispatch, :batch, :exception]` | `duration`, `size` | the same, `reason`, `error` |
  | `[:slither, :dispatch, :run, :start]` | `system_time` | `run`, `pool` |
  | `[:slither, :dispatch, :run, :stop]` | the fields of `Slither.Receipt`, its `times` among them | `run`, `pool` |
  | `[:slither, :dispatch, :run, :exception]` | as `:stop` | `run`, `pool`, `reason`, `error` |
  | `[:slither, :call, :stop]` (of `Slither.call/4` and its kin; of `Slither.stream_call/4` once its values are read) | `duration`, `size` (items), `failed`, `rate`, `queue`, `encode`, `wire`, `decode`, `handler`, `bytes`, `result_bytes` | `pool`, `module`, `function`, `target`, `session`, `worker` |
  | `[:slither, :call, :exception]` | `duration`, `size` | the same, `reason`, `error` |
  | `[:slither, :gather, :batch, :stop]` | `duration`, `size`, `failed`, `rate`, `queue` (of its first item), `encode`, `wire`, `decode`, `handler`, `bytes`, `result_bytes` | `gather`, `run`, `pool`, `module`, `function`, `target`, `worker` |
  | `[:slither, :gather, :batch, :exception]` | `duration`, `size` | as `:stop` but for `worker`, `reason`, `error` |
  | `[:slither, :pipe, :run, :start]` | `system_time` | `run`, `pipe` |
  | `[:slither, :pipe, :run, :stop]` | the fields of `Slither.Receipt`, its `times` among them | `run`, `pipe` |
  | `[:slither, :pipe, :run, :exception]` | as `:stop` | `run`, `pipe`, `reason`, `error` |
  | `[:slither, :pipe, :stage, :start]` | `system_time` | `run`, `pipe`, `stage`, `type` |
  | `[:slither, :pipe, :stage, :stop]` | as of the run, for the stage | `run`, `pipe`, `stage`, `type` |
  | `[:slither, :pipe, :stage, :exception]` | as `:stop` | as `:stop`, `reason`, `error` |
  | `[:slither, :pipe, :restart]` | `lost` | `name`, `pipe` |
  | `[:slither, :pipe, :sink, :exception]` | `count` | `name`, `pipe`, `output`, `item`, `reason` |
  | `[:slither, :store, :write]` | `count` | `store`, `table`, `kind` |
  | `[:slither, :store, :load, :start\\|:stop\\|:exception]` | `system_time` / `duration`, `rows` | `store`, `reason` |
  | `[:slither, :store, :reload, :start\\|:stop\\|:exception]` | `system_time` / `duration`, `rows` | `store`, `generation`, `reason` |
  | `[:slither, :bridge, :view, :start]` | `system_time`, `count` (of params) | `view`, `mode`, `scope`, `store`, `pool`, `worker`, `session` |
  | `[:slither, :bridge, :view, :stop]` | `duration`, `count` | the same |
  | `[:slither, :bridge, :view, :exception]` | `duration`, `count` | the same, `reason` (`:view_failed`, `:view_timeout`), `error` (what Python is told) |
  | `[:slither, :rate, :paused]` | `pause`, `waiting` (requests for tokens) | `rate` (its name, nil for that of one run) |
  | `[:slither, :pool, :worker, :up]` | `start_time` | `pool`, `worker`, `os_pid` |
  | `[:slither, :pool, :worker, :down]` | `lifetime` | `pool`, `worker`, `os_pid`, `reason`, `error` (nil where it was told to leave) |
  | `[:slither, :pool, :reload]` (with `watch: true`) | `duration` | `pool`, `file`, `files` (all that changed), `error` (nil where new workers serve) |
  | `[:slither, :pool, :grow\\|:shrink]` (by itself) | `from`, `to` (workers) | `pool`, `why` (`:waited`, `:busy`, `:sessions`; `:idle`, `:start_failed`) |
  | `[:slither, :template, :up]` | `start_time` | `pool`, `os_pid` |
  | `[:slither, :template, :down]` | `lifetime` | `pool`, `os_pid`, `reason`, `error` (nil where it was told to leave; else its workers end with it) |
  | `[:slither, :template, :refused]` | `system_time` | `pool`, `os_pid`, `reason` (a sentence: the pool's workers are spawned) |
  | `[:slither, :session, :stop]` | `system_time` | `pool`, `session`, `reason` (`:stopped`, `:idle`) |
  | `[:slither, :session, :move]` | `system_time` | `pool`, `session` |
  | `[:slither, :worker, :progress]` | `done`, `total` | `pool`, `worker`, `os_pid`, `call`, `batch`, `run`, `pipe` and `stage` of what has them |

  `target` names what a batch or a call runs, `"module.function"` or a command; it is nil for a handler
  on BEAM. `module` and `function` are its parts, nil for a command.

  The times of a batch, a gather's batch or a call do not overlap: `rate` (until there were tokens of a
  `Slither.Rate`), `queue` (until a worker was free, and behind other calls there), `encode` and `decode` (by both sides), `wire` (to the worker and back)
  and `handler`. `duration` is from when it was sent.

  The `reason` of a worker that is down is that of its error (`:worker_died`, `:timeout`, `:memory`, …) or,
  where it was told to leave, `:max_requests`, `:max_calls`, `:max_rss`, `:max_age`, `:restart`,
  `:resize`, `:idle` or `:shutdown`. That of a template is such, too.
  """

  require Logger

  @table __MODULE__

  @type event :: [atom, ...]
  @type handler :: (event, map, map, term -> any)

  @doc """
  Calls `fun.(event, measurements, metadata, config)` for each event named.

  Takes a handler id, one event or a list of events, the function and a term handed to it.
  Returns `{:error, :already_exists}` when the id is taken.

      iex> Slither.Telemetry.attach("docs", [:slither, :store, :write], &IO.inspect({&1, &2, &3, &4}), nil)
      :ok
      iex> Slither.Telemetry.attach("docs", [:slither, :store, :write], &IO.inspect({&1, &2, &3, &4}), nil)
      {:error, :already_exists}
      iex> Slither.Telemetry.detach("docs")
      :ok
  """
  @spec attach(term, event | [event], handler, term) :: :ok | {:error, :already_exists}
  def attach(id, [name | _] = event, fun, config) when is_atom(name),
    do: attach(id, [event], fun, config)

  def attach(id, events, fun, config) when is_list(events) and is_function(fun, 4) do
    if external?() do
      apply(:telemetry, :attach_many, [id, events, fun, config])
    else
      # The id row is the lock: only one caller can insert it.
      if :ets.insert_new(@table, {{:id, id}, events}) do
        :ets.insert(@table, for(event <- Enum.uniq(events), do: {event, id, fun, config}))
        :ok
      else
        {:error, :already_exists}
      end
    end
  end

  @doc "Removes the handler `id`; `{:error, :not_found}` when there is none."
  @spec detach(term) :: :ok | {:error, :not_found}
  def detach(id) do
    if external?() do
      apply(:telemetry, :detach, [id])
    else
      case :ets.take(@table, {:id, id}) do
        [{_key, events}] -> Enum.each(events, &:ets.match_delete(@table, {&1, id, :_, :_}))
        [] -> {:error, :not_found}
      end
    end
  end

  @doc false
  # Whether somebody may listen to `event`: else nobody needs to make what it tells.
  @spec heard?(event) :: boolean
  def heard?(event), do: external?() or handlers(event) != []

  @doc "Emits `event` to its handlers, in the calling process."
  @spec execute(event, map, map) :: :ok
  def execute(event, measurements, metadata) do
    if external?() do
      apply(:telemetry, :execute, [event, measurements, metadata])
    else
      case handlers(event) do
        [] -> :ok
        found -> Enum.each(found, &call(&1, event, measurements, metadata))
      end
    end
  end

  @doc false
  @spec start_table() :: :ok
  def start_table do
    external = Application.load(:telemetry) in [:ok, {:error, {:already_loaded, :telemetry}}]
    external = external and match?({:ok, _}, Application.ensure_all_started(:telemetry))
    :persistent_term.put({__MODULE__, :external}, external)
    :ets.new(@table, [:named_table, :public, :bag, read_concurrency: true])
    :ok
  end

  defp handlers(event) do
    :ets.lookup(@table, event)
  rescue
    ArgumentError -> []
  end

  defp call({_event, id, fun, config}, event, measurements, metadata) do
    fun.(event, measurements, metadata, config)
  catch
    kind, reason ->
      detach(id)

      Logger.error(
        "telemetry handler #{inspect(id)} failed and was detached: " <>
          Exception.format(kind, reason, __STACKTRACE__)
      )
  end

  defp external?, do: :persistent_term.get({__MODULE__, :external}, false)
end
