defmodule Slither.Run.Traced do
  @moduledoc false
  # The spans of a run's calls, and of what is pushed into a pipe: their templates, made by whoever
  # opens the run, and what a batch adds to them. Plain data; `Slither.Trace` says what they are.

  alias Slither.{Context, Error, Item}
  alias Slither.Pool.Traces
  alias Slither.Run.Batch
  alias Slither.Trace.{Recorder, Span}

  @doc """
  What the calls of a run are below: the text that goes to Python as it is, and the template of their
  spans, where there are such.
  """
  @spec calls([String.t()], atom, Context.t()) :: {String.t() | nil, Span.t() | nil}
  def calls(target, pool, %Context{} = context) do
    Traces.call(target, pool, context.metadata, %{
      "slither.run" => context.runtime[:run],
      "slither.pipe" => name(context.pipe),
      "slither.stage" => name(context.stage)
    })
  end

  defp name(nil), do: nil
  defp name(name), do: to_string(name)

  @doc """
  The template of a batch's span, of that of its run; or where its items come from what is not
  recorded, that as the text which goes to Python.
  """
  @spec batch(Span.t() | nil, Batch.t()) :: Span.t() | String.t() | nil
  def batch(nil, %Batch{entries: [{_seq, %Item{meta: %{trace: trace}}} | _]}), do: trace
  def batch(nil, _batch), do: nil

  def batch(template, batch) do
    template = %{template | start: batch.queued && Span.at(batch.queued)}

    case for {_seq, %Item{meta: %{trace: trace}}} <- batch.entries, do: trace do
      [] -> template
      traces -> template |> Span.link(traces) |> linked(traces, length(batch.entries))
    end
  end

  defp linked(%Span{links: [], parent: nil}, [trace | _], _count), do: trace
  defp linked(%Span{links: []} = span, _traces, _count), do: span
  defp linked(span, _traces, count), do: consumer(span, count)

  # What was pushed into a pipe; the items of a gather come from callers.
  defp consumer(%Span{attributes: %{"slither.pipe" => pipe}} = span, count),
    do: messages(%{span | kind: :consumer, name: "process #{pipe}"}, pipe, "process", count)

  # A parent needs no link.
  defp consumer(span, _count), do: %{span | links: List.delete(span.links, span.parent)}

  @doc "Begins the span of a push of items into a pipe; nil where there is none."
  @spec push(atom | String.t(), non_neg_integer) :: Span.t() | nil
  def push(pipe, count) do
    name = name(pipe)
    template = %Span{name: "push #{name}", kind: :producer}

    case Recorder.below(%{}, false, fn -> messages(template, name, "send", count) end) do
      {_text, nil} -> nil
      {nil, template} -> Recorder.start(template)
    end
  end

  @doc "Ends the span of a push, with its answer; gives that."
  @spec pushed(Span.t() | nil, answer) :: answer when answer: :ok | {:error, term}
  def pushed(nil, answer), do: answer

  def pushed(span, answer) do
    Recorder.finish(span, refused(answer))
    answer
  end

  defp refused(:ok), do: nil

  defp refused({:error, reason}) when is_atom(reason),
    do: %Error{reason: reason, message: "the pipe takes no more items: #{reason}"}

  defp refused({:error, error}), do: error

  defp messages(span, pipe, type, count) do
    Span.put(span, %{
      "messaging.system" => "slither",
      "messaging.operation.name" => if(type == "send", do: "push", else: type),
      "messaging.operation.type" => type,
      "messaging.destination.name" => pipe,
      "messaging.batch.message_count" => count
    })
  end

  @doc "Items that say which span they come from; those that do already are left alone."
  @spec from(Span.t() | nil, [term]) :: [term]
  def from(nil, items), do: items

  def from(span, items) do
    trace = Span.traceparent(span)
    Enum.map(items, &from_one(&1, trace))
  end

  defp from_one(%Item{meta: %{trace: _its_own}} = item, _trace), do: item
  defp from_one(%Item{} = item, trace), do: Item.put_meta(item, trace: trace)
  # It gets its place in the input as its id, as any payload.
  defp from_one(payload, trace), do: %Item{id: nil, payload: payload, meta: %{trace: trace}}
end
