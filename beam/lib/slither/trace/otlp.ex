defmodule Slither.Trace.OTLP do
  @moduledoc false
  # Spans as OpenTelemetry's protocol has them: the body of a request to export them, in protobuf. By
  # hand, as it is eight kinds of messages. Pure; the exporter calls it.

  import Bitwise

  alias Slither.Trace.{Parent, Span}

  @kinds %{internal: 1, server: 2, client: 3, producer: 4, consumer: 5}
  @error 2
  @longest 0x7FFF_FFFF_FFFF_FFFF

  @doc "The body of a request, for a service of these attributes."
  @spec request([Span.t()], Span.attributes(), String.t()) :: iodata
  def request(spans, resource, version) do
    scopes =
      for {scope, spans} <- Enum.group_by(spans, & &1.scope) do
        about = [text(1, scope), if(scope == "slither", do: text(2, version), else: [])]
        message(2, [message(1, about) | Enum.map(spans, &message(2, span(&1)))])
      end

    message(1, [message(1, attributes(1, resource)) | scopes])
  end

  defp span(%Span{id: %Parent{} = id} = span) do
    [
      text(1, id.trace_id),
      text(2, id.span_id),
      if(span.parent, do: text(4, span.parent.span_id), else: []),
      text(5, span.name),
      number(6, Map.fetch!(@kinds, span.kind)),
      fixed(7, span.start),
      fixed(8, span.stop),
      attributes(9, span.attributes),
      for({name, time, facts} <- Enum.reverse(span.events), do: event(name, time, facts)),
      for(link <- span.links, do: message(13, [text(1, link.trace_id), text(2, link.span_id)])),
      if(span.error, do: message(15, [text(2, span.error), number(3, @error)]), else: [])
    ]
  end

  defp event(name, time, facts),
    do: message(11, [fixed(1, time), text(2, name), attributes(3, facts)])

  defp attributes(field, facts),
    do: for({name, value} <- facts, do: message(field, [text(1, name), message(2, value(value))]))

  defp value(value) when is_binary(value), do: text(1, value)
  defp value(value) when is_boolean(value), do: number(2, if(value, do: 1, else: 0))
  defp value(nil), do: text(1, "")
  defp value(value) when is_atom(value), do: text(1, Atom.to_string(value))

  defp value(value) when is_integer(value) and value in -@longest..@longest,
    do: number(3, value &&& 0xFFFF_FFFF_FFFF_FFFF)

  defp value(value) when is_integer(value), do: text(1, Integer.to_string(value))
  defp value(value) when is_float(value), do: [tag(4, 1), <<value::little-float-64>>]

  defp value(values) when is_list(values),
    do: message(5, Enum.map(values, &message(1, value(&1))))

  defp value(other), do: text(1, inspect(other, limit: 20))

  # Text is UTF-8 here already, but for a worker's, which is checked as it is read.
  defp text(field, text), do: message(field, text)

  defp message(field, body),
    do: [tag(field, 2), varint(IO.iodata_length(body)), body]

  defp number(field, value), do: [tag(field, 0), varint(value)]
  defp fixed(field, value), do: [tag(field, 1), <<value::little-64>>]

  defp tag(field, type), do: varint(field <<< 3 ||| type)

  defp varint(value) when value < 0x80, do: [value]
  defp varint(value), do: [(value &&& 0x7F) ||| 0x80 | varint(value >>> 7)]
end
