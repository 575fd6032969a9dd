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

  @typedoc "Arms the deadline, in ms, of the process that it is called in."
  @type limit :: (pos_integer -> term)

  @typedoc """
  A view call of Python: the view's name, `mode` 1 for a list of parameters and 0 for one, the
  `timeout` that the handler asked for, who asks (`pool` and `worker`, nil outside of one), when it
  was `asked`, and the encoded context of its `run`, nil where the run has ended.
  """
  @type question :: %{
          required(:view) => String.t(),
          required(:mode) => 0 | 1,
          required(:params) => term,
          required(:timeout) => pos_integer | nil,
          required(:pool) => term,
          required(:worker) => non_neg_integer | nil,
          required(:asked) => integer,
          required(:run) => binary | nil,
          optional(atom) => term
        }

  @doc """
  Calls a view from Elixir, as a handler of the session of `context` would: in a process of its
  own, for at most the view's `timeout_ms`.

  Returns `{:ok, value}`, or `{:error, fault}` with the `"kind"` and `"message"` that Python
  would see.
  """
  @spec call(String.t() | atom, term, Context.t()) :: {:ok, term} | {:error, fault}
  def call(name, params, %Context{} = context \\ %Context{}) do
    question = %{
      view: to_string(name),
      mode: 0,
      params: params,
      timeout: nil,
      pool: nil,
      worker: nil,
      asked: System.monotonic_time(),
      run: :erlang.term_to_binary(context)
    }

    with {:ok, view} <- fetch(question.view) do
      serve = fn -> serve(question, & &1) end
      task = Task.Supervisor.async_nolink(Slither.TaskSupervisor, serve)

      case Task.yield(task, view.timeout_ms) || Task.shutdown(task, :brutal_kill) do
        {:ok, answer} -> answer
        {:exit, reason} -> lost(question, {:exit, reason})
        nil -> lost(question, {:timeout, view.timeout_ms})
      end
    end
  rescue
    # `async_nolink/2` raises where the task supervisor is full.
    error in [RuntimeError] -> {:error, fault("view_busy", to_string(name), error.message)}
  end

  @doc false
  # Answers a question in the calling process, a task of the worker's that asks.
  @spec serve(question, limit) :: {:ok, term} | {:error, fault}
  def serve(question, limit) do
    with {:ok, view} <- fetch(question.view),
         :ok <- live(view, question.run),
         :ok <- shape(question) do
      run(view, question, limit)
    end
  end

  @doc false
  # What the process that asked is told when the one that served it ended before it had an answer.
  @spec lost(question, {:timeout, pos_integer} | {:exit, term}) :: {:error, fault}
  def lost(question, why) do
    {reason, message, details} = loss(question.view, why)

    with {:ok, view} <- Views.fetch(question.view) do
      metadata = metadata(view, context(question))
      Events.view_failed(question.asked, count(question), metadata, reason, message)
    end

    {:error, fault(Atom.to_string(reason), question.view, message, details)}
  end

  defp loss(name, {:timeout, timeout}) do
    # Whoever reads it writes Python.
    message = "view #{inspect(name)} did not answer within #{timeout / 1_000} s"
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

  defp run(view, question, limit) do
    limit.(min(view.timeout_ms, question.timeout || view.timeout_ms))
    context = context(question)
    metadata = metadata(view, context)
    count = count(question)
    started = System.monotonic_time()
    Events.view_started(count, metadata)

    case handle(view, question, context) do
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
  defp count(_question), do: 1

  defp handle(view, %{mode: 1, params: params}, context), do: values(view, params, context)

  defp handle(view, %{params: params}, context) do
    with {:ok, [value]} <- values(view, [params], context), do: {:ok, value}
  end

  defp values(%{mode: :batch} = view, params, context) do
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

  defp values(_view, [], _context), do: {:ok, []}

  defp values(view, [one | params], context) do
    with {:ok, value} <- apply_handler(view, one, context),
         {:ok, values} <- values(view, params, context),
         do: {:ok, [value | values]}
  end

  defp apply_handler(%{handler: handler}, params, context) do
    value = if is_function(handler, 2), do: handler.(params, context), else: handler.(params)
    {:ok, value}
  rescue
    exception -> {:error, Exception.format(:error, exception, __STACKTRACE__)}
  catch
    kind, value -> {:error, Exception.format(kind, value, __STACKTRACE__)}
  end

  defp context(question) do
    context = if question.run, do: :erlang.binary_to_term(question.run), else: %Context{}
    here = %{pool: question.pool, worker: question.worker, view: question.view}
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

  defp fault(kind, view, message, details \\ %{}),
    do: Map.merge(%{"kind" => kind, "view" => view, "message" => message}, details)
end
