defmodule Slither.Run.Carrier do
  @moduledoc false
  # Where a flow's batches run: on leased lanes of a pool, or in a process each for executors
  # that are not ours. A lane is kept from batch to batch while nobody else waits for one.

  alias Slither.{DispatchError, Error}
  alias Slither.Run.{Hand, Mailbox, Minder, Plan}
  alias Slither.Pool.Errors
  alias Slither.Python.{Board, Inbox, Job, Lane, Outcome, Pool, Timing}

  @enforce_keys [:plan, :inbox]
  defstruct [:plan, :inbox, :monitor, :gone, :minder] ++
              [idle: [], requested: %{}, lanes: %{}, tasks: %{}]

  @type t :: %__MODULE__{}

  @doc "A runner; what it starts answers to the inbox."
  @spec new(Plan.t(), Inbox.t()) :: t
  def new(plan, inbox) do
    runner = %__MODULE__{plan: plan, inbox: inbox}

    case plan.mode do
      {:pool, _handle, _head, _run} -> watch(runner)
      {:local, _fun} -> Enum.reduce(1..plan.capacity, minded(runner), fn _, r -> hire(r) end)
      :task -> minded(runner)
    end
  end

  defp minded(runner), do: %{runner | minder: Minder.start()}

  defp watch(%__MODULE__{plan: %{mode: {:pool, handle, _head, _run}}} = runner) do
    monitor = Mailbox.monitor(runner.inbox, handle.scheduler)
    %{runner | monitor: monitor, gone: nil}
  end

  @doc "A place to run the next batch, or why there will be none."
  @spec lane(t) :: {:ok, term, t} | {:none, t} | {:gone, Error.t()}
  def lane(%__MODULE__{plan: %{mode: :task}} = runner) do
    if map_size(runner.tasks) < runner.plan.capacity,
      do: {:ok, :task, runner},
      else: {:none, runner}
  end

  def lane(%__MODULE__{idle: [ref | idle]} = runner), do: {:ok, ref, %{runner | idle: idle}}
  def lane(%__MODULE__{gone: nil} = runner), do: {:none, runner}

  # A pool that stopped may have been started again. A session's state is lost, then.
  def lane(%__MODULE__{plan: plan} = runner)
      when plan.session == nil or plan.on_session_lost == :rebind do
    case Pool.handle(plan.options[:pool]) do
      {:ok, handle} ->
        mode = put_elem(plan.mode, 1, handle)
        {:none, watch(%{runner | plan: %{plan | mode: mode}})}

      {:error, _unknown} ->
        {:gone, runner.gone}
    end
  end

  def lane(runner), do: {:gone, runner.gone}

  @doc "Asks for as many lanes as `todo` batches can use while `out` are out."
  @spec want(t, non_neg_integer, non_neg_integer) :: t
  def want(%__MODULE__{plan: %{mode: :task}} = runner, _todo, _out), do: runner
  def want(%__MODULE__{plan: %{mode: {:local, _}}} = runner, _todo, _out), do: runner

  def want(runner, todo, out) do
    requested = map_size(runner.requested)
    {:pool, handle, _head, _run} = runner.plan.mode
    # A pool may be resized while a run goes on.
    capacity = min(runner.plan.capacity, Pool.lanes(handle))
    missing = min(todo, capacity - out) - requested
    if missing > 0, do: Enum.reduce(1..missing, runner, fn _, r -> request(r) end), else: runner
  end

  @doc "A lane was granted."
  @spec granted(t, reference, pid) :: t
  def granted(runner, ref, lane) do
    case Map.pop(runner.requested, ref) do
      {nil, _requested} ->
        runner

      {_true, requested} ->
        lanes = Map.put(runner.lanes, ref, lane)
        %{runner | requested: requested, lanes: lanes, idle: [ref | runner.idle]}
    end
  end

  @doc "A request was refused."
  @spec denied(t, reference) :: t
  def denied(runner, ref), do: %{runner | requested: Map.delete(runner.requested, ref)}

  @doc "Runs a batch; its answer carries the reference."
  @spec run(t, term, map) :: {reference, t}
  def run(runner, :task, batch), do: start_task(runner, batch)

  def run(runner, hand, batch) when is_pid(hand) do
    ref = make_ref()
    Hand.run(hand, runner.inbox, ref, batch.entries)
    {ref, %{runner | tasks: Map.put(runner.tasks, ref, hand)}}
  end

  def run(runner, ref, batch) do
    {:pool, _handle, head, run} = runner.plan.mode

    Lane.run(runner.lanes[ref], %Job{
      inbox: runner.inbox,
      ref: ref,
      head: head,
      context: run,
      batch: batch.number,
      attempt: batch.attempt,
      timeout: runner.plan.timeout,
      raw: runner.plan.raw,
      capture: runner.plan.capture,
      payloads: for({_seq, item} <- batch.entries, do: item.payload)
    })

    {ref, runner}
  end

  @doc "So many results of the parts of a reference's batch were taken."
  @spec taken(t, reference, pos_integer) :: any
  def taken(runner, ref, count) do
    lane = runner.lanes[ref]
    if lane, do: Lane.taken(lane, ref, count)
  end

  @doc """
  The batch of a reference is answered by worker `slot`; its lane is kept if that is not nil.

  A lane of a worker whose calls would take long, were all its lanes at work, goes back: more than
  one is granted only for short ones. So does a lane of a worker that is to leave.
  """
  @spec done(t, reference, non_neg_integer | nil) :: t
  def done(%__MODULE__{plan: %{mode: :task}} = runner, ref, _slot), do: end_task(runner, ref)

  def done(%__MODULE__{plan: %{mode: {:local, _}}} = runner, ref, _slot) do
    {hand, tasks} = Map.pop!(runner.tasks, ref)
    %{runner | tasks: tasks, idle: [hand | runner.idle]}
  end

  def done(runner, ref, slot) do
    {:pool, handle, _head, _run} = runner.plan.mode
    keep? = slot != nil and not Pool.contended?(handle) and not Pool.recalled?(handle, slot)

    if keep? and not Board.long?(handle.settings.board, slot, max(1, handle.settings.window - 1)) do
      %{runner | idle: [ref | runner.idle]}
    else
      Pool.release(handle, ref)
      %{runner | lanes: Map.delete(runner.lanes, ref)}
    end
  end

  @doc "A lane is no more."
  @spec lost(t, reference) :: t
  def lost(runner, ref) do
    %{runner | idle: List.delete(runner.idle, ref), lanes: Map.delete(runner.lanes, ref)}
  end

  @doc "Gives idle lanes back."
  @spec rest(t) :: t
  def rest(%__MODULE__{idle: []} = runner), do: runner
  def rest(%__MODULE__{plan: %{mode: {:local, _}}} = runner), do: runner

  def rest(runner) do
    {:pool, handle, _head, _run} = runner.plan.mode
    Enum.each(runner.idle, &Pool.release(handle, &1))
    %{runner | idle: [], lanes: Map.drop(runner.lanes, runner.idle)}
  end

  @doc "Gives everything back; the batches `out` are nobody's any more."
  @spec close(t, [reference]) :: :ok
  def close(%__MODULE__{plan: %{mode: :task}} = runner, _out) do
    Minder.stop(runner.minder)

    for {_ref, task} <- runner.tasks do
      cancel(task.timer)
      Process.demonitor(task.monitor, [:flush])
    end

    :ok
  end

  def close(%__MODULE__{plan: %{mode: {:local, _}}} = runner, _out) do
    Minder.stop(runner.minder)
    Enum.each(runner.lanes, fn {monitor, hand} -> Hand.stop(hand, monitor) end)
  end

  def close(runner, out) do
    {:pool, handle, _head, _run} = runner.plan.mode
    if runner.monitor, do: Process.demonitor(runner.monitor, [:flush])
    _ = rest(runner)
    Enum.each(Map.keys(runner.requested), &Pool.release(handle, &1))
    Enum.each(out, &Pool.abandon(handle, &1))
  end

  @doc "The run is over: what its handlers keep in workers goes."
  @spec end_run(t) :: :ok
  def end_run(%__MODULE__{plan: %{mode: {:pool, handle, _head, _run}, session: nil} = plan}),
    do: Pool.end_run(handle, plan.context.runtime[:run])

  def end_run(_runner), do: :ok

  @doc "The runner after `close/2`: it holds nothing and asks for nothing."
  @spec emptied(t) :: t
  def emptied(runner), do: %{runner | idle: [], requested: %{}, lanes: %{}, tasks: %{}}

  @doc "Ends the batch of a reference, with the worker that runs it."
  @spec kill(t, reference) :: any
  def kill(runner, ref) do
    if lane = runner.lanes[ref], do: Lane.kill(lane, ref)
  end

  @doc "A timer ran out: the task it watched is killed."
  @spec timer(t, reference) :: t
  def timer(%__MODULE__{plan: %{mode: {:local, _}}} = runner, _timer), do: runner

  def timer(runner, timer) do
    for {_ref, %{timer: ^timer, pid: pid}} <- runner.tasks, do: Process.exit(pid, :kill)
    runner
  end

  @doc "A monitored process ended: a task, or the pool's scheduler."
  @spec down(t, reference, term) ::
          {:task, reference, Error.t(), t} | {:pool, Error.t(), t}
  def down(%__MODULE__{monitor: monitor} = runner, monitor, reason) do
    error = Errors.stopped(runner.plan.options[:pool], reason)

    {:pool, error, %{emptied(runner) | monitor: nil, gone: error}}
  end

  def down(%__MODULE__{plan: %{mode: {:local, _}}} = runner, monitor, reason) do
    {hand, lanes} = Map.pop!(runner.lanes, monitor)
    {ref, _hand} = Enum.find(runner.tasks, {nil, nil}, fn {_ref, pid} -> pid == hand end)
    idle = List.delete(runner.idle, hand)
    runner = %{runner | lanes: lanes, tasks: Map.delete(runner.tasks, ref), idle: idle}

    error = %Error{
      reason: :executor_failed,
      message: "the handler's process ended: #{Exception.format_exit(reason)}"
    }

    {:task, ref, error, hire(runner)}
  end

  def down(runner, monitor, reason) do
    {ref, task} = Enum.find(runner.tasks, {nil, nil}, fn {_, task} -> task.monitor == monitor end)
    error = if task, do: task_error(task, runner.plan.timeout, reason)
    {:task, ref, error, end_task(runner, ref)}
  end

  defp hire(%{plan: %{mode: {:local, fun}}} = runner) do
    {hand, monitor} = Hand.start(fun, runner.inbox, runner.minder)
    %{runner | lanes: Map.put(runner.lanes, monitor, hand), idle: [hand | runner.idle]}
  end

  defp request(runner) do
    {:pool, handle, _head, _run} = runner.plan.mode
    ref = make_ref()
    Pool.request(handle, runner.inbox, ref, options(runner.plan))
    %{runner | requested: Map.put(runner.requested, ref, true)}
  end

  defp options(plan) do
    [
      session: plan.session,
      rebind: plan.on_session_lost == :rebind,
      run: plan.context.runtime[:run],
      deadline: deadline(plan.queue_timeout)
    ]
  end

  defp deadline(:infinity), do: nil
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  ## Executors that are not ours

  defp start_task(runner, batch) do
    %{plan: plan, inbox: inbox, minder: minder} = runner
    ref = make_ref()
    items = for {_seq, item} <- batch.entries, do: item

    {pid, monitor} =
      Mailbox.spawn_monitor(inbox, fn ->
        Minder.tie(minder)
        Inbox.done(inbox, ref, execute(plan, items))
      end)

    timer = if plan.timeout != :infinity, do: Mailbox.start_timer(inbox, plan.timeout)

    task = %{
      pid: pid,
      monitor: monitor,
      timer: timer,
      started: System.monotonic_time(:millisecond)
    }

    {ref, %{runner | tasks: Map.put(runner.tasks, ref, task)}}
  end

  defp end_task(runner, ref) do
    case Map.pop(runner.tasks, ref) do
      {nil, _tasks} ->
        runner

      {task, tasks} ->
        Process.demonitor(task.monitor, [:flush])
        cancel(task.timer)
        %{runner | tasks: tasks}
    end
  end

  defp cancel(nil), do: :ok

  defp cancel(timer) do
    _ = :erlang.cancel_timer(timer)
    :ok
  end

  defp execute(plan, items) do
    started = System.monotonic_time()
    result = plan.executor.execute_batch(items, plan.context, plan.options)
    handler = System.monotonic_time() - started
    times = %Timing{handler: handler}

    case result do
      # An improper list has no length.
      {:ok, results} when length(results) >= 0 -> Outcome.ok(results, %{}, times)
      {:error, %DispatchError{cause: %Error{} = error}} -> Outcome.error(error, times)
      {:error, %Error{} = error} -> Outcome.error(error, times)
      {:error, reason} -> Outcome.error(executor_error(plan, inspect(reason), reason), times)
      other -> Outcome.error(bad_return(plan, other), times)
    end
  rescue
    exception ->
      text = Exception.format(:error, exception, __STACKTRACE__)
      Outcome.error(executor_error(plan, text, exception), nil)
  catch
    kind, value ->
      text = Exception.format(kind, value, __STACKTRACE__)
      Outcome.error(executor_error(plan, text, {kind, value}), nil)
  end

  defp executor_error(plan, text, reason) do
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

  defp task_error(task, timeout, reason) do
    elapsed = System.monotonic_time(:millisecond) - task.started

    if reason == :killed and is_integer(timeout) and elapsed >= timeout do
      %Error{
        reason: :timeout,
        message: "the executor ran for more than #{timeout} ms and was stopped",
        hint: "raise timeout:, or lower batch_size",
        details: %{timeout: timeout}
      }
    else
      %Error{
        reason: :executor_failed,
        message: "the executor's process ended: #{inspect(reason)}"
      }
    end
  end
end
