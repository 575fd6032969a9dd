defmodule Slither.Python.Lane do
  @moduledoc false
  # A process that makes the calls of one worker, one at a time: it encodes a batch, writes it to the
  # worker's transport itself, waits, decodes, and sends the results to whoever asked. Each worker
  # has as many lanes as calls that it may hold, so that encoding and decoding run in parallel and
  # nothing large passes through the worker's owner.
  #
  # The worker's owner starts lanes and hands them Python's answers. The holder of a lane's lease,
  # a run or a single call, gives it jobs. The scheduler asks whether the lane is idle, and stops
  # it. A lane outlives its worker until the scheduler stops it or is gone itself, so that the
  # holder of its lease always gets an answer, if only that the call was not begun.
  #
  # `Lane.Exchange` says what becomes of one call. `state` is `:idle`, `{:busy, exchange}`, or, once
  # the worker is gone, `{:retired, error}`.

  alias Slither.{Error, Label}
  alias Slither.Python.{Board, Capture, Inbox, Job, Obituary, Outcome, Reports, Transport}
  alias Slither.Python.Lane.{Exchange, Spans}
  alias Slither.Python.Worker.Inbox, as: Owner

  @enforce_keys [:index, :count, :transport, :slot, :scheduler, :board] ++
                  [:max_frame, :ahead, :capture, :facts]
  defstruct @enforce_keys ++
              [:worker, :monitor, :pool, state: :idle, round: 0, last?: false, doomed?: false]

  @typedoc """
  Lane `index` of `count`, which numbers its calls so that no other lane of its worker has the same.
  `facts` are of the worker's process, for captures. `worker` and `pool` are its owner and a monitor
  of the scheduler. `last?` says that it ends once its call is answered, and `doomed?` that its worker is
  being killed.
  """
  @type t :: %__MODULE__{
          index: non_neg_integer,
          count: pos_integer,
          transport: Transport.t(),
          slot: Board.slot(),
          scheduler: pid,
          board: Board.t(),
          max_frame: pos_integer,
          ahead: pos_integer,
          capture: Capture.t() | nil,
          facts: map,
          worker: pid | nil,
          monitor: reference | nil,
          pool: reference | nil,
          state: :idle | {:busy, Exchange.t()} | {:retired, Error.t()},
          round: non_neg_integer,
          last?: boolean,
          doomed?: boolean
        }

  # Decoded results live on the lane's heap until they are sent. A heap that holds a batch from the
  # start saves collections; one of more than 512 KB would be mapped from the system anew each time.
  @heap_words 12_000

  @doc "Starts a lane for the calling owner of a worker."
  @spec start(t) :: pid
  def start(%__MODULE__{} = lane) do
    worker = self()

    :erlang.spawn_opt(
      fn ->
        Label.set({__MODULE__, lane.facts["pool"], lane.slot, lane.index})
        [monitor, pool] = for pid <- [worker, lane.scheduler], do: Process.monitor(pid)
        loop(%{lane | worker: worker, monitor: monitor, pool: pool})
      end,
      min_heap_size: @heap_words
    )
  end

  @doc """
  Hands a job to a leased lane; its inbox is told the outcome.

  Before it, a handler that yields has its inbox told of parts, for as many results as it
  has credit for: `taken/3` gives it more.
  """
  @spec run(pid, Job.t()) :: Job.t()
  def run(lane, %Job{} = job), do: send(lane, job)

  @doc "Says that `count` results of the parts of job `ref` were taken."
  @spec taken(pid, reference, pos_integer) :: term
  def taken(lane, ref, count), do: send(lane, {:taken, ref, count})

  @doc "Ends the call of job `ref`, with its worker where that executes it."
  @spec kill(pid, reference) :: term
  def kill(lane, ref), do: send(lane, {:kill, ref})

  @doc """
  Asks a lane to tell the scheduler when it is idle, for its lease `ref`: nobody waits any more for
  what it does.
  """
  @spec idle?(pid, pid, reference) :: term
  def idle?(lane, scheduler, ref), do: send(lane, {:idle?, scheduler, ref})

  @doc "Ends a lane."
  @spec stop(pid) :: term
  def stop(lane), do: send(lane, :stop)

  @doc "Lets call `id` go on to its end whether its results are taken or not."
  @spec run_on(pid, pos_integer) :: term
  def run_on(lane, id), do: send(lane, {:run_on, id})

  @doc """
  Hands over the body of an answer to call `id`; the answer before it came at `before`, in native time,
  nil for none.
  """
  @spec reply(pid, pos_integer, binary, integer | nil) :: term
  def reply(lane, id, body, before), do: send(lane, {:reply, id, body, before})

  @doc "Hands over the body of a part of its results."
  @spec part(pid, pos_integer, binary) :: term
  def part(lane, id, body), do: send(lane, {:part, id, body})

  @doc "Hands over what is recorded of a call, before its answer."
  @spec tape(pid, pos_integer, {list, boolean}) :: term
  def tape(lane, id, tape), do: send(lane, {:tape, id, tape})

  @doc "The worker is being killed: it begins no call of the lane any more."
  @spec doomed(pid) :: term
  def doomed(lane), do: send(lane, :doomed)

  @doc """
  The worker is gone, and executed call `executing` then, nil for none; its last answer came at `before`.
  """
  @spec worker_down(pid, Error.t(), pos_integer | nil, integer | nil) :: term
  def worker_down(lane, error, executing, before),
    do: send(lane, {:worker_down, error, executing, before})

  @doc "The index of the lane that made call `id`."
  @spec index(pos_integer, pos_integer) :: non_neg_integer
  def index(id, count), do: rem(id - 1, count)

  defp loop(lane) do
    receive do
      message ->
        lane = handle(message, lane)
        if lane.last? and not match?({:busy, _exchange}, lane.state), do: :ok, else: loop(lane)
    end
  end

  # A holder gives its next job once it has the outcome of the last.
  defp handle(%Job{} = job, %__MODULE__{state: {:retired, error}} = lane) do
    Inbox.tell(job.inbox, {:done, job.ref, Outcome.requeue(error)})
    lane
  end

  defp handle(%Job{} = job, lane), do: begin(job, %{lane | round: lane.round + 1})

  defp handle(message, %__MODULE__{state: {:busy, exchange}} = lane),
    do: during(message, exchange, lane)

  defp handle(message, lane), do: always(message, lane)

  defp during({:reply, id, body, before}, %Exchange{id: id} = exchange, lane) do
    case Exchange.answer(exchange, body, before) do
      {:done, outcome, pace} ->
        if pace, do: Board.took(lane.board, lane.slot, pace)
        finish(give_back(exchange, outcome, lane), exchange, lane)

      {:broken, error, exchange} ->
        broken(exchange, error, lane)
    end
  end

  defp during({:part, id, body}, %Exchange{id: id} = exchange, lane) do
    case Exchange.part(exchange, body) do
      {:part, part, exchange} ->
        Inbox.tell(exchange.job.inbox, {:part, exchange.job.ref, part})
        # Sent before any `resumed`, as the owner relies on that order.
        if Exchange.stalled?(exchange), do: Owner.stalled(lane.worker, id)
        busy(lane, exchange)

      {:kept, frame, exchange} ->
        Transport.write(lane.transport, frame)
        busy(lane, exchange)

      {:broken, error, exchange} ->
        broken(exchange, error, lane)
    end
  end

  defp during({:tape, id, tape}, %Exchange{id: id} = exchange, lane),
    do: busy(lane, %{exchange | tape: tape})

  defp during({:taken, ref, count}, %Exchange{job: %{ref: ref}} = exchange, lane),
    do: allow(lane, exchange, count)

  defp during({:run_on, id}, %Exchange{id: id} = exchange, lane), do: allow(lane, exchange, :all)

  defp during({:kill, ref}, %Exchange{job: %{ref: ref}} = exchange, lane) do
    Owner.kill_call(lane.worker, exchange.id, Exchange.killed())
    busy(lane, %{exchange | killed?: true})
  end

  # The lane sends the cancel, and not the scheduler, since the lane has noted the call with the
  # owner: the note is sure to arrive first.
  defp during({:idle?, from, ref}, %Exchange{job: %{ref: ref}} = exchange, lane) do
    Owner.cancel(lane.worker, exchange.id)
    busy(lane, %{exchange | asked: from})
  end

  defp during(message, _exchange, lane), do: always(message, lane)

  defp always({:idle?, from, ref}, lane) do
    Reports.lane_idle(from, ref)
    lane
  end

  defp always(:doomed, lane), do: %{lane | doomed?: true}

  defp always({:worker_down, error, executing, before}, lane),
    do: retire(lane, error, executing, before)

  defp always({:DOWN, monitor, :process, _worker, reason}, %__MODULE__{monitor: monitor} = lane),
    do: retire(lane, Obituary.crashed(reason), :crashed, nil)

  defp always({:DOWN, pool, :process, _scheduler, _reason}, %__MODULE__{pool: pool} = lane),
    do: %{lane | last?: true}

  defp always(:stop, lane), do: %{lane | last?: true}

  # A message about a job that the lane has answered already.
  defp always(_late, lane), do: lane

  defp busy(lane, exchange), do: %{lane | state: {:busy, exchange}}

  defp begin(job, lane) do
    id = (lane.round - 1) * lane.count + lane.index + 1

    case Exchange.new(job, id, lane) do
      {:send, frame, exchange} ->
        if asked = abandoned(job.ref) do
          finish(Outcome.error(abandoned(), exchange.timing), %{exchange | asked: asked}, lane)
        else
          write(frame, exchange, lane)
        end

      {:done, outcome} ->
        Inbox.tell(job.inbox, {:done, job.ref, outcome})
        lane
    end
  end

  # A process that is being killed could still begin it. Its end gives it back: were it given back now,
  # the scheduler, which does not know yet, would grant the same lane again.
  defp write(_frame, exchange, %__MODULE__{doomed?: true} = lane),
    do: busy(lane, %{exchange | sent: nil})

  defp write(frame, exchange, lane) do
    Owner.sent(lane.worker, Exchange.call(exchange))
    # If the transport has closed, no answer comes: `worker_down/4` then ends the job.
    Transport.write(lane.transport, frame)
    busy(lane, exchange)
  end

  # The scheduler asks whether a lane is idle once the job's owner is gone. If it asked while the
  # lane encoded the job, nobody waits for the result, and the lane does not send the job.
  defp abandoned(ref) do
    receive do
      {:idle?, from, ^ref} -> from
    after
      0 -> nil
    end
  end

  defp abandoned, do: %Error{reason: :cancelled, message: "the caller is gone"}

  defp allow(lane, exchange, count) do
    if Exchange.stalled?(exchange), do: Owner.resumed(lane.worker, exchange.id)
    {frame, exchange} = Exchange.allow(exchange, count)
    Transport.write(lane.transport, frame)
    busy(lane, exchange)
  end

  # The job's owner is not reading its messages, and others wait: the lane returns its own lease.
  defp give_back(%Exchange{results: %{run_on?: true}} = exchange, outcome, lane) do
    Reports.lane_idle(lane.scheduler, exchange.job.ref)
    put_in(outcome.timing.given_back?, true)
  end

  defp give_back(_exchange, outcome, _lane), do: outcome

  # A worker that broke the protocol can't be trusted with another call: its owner kills it.
  defp broken(exchange, error, lane) do
    Owner.kill(lane.worker, error)
    finish(Outcome.error(error, exchange.timing), exchange, lane)
  end

  defp retire(%__MODULE__{state: {:busy, exchange}} = lane, error, executing, before) do
    lane = finish(Exchange.down(exchange, error, executing, before), exchange, lane)
    %{lane | state: {:retired, error}}
  end

  defp retire(%__MODULE__{state: :idle} = lane, error, _executing, _before),
    do: %{lane | state: {:retired, error}}

  defp retire(lane, _error, _executing, _before), do: lane

  defp finish(outcome, %Exchange{job: job} = exchange, lane) do
    outcome = outcome |> Exchange.told(exchange) |> written(exchange, lane)
    # Before anybody hears of it, who may ask then for all spans to be sent.
    Spans.ended(outcome, exchange.span)
    # Before the outcome, so that whatever its holder asks for next comes behind it.
    if job.returns, do: Reports.lane_idle(lane.scheduler, job.ref)
    Inbox.tell(job.inbox, {:done, job.ref, outcome})
    if exchange.asked, do: Reports.lane_idle(exchange.asked, job.ref)
    %{lane | state: :idle}
  end

  defp written(outcome, %Exchange{capture: nil}, _lane), do: outcome

  defp written(outcome, exchange, lane),
    do: Capture.write(exchange.capture, outcome, exchange.frame, exchange.tape, lane.facts)
end
