defmodule Slither.Pool.Call do
  @moduledoc false
  # Single calls, in the process that makes them: `Slither.Python.Pool.call/4`, and the pool's own
  # calls to its workers. `hold/3` holds a lane while a function runs, and gives it back however
  # that ends. If the process itself ends, the scheduler takes the lane back.

  alias Slither.Error
  alias Slither.Pool.{Errors, Handle, Scheduler, Traces}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Lane, Outcome, Part, Target, Timing}
  alias Slither.Telemetry.Events

  @enforce_keys [:handle, :alias, :ref]
  defstruct [:handle, :alias, :ref, :lane]

  @typedoc "A lease, of reference `ref`, and the alias that its holder waits with."
  @type t :: %__MODULE__{
          handle: Handle.t(),
          alias: reference,
          ref: reference,
          lane: pid | nil
        }

  @doc "Runs one call on a lane of a pool; see `Slither.Python.Pool.call/4`."
  @spec run(Handle.t(), [String.t()], [term], keyword) ::
          {:ok, [term], %{optional(non_neg_integer) => Error.t()}} | {:error, Error.t()}
  def run(handle, target, payloads, options) do
    asked = System.monotonic_time()
    {text, trace} = Traces.call(target, handle.name)
    context = %{"session" => options[:session_id]}
    context = if text, do: Map.put(context, "trace", text), else: context
    options = if trace, do: [{:trace, trace} | options], else: options
    {sent, outcome} = attempt(handle, target, payloads, {context, options}, 0)
    session = options[:session_id]
    waited = {asked, options[:rated] || 0}
    facts = Map.merge(Target.facts(target), %{pool: handle.name, session: session})
    told(outcome, waited, sent, length(payloads), facts)
  end

  defp told(%Outcome{kind: :ok} = outcome, {asked, rated}, sent, size, facts) do
    %Outcome{values: values, errors: errors, timing: timing} = outcome
    timing = timing || %Timing{}

    timing
    |> Timing.waited(sent - asked, rated)
    |> Timing.measurements()
    |> Map.merge(%{duration: System.monotonic_time() - sent, size: size})
    |> Events.call_stopped(errors, Map.put(facts, :worker, timing.worker))

    {:ok, values, errors}
  end

  defp told(%Outcome{error: error, timing: timing}, _asked, sent, size, facts) do
    Events.call_failed(sent, size, Map.put(facts, :worker, timing && timing.worker), error)
    {:error, error}
  end

  # When it was sent, nil if it never was, and what became of it.
  defp attempt(handle, target, payloads, {context, options} = how, given_back) do
    session = options[:session_id]

    request = [
      session: session,
      rebind: options[:on_session_lost] == :rebind,
      deadline: deadline(options[:queue_timeout]),
      priority: options[:priority] || :normal
    ]

    call = fn held ->
      sent = System.monotonic_time()
      {sent, once(held, target, context, payloads, options)}
    end

    case hold(handle, request, call) do
      {:error, error} ->
        Traces.not_begun(options[:trace], error)
        {nil, Outcome.error(error, nil)}

      {sent, %Outcome{kind: :requeue, error: error}} ->
        case Errors.given_back(error, given_back) do
          {:again, count} -> attempt(handle, target, payloads, how, count)
          {:failed, error} -> {sent, Outcome.error(error, nil)}
        end

      {_sent, %Outcome{}} = answered ->
        answered
    end
  end

  defp deadline(timeout) when timeout in [nil, :infinity], do: nil
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  @doc """
  Waits for a lane and runs `fun` with it; or says why there is none.

  Messages that the process had before cost it nothing. The VM notes the place in the queue where the
  alias was made, for receives of this module that match it in all their clauses, and keeps the note
  while another may follow: `empty/2` has the last one.
  """
  @spec hold(Handle.t(), keyword, (t -> answer)) :: answer | {:error, Error.t()}
        when answer: term
  def hold(handle, request, fun) do
    alias = :erlang.alias()
    monitor = :erlang.monitor(:process, handle.scheduler, tag: {alias, :call})
    call = %__MODULE__{handle: handle, alias: alias, ref: make_ref()}
    Scheduler.request(handle, {alias, :call}, call.ref, request)

    try do
      with {:granted, lane} <- next(alias, handle, :infinity) do
        answer = fun.(%{call | lane: lane})
        Scheduler.release(handle, call.ref)
        answer
      else
        {_kind, error} -> {:error, error}
      end
    catch
      kind, reason ->
        Scheduler.abandon(handle, call.ref)
        :erlang.raise(kind, reason, __STACKTRACE__)
    after
      :erlang.unalias(alias)
      Process.demonitor(monitor)
      empty(alias, handle)
    end
  end

  @doc "Makes a call on the lane that is held. Options: `timeout` (ms; 30,000 for each payload)."
  @spec once(t, [String.t()], map, [term], keyword) :: Outcome.t()
  def once(%__MODULE__{} = call, target, context, payloads, options \\ []) do
    Lane.run(call.lane, %Job{
      inbox: {call.alias, :call},
      ref: call.ref,
      head: Frame.call_head(target, context),
      timeout: options[:timeout],
      trace: options[:trace],
      payloads: payloads
    })

    answer(call, {[], %{}})
  end

  defp answer(call, parts) do
    case next(call.alias, call.handle, :infinity) do
      {:part, %Part{values: results, errors: errors}} ->
        Lane.taken(call.lane, call.ref, length(results))
        answer(call, join(parts, results, errors))

      {:done, %Outcome{kind: :ok} = outcome} ->
        {results, errors} = join(parts, outcome.values, outcome.errors)
        %{outcome | values: results, errors: errors}

      {:done, outcome} ->
        outcome

      {_lost_or_denied, error} ->
        Outcome.died(error, nil)
    end
  end

  defp join({[], _none}, results, errors), do: {results, errors}

  defp join({before, errors}, results, more) do
    shift = length(before)
    {before ++ results, Map.merge(errors, Map.new(more, fn {at, e} -> {at + shift, e} end))}
  end

  defp empty(alias, handle) do
    with {_kind, _late} <- next(alias, handle, 0), do: empty(alias, handle)
  end

  defp next(alias, handle, timeout) do
    receive do
      {{^alias, :call}, {kind, _ref, what}} ->
        {kind, what}

      {{^alias, :call}, _monitor, :process, _pid, reason} ->
        {:lane_lost, Errors.stopped(handle.name, reason)}
    after
      timeout -> :none
    end
  end
end
