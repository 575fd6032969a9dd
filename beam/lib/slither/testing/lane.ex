defmodule Slither.Testing.Lane do
  @moduledoc false
  # The lane of a `Slither.Testing.Worker`: it takes jobs as `Slither.Python.Lane` does, and has a
  # process of its own run each, so that a call can be ended. Linked to its worker.

  alias Slither.Error
  alias Slither.Python.{Board, Inbox, Job, Limit, Outcome, Reports, Timing}
  alias Slither.Testing.Functions

  @enforce_keys [:functions, :board, :slot, :scheduler, :pool]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          functions: %{optional(String.t()) => fun},
          board: Board.t(),
          slot: Board.slot(),
          scheduler: pid,
          pool: atom
        }

  @doc "Starts one, linked to the calling worker."
  @spec start_link(t) :: pid
  def start_link(lane), do: spawn_link(fn -> idle(lane) end)

  # The messages are those of `Slither.Python.Lane`, whose functions send them.
  defp idle(lane) do
    receive do
      %Job{} = job ->
        run(job, lane)
        idle(lane)

      {:idle?, scheduler, ref} ->
        Reports.lane_idle(scheduler, ref)
        idle(lane)

      :stop ->
        :ok

      _late ->
        idle(lane)
    end
  end

  defp run(job, lane) do
    started = System.monotonic_time()
    answer = make_ref()
    # The outcome is why the process ends: one message for that and for any other end of it.
    {runner, monitor} =
      spawn_monitor(fn -> exit({answer, Functions.run(lane.functions, job)}) end)

    limit = Limit.total(job.timeout, length(job.payloads))
    {outcome, asked} = await({job, answer, runner, monitor}, timer(limit), lane)
    Process.demonitor(monitor, [:flush])
    time = System.monotonic_time() - started
    Board.serve(lane.board, lane.slot)
    Board.took(lane.board, lane.slot, System.convert_time_unit(time, :native, :microsecond))
    timing = %Timing{worker: lane.slot, handler: time, wire: time}
    Inbox.tell(job.inbox, {:done, job.ref, %{outcome | timing: timing}})
    if asked, do: Reports.lane_idle(asked, job.ref)
  end

  defp timer(:infinity), do: nil
  defp timer(timeout), do: :erlang.start_timer(timeout, self(), :over)

  defp await({job, answer, runner, monitor}, timer, lane) do
    ref = job.ref

    receive do
      {:DOWN, ^monitor, :process, ^runner, {^answer, outcome}} ->
        if timer, do: :erlang.cancel_timer(timer)
        {outcome, nil}

      {:DOWN, ^monitor, :process, ^runner, reason} ->
        {Outcome.died(died(reason), nil), nil}

      {:timeout, ^timer, :over} ->
        items = length(job.payloads)
        facts = Limit.facts(Limit.total(job.timeout, items), job.timeout, items)
        error = Limit.overdue(facts, "the call", "its worker was killed")
        stopped(runner, %{error | where: "pool #{inspect(lane.pool)}"})

      {:kill, ^ref} ->
        error = %Error{reason: :killed, message: "the call was killed by its caller"}
        stopped(runner, error)

      # Nobody waits for the call any more.
      {:idle?, scheduler, ^ref} ->
        error = %Error{reason: :cancelled, message: "the caller is gone"}
        put_elem(stopped(runner, error), 1, scheduler)

      :stop ->
        Process.exit(runner, :kill)
        exit(:shutdown)
    end
  end

  defp stopped(runner, error) do
    Process.exit(runner, :kill)
    {Outcome.died(error, nil), nil}
  end

  defp died(reason) do
    message =
      "the function in place of Python ended its process: #{Exception.format_exit(reason)}"

    %Error{reason: :worker_died, message: message}
  end
end
