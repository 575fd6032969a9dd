defmodule Slither.Python.Lane do
  @moduledoc false
  # A lane encodes a batch, writes it to the worker's port itself, waits, decodes, and sends
  # the results back: each worker has as many as calls it may hold, so that encoding and
  # decoding run in parallel and nothing large passes through the port's owner.
  #
  # A lane outlives its worker until the scheduler stops it, or is gone itself: whoever holds
  # its lease always gets an answer, if only that the call was not begun.

  alias Slither.Error
  alias Slither.Protocol.{Block, Encoder, Frame}

  alias Slither.Python.{
    Board,
    Call,
    Failure,
    Fault,
    Inbox,
    Job,
    Outcome,
    Part,
    PortWriter,
    Reports,
    Results,
    Timing
  }

  # Decoded results live here until they are sent; a heap that holds a batch saves collections.
  # Over 512 KB it would be mapped from the system anew each time.
  @heap_words 12_000

  @doc "Starts lane `index` of `count` for the calling worker."
  @spec start(map) :: pid
  def start(
        %{
          index: _,
          count: _,
          port: _,
          slot: _,
          board: _,
          max_frame: _,
          ahead: _,
          capture: _,
          facts: _,
          scheduler: scheduler
        } = facts
      ) do
    worker = self()

    :erlang.spawn_opt(
      fn ->
        facts
        |> Map.merge(%{worker: worker, monitor: Process.monitor(worker), round: 0, duplicate: 0})
        |> Map.put(:pool, Process.monitor(scheduler))
        |> loop()
      end,
      min_heap_size: @heap_words
    )
  end

  @doc """
  Hands a job to a leased lane; its inbox is told the outcome.

  Before it, a handler that yields has its inbox told of parts, for as many results as it
  has credit for: `taken/3` gives it more.
  """
  @spec run(pid, %Job{}) :: %Job{}
  def run(lane, %Job{} = job), do: send(lane, job)

  @doc "Says that `count` results of the parts of job `ref` were taken."
  @spec taken(pid, reference, pos_integer) :: {:taken, reference, pos_integer}
  def taken(lane, ref, count), do: send(lane, {:taken, ref, count})

  @doc "Lets call `id` go on to its end whether its results are taken or not."
  @spec run_on(pid, pos_integer) :: {:run_on, pos_integer}
  def run_on(lane, id), do: send(lane, {:run_on, id})

  @doc "Ends the call of job `ref`, with its worker where that executes it."
  @spec kill(pid, reference) :: {:kill, reference}
  def kill(lane, ref), do: send(lane, {:kill, ref})

  @doc "The index of the lane that made call `id`."
  @spec index(pos_integer, pos_integer) :: non_neg_integer
  def index(id, count), do: rem(id - 1, count)

  defp loop(lane) do
    receive do
      %Job{} = job ->
        lane = %{lane | round: lane.round + 1}
        answer(job, call(job, lane))
        loop(%{lane | duplicate: 0})

      # A second answer to a call, left over from the last exchange: the next answer reports it.
      {:reply, _id, _body} ->
        loop(%{lane | duplicate: lane.duplicate + 1})

      # For a job that has been answered.
      {late, _of, _what} when late in [:taken, :part, :tape] ->
        loop(lane)

      {late, _of} when late in [:run_on, :kill] ->
        loop(lane)

      {:idle?, from, ref} ->
        Reports.lane_idle(from, ref)
        loop(lane)

      {:worker_down, error, _executing} ->
        retired(error, lane)

      {:DOWN, monitor, :process, _worker, reason} when monitor == lane.monitor ->
        retired(crashed(reason), lane)

      {:DOWN, monitor, :process, _scheduler, _reason} when monitor == lane.pool ->
        :ok

      :stop ->
        :ok
    end
  end

  # The worker is gone: jobs are given back until the scheduler has taken the lease back.
  defp retired(error, lane) do
    receive do
      %Job{} = job ->
        answer(job, Outcome.requeue(error))
        retired(error, lane)

      {:idle?, from, ref} ->
        Reports.lane_idle(from, ref)
        retired(error, lane)

      {late, _of, _what} when late in [:taken, :part, :tape] ->
        retired(error, lane)

      {late, _of} when late in [:run_on, :kill] ->
        retired(error, lane)

      {:DOWN, monitor, :process, _scheduler, _reason} when monitor == lane.pool ->
        :ok

      :stop ->
        :ok
    end
  end

  defp answer(%Job{inbox: inbox, ref: ref}, outcome), do: Inbox.done(inbox, ref, outcome)

  defp call(job, lane) do
    started = System.monotonic_time()
    {count, encoded, bad} = encode(job.payloads)
    times = %Timing{worker: lane.slot, duplicate: lane.duplicate}

    if count == 0 do
      Outcome.ok(Enum.map(job.payloads, fn _ -> nil end), bad, times)
    else
      id = (lane.round - 1) * lane.count + lane.index + 1
      frame = Frame.call(id, job.head, job.batch, job.attempt, count, encoded)
      size = IO.iodata_length(frame)
      sent = System.monotonic_time()
      times = %{times | encode: sent - started, bytes: size}

      cond do
        size > lane.max_frame ->
          Outcome.error(too_large(size, lane.max_frame, count), times)

        abandoned?(job.ref) ->
          Outcome.error(abandoned(), times)

        capture = job.capture || lane.capture ->
          captured(capture, frame, id, job, bad, {lane, sent, times})

        true ->
          exchange(frame, id, job, bad, nil, {lane, sent, times})
      end
    end
  end

  # A block is a call by itself.
  defp encode([%Block{count: count, data: data}]), do: {count, data, %{}}
  defp encode(payloads), do: encode(payloads, nil, {0, 0, [], %{}})

  defp encode([payload | rest], shape, {index, count, acc, bad}) do
    case Encoder.encode_row(payload, shape) do
      {:ok, iodata, shape} ->
        encode(rest, shape, {index + 1, count + 1, [acc | iodata], bad})

      {:error, why} ->
        encode(rest, shape, {index + 1, count, acc, Map.put(bad, index, unsendable(why))})
    end
  end

  defp encode([], _shape, {_index, count, acc, bad}), do: {count, acc, bad}

  # The frame is kept until it is known that it is not needed any more.
  defp captured(capture, frame, id, job, bad, {lane, _sent, _times} = call) do
    outcome = exchange(frame, id, job, bad, div(capture.max_bytes, 2), call)

    tape =
      receive do
        {:tape, ^id, tape} -> tape
      after
        0 -> {[], false}
      end

    Failure.write(capture, outcome, frame, tape, lane.facts)
  end

  defp exchange(frame, id, job, bad, record, {lane, sent, times}) do
    %Job{timeout: timeout, context: context, batch: batch, head: head} = job
    call = %Call{id: id, timeout: timeout, context: context, batch: batch, head: head}
    send(lane.worker, {:sent, %{call | record: record}})
    # A port that has closed does not answer; the worker's exit then does.
    PortWriter.write(lane.port, frame)
    results = Results.new(count(job.payloads), bad, lane.ahead)
    await(id, job, results, {lane, sent, times})
  end

  defp count([%Block{count: count}]), do: count
  defp count(payloads), do: length(payloads)

  defp await(id, %Job{ref: ref} = job, results, {lane, sent, times} = call) do
    monitor = lane.monitor

    receive do
      {:reply, ^id, body} ->
        received = System.monotonic_time()
        outcome = decode(body, job, results)
        decoded = times.decode + System.monotonic_time() - received
        wire = received - sent - times.decode
        bytes = times.result_bytes + byte_size(body)
        times = %{times | wire: wire, decode: decoded, result_bytes: bytes}
        finish(outcome, results, give_back(times, results, ref, lane), lane)

      {:part, ^id, body} ->
        part(body, id, job, results, call)

      {:taken, ^ref, count} ->
        credit(results, count, id, lane)
        await(id, job, Results.allow(results, count), call)

      {:run_on, ^id} ->
        credit(results, Results.left(results), id, lane)
        await(id, job, Results.run_on(results), call)

      {:worker_down, reason, executing} ->
        send(self(), {:worker_down, reason, executing})

        if executing == id,
          do: Outcome.died(about(reason, job), times),
          else: Outcome.requeue(reason)

      {:DOWN, ^monitor, :process, _worker, reason} ->
        send(self(), {:worker_down, reason, nil})
        Outcome.died(crashed(reason), times)

      {:kill, ^ref} ->
        GenServer.cast(lane.worker, {:kill_call, id, killed()})
        id |> await(job, results, call) |> told_killed()

      # Told by the lane, which has noted its call with the worker: the note can't come later.
      {:idle?, from, ^ref} ->
        GenServer.cast(lane.worker, {:cancel, id})
        outcome = await(id, job, results, call)
        send(self(), {:idle?, from, ref})
        outcome
    end
  end

  defp about(%Error{details: details} = error, job) do
    facts = %{target: Frame.call_target(job.head), batch: job.batch, attempt: job.attempt}
    %{error | details: Map.merge(details, facts)}
  end

  # Nobody waits any more for what was not sent yet.
  defp abandoned?(ref) do
    receive do
      {:idle?, from, ^ref} ->
        send(self(), {:idle?, from, ref})
        true
    after
      0 -> false
    end
  end

  defp part(body, id, job, results, {lane, sent, times} = call) do
    received = System.monotonic_time()
    size = byte_size(body)

    with {:ok, {:part, _id, index, values, faults}} <- read(body, job),
         {:ok, values, errors, results} <- Results.part(results, index, values, faults) do
      Inbox.part(job.inbox, job.ref, %Part{values: values, errors: errors, bytes: size})
      # Its owner is told first that the handler waits, and then that it goes on.
      if Results.stalled?(results), do: send(lane.worker, {:stalled, id})
      decode = times.decode + System.monotonic_time() - received
      times = %{times | decode: decode, result_bytes: times.result_bytes + size}
      await(id, job, results, {lane, sent, times})
    else
      # Nobody waits for a part of a block.
      {:kept, count, results} ->
        PortWriter.write(lane.port, Frame.encode!({:credit, id, count}))
        await(id, job, Results.allow(results, count), call)

      {:error, why} ->
        finish({:broken, why}, results, times, lane)
    end
  end

  defp read(body, %Job{payloads: [%Block{}]}), do: Frame.decode_block(body)
  defp read(body, %Job{raw: true}), do: Frame.decode_raw(body)
  defp read(body, _job), do: Frame.decode(body)

  defp credit(results, count, id, lane) do
    if Results.stalled?(results), do: send(lane.worker, {:resumed, id})
    PortWriter.write(lane.port, Frame.encode!({:credit, id, count}))
  end

  # Whoever holds the lane reads no messages now, and others wait for it.
  defp give_back(times, %Results{run_on?: true}, ref, lane) do
    Reports.lane_idle(lane.scheduler, ref)
    %{times | given_back?: true}
  end

  defp give_back(times, _results, _ref, _lane), do: times

  defp decode(body, job, results) do
    case read(body, job) do
      {:ok, {:result, _id, values, faults, [_decode, handler, _encode]}} ->
        case Results.rest(results, values, faults) do
          {:ok, values, errors} -> {:ok, values, errors, handler}
          {:error, why} -> {:broken, why, %{short: true}}
        end

      {:ok, {:error, _id, error}} ->
        {:error, Fault.to_error(error)}

      {:error, why} ->
        {:broken, why}
    end
  end

  # A handler that waits for who takes its results may hold up others for long.
  defp finish({:ok, values, errors, handler}, results, times, lane) do
    wire = System.convert_time_unit(times.wire, :native, :microsecond)
    Board.took(lane.board, lane.slot, if(results.got > 0, do: wire, else: handler))
    handler = System.convert_time_unit(handler, :microsecond, :native)
    Outcome.ok(values, errors, %{times | handler: handler})
  end

  defp finish({:error, error}, _results, times, _lane), do: Outcome.error(error, times)

  defp finish({:broken, why}, results, times, lane),
    do: finish({:broken, why, %{}}, results, times, lane)

  # A worker that broke the protocol is lost: its owner ends it, and others are not fooled.
  defp finish({:broken, why, details}, _results, times, lane) do
    error = %{broken(lane.slot, why) | details: details}
    GenServer.cast(lane.worker, {:kill, error})
    Outcome.error(error, times)
  end

  # One that had not begun was cancelled in its place.
  defp told_killed(%Outcome{kind: :error, error: %Error{reason: :cancelled}} = outcome),
    do: %{outcome | error: killed()}

  defp told_killed(outcome), do: outcome

  defp killed, do: %Error{reason: :killed, message: "the call was killed by its caller"}

  defp abandoned, do: %Error{reason: :cancelled, message: "the caller is gone"}

  defp unsendable(why), do: %Error{reason: :not_encodable, message: why}

  defp too_large(size, limit, count) do
    %Error{
      reason: :too_large,
      message: "a batch of #{count} items takes #{size} bytes; a frame holds #{limit}",
      hint: "lower batch_size, or batch by weight",
      details: %{size: size, limit: limit}
    }
  end

  defp broken(slot, why) do
    %Error{
      reason: :protocol_error,
      message: "Python worker #{slot} broke the protocol: #{why}"
    }
  end

  defp crashed(reason) do
    %Error{
      reason: :worker_died,
      message: "the worker's owner ended: #{Exception.format_exit(reason)}"
    }
  end
end
