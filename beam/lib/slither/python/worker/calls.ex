defmodule Slither.Python.Worker.Calls do
  @moduledoc false
  # The calls that are out at a worker, in the order in which it runs them; the deadline of the one
  # that runs, and when to look what its items do; whether its handler waits for the reader of its
  # results; which are cancelled. Pure: the worker's owner tells it what happens and when, in ms, and
  # carries out the effects.

  alias Slither.Python.{Call, Limit}

  defstruct queue: [], cancelled: [], deadline: nil, look: nil, armed: nil, stall: nil, began: 0

  @typedoc """
  `armed` is when the owner's timer fires, at the latest. `stall` is nil or `{:left, ms}`, the time
  that the call had left when its handler began to wait; nil ms without a timeout. `look` is when to
  see what the call is at, where its items have a time each. `began` is when it began, had its handler
  never waited.
  """
  @type t :: %__MODULE__{
          queue: [Call.t()],
          cancelled: [pos_integer],
          deadline: integer | nil,
          look: integer | nil,
          armed: integer | nil,
          stall: {:left, pos_integer | nil} | nil,
          began: integer
        }
  @typedoc """
  What the owner is to do, in order: `:arm` its timer, instead of one that it has; start the `:grace`
  of a cancelled call; have the handler of a call `:run_on`; count the handler that has `:stalled`,
  and see whether it may; count the one that is `:going_on`.
  """
  @type effect ::
          {:arm, integer}
          | {:grace, pos_integer}
          | {:run_on, pos_integer}
          | :stalled
          | :going_on

  @doc "A call is about to be written."
  @spec sent(t, Call.t(), integer) :: {[effect], t}
  def sent(%__MODULE__{queue: []} = calls, call, now), do: begun(%{calls | queue: [call]}, now)

  def sent(calls, call, _now) do
    calls = %{calls | queue: calls.queue ++ [call]}
    {if(others?(calls), do: run_on(calls), else: []), calls}
  end

  @doc "A call is answered: the next has begun."
  @spec answered(t, pos_integer, integer) :: {[effect], t} | :unknown
  def answered(calls, id, now) do
    case take(calls.queue, id) do
      nil ->
        :unknown

      {_call, queue} ->
        head? = running?(calls, id)
        cancelled = List.delete(calls.cancelled, id)
        calls = %{calls | queue: queue, cancelled: cancelled}
        if head?, do: next(calls, now), else: {[], calls}
    end
  end

  defp next(%__MODULE__{stall: nil} = calls, now), do: begun(calls, now)

  defp next(calls, now) do
    {effects, calls} = begun(%{calls | stall: nil}, now)
    {[:going_on | effects], calls}
  end

  @doc """
  Results of a call have come, so it is the one that runs. Lanes note their calls and then write
  them: of two that do so at once, the second to be noted may be the first to run.
  """
  @spec part(t, pos_integer, integer) :: {[effect], t} | :unknown
  def part(%__MODULE__{queue: [%Call{id: id} | _]} = calls, id, _now), do: {[], calls}

  def part(calls, id, now) do
    case take(calls.queue, id) do
      nil -> :unknown
      {call, others} -> begun(%{calls | queue: [call | others]}, now)
    end
  end

  @doc "The handler of a call waits for the reader of its results: that uses up none of its time."
  @spec stalled(t, pos_integer, integer) :: {[effect], t}
  def stalled(%__MODULE__{stall: nil, queue: [%Call{id: id} | _]} = calls, id, now) do
    left = calls.deadline && max(calls.deadline - now, 1)
    ran = now - calls.began
    {[:stalled], %{calls | stall: {:left, left}, deadline: nil, look: nil, began: ran}}
  end

  def stalled(calls, _id, _now), do: {[], calls}

  @doc "It goes on."
  @spec resumed(t, pos_integer, integer) :: {[effect], t}
  def resumed(%__MODULE__{stall: {:left, left}, queue: [%Call{id: id} | _]} = calls, id, now) do
    # While it waits, `began` holds how long it has run.
    calls = %{calls | stall: nil, began: now - calls.began, deadline: left && now + left}
    {effects, calls} = arm(%{calls | look: if(limited?(calls), do: now)})
    {[:going_on | effects], calls}
  end

  def resumed(calls, _id, _now), do: {[], calls}

  @doc "Somebody needs the worker: a handler that waits is to go on."
  @spec run_on(t) :: [effect]
  def run_on(%__MODULE__{stall: nil}), do: []
  def run_on(%__MODULE__{queue: [%Call{id: id} | _]}), do: [{:run_on, id}]

  @doc """
  Whether a call of another run is behind the one that runs: whoever reads no results of one batch
  needs no next batch either.
  """
  @spec others?(t) :: boolean
  def others?(%__MODULE__{queue: []}), do: false

  def others?(%__MODULE__{queue: [%Call{context: context} | behind]}),
    do: Enum.any?(behind, &(context == nil or &1.context != context))

  @doc """
  Nobody waits for a call any more. Its run is over, and the views of its session with it. Its
  grace starts when it reaches the head of the queue.
  """
  @spec cancel(t, pos_integer) :: {[effect], t} | :unknown
  def cancel(calls, id) do
    if out?(calls, id) do
      queue =
        for call <- calls.queue, do: if(call.id == id, do: %{call | context: nil}, else: call)

      calls = %{calls | queue: queue, cancelled: [id | calls.cancelled]}
      {if(running?(calls, id), do: [{:grace, id}], else: []), calls}
    else
      :unknown
    end
  end

  @doc """
  The owner's timer has fired; `:over` with the call that runs where that is over its time, and
  `:look` with it where the owner is to see what it is at.

  The timer is left to run out rather than cancelled for each call, so it may be too early.
  """
  @spec due(t, integer) :: {[effect], t} | {:over | :look, Call.t(), t}
  def due(calls, now) do
    case %{calls | armed: nil} do
      %{deadline: at} = calls when at != nil and now >= at -> {:over, hd(calls.queue), calls}
      %{look: at} = calls when at != nil and now >= at -> {:look, hd(calls.queue), calls}
      calls -> arm(calls)
    end
  end

  @doc """
  What the call that runs is at, as the worker has noted it: `:over`, with what is over its time, or
  when to look again.

  No item can be over its time sooner than the one that it is at now.
  """
  @spec looked(t, {:item, non_neg_integer, integer} | {:list, integer} | :none | :error, integer) ::
          {[effect], t} | {:over, {:item, non_neg_integer} | :list}
  def looked(%__MODULE__{queue: [%Call{item_timeout: limit} | _]}, {:item, at, since}, _now)
      when since >= limit,
      do: {:over, {:item, at}}

  def looked(
        %__MODULE__{queue: [%Call{item_timeout: limit} | _]} = calls,
        {:item, _at, since},
        now
      ),
      do: arm(%{calls | look: now + limit - since})

  def looked(%__MODULE__{queue: [%Call{item_timeout: limit} | _]} = calls, :none, now),
    do: arm(%{calls | look: now + limit})

  # Nobody can tell the items apart, or what the call is at: they have their time together, without
  # the waits for the reader of their results.
  def looked(%__MODULE__{queue: [call | _]} = calls, list_or_error, now) do
    ran = now - calls.began
    since = with {:list, since} <- list_or_error, do: min(since, ran), else: (:error -> ran)
    left = Limit.together(call.item_timeout, call.items) - since
    if left <= 0, do: {:over, :list}, else: arm(%{calls | look: now + left})
  end

  @doc "The process is killed: no deadline holds any more."
  @spec halt(t) :: t
  def halt(calls), do: %{calls | deadline: nil, look: nil}

  @doc "Whether a call is the one that runs."
  @spec running?(t, pos_integer) :: boolean
  def running?(%__MODULE__{queue: [%Call{id: id} | _]}, id), do: true
  def running?(_calls, _id), do: false

  @doc "Since when a call runs; `nil` where none does, or its handler waits."
  @spec since(t) :: integer | nil
  def since(%__MODULE__{queue: [_ | _], stall: nil, began: began}), do: began
  def since(_calls), do: nil

  @doc "Whether a call is out."
  @spec out?(t, pos_integer) :: boolean
  def out?(calls, id), do: fetch(calls, id) != nil

  @doc "The call of an id; nil where it is not out."
  @spec fetch(t, pos_integer | nil) :: Call.t() | nil
  def fetch(calls, id), do: Enum.find(calls.queue, &(&1.id == id))

  # A worker runs its calls in order, so a call begins when it becomes the head of the queue.
  defp begun(%__MODULE__{queue: []} = calls, _now), do: {[], %{calls | deadline: nil, look: nil}}

  defp begun(%__MODULE__{queue: [%Call{id: id} = call | _]} = calls, now) do
    deadline = from(now, call.timeout)
    look = from(now, call.item_timeout)
    {effects, calls} = arm(%{calls | deadline: deadline, look: look, began: now})
    {if(id in calls.cancelled, do: [{:grace, id} | effects], else: effects), calls}
  end

  defp from(_now, :infinity), do: nil
  defp from(now, time), do: now + time

  defp limited?(%__MODULE__{queue: [%Call{item_timeout: limit} | _]}), do: limit != :infinity

  # A timer that fires before what it is for is simply set again when it does. Only a timer that
  # would fire too late is replaced now.
  defp arm(%__MODULE__{deadline: nil, look: nil} = calls), do: {[], calls}

  defp arm(%__MODULE__{deadline: deadline, look: look, armed: armed} = calls) do
    # In the order of terms an atom, as nil is, comes after all numbers.
    at = min(deadline, look)
    if armed != nil and armed <= at, do: {[], calls}, else: {[{:arm, at}], %{calls | armed: at}}
  end

  defp take([%Call{id: id} = call | calls], id), do: {call, calls}

  defp take(calls, id) do
    case Enum.split_while(calls, &(&1.id != id)) do
      {before, [call | behind]} -> {call, before ++ behind}
      {_calls, []} -> nil
    end
  end
end
