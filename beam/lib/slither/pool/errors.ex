defmodule Slither.Pool.Errors do
  @moduledoc false
  # Every sentence of a pool: what its scheduler, its facade and single calls say went wrong.

  alias Slither.{Error, Options}

  # A call fails once so many workers have ended that held it and had not begun it.
  @most_workers 4

  @doc "No worker can be started; `error` is why."
  @spec unavailable(atom, Error.t()) :: Error.t()
  def unavailable(name, error) do
    %{
      error
      | reason: :pool_unavailable,
        message: "no worker could be started: #{error.message}",
        where: where(name),
        details: Map.put(error.details, :start_reason, error.reason)
    }
  end

  @doc "The queue is full."
  @spec saturated(atom, non_neg_integer, pos_integer) :: Error.t()
  def saturated(name, queue, limit) do
    calls = if queue == 1, do: "1 call waits", else: "#{queue} calls wait"

    error(name, :saturated, "its queue is full: #{calls} already; the limit is #{limit}",
      hint: "send less at once, add workers, or raise the pool's max_queue",
      details: %{pool: name, queue: queue, limit: limit}
    )
  end

  @doc "A wait was too long."
  @spec queue_timeout(atom) :: Error.t()
  def queue_timeout(name) do
    error(name, :queue_timeout, "no worker was free within queue_timeout",
      hint: "add workers, or raise queue_timeout"
    )
  end

  @doc "The worker of a session is gone."
  @spec session_lost(atom, String.t()) :: Error.t()
  def session_lost(name, session) do
    message = "the worker that held session #{inspect(session)} is gone, and its state with it"

    error(name, :session_lost, message,
      hint:
        "Slither.Session.stop/1 lets it begin anew; with on_session_lost: :rebind it does so " <>
          "by itself",
      details: %{session: session}
    )
  end

  @doc "The worker that kept the rest of a call's values is gone."
  @spec rest_lost(atom) :: Error.t()
  def rest_lost(name) do
    error(name, :worker_died, "the worker that had the rest of the values is gone",
      hint: "values that came before stand; call again for the others"
    )
  end

  @doc "A process would wait for a call that it itself is to take the answer of."
  @spec session_in_use(atom, String.t()) :: Error.t()
  def session_in_use(name, session) do
    message = "the process that stops session #{inspect(session)} has calls of it out"

    error(name, :session_in_use, message,
      hint: "stop it once its run is over, or from another process",
      details: %{session: session}
    )
  end

  @doc "No worker holds a session, or where that is nil, a worker is gone."
  @spec unbound(String.t() | nil) :: Error.t()
  def unbound(session) do
    %Error{
      reason: :session_unbound,
      message: "no worker holds session #{inspect(session)}",
      details: %{session: session}
    }
  end

  @doc "A session is to move, and there is no other worker."
  @spec nowhere(atom) :: Error.t()
  def nowhere(name), do: error(name, :no_worker, "no other worker is ready")

  @doc "The owner of a worker ended before the worker was ready."
  @spec crashed(term) :: Error.t()
  def crashed(reason) do
    message = "its owner ended: #{Exception.format_exit(reason)}"
    %Error{reason: :start_failed, message: message}
  end

  @doc "A lane ended."
  @spec lane_lost(term) :: Error.t()
  def lane_lost(reason),
    do: %Error{reason: :worker_died, message: "a lane failed: #{inspect(reason)}"}

  @doc "`max_rss` is of no use: a worker is beyond it when it starts."
  @spec max_rss_too_low(pos_integer, non_neg_integer) :: String.t()
  def max_rss_too_low(limit, rss) do
    "max_rss is #{limit} bytes, and a worker that has just started takes #{rss} already: it " <>
      "does not apply. Raise it above that"
  end

  @doc "`max_rss` is of no use: workers go beyond it with their first calls."
  @spec max_rss_in_vain(pos_integer, non_neg_integer) :: String.t()
  def max_rss_in_vain(limit, rss) do
    "max_rss is #{limit} bytes, and one worker after another is beyond it after its first " <>
      "calls (now #{rss} bytes): it does not apply until the next restart. Raise it above that"
  end

  @doc "More workers than a pool may have."
  @spec too_many(atom, pos_integer, pos_integer) :: Error.t()
  def too_many(name, asked, most) do
    message = "options :size and :spare come to #{asked} workers; a pool has at most #{most}"
    error(name, :invalid_option, message, details: %{option: :size, value: asked})
  end

  @doc "No worker was ready in time."
  @spec start_timeout(atom, timeout) :: Error.t()
  def start_timeout(name, timeout),
    do: error(name, :start_timeout, "no worker was ready after #{timeout} ms")

  @doc "The pool lives, and has not answered a question."
  @spec busy(atom, timeout) :: Error.t()
  def busy(name, timeout) do
    message = "the pool gave no answer within #{timeout} ms"
    error(name, :timeout, message, hint: "the node is busy: try again")
  end

  @doc "The pool's processes ended."
  @spec stopped(atom, term) :: Error.t()
  def stopped(name, reason),
    do: error(name, :pool_unavailable, "the pool stopped: #{Exception.format_exit(reason)}")

  @doc """
  What becomes of a call that a worker gave back, as it ended before it began it: it is tried again,
  with how often that counts, or it fails. A call that is given back again and again is suspect.
  """
  @spec given_back(Error.t(), non_neg_integer) :: {:again, non_neg_integer} | {:failed, Error.t()}
  # A worker that was told to stop is no evidence against the call.
  def given_back(%Error{reason: :worker_stopped}, before), do: {:again, before}
  def given_back(_last, before) when before < @most_workers - 1, do: {:again, before + 1}

  def given_back(last, _before) do
    count = "#{@most_workers} workers ended while they held this batch"
    {:failed, %{last | reason: :worker_died, message: "#{count}; the last: #{last.message}"}}
  end

  @doc "No pool has this name."
  @spec unknown(term) :: Error.t()
  def unknown(name) do
    rows = {{:"$1", :_, :_}, [{:is_atom, :"$1"}], [:"$1"]}
    known = Registry.select(Slither.Python.Registry, [rows])
    list = if known == [], do: "none", else: Enum.map_join(Enum.sort(known), ", ", &inspect/1)
    key = if is_atom(name), do: name, else: :default

    %Error{
      reason: :unknown_pool,
      message: "no pool #{inspect(name)} is running.#{Options.nearest(name, known)}",
      hint: "running: #{list}; declare one: config :slither, pools: [#{key}: [size: 2]]",
      details: %{pool: name, known: known}
    }
  end

  defp error(name, reason, message, more \\ []),
    do: struct!(%Error{reason: reason, message: message, where: where(name)}, more)

  defp where(name), do: "pool #{inspect(name)}"
end
