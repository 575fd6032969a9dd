defmodule Slither.Bridge do
  @moduledoc """
  Answers the view calls of Python handlers.

  A store declares views; Python calls them by name:

      from slither import views
      views.lookup_feature(key="user:42")

  A view with `scope: :global` answers any call; one with `scope: :session` only calls made
  while a dispatch or a pipe waits for the batch that asks, with that run's `Slither.Context`.
  Each call runs in a process of its own, for at most the view's `timeout_ms`, so that a slow
  view holds up nobody but its caller. At most 64 of them run for one worker, and 10,000 for a
  node: a call beyond that is refused (`slither.ViewBusy`).
  """

  alias Slither.{Context, Options}
  alias Slither.Store.Views
  alias Slither.Telemetry.Events

  @type fault :: %{required(String.t()) => term}
  @type limit :: (pos_integer -> term)

  @doc """
  Calls a view from Elixir, as a handler of the session of `context` would: in a process of its
  own, for at most the view's `timeout_ms`.

  Returns `{:ok, value}`, or `{:error, fault}` with the `"kind"` and `"message"` that Python
  would see.
  """
  @spec call(String.t() | atom, term, Context.t()) :: {:ok, term} | {:error, fault}
  def call(name, params, %Context{} = context \\ %Context{}) do
    facts = %{
      view: to_string(name),
      mode: 0,
      params: params,
      timeout: nil,
      pool: nil,
      worker: nil,
      asked: System.monotonic_time(),
      run: :erlang.term_to_binary(context)
    }

    with {:ok, view} <- fetch(facts.view) do
      task = Task.Supervisor.async_nolink(Slither.TaskSupervisor, fn -> serve(facts, & &1) end)

      case Task.yield(task, view.timeout_ms) || Task.shutdown(task, :brutal_kill) do
        {:ok, answer} -> answer
        {:exit, reason} -> lost(facts, {:exit, reason})
        nil -> lost(facts, {:timeout, view.timeout_ms})
      end
    end
  rescue
    # The supervisor of tasks has as many as it takes.
    error in [RuntimeError] -> {:error, fault("view_busy", to_string(name), error.message)}
  end

  @doc false
  # Called by a worker's task. `limit` arms the deadline of the calling process, in ms.
  @spec serve(map, limit) :: {:ok, term} | {:error, fault}
  def serve(facts, limit) do
    with {:ok, view} <- fetch(facts.view),
         :ok <- live(view, facts.run),
         :ok <- shape(facts) do
      run(view, facts, limit)
    end
  end

  @doc false
  # The process that served these facts ended before it had an answer.
  @spec lost(map, {:timeout, pos_integer} | {:exit, term}) :: {:error, fault}
  def lost(facts, why) do
    {reason, message, details} = loss(facts.view, why)

    with {:ok, view} <- Views.fetch(facts.view) do
      metadata = metadata(view, context(facts))
      Events.view_failed(facts.asked, count(facts), metadata, reason, message)
    end

    {:error, fault(Atom.to_string(reason), facts.view, message, details)}
  end

  defp loss(name, {:timeout, timeout}) do
    message = "view #{inspect(name)} did not answer within #{timeout} ms"
    {:view_timeout, message, %{"timeout_ms" => timeout}}
  end

  defp loss(name, {:exit, reason}) do
    message = "view #{inspect(name)} failed: its process ended: #{Exception.format_exit(reason)}"
    {:view_failed, message, %{}}
  end

  @doc false
  # An operation of Python on a table that its store declares for it.
  @spec table(String.t(), String.t(), list, pid) :: {:ok, term} | {:error, fault}
  defdelegate table(name, op, arguments, worker), to: Slither.Bridge.Tables, as: :serve

  @doc false
  @spec quick?(String.t()) :: boolean
  defdelegate quick?(op), to: Slither.Bridge.Tables

  defp fetch(name) do
    case Views.fetch(name) do
      {:ok, view} ->
        {:ok, view}

      :error ->
        known = Views.all() |> Enum.map(& &1.name) |> Enum.sort()
        list = if known == [], do: "no store declares one", else: Enum.join(known, ", ")

        message = "no view #{inspect(name)}.#{Options.nearest(name, known)} Known views: #{list}"

        {:error, fault("unknown_view", name, message)}
    end
  end

  defp live(%{scope: :session} = view, nil) do
    message =
      "view #{inspect(view.name)} has scope :session, and the call's session has " <>
        "ended; call it before the handler returns, or declare it scope: :global"

    {:error, fault("session_ended", view.name, message)}
  end

  defp live(_view, _run), do: :ok

  defp shape(%{mode: 0}), do: :ok
  defp shape(%{mode: 1, params: params}) when is_list(params), do: :ok

  defp shape(%{view: name}) do
    message = "view #{inspect(name)}: map takes a list of parameters"
    {:error, fault("invalid_params", name, message)}
  end

  defp run(view, facts, limit) do
    limit.(min(view.timeout_ms, facts.timeout || view.timeout_ms))
    context = context(facts)
    metadata = metadata(view, context)
    count = count(facts)
    started = System.monotonic_time()
    Events.view_started(count, metadata)

    case handle(view, facts, context) do
      {:ok, value} ->
        Events.view_stopped(started, count, metadata)
        {:ok, value}

      {:error, why} ->
        message = "view #{inspect(view.name)} failed: #{why}"
        Events.view_failed(started, count, metadata, :view_failed, message)
        {:error, fault("view_failed", view.name, message)}
    end
  end

  defp count(%{mode: 1, params: params}), do: length(params)
  defp count(_facts), do: 1

  defp handle(%{mode: :batch} = view, %{mode: 1, params: params}, context),
    do: batch(view, params, context)

  defp handle(%{mode: :batch} = view, %{params: params}, context) do
    with {:ok, [value]} <- batch(view, [params], context), do: {:ok, value}
  end

  defp handle(view, %{mode: 1, params: params}, context) do
    Enum.reduce_while(params, {:ok, []}, fn one, {:ok, values} ->
      case apply_handler(view, one, context) do
        {:ok, value} -> {:cont, {:ok, [value | values]}}
        {:error, why} -> {:halt, {:error, why}}
      end
    end)
    |> then(fn
      {:ok, values} -> {:ok, Enum.reverse(values)}
      error -> error
    end)
  end

  defp handle(view, %{params: params}, context), do: apply_handler(view, params, context)

  defp batch(view, params, context) do
    case apply_handler(view, params, context) do
      {:ok, values} when is_list(values) and length(values) == length(params) ->
        {:ok, values}

      {:ok, values} when is_list(values) ->
        {:error, "it returned #{length(values)} values for #{length(params)} parameters"}

      {:ok, other} ->
        {:error, "a view of mode :batch returns a list, got #{inspect(other, limit: 5)}"}

      {:error, why} ->
        {:error, why}
    end
  end

  defp apply_handler(%{handler: handler}, params, context) do
    value = if is_function(handler, 2), do: handler.(params, context), else: handler.(params)
    {:ok, value}
  rescue
    exception -> {:error, Exception.format(:error, exception, __STACKTRACE__)}
  catch
    kind, value -> {:error, Exception.format(kind, value, __STACKTRACE__)}
  end

  defp context(facts) do
    context = if facts.run, do: :erlang.binary_to_term(facts.run), else: %Context{}
    here = %{pool: facts.pool, worker: facts.worker, view: facts.view}
    %{context | runtime: Map.merge(context.runtime, here)}
  end

  defp metadata(view, context) do
    %{
      view: view.name,
      mode: view.mode,
      scope: view.scope,
      store: view.store,
      pool: context.runtime.pool,
      worker: context.runtime.worker,
      session: context.session_id
    }
  end

  defp fault(kind, view, message, facts \\ %{}),
    do: Map.merge(%{"kind" => kind, "view" => view, "message" => message}, facts)
end
