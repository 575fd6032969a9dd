defmodule Slither.Run.Carrier.Task do
  @moduledoc false
  # Runs each batch in a process of its own, by an executor that is the user's, which is killed when
  # its time is over.

  use Slither.Run.Carrier

  alias Slither.{DispatchError, Error}
  alias Slither.Python.{Inbox, Outcome, Timing}
  alias Slither.Run.{Mailbox, Minder, Plan}

  @enforce_keys [:plan, :inbox, :minder]
  defstruct [:plan, :inbox, :minder, tasks: %{}]

  @typedoc """
  `tasks` are the processes, by the reference of their batch; the timer of one whose time is over is
  `:over`. `minder` ends them with the owner.
  """
  @type t :: %__MODULE__{
          plan: Plan.t(),
          inbox: Inbox.t(),
          minder: pid,
          tasks: %{
            optional(reference) => %{
              pid: pid,
              monitor: reference,
              timer: reference | :over | nil
            }
          }
        }

  @impl true
  def open(%{mode: :task} = plan, inbox),
    do: %__MODULE__{plan: plan, inbox: inbox, minder: Minder.start()}

  @impl true
  def place(%__MODULE__{tasks: tasks, plan: plan} = carrier) do
    if map_size(tasks) < plan.capacity, do: {:ok, :task, carrier}, else: {:none, carrier}
  end

  @impl true
  def run(%__MODULE__{plan: plan, inbox: inbox, minder: minder} = carrier, :task, batch) do
    ref = make_ref()
    items = for {_seq, item} <- batch.entries, do: item

    {pid, monitor} =
      Mailbox.spawn_monitor(inbox, fn ->
        Minder.tie(minder)
        Inbox.done(inbox, ref, execute(plan, items))
      end)

    timer = if plan.timeout != :infinity, do: Mailbox.start_timer(inbox, plan.timeout)

    task = %{pid: pid, monitor: monitor, timer: timer}
    {ref, %{carrier | tasks: Map.put(carrier.tasks, ref, task)}}
  end

  @impl true
  def done(carrier, ref, _slot) do
    case Map.pop(carrier.tasks, ref) do
      {nil, _tasks} ->
        carrier

      {task, tasks} ->
        forget(task)
        %{carrier | tasks: tasks}
    end
  end

  @impl true
  def message(carrier, {:timer, timer}) do
    case Enum.find(carrier.tasks, fn {_ref, task} -> task.timer == timer end) do
      {ref, task} ->
        Process.exit(task.pid, :kill)
        {:ok, %{carrier | tasks: Map.put(carrier.tasks, ref, %{task | timer: :over})}}

      nil ->
        {:ok, carrier}
    end
  end

  def message(carrier, {:down, monitor, reason}) do
    case Enum.find(carrier.tasks, fn {_ref, task} -> task.monitor == monitor end) do
      {ref, task} ->
        error = ended(task, carrier.plan.timeout, reason)
        {:lost, ref, error, done(carrier, ref, nil)}

      nil ->
        {:ok, carrier}
    end
  end

  def message(carrier, _late), do: {:ok, carrier}

  @impl true
  def close(carrier, _out) do
    Minder.stop(carrier.minder)
    for {_ref, task} <- carrier.tasks, do: forget(task)
    %{carrier | tasks: %{}}
  end

  defp forget(task) do
    Process.demonitor(task.monitor, [:flush])
    if is_reference(task.timer), do: :erlang.cancel_timer(task.timer)
  end

  ## In the task

  defp execute(plan, items) do
    started = System.monotonic_time()
    result = plan.executor.execute_batch(items, plan.context, plan.options)
    handler = System.monotonic_time() - started
    timing = %Timing{handler: handler}

    case result do
      # An improper list has no length.
      {:ok, results} when length(results) >= 0 -> Outcome.ok(results, %{}, timing)
      {:error, %DispatchError{cause: %Error{} = error}} -> Outcome.error(error, timing)
      {:error, %Error{} = error} -> Outcome.error(error, timing)
      {:error, reason} -> Outcome.error(failed(plan, inspect(reason), reason), timing)
      other -> Outcome.error(bad_return(plan, other), timing)
    end
  rescue
    exception ->
      text = Exception.format(:error, exception, __STACKTRACE__)
      Outcome.error(failed(plan, text, exception), nil)
  catch
    kind, value ->
      text = Exception.format(kind, value, __STACKTRACE__)
      Outcome.error(failed(plan, text, {kind, value}), nil)
  end

  ## Errors

  defp failed(plan, text, reason) do
    %Error{
      reason: :executor_failed,
      message: "#{inspect(plan.executor)} failed: #{text}",
      details: %{reason: reason}
    }
  end

  defp bad_return(plan, other) do
    %Error{
      reason: :wrong_result,
      message:
        "#{inspect(plan.executor)}.execute_batch/3 returned #{inspect(other, limit: 5)}; " <>
          "it returns {:ok, results} or {:error, reason}"
    }
  end

  defp ended(%{timer: :over}, timeout, :killed) do
    %Error{
      reason: :timeout,
      message: "the executor ran for more than #{timeout} ms and was stopped",
      hint: "raise timeout:, or lower batch_size",
      details: %{timeout: timeout}
    }
  end

  defp ended(_task, _timeout, reason) do
    %Error{
      reason: :executor_failed,
      message: "the executor's process ended: #{inspect(reason)}"
    }
  end
end
