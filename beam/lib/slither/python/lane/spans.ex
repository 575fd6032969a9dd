defmodule Slither.Python.Lane.Spans do
  @moduledoc false
  # The span of a call, which its lane begins and ends: so that it ends however its worker does. For
  # `Slither.Python.Lane` and `Lane.Exchange`, in a lane's process.

  alias Slither.Protocol.{Block, Frame}
  alias Slither.Python.{Fault, Job, Outcome, Target}
  alias Slither.Trace.{Recorder, Span}

  @doc "Begins the span of a job, if it has one; gives the head that tells Python of it."
  @spec begin(Job.t(), [String.t()] | nil, pos_integer, Slither.Python.Lane.t()) ::
          {binary, Span.t() | nil}
  def begin(%Job{trace: nil, head: head}, _named, _items, _lane), do: {head, nil}

  def begin(%Job{trace: text, head: head}, _named, _items, _lane) when is_binary(text),
    do: {Frame.traced(head, text), nil}

  def begin(%Job{trace: template, head: head} = job, named, items, lane) do
    facts = %{
      "slither.worker" => lane.slot,
      "slither.batch" => job.batch,
      "slither.attempt" => job.attempt,
      "slither.items" => items
    }

    case template |> named(named) |> Span.put(facts) |> Recorder.start() do
      nil -> {head, nil}
      span -> {Frame.traced(head, Span.traceparent(span)), span}
    end
  end

  # A call of many functions says in its item which it is.
  defp named(template, nil), do: template

  defp named(template, target) do
    method = Target.name(target)
    Span.put(%{template | name: method}, %{"rpc.method" => method})
  end

  @doc "Ends it, with what became of the call."
  @spec ended(Outcome.t(), Span.t() | nil) :: Outcome.t()
  def ended(outcome, nil), do: outcome

  def ended(outcome, span) do
    {error, facts} = said(outcome, span.attributes["slither.items"])
    Recorder.finish(span, error, facts)
    outcome
  end

  # What a Python program has sent is one block here and there.
  defp said(%Outcome{kind: :ok, values: [%Block{errors: %{} = faults}]} = outcome, items) do
    errors = Map.new(faults, fn {at, fault} -> {at, Fault.to_error(fault)} end)
    said(%{outcome | values: [], errors: errors}, items)
  end

  # A call fails where all that it was asked for has.
  defp said(%Outcome{kind: :ok, errors: errors}, items)
       when map_size(errors) == 0 or items == nil,
       do: {nil, %{}}

  defp said(%Outcome{kind: :ok, errors: errors}, items) do
    failed = map_size(errors)
    {_at, first} = Enum.min(errors)
    {if(failed == items, do: first), %{"slither.items.failed" => failed}}
  end

  # Another worker gets it.
  defp said(%Outcome{kind: :requeue}, _items), do: {nil, %{"slither.requeued" => true}}
  defp said(%Outcome{error: error}, _items), do: {error, %{}}
end
