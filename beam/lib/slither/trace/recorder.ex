defmodule Slither.Trace.Recorder do
  @moduledoc false
  # Decides which spans there are, begins them and ends them, in the process that does what they tell
  # of: who asks for calls, and the lanes that make them. While nothing records, it costs a look.

  alias Slither.Trace.{Exporter, Library, Mode, Parent, Span}

  @key __MODULE__

  ## Contexts

  @doc "Has a context be that of this process; gives the one before."
  @spec enter(String.t() | nil) :: String.t() | nil
  def enter(nil), do: Process.delete(@key)
  def enter(traceparent), do: Process.put(@key, traceparent)

  @doc "The context of this process."
  @spec current() :: String.t() | nil
  def current, do: Process.get(@key) || Library.current()

  @doc """
  What a call is below, by what its caller gave in `metadata`, or else by the process that asks: the
  text that goes through as it is, where no span is recorded, and otherwise the template of its
  span. Without a context there is a template where calls are sampled, or where items may bring theirs.
  """
  @spec below(map, boolean, (() -> Span.t())) :: {String.t() | nil, Span.t() | nil}
  def below(metadata, items?, template) do
    text = text(metadata) || current()

    case {Mode.get(), text} do
      {nil, text} -> {text, nil}
      {%{sample: sample}, nil} -> {nil, if(items? or sample > 0, do: template.())}
      {_mode, text} -> below_parent(Parent.parse(text), text, template)
    end
  end

  # A name of the user's own, or of what is not sampled.
  defp below_parent(%Parent{sampled?: true} = parent, _text, template),
    do: {nil, %{template.() | parent: parent}}

  defp below_parent(_none, text, _template), do: {text, nil}

  defp text(%{trace: trace}) when is_binary(trace), do: if(String.valid?(trace), do: trace)
  defp text(_metadata), do: nil

  ## Spans

  @doc "Begins the span of a template; nil where it has no parent, and is not one of the sample."
  @spec start(Span.t()) :: Span.t() | nil
  def start(%Span{} = template) do
    case Mode.get() do
      nil -> nil
      mode -> if wanted?(template, mode), do: begin(template, mode.to)
    end
  end

  defp wanted?(%Span{parent: nil, links: []}, %{sample: sample}) do
    <<number::32, _rest::binary>> = if sample > 0, do: Span.random(), else: <<-1::128>>
    number / 0x1_0000_0000 < sample
  end

  defp wanted?(_linked, _mode), do: true

  defp begin(template, :exporter), do: Span.begin(template)

  defp begin(template, :library),
    do: Library.begin(%{template | start: template.start || Span.now()})

  @doc "Ends a span; nil is none."
  @spec finish(Span.t() | nil, Exception.t() | nil, Span.attributes()) :: :ok
  def finish(span, error \\ nil, attributes \\ %{})
  def finish(nil, _error, _attributes), do: :ok

  def finish(span, error, attributes) do
    span = Span.finish(span, error, attributes)
    if span.handle, do: Library.finish(span), else: Exporter.record(span)
  end
end
