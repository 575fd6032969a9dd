defmodule Slither.Testing.Lane do
  @moduledoc false
  # The lane of a `Slither.Testing.Worker`: it takes jobs as `Slither.Python.Lane` does, and has a
  # process of its own run each, so that a call can be ended. Linked to its worker.

  alias Slither.Error
  alias Slither.Protocol.Frame
  alias Slither.Python.{Board, Inbox, Job, Limit, Obituary, Outcome, Reports}
  alias Slither.Python.{Target, Timing}
  alias Slither.Python.Worker.Busy
  alias Slither.Testing
  alias Slither.Testing.{Drawing, Functions}

  @enforce_keys [:functions, :board, :slot, :scheduler, :pool, :worker]
  defstruct @enforce_keys ++ [number: 0, cursors: %{}]

  @typedoc "`number` is that of the last call, `cursors` what calls have left to be drawn."
  @type t :: %__MODULE__{
          functions: %{optional(String.t()) => fun},
          board: Board.t(),
          slot: Board.slot(),
          scheduler: pid,
          pool: atom,
          worker: pid,
          number: non_neg_integer,
          cursors: Functions.cursors()
        }

  @doc "Starts one, linked to the calling worker."
  @spec start_link(t) :: pid
  def start_link(lane), do: spawn_link(fn -> idle(lane) end)

  @doc "Has a lane tell who asked its worker what runs now: a call of `Slither.Python.Worker`'s."
  @spec tell_stack(pid, GenServer.from()) :: :ok
  def tell_stack(lane, from) do
    send(lane, {:stack, from})
    :ok
  end

  @doc "Has it tell what it runs, as `Slither.Python.Worker` does."
  @spec tell_runs(pid, GenServer.from()) :: :ok
  def tell_runs(lane, from) do
    send(lane, {:runs, from})
    :ok
  end

  # The messages are those of `Slither.Python.Lane`, whose functions send them, but for `:stack` and
  # `:runs`.
  defp idle(lane) do
    receive do
      %Job{} = job ->
        job |> run(%{lane | number: lane.number + 1}) |> idle()

      {:idle?, scheduler, ref} ->
        Reports.lane_idle(scheduler, ref)
        idle(lane)

      {:stack, from} ->
        GenServer.reply(from, %{worker: lane.slot, os_pid: nil, call: nil, stack: ""})
        idle(lane)

      {:runs, from} ->
        GenServer.reply(from, %{worker: lane.slot, runs: nil, said: []})
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
    call = fn -> Functions.run(lane.functions, job, lane.number, lane.cursors) end
    # The outcome is why the process ends: one message for that and for any other end of it.
    {runner, monitor} = spawn_monitor(__MODULE__, :perform, [answer, call])
    running = {job, answer, runner, monitor, started}
    Board.begin(lane.board, lane.slot, started)
    {{outcome, cursors}, asked} = await(running, timer(job), lane)
    ended = System.monotonic_time()
    Board.rest(lane.board, lane.slot, ended)
    time = ended - started
    Process.demonitor(monitor, [:flush])
    if map_size(cursors) > map_size(lane.cursors), do: keeps(job, lane)
    Board.serve(lane.board, lane.slot)
    Board.took(lane.board, lane.slot, System.convert_time_unit(time, :native, :microsecond))
    tell(job, outcome, %Timing{worker: lane.slot, handler: time}, lane)
    if asked, do: Reports.lane_idle(asked, job.ref)
    %{lane | cursors: cursors}
  end

  @doc false
  @spec perform(reference, (() -> term)) :: no_return
  def perform(answer, call), do: exit({answer, call.()})

  # The pool is to say when the run is over, for which a call has left something to draw.
  defp keeps(job, lane) do
    with %{"run" => run} when run != nil <- Frame.call_context(job.head),
         do: Testing.Inbox.keeps(lane.worker, self(), run)
  end

  defp tell(job, outcome, timing, lane) do
    call = if job.many != nil, do: {lane.worker, lane.number}
    # Before the outcome, so that whatever its holder asks for next comes behind it.
    if job.returns, do: Reports.lane_idle(lane.scheduler, job.ref)
    Inbox.tell(job.inbox, {:done, job.ref, %{outcome | timing: timing, call: call}})
  end

  # A timer, and what is known of the call once it has fired.
  defp timer(%Job{} = job) do
    with {time, facts} <- Limit.whole(job.timeout, job.item_timeout, length(job.payloads)),
         do: {:erlang.start_timer(time, self(), :over), facts}
  end

  defp await({job, answer, runner, monitor, started} = running, limit, lane) do
    ref = job.ref
    {timer, facts} = limit || {nil, nil}

    receive do
      {:DOWN, ^monitor, :process, ^runner, {^answer, answered}} ->
        if timer, do: :erlang.cancel_timer(timer)
        {answered, nil}

      {:DOWN, ^monitor, :process, ^runner, reason} ->
        {{Outcome.died(died(reason), nil), lane.cursors}, nil}

      {:timeout, ^timer, :over} ->
        stopped(runner, Obituary.overdue(lane.pool, facts), lane)

      {:kill, ^ref} ->
        error = %Error{reason: :killed, message: "the call was killed by its caller"}
        stopped(runner, error, lane)

      # Nobody waits for the call any more.
      {:idle?, scheduler, ^ref} ->
        error = %Error{reason: :cancelled, message: "the caller is gone"}
        put_elem(stopped(runner, error, lane), 1, scheduler)

      {:stack, from} ->
        call = Target.name(Frame.call_target(job.head))
        told = %{worker: lane.slot, os_pid: nil, call: call, stack: stack(runner)}
        GenServer.reply(from, told)
        await(running, limit, lane)

      {:runs, from} ->
        facts = %{items: length(job.payloads), deadline: left(timer), stalled: false}
        ran = System.monotonic_time() - started
        runs = Busy.run(job, Frame.call_target(job.head), ran, facts)
        GenServer.reply(from, %{worker: lane.slot, runs: runs, said: []})
        await(running, limit, lane)

      :stop ->
        Process.exit(runner, :kill)
        exit(:shutdown)
    end
  end

  defp left(nil), do: nil
  defp left(timer), do: with(false <- :erlang.read_timer(timer), do: 0)

  # Where the function is, without what runs it; nil where it has just ended.
  defp stack(runner) do
    with {:current_stacktrace, frames} <- Process.info(runner, :current_stacktrace) do
      frames
      |> Enum.reject(fn {module, _f, _a, _at} -> module in [__MODULE__, Functions, Drawing] end)
      |> Exception.format_stacktrace()
    end
  end

  defp stopped(runner, error, lane) do
    Process.exit(runner, :kill)
    {{Outcome.died(error, nil), lane.cursors}, nil}
  end

  defp died(reason) do
    message =
      "the function in place of Python ended its process: #{Exception.format_exit(reason)}"

    %Error{reason: :worker_died, message: message}
  end
end
