defmodule Slither.Python.Reports do
  @moduledoc false
  # What a pool's scheduler hears of its workers and lanes: the one protocol between them. Workers'
  # owners and lanes call these functions; `Slither.Pool.Scheduler` matches the messages.

  alias Slither.Error
  alias Slither.Python.Worker.Life

  @typedoc """
  `:ready` brings the worker's lanes. `:failed` is the end of a worker that was never ready,
  `:down` that of one that was. `:due` says that it met a limit, with the calls, bytes or ms.
  `:session` says that the call of a lane keeps state of a run in it. `:rss_low` says that it takes
  more than `max_rss` from the start.
  """
  @type event ::
          {:ready, lanes :: [pid], os_pid :: pos_integer | nil}
          | {:failed, Error.t()}
          | {:down, Error.t()}
          | {:due, Life.limit(), non_neg_integer}
          | {:session, lane :: pid, run :: String.t()}
          | {:rss_low, non_neg_integer}
  @type message :: {module, slot :: non_neg_integer, worker :: pid, event} | {module, reference}

  @doc "The worker that calls tells of itself."
  @spec worker(pid, non_neg_integer, event) :: message
  def worker(scheduler, slot, event), do: send(scheduler, {__MODULE__, slot, self(), event})

  @doc "The lane of a lease is free again, though its holder has not returned it."
  @spec lane_idle(pid, reference) :: message
  def lane_idle(scheduler, ref), do: send(scheduler, {__MODULE__, ref})
end
