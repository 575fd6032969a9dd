defmodule Slither.Trace.Span do
  @moduledoc false
  # One span, from its template to what is sent. Pure; `Slither.Trace.Recorder` begins and ends
  # spans, in the process that does what they tell of.

  alias Slither.Error
  alias Slither.Trace.Parent

  @enforce_keys [:name, :kind]
  defstruct [:name, :kind, :parent, :id, :start, :stop, :error, :handle] ++
              [attributes: %{}, events: [], links: [], scope: "slither"]

  @typedoc """
  A template has no `id`, which is the span's own context. Times are of the system, in nanoseconds.
  `error` is what it failed with, in words. `handle` is the library's, where that records it. Values
  of attributes are strings, numbers, booleans or lists of these; nil stands for none.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          kind: kind,
          parent: Parent.t() | nil,
          id: Parent.t() | nil,
          start: integer | nil,
          stop: integer | nil,
          error: String.t() | nil,
          handle: term,
          attributes: attributes,
          events: [{String.t(), integer, attributes}],
          links: [Parent.t()],
          scope: String.t()
        }
  @type kind :: :internal | :server | :client | :producer | :consumer
  @type attributes :: %{optional(String.t()) => term}

  # A batch may have more items, from as many pushes.
  @most_links 128

  @doc "A span of a template, with ids of its own."
  @spec begin(t) :: t
  def begin(%__MODULE__{parent: parent} = template) do
    <<span_id::binary-size(8), _rest::binary>> = random()
    trace_id = if parent, do: parent.trace_id, else: random()
    id = %Parent{trace_id: trace_id, span_id: span_id}
    %{template | id: id, start: template.start || now()}
  end

  @doc "16 bytes like no others. The process's own random numbers may be seeded, and are its own."
  @spec random() :: <<_::128>>
  def random, do: :erlang.md5(:erlang.term_to_binary({System.pid(), now(), make_ref()}))

  @doc "Its context, for those below it."
  @spec traceparent(t) :: String.t()
  def traceparent(%__MODULE__{id: id}), do: Parent.to_string(id)

  @doc "More attributes; those that are nil are left out."
  @spec put(t, attributes) :: t
  def put(span, attributes) do
    more = for {name, value} <- attributes, value != nil, into: %{}, do: {name, value}
    %{span | attributes: Map.merge(span.attributes, more)}
  end

  @doc """
  A template whose work comes from the spans of these contexts: it has a link to each, and where it
  would have no parent, and there is only one of them, that one.
  """
  @spec link(t, [String.t()]) :: t
  def link(template, traceparents) do
    links =
      for text <- Enum.uniq(traceparents),
          %Parent{sampled?: true} = link <- [Parent.parse(text)],
          do: link

    parent = template.parent || with([only] <- links, do: only, else: (_several -> nil))
    %{template | links: Enum.take(links, @most_links), parent: parent}
  end

  @doc "Its end; an error has its own type, and an event that says where it came from."
  @spec finish(t, Exception.t() | nil, attributes) :: t
  def finish(span, nil, attributes), do: put(%{span | stop: now()}, attributes)

  def finish(span, error, attributes) do
    span = finish(span, nil, Map.put(attributes, "error.type", type(error)))
    %{span | error: message(error), events: [event(error, span.stop) | span.events]}
  end

  defp event(error, time) do
    facts = %{"exception.type" => type(error), "exception.message" => message(error)}

    facts =
      if stack = stack(error), do: Map.put(facts, "exception.stacktrace", stack), else: facts

    {"exception", time, facts}
  end

  # The class by its full name, as Python's own package has it.
  defp type(%Error{python: %{type: type}} = error) do
    case error.details["raised"] do
      [%{"type" => name, "module" => module} | _]
      when is_binary(module) and module not in ["builtins", "__main__", ""] ->
        "#{module}.#{name}"

      _ ->
        type
    end
  end

  defp type(%{reason: reason}) when is_atom(reason), do: Atom.to_string(reason)
  defp type(%module{}), do: inspect(module)

  defp message(%Error{python: %{message: message}}), do: message
  defp message(%Error{message: message}), do: to_string(message)
  defp message(error), do: Exception.message(error)

  # Of a call that was killed it is where its worker was.
  defp stack(%Error{python: %{traceback: traceback}}), do: traceback

  defp stack(%Error{details: details}),
    do: Enum.find_value([:stack, :fatal_error, :stderr], &text(details[&1]))

  defp stack(_error), do: nil

  defp text(text) when is_binary(text) and text != "", do: text
  defp text(_none), do: nil

  @doc "The time that spans are in."
  @spec now() :: integer
  def now, do: System.os_time(:nanosecond)

  @doc "The same of a monotonic time in native units."
  @spec at(integer) :: integer
  def at(monotonic) do
    ago = System.monotonic_time() - monotonic
    now() - System.convert_time_unit(ago, :native, :nanosecond)
  end
end
