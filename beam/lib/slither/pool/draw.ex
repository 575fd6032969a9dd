defmodule Slither.Pool.Draw do
  @moduledoc false
  # The values that one call gives, drawn from its worker as they are wanted, in the process that
  # reads them: `Slither.stream_call/4`, and such a run of a driver. Nothing is drawn ahead but what
  # a chunk holds, and no lane is held between two chunks. The worker closes what nobody draws once
  # the run of this call ends: here, or in the scheduler where the process is gone.

  alias Slither.Error
  alias Slither.Pool.{Errors, Handle, Scheduler, Traces}
  alias Slither.Trace.Span
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Lane, Outcome, Part, Target, Timing}
  alias Slither.Telemetry.Events

  @enforce_keys [:handle, :alias, :monitor, :ref, :run, :target, :payload, :options, :traced]
  defstruct @enforce_keys ++
              [trace: nil, state: :new, call: nil, begun: false, given_back: 0] ++
              [error: nil, sent: nil, waited: 0, timing: %Timing{}, told: nil]

  @typedoc """
  The call of `target` with a `payload`, which is all that belongs to `run`. `ref` is that of its
  lease, `call` the worker and the number that `more` names. The state is `:new`, `:out` while a call
  is out, `:rest` between two chunks, and `:ended` once no more is to come, or the error that is.
  `traced` has what calls say of the run, and `trace` is the template of their spans. The event of the call
  tells of the `error` that ended it, or of `timing`, the sum over its chunks, which have `waited` for
  the worker; the first was sent at `sent`. It is `told` once.
  """
  @type t :: %__MODULE__{
          handle: Handle.t(),
          alias: reference,
          monitor: reference,
          ref: reference,
          run: String.t(),
          target: [String.t()],
          payload: term,
          options: keyword,
          traced: map,
          trace: Span.t() | nil,
          state: :new | :out | :rest | :ended | {:failed, Error.t()},
          call: {pid, pos_integer} | nil,
          begun: boolean,
          given_back: non_neg_integer,
          error: Error.t() | nil,
          sent: integer | nil,
          waited: integer,
          timing: Timing.t(),
          told: :atomics.atomics_ref()
        }

  @doc """
  A call of which nothing is drawn yet, in the process that will draw. Options: `timeout` (ms that the
  next value may take), `queue_timeout`, `session_id` and `on_session_lost`, and `metadata`.
  """
  @spec open(Handle.t(), [String.t()], term, keyword) :: t
  def open(handle, target, payload, options) do
    alias = :erlang.alias()
    run = "stream-#{System.unique_integer([:positive])}"
    {text, trace} = Traces.call(target, handle.name, options[:metadata] || %{})
    traced = if text, do: %{"run" => run, "trace" => text}, else: %{"run" => run}

    %__MODULE__{
      handle: handle,
      alias: alias,
      monitor: :erlang.monitor(:process, handle.scheduler, tag: {alias, :draw}),
      ref: make_ref(),
      told: :atomics.new(1, signed: false),
      run: run,
      traced: traced,
      trace: trace,
      target: target,
      payload: payload,
      options: options
    }
  end

  @doc "The next values, one at least; or that there are no more, or why."
  @spec next(t) :: {:values, [term, ...], t} | {:ended, t} | {:error, Error.t(), t}
  def next(%__MODULE__{state: :ended} = draw), do: {:ended, draw}

  def next(%__MODULE__{state: {:failed, error}} = draw),
    do: {:error, error, %{draw | state: :ended}}

  def next(%__MODULE__{state: :out} = draw), do: draw |> answer() |> given()
  def next(draw), do: draw |> ask() |> given()

  defp given({[], draw}), do: next(draw)
  defp given({values, draw}), do: {:values, values, draw}

  defp ask(%__MODULE__{options: options} = draw) do
    asked = draw.trace && Span.now()
    Scheduler.request(draw.handle, inbox(draw), draw.ref, request(draw))

    wanted = System.monotonic_time()

    case receive_next(draw) do
      {:granted, lane} ->
        draw = sent(draw, wanted, System.monotonic_time())

        Lane.run(lane, %Job{
          inbox: inbox(draw),
          ref: draw.ref,
          head: Frame.call_head(target(draw), context(draw)),
          timeout: options[:timeout] || :infinity,
          payloads: if(draw.call, do: [nil], else: [draw.payload]),
          many: if(draw.call, do: :more, else: :first),
          returns: true,
          trace: draw.trace && %{draw.trace | start: asked}
        })

        answer(%{draw | state: :out, begun: true})

      {_denied_or_lost, error} ->
        {[], fail(draw, error)}
    end
  end

  # The worker of a session is found by the session, which that keeps from being idle.
  defp request(%__MODULE__{options: options} = draw) do
    where =
      if draw.call == nil or options[:session_id],
        do: [session: options[:session_id]],
        else: [worker: elem(draw.call, 0), service: :more]

    rebind = draw.call == nil and options[:on_session_lost] == :rebind
    deadline = deadline(options[:queue_timeout])
    priority = options[:priority] || :normal
    [run: draw.run, rebind: rebind, parks: true, deadline: deadline, priority: priority] ++ where
  end

  defp deadline(timeout) when timeout in [nil, :infinity], do: nil
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp target(%__MODULE__{call: nil, target: target}), do: target
  defp target(%__MODULE__{call: {_worker, number}}), do: ["more", Integer.to_string(number)]

  defp context(draw),
    do: Map.merge(draw.traced, %{"session" => draw.options[:session_id], "many" => true})

  defp sent(draw, wanted, now),
    do: %{draw | sent: draw.sent || now, waited: draw.waited + now - wanted}

  defp answer(draw) do
    case receive_next(draw) do
      {:done, outcome} -> done(outcome, %{draw | timing: Timing.add(draw.timing, outcome.timing)})
      other -> came(other, draw)
    end
  end

  defp came({:part, %Part{values: entries}}, draw), do: {values(entries), draw}
  defp came({_lost_or_denied, error}, draw), do: {[], fail(draw, error)}

  defp done(%Outcome{kind: :ok, errors: %{0 => unsent}}, draw),
    do: {[], draw |> release() |> fail(unsent)}

  defp done(%Outcome{kind: :ok, values: entries, call: call}, draw),
    do: {values(entries), entries |> List.last() |> left(draw, call)}

  defp done(%Outcome{kind: :requeue, error: error}, draw),
    do: {[], draw |> release() |> given_back(error)}

  defp done(%Outcome{error: error}, draw), do: {[], draw |> release() |> fail(error)}

  defp values(entries), do: Enum.flat_map(entries, &elem(&1, 2))

  defp left({_index, true, _values, nil}, draw, _call), do: %{release(draw) | state: :ended}
  defp left({_index, true, _values, error}, draw, _call), do: draw |> release() |> fail(error)

  # The lane has parked its lease by itself: a reader may pause between a part and the answer.
  defp left(_open, draw, call), do: %{draw | state: :rest, call: draw.call || call}

  defp given_back(%__MODULE__{call: nil} = draw, error) do
    case Errors.given_back(error, draw.given_back) do
      {:again, count} -> %{draw | state: :new, given_back: count}
      {:failed, error} -> fail(draw, error)
    end
  end

  defp given_back(draw, _error), do: fail(draw, Errors.rest_lost(draw.handle.name))

  defp release(draw) do
    Scheduler.release(draw.handle, draw.ref)
    draw
  end

  defp fail(draw, error) do
    draw = %{draw | state: {:failed, error}, error: error}
    told(draw)
    draw
  end

  @doc "Draws no more: what the call has left is closed in its worker."
  @spec close(t) :: :ok
  def close(%__MODULE__{handle: handle} = draw) do
    if draw.state == :out,
      do: Scheduler.abandon(handle, draw.ref),
      else: Scheduler.release(handle, draw.ref)

    # A call that was answered at once has left nothing.
    if draw.call != nil or (draw.begun and draw.state != :ended),
      do: Scheduler.end_run(handle, draw.run)

    :erlang.unalias(draw.alias)
    Process.demonitor(draw.monitor)
    told(draw)
    empty(draw)
  end

  # A call of which nothing was drawn was none. Whoever closes what has failed may hand over what it was
  # before: a call is told of once.
  defp told(%__MODULE__{begun: false, error: nil}), do: :ok
  defp told(draw), do: if(:atomics.exchange(draw.told, 1, 1) == 0, do: tell(draw))

  defp tell(%__MODULE__{timing: timing, sent: sent} = draw) do
    facts = %{pool: draw.handle.name, session: draw.options[:session_id], worker: timing.worker}
    facts = Map.merge(Target.facts(draw.target), facts)

    if draw.error do
      Events.call_failed(sent, 1, facts, draw.error)
    else
      duration = System.monotonic_time() - sent
      measurements = timing |> Timing.waited(draw.waited) |> Timing.measurements()
      Events.call_stopped(Map.merge(measurements, %{duration: duration, size: 1}), %{}, facts)
    end
  end

  defp empty(draw) do
    if receive_next(draw, 0) == :none, do: :ok, else: empty(draw)
  end

  defp inbox(draw), do: {draw.alias, :draw}

  defp receive_next(draw, timeout \\ :infinity)

  defp receive_next(%__MODULE__{alias: alias, handle: handle}, timeout) do
    receive do
      {{^alias, :draw}, {kind, _ref, what}} ->
        {kind, what}

      {{^alias, :draw}, _monitor, :process, _pid, reason} ->
        {:lane_lost, Errors.stopped(handle.name, reason)}
    after
      timeout -> :none
    end
  end
end
