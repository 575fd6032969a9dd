defmodule Slither.Trace.Received do
  @moduledoc false
  # The spans that a worker's frame tells of, as `protocol/PROTOCOL.md` has them. In the process of the
  # worker's owner, which calls it. What can't be read is dropped: a span is no reason to end anything.

  alias Slither.Bytes
  alias Slither.Trace.{Exporter, Parent, Span}

  @kinds {:internal, :server, :client, :producer, :consumer}

  @doc "Hands on what a worker has recorded; `facts` are of the worker."
  @spec record([term], non_neg_integer, Span.attributes()) :: :ok
  def record(spans, dropped, facts) do
    {read, unread} = spans |> Enum.map(&span(&1, facts)) |> Enum.split_with(&(&1 != nil))
    Enum.each(read, &Exporter.record/1)
    if dropped + length(unread) > 0, do: Exporter.dropped(dropped + length(unread)), else: :ok
  end

  defp span(%{"ids" => ids, "name" => name, "start" => start, "end" => stop} = told, facts)
       when is_binary(name) and is_integer(start) and is_integer(stop) do
    with [trace_id, span_id, parent_id] <- ids,
         %Parent{} = id <- id(trace_id, span_id) do
      %Span{
        id: id,
        parent: id(trace_id, parent_id),
        name: name,
        kind: kind(told["kind"]),
        start: start,
        stop: stop,
        attributes: Map.merge(facts, attributes(told["attributes"])),
        events:
          for(
            [name, at, facts] <- list(told["events"]),
            event?(name, at),
            do: {name, at, attributes(facts)}
          ),
        links:
          for([trace_id, span_id] <- list(told["links"]), link = id(trace_id, span_id), do: link),
        error: if(is_binary(told["error"]), do: told["error"]),
        scope: if(is_binary(told["scope"]), do: told["scope"], else: "slither")
      }
    else
      _unread -> nil
    end
  end

  defp span(_another, _facts), do: nil

  defp id(%Bytes{data: <<trace_id::binary-size(16)>>}, %Bytes{data: <<span_id::binary-size(8)>>}),
    do: %Parent{trace_id: trace_id, span_id: span_id}

  defp id(_trace, _none), do: nil

  defp kind(number) when number in 1..5, do: elem(@kinds, number - 1)
  defp kind(_unknown), do: :internal

  defp event?(name, at), do: is_binary(name) and is_integer(at)

  defp list(list) when is_list(list), do: list
  defp list(_other), do: []

  defp attributes(%{} = facts) when not is_struct(facts),
    do: for({name, value} <- facts, is_binary(name), into: %{}, do: {name, plain(value)})

  defp attributes(_other), do: %{}

  defp plain(%Bytes{}), do: nil
  defp plain(value), do: value
end
