defmodule Slither.Pool.SessionCalls do
  @moduledoc false
  # Ends sessions and runs in Python, and moves sessions from worker to worker, by calls like any
  # other: they have their turn, a deadline, and one answer. Each runs in the process that asks.

  require Logger

  alias Slither.Error
  alias Slither.Pool.{Call, Errors}
  alias Slither.Python.Outcome
  alias Slither.Telemetry.Events

  # Sessions that move at the same time.
  @movers 16

  @doc """
  Ends a session, after the calls of it that came before. `why` is `:stop`, or `:expire` for one
  that is ended only while it is idle.
  """
  @spec stop(Call.handle(), String.t(), :stop | :expire) :: :ok | {:error, Error.t()}
  def stop(handle, session, why) do
    Call.hold(handle, [session: session, service: why], fn call ->
      with :ok <- finish(call, %{"session" => session}) do
        GenServer.cast(handle.scheduler, {:end_session, call.ref})
        Events.session_stopped(Map.put(facts(handle, session), :reason, reason(why)))
      end
    end)
    |> held()
  end

  @doc "Has a worker drop what it holds for a run."
  @spec end_run(Call.handle(), String.t(), pid) :: :ok
  def end_run(handle, run, worker) do
    answer = Call.hold(handle, [worker: worker, service: :stop], &finish(&1, %{"run" => run}))

    with {:error, error} <- held(answer) do
      Logger.warning("the state of #{run} was not dropped: #{Exception.message(error)}")
    end

    :ok
  end

  @doc """
  Moves the sessions of worker `from` to worker `to`, or to where there is room.

  Returns the ids of those that moved, and of those that stay with the reason: their state has no
  `@session_dump` and `@session_load`, or these failed.
  """
  @spec move_all(Call.handle(), pid, pid | nil) :: %{
          moved: [String.t()],
          kept: [{String.t(), Error.t()}]
        }
  def move_all(handle, from, to \\ nil) do
    sessions = GenServer.call(handle.scheduler, {:sessions_of, from})

    # One that is busy does not hold up the others.
    sessions
    |> Task.async_stream(&{&1, move(handle, &1, from, to)},
      max_concurrency: @movers,
      timeout: :infinity
    )
    |> Enum.reduce(%{moved: [], kept: []}, fn
      {:ok, {session, :ok}}, done -> %{done | moved: [session | done.moved]}
      {:ok, {_session, :unbound}}, done -> done
      {:ok, {session, {:error, error}}}, done -> %{done | kept: [{session, error} | done.kept]}
    end)
    |> Map.new(fn {key, list} -> {key, Enum.reverse(list)} end)
  end

  @doc "The same for a worker that is to leave; tells the log of what it has to wait for."
  @spec leave(Call.handle(), pid) :: :ok
  def leave(handle, from) do
    with %{kept: [{session, error} | _] = kept} <- move_all(handle, from) do
      why = "#{inspect(session)}: #{Exception.message(error)}"
      Logger.info("a worker that leaves waits for #{length(kept)} of its sessions (#{why})")
    end

    :ok
  end

  @doc """
  Moves a session from worker `from` to `to`, or to where there is room. Its calls wait meanwhile.

  `:unbound` says that it is not with `from` any more.
  """
  @spec move(Call.handle(), String.t(), pid, pid | nil) :: :ok | :unbound | {:error, Error.t()}
  def move(handle, session, from, to \\ nil) do
    request = [session: session, worker: from, service: :move]

    Call.hold(handle, request, fn call ->
      with {:ok, target} <- target(handle, from, to),
           {:ok, dump} <- one(Call.send(call, ["session", "dump"], id(session), [nil])),
           :ok <- load(handle, session, target, dump),
           :ok <- rebind(handle, call.ref, target) do
        Events.session_moved(facts(handle, session))
        # What stays behind is a copy. Should it not be dropped, it goes with its worker.
        _ = finish(call, id(session))
        :ok
      end
    end)
    |> case do
      {:error, %Error{reason: :session_unbound}} -> :unbound
      answer -> answer
    end
  end

  defp target(handle, from, nil) do
    case GenServer.call(handle.scheduler, {:roomiest, from}) do
      nil -> {:error, nowhere(handle)}
      worker -> {:ok, worker}
    end
  end

  defp target(_handle, _from, to), do: {:ok, to}

  # A session whose handlers have asked for no state has none to load.
  defp load(_handle, _session, _target, nil), do: :ok

  defp load(handle, session, target, dump) do
    Call.hold(handle, [worker: target, service: :move], fn call ->
      with {:ok, _done} <- one(Call.send(call, ["session", "load"], id(session), [dump])), do: :ok
    end)
    |> case do
      {:error, %Error{reason: :session_unbound}} -> {:error, nowhere(handle)}
      answer -> answer
    end
  end

  defp rebind(handle, ref, target) do
    if GenServer.call(handle.scheduler, {:rebind, ref, target}),
      do: :ok,
      else: {:error, nowhere(handle)}
  end

  # State that was held by a process that is gone is gone, too.
  defp finish(call, context) do
    case Call.send(call, ["session", "end"], context, [nil]) do
      %Outcome{kind: :error, error: error} -> {:error, error}
      _done_or_gone -> :ok
    end
  end

  defp one(%Outcome{kind: :ok, values: [value], errors: errors}) when errors == %{},
    do: {:ok, value}

  defp one(%Outcome{kind: :ok, errors: errors}), do: {:error, errors[0]}
  defp one(%Outcome{error: error}), do: {:error, error}

  # Whatever held it is gone, or never was.
  defp held({:error, %Error{reason: reason}})
       when reason in [:session_unbound, :pool_unavailable],
       do: :ok

  defp held(answer), do: answer

  defp id(session), do: %{"session" => session}

  defp reason(:stop), do: :stopped
  defp reason(:expire), do: :idle

  defp nowhere(handle), do: Errors.nowhere(handle.settings.name)

  defp facts(handle, session), do: %{pool: handle.settings.name, session: session}
end
