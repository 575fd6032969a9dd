defmodule Slither.Session do
  @moduledoc """
  Sessions: calls that share state in one Python worker.

  A dispatch, a pipe run or a long-running pipe with `session_id: "user-42"` is part of that
  session. Its calls go to one worker, one at a time, in the order in which they were asked for,
  and `slither.worker.session()` gives the handler a dict that is there again in the next of
  them. The id is yours, and means a session within one pool; sessions spread over the pool's
  workers by how many each has.

      options = [module: "chat", function: "answer", session_id: "user-42"]
      {:ok, _first} = Slither.dispatch(["hello"], options)
      {:ok, _second} = Slither.dispatch(["and again"], options)
      :ok = Slither.Session.stop("user-42")

  A session begins with the first call of its id and ends

    * by `stop/1`;
    * when it has had no call for the pool's `session_idle` ms;
    * with its worker. Later calls of its id then fail: `reason: :session_lost`, with
      `details: %{session: id}` in the `Slither.Error` (the `cause` of a dispatch's error), until
      it is stopped. With the option `on_session_lost: :rebind` of a dispatch or of a Python
      stage, the call begins the session anew on another worker instead.

  A call with the id of a session that was stopped or was idle for too long begins it anew. A
  worker that is to be replaced hands its sessions over, where Python has registered
  `@session_dump` and `@session_load` (see `slither.worker`).

  State without a `session_id` belongs to the run, in each worker that serves it, and is dropped
  when the run ends.
  """

  alias Slither.Error
  alias Slither.Python.Pool
  alias Slither.Pool.{Handle, Scheduler, SessionCalls}

  @type id :: String.t()

  @doc """
  Ends a session in every pool that holds it, and returns once its state in Python is dropped.

  It takes its turn after the calls of the session that came before, and waits for them. The
  functions registered with `@on_session_stop` run first, for 30 s at most. A session that is
  not there, or is lost already, is no error, so that it can be stopped twice.

  `{:error, error}` tells that it was not ended: `:session_in_use` says that the calling process
  itself reads from a run of the session, which could never end that way.

      iex> Slither.Session.stop("nobody's")
      :ok
  """
  @spec stop(id) :: :ok | {:error, Error.t()}
  def stop(id) when is_binary(id) do
    for {_name, handle} <- Pool.all(), Handle.session?(handle, id), reduce: :ok do
      answer ->
        case SessionCalls.stop(handle, id) do
          :ok -> answer
          {:error, error} -> {:error, error}
        end
    end
  end

  def stop(other) do
    message = "takes the id of a session, a string, got #{inspect(other, limit: 5)}"
    {:error, %Error{reason: :invalid_argument, where: "Slither.Session.stop/1", message: message}}
  end

  @doc """
  The sessions of a pool, by id: the `worker` that holds each (its number in the pool), and its
  `status`: `:idle`, `:busy` while a call of it is out, or `:lost` with `worker: nil`.

      iex> {:error, error} = Slither.Session.list(:nowhere)
      iex> error.reason
      :unknown_pool
  """
  @spec list(Pool.name()) ::
          {:ok, [%{id: id, worker: non_neg_integer | nil, status: :idle | :busy | :lost}]}
          | {:error, Error.t()}
  def list(pool \\ :default) do
    with {:ok, handle} <- Pool.handle(pool), do: Scheduler.sessions(handle)
  end
end
