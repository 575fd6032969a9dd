defmodule Slither.Python.Lane.Exchange do
  @moduledoc false
  # One call, from its job to its outcome: makes its frame, and parts and an outcome of the bodies
  # that come back. Sends and receives nothing; it only reads the clock. For `Slither.Python.Lane`.

  alias Slither.Error
  alias Slither.Protocol.{Block, Encoder, Frame}
  alias Slither.Python.{Call, Fault, Job, Limit, Outcome, Part, Timing}
  alias Slither.Python.Lane.{Entries, Named, Results, Spans}

  @enforce_keys [:id, :job, :form, :results, :timing, :sent, :slot]
  defstruct [:id, :job, :form, :results, :timing, :sent, :slot, :worker, :capture, :frame] ++
              [:asked, :named, :stalled, :span, items: 1, tape: {[], false}, killed?: false]

  @typedoc """
  Call `id` of a job for a `worker`, written at `sent`, nil for never, with so many `items`; its
  results are decoded in a `form`. The `frame` is kept where a failure is to be written to
  `capture`, with the `tape` of what the call asked. `asked` is the scheduler that waits for the
  lane, if nobody else does; `killed?` says that the caller had the call killed, and `named` what it
  calls, where its head does not. `stalled` is since when the handler waits for whoever reads its
  results. `span` is the call's own.
  """
  @type t :: %__MODULE__{
          id: pos_integer,
          job: Job.t(),
          form: :values | :raw | :block,
          results: Results.t() | Entries.t(),
          timing: Timing.t(),
          sent: integer | nil,
          slot: non_neg_integer,
          worker: pid | nil,
          capture: Slither.Python.Capture.t() | nil,
          frame: iodata | nil,
          asked: pid | nil,
          named: [String.t()] | nil,
          stalled: integer | nil,
          span: Slither.Trace.Span.t() | nil,
          items: pos_integer,
          tape: {list, boolean},
          killed?: boolean
        }

  @doc "Encodes a job for a lane; or says what becomes of it if nothing is to be sent."
  @spec new(Job.t(), pos_integer, Slither.Python.Lane.t()) ::
          {:send, iodata, t} | {:done, Outcome.t()}
  def new(job, id, lane) do
    started = System.monotonic_time()
    {count, encoded, bad} = encode(job.payloads)
    timing = %Timing{worker: lane.slot}

    if count == 0 do
      values = if job.many, do: [], else: Enum.map(job.payloads, fn _ -> nil end)
      {:done, Outcome.ok(values, bad, timing)}
    else
      named = Named.target(job.head, job.payloads)
      {head, span} = Spans.begin(job, named, count, lane)
      frame = Frame.call(id, head, job.batch, job.attempt, count, encoded)
      size = IO.iodata_length(frame)
      sent = System.monotonic_time()
      timing = %{timing | encode: sent - started, bytes: size}

      if size > lane.max_frame do
        {:done, Spans.ended(Outcome.error(too_large(size, lane.max_frame, count), timing), span)}
      else
        # The owner knows the call by what Python is told of it, its span included.
        exchange = new(%{job | head: head}, id, lane, bad, frame, sent, timing)
        {:send, frame, %{exchange | items: count, named: named, span: span}}
      end
    end
  end

  defp new(job, id, lane, bad, frame, sent, timing) do
    results =
      if job.many, do: Entries.new(bad), else: Results.new(count(job.payloads), bad, lane.ahead)

    # A call that goes on with another can't be run again by itself.
    capture = if job.many != :more, do: job.capture || lane.capture

    %__MODULE__{
      id: id,
      # The frame holds the payloads now, so the exchange lets the terms go.
      job: %{job | payloads: []},
      form: form(job),
      results: results,
      timing: timing,
      sent: sent,
      slot: lane.slot,
      worker: lane.worker,
      capture: capture,
      frame: capture && frame
    }
  end

  defp form(%Job{payloads: [%Block{}]}), do: :block
  defp form(%Job{raw: true}), do: :raw
  defp form(_job), do: :values

  @doc "What the worker's owner is told of it."
  @spec call(t) :: Call.t()
  def call(%__MODULE__{job: job} = exchange) do
    record = exchange.capture && div(exchange.capture.max_bytes, 2)

    %Call{
      id: exchange.id,
      timeout: Limit.total(job.timeout, job.item_timeout, exchange.items),
      item_timeout: job.item_timeout,
      given?: job.timeout != nil,
      items: exchange.items,
      context: job.context,
      batch: job.batch,
      attempt: job.attempt,
      head: job.head,
      named: exchange.named,
      record: record
    }
  end

  @doc """
  A body of results that come before the call is done. Those of a block are `:kept`, as nobody waits
  for a part of one, and a frame gives the worker its credit back.
  """
  @spec part(t, binary) ::
          {:part, Part.t(), t} | {:kept, iodata, t} | {:broken, Error.t(), t}
  def part(%__MODULE__{timing: timing} = exchange, body) do
    received = System.monotonic_time()
    size = byte_size(body)

    with {:ok, {:part, _id, index, values, faults}} <- read(exchange.form, body),
         {:ok, values, errors, results} <- placed(exchange.results, index, values, faults) do
      decode = timing.decode + System.monotonic_time() - received
      timing = %{timing | decode: decode, result_bytes: timing.result_bytes + size}
      part = %Part{values: values, errors: errors, bytes: size}
      {:part, part, waiting(%{exchange | results: results, timing: timing}, received)}
    else
      {:kept, count, results} ->
        {frame, exchange} = allow(%{exchange | results: results}, count)
        {:kept, frame, exchange}

      {:error, why} ->
        {:broken, broken(exchange.slot, why), exchange}
    end
  end

  @doc """
  The body of the answer: the outcome, and the µs that the call has held up others; nil for an error.

  The worker answered the call before it at `before`: it can't have begun this one earlier.
  """
  @spec answer(t, binary, integer | nil) ::
          {:done, Outcome.t(), non_neg_integer | nil} | {:broken, Error.t(), t}
  def answer(exchange, body, before \\ nil) do
    received = System.monotonic_time()
    exchange = %{goes_on(exchange, received) | stalled: nil}
    decoded = decode(exchange, body)
    bytes = exchange.timing.result_bytes + byte_size(body)
    taken = System.monotonic_time() - received
    {ran, timing} = ran(exchange, before, received)

    case decoded do
      {:ok, values, errors, [_decode, micros, _encode] = times} ->
        # A handler that yields also waits for the reader of its results, and others wait behind
        # it for all of that time, not for the handler's alone.
        pace = if exchange.results.got > 0, do: micros(ran), else: micros
        [decode, handler, encode] = Enum.map(times, &native/1)
        rest = ran - timing.decode - timing.reader - decode - handler - encode

        timing = %{
          timing
          | decode: timing.decode + taken + decode,
            encode: timing.encode + encode,
            handler: handler,
            wire: max(rest, 0),
            result_bytes: bytes
        }

        {:done, Outcome.ok(values, errors, timing), pace}

      # An error does not say what its handler took: all of it, as far as anybody knows.
      {:error, error} ->
        handler = max(ran - timing.decode - timing.reader, 0)
        decode = timing.decode + taken
        timing = %{timing | decode: decode, handler: handler, result_bytes: bytes}
        {:done, Outcome.error(error, timing), nil}

      {:broken, why, details} ->
        error = %{broken(exchange.slot, why) | details: details}
        {:broken, error, %{exchange | timing: %{timing | result_bytes: bytes}}}
    end
  end

  # How long the worker had the call for itself, until `now`, and its timing with the time before that.
  defp ran(%__MODULE__{timing: timing, sent: sent}, before, now) do
    began = if before, do: before |> max(sent) |> min(now), else: sent
    {now - began, %{timing | queue: began - sent}}
  end

  defp micros(time), do: System.convert_time_unit(time, :native, :microsecond)
  defp native(time), do: System.convert_time_unit(time, :microsecond, :native)

  @doc """
  The outcome where the worker is gone; `details.at` is the item that it was ended for, if it was: another may run the call unless it was `executing`, or may
  have been, as its owner has crashed. The worker's last answer came at `before`.
  """
  @spec down(t, Error.t(), pos_integer | nil | :crashed, integer | nil) :: Outcome.t()
  def down(exchange, error, executing, before \\ nil)
  def down(%__MODULE__{sent: nil}, error, _executing, _before), do: Outcome.requeue(error)
  def down(exchange, error, :crashed, _before), do: Outcome.died(error, exchange.timing)

  def down(%__MODULE__{id: id, job: job} = exchange, error, id, before) do
    now = System.monotonic_time()
    exchange = goes_on(exchange, now)
    {ran, timing} = ran(exchange, before, now)
    timing = %{timing | handler: max(ran - timing.decode - timing.reader, 0)}
    target = exchange.named || Frame.call_target(job.head)
    facts = %{target: target, batch: job.batch, attempt: job.attempt}
    {at, details} = Map.pop(error.details, :at)
    outcome = Outcome.died(%{error | details: Map.merge(details, facts)}, timing)
    if at, do: %{outcome | at: Results.place(exchange.results, at)}, else: outcome
  end

  def down(_exchange, error, _other, _before), do: Outcome.requeue(error)

  @doc """
  The outcome as its caller knows it: a call that it had killed was cancelled in its place, and one
  that has many values is known by its worker and its number.
  """
  @spec told(Outcome.t(), t) :: Outcome.t()
  def told(%Outcome{error: %Error{reason: :cancelled}} = outcome, %__MODULE__{killed?: true}),
    do: %{outcome | error: killed()}

  def told(outcome, %__MODULE__{job: %{many: nil}}), do: outcome
  def told(outcome, exchange), do: %{outcome | call: {exchange.worker, exchange.id}}

  @doc "The error of a call that was killed."
  @spec killed() :: Error.t()
  def killed, do: %Error{reason: :killed, message: "the call was killed by its caller"}

  @doc "Gives it credit for so many more results, or for all that are left: a frame says so."
  @spec allow(t, pos_integer | :all) :: {iodata, t}
  def allow(%__MODULE__{results: results} = exchange, :all) do
    %module{} = results
    frame = Frame.encode!({:credit, exchange.id, module.left(results)})
    {frame, waiting(%{exchange | results: module.run_on(results)}, System.monotonic_time())}
  end

  def allow(%__MODULE__{results: %module{} = results} = exchange, count) do
    frame = Frame.encode!({:credit, exchange.id, count})
    exchange = %{exchange | results: module.allow(results, count)}
    {frame, waiting(exchange, System.monotonic_time())}
  end

  # Counts the time in which a handler without credit waits.
  defp waiting(%__MODULE__{stalled: since} = exchange, now) do
    case {stalled?(exchange), since} do
      {true, nil} -> %{exchange | stalled: now}
      {false, since} when since != nil -> %{goes_on(exchange, now) | stalled: nil}
      _as_before -> exchange
    end
  end

  defp goes_on(%__MODULE__{stalled: nil} = exchange, _now), do: exchange

  defp goes_on(%__MODULE__{stalled: since, timing: timing} = exchange, now),
    do: %{exchange | timing: %{timing | reader: timing.reader + max(now - since, 0)}}

  @doc "Whether the handler has to wait for credit."
  @spec stalled?(t) :: boolean
  def stalled?(%__MODULE__{results: %module{} = results}), do: module.stalled?(results)

  defp placed(%module{} = results, index, values, faults),
    do: module.part(results, index, values, faults)

  # One block holds all items of a call, encoded already.
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

  defp count([%Block{count: count}]), do: count
  defp count(payloads), do: length(payloads)

  defp decode(exchange, body) do
    case read(exchange.form, body) do
      {:ok, {:result, _id, values, faults, times}} ->
        %module{} = results = exchange.results

        case module.rest(results, values, faults) do
          {:ok, values, errors} -> {:ok, values, errors, times}
          {:error, why} -> {:broken, why, %{short: true}}
        end

      {:ok, {:error, _id, error}} ->
        {:error, Fault.to_error(error)}

      {:error, why} ->
        {:broken, why, %{}}
    end
  end

  defp read(:block, body), do: Frame.decode_block(body)
  defp read(:raw, body), do: Frame.decode_raw(body)
  defp read(:values, body), do: Frame.decode(body)

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
end
