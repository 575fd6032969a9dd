defmodule Slither.Pool.SessionCalls do
  @moduledoc false
  # Ends sessions and runs in Python, and moves sessions from worker to worker, by calls like any
  # other: they have their turn, a deadline, and one answer. Each runs in the process that asks:
  # that of `Slither.Session.stop/1`, or a task that the scheduler starts.

  require Logger

  alias Slither.Error
  alias Slither.Pool.{Call, Errors, Handle, Scheduler}
  alias Slither.Python.Outcome
  alias Slither.Telemetry.Events

  # Sessions that move at the same time.
  @movers 16

  ## What ends

  @doc "Ends a session, after the calls of it that came before."
  @spec stop(Handle.t(), String.t()) :: :ok | {:error, Error.t()}
  def stop(handle, session), do: finish_session(handle, session, :stop, :stopped)

  @doc "Ends a session that is idle, if it still is."
  @spec expire(Handle.t(), String.t()) :: :ok | {:error, Error.t()}
  def expire(handle, session), do: finish_session(handle, session, :expire, :idle)

  defp finish_session(handle, session, service, reason) do
    Call.hold(handle, [session: session, service: service], fn call ->
      with :ok <- finish(call, id(session)) do
        Scheduler.end_session(handle, call.ref)
        Events.session_stopped(Map.put(facts(handle, session), :reason, reason))
      end
    end)
    |> held()
  end

  @doc "Has a worker drop what it holds for a run."
  @spec end_run(Handle.t(), String.t(), pid) :: :ok
  def end_run(handle, run, worker) do
    answer = Call.hold(handle, [worker: worker, service: :stop], &finish(&1, %{"run" => run}))

    with {:error, error} <- held(answer) do
      Logger.warning("the state of #{run} was not dropped: #{Exception.message(error)}")
    end

    :ok
  end

  # If the worker is gone, so is the state, and there is nothing left to end.
  defp finish(call, context) do
    case Call.once(call, ["session", "end"], context, [nil]) do
      %Outcome{kind: :error, error: error} -> {:error, error}
      _done_or_gone -> :ok
    end
  end

  # No worker holds the session any more, or none ever did.
  defp held({:error, %Error{reason: reason}})
       when reason in [:session_unbound, :pool_unavailable],
       do: :ok

  defp held(answer), do: answer

  ## What moves

  @doc "Moves the sessions of a worker that is to leave; the log is told of those that stay."
  @spec leave(Handle.t(), pid, [String.t()]) :: :ok
  def leave(handle, from, sessions) do
    # Sessions move side by side, so that a busy one does not hold up the others.
    kept =
      sessions
      |> Task.async_stream(&{&1, move(handle, &1, from)},
        max_concurrency: @movers,
        timeout: :infinity
      )
      |> Enum.flat_map(fn
        {:ok, {_session, :ok}} -> []
        {:ok, {session, {:error, error}}} -> [{session, error}]
      end)

    with [{session, error} | _] <- kept do
      why = "#{inspect(session)}: #{Exception.message(error)}"
      Logger.info("a worker that leaves waits for #{length(kept)} of its sessions (#{why})")
    end

    :ok
  end

  @doc """
  Moves a session of a worker to where there is most room. Its calls wait meanwhile, as the lane that
  is held is that of the session's next call.

  A session that the worker does not hold any more has nothing to move. One stays, as it was, where
  its state has no `@session_dump` and `@session_load`, or these fail.
  """
  @spec move(Handle.t(), String.t(), pid) :: :ok | {:error, Error.t()}
  def move(handle, session, from) do
    Call.hold(handle, [session: session, worker: from, service: :move], fn call ->
      with target when target != nil <- Scheduler.roomiest(handle, from),
           {:ok, dump} <- one(Call.once(call, ["session", "dump"], id(session), [nil])),
           :ok <- load(handle, session, target, dump),
           true <- Scheduler.rebind(handle, call.ref, target) do
        Events.session_moved(facts(handle, session))
        # The old worker has only a copy now. If it fails
        # to drop that, it takes it along as it ends.
        _ = finish(call, id(session))
        :ok
      else
        {:error, error} -> {:error, error}
        _no_worker -> {:error, Errors.nowhere(handle.name)}
      end
    end)
    |> case do
      {:error, %Error{reason: :session_unbound}} -> :ok
      answer -> answer
    end
  end

  # A session whose handlers have asked for no state has none to load.
  defp load(_handle, _session, _target, nil), do: :ok

  defp load(handle, session, target, dump) do
    Call.hold(handle, [worker: target, service: :move], fn call ->
      with {:ok, _done} <- one(Call.once(call, ["session", "load"], id(session), [dump])), do: :ok
    end)
    |> case do
      {:error, %Error{reason: :session_unbound}} -> :no_worker
      answer -> answer
    end
  end

  defp one(%Outcome{kind: :ok, values: [value], errors: errors}) when errors == %{},
    do: {:ok, value}

  defp one(%Outcome{kind: :ok, errors: errors}), do: {:error, errors[0]}
  defp one(%Outcome{error: error}), do: {:error, error}

  defp id(session), do: %{"session" => session}
  defp facts(handle, session), do: %{pool: handle.name, session: session}
end
