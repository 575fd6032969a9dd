defmodule Slither.Trace.Library do
  @moduledoc false
  # Spans by the library `:opentelemetry`, where that is loaded: it is no dependency, so that all of
  # it is called by name. In the process that makes the span, which is the one that ends it.

  require Logger

  alias Slither.Trace.{Parent, Span}

  @loaded __MODULE__

  @doc "Looks whether it is there; called once, as the application starts."
  @spec look() :: boolean
  def look do
    loaded? = Code.ensure_loaded?(:otel_tracer) and Code.ensure_loaded?(:otel_span)
    if loaded?() != loaded?, do: :persistent_term.put(@loaded, loaded?)
    loaded?
  end

  @doc "Whether it is there."
  @spec loaded?() :: boolean
  def loaded?, do: :persistent_term.get(@loaded, false)

  @doc "The context of its current span in this process."
  @spec current() :: String.t() | nil
  def current do
    if loaded?() do
      case apply(:otel_tracer, :current_span_ctx, []) do
        :undefined -> nil
        context -> if apply(:otel_span, :is_valid, [context]), do: text(context)
      end
    end
  end

  @doc "Begins the span of a template; nil where the library fails, which is no fault of the call."
  @spec begin(Span.t()) :: Span.t() | nil
  def begin(%Span{} = template) do
    tracer = apply(:opentelemetry, :get_tracer, [:slither])

    options = %{
      kind: template.kind,
      start_time: time(template.start),
      attributes: template.attributes,
      links: apply(:opentelemetry, :links, [Enum.map(template.links, &remote/1)])
    }

    context = below(template.parent)
    handle = apply(:otel_tracer, :start_span, [context, tracer, template.name, options])
    %{template | id: Parent.parse(text(handle)), handle: handle}
  rescue
    error -> failed(error, __STACKTRACE__)
  end

  defp failed(error, stacktrace) do
    text = Exception.format(:error, error, stacktrace)
    Logger.warning("a span could not be recorded by the library :opentelemetry: #{text}")
    nil
  end

  @doc "Ends it."
  @spec finish(Span.t()) :: :ok
  def finish(%Span{handle: handle} = span) do
    apply(:otel_span, :set_attributes, [handle, span.attributes])

    for {name, _time, attributes} <- span.events,
        do: apply(:otel_span, :add_event, [handle, name, attributes])

    if span.error, do: apply(:otel_span, :set_status, [handle, :error, span.error])
    apply(:otel_span, :end_span, [handle, time(span.stop)])
    :ok
  rescue
    error -> failed(error, __STACKTRACE__) || :ok
  end

  defp below(nil), do: apply(:otel_ctx, :new, [])

  defp below(parent),
    do: apply(:otel_tracer, :set_current_span, [apply(:otel_ctx, :new, []), remote(parent)])

  defp remote(%Parent{} = parent) do
    flags = if parent.sampled?, do: 1, else: 0
    ids = [:binary.decode_unsigned(parent.trace_id), :binary.decode_unsigned(parent.span_id)]
    apply(:otel_tracer, :from_remote_span, ids ++ [flags])
  end

  defp text(context) do
    facts = apply(:otel_span, :hex_span_ctx, [context])
    names = [:otel_trace_id, :otel_span_id, :otel_trace_flags]
    Enum.join(["00" | Enum.map(names, &to_string(facts[&1]))], "-")
  end

  # Its times are those of the VM's monotonic clock.
  defp time(nanoseconds),
    do: System.convert_time_unit(nanoseconds, :nanosecond, :native) - System.time_offset()
end
