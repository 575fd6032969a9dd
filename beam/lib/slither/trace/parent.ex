defmodule Slither.Trace.Parent do
  @moduledoc false
  # A W3C trace context, read and written. Pure; whatever process makes a call or a span calls it.

  @enforce_keys [:trace_id, :span_id]
  defstruct [:trace_id, :span_id, sampled?: true]

  @typedoc "The ids as bytes: 16 and 8."
  @type t :: %__MODULE__{trace_id: <<_::128>>, span_id: <<_::64>>, sampled?: boolean}

  @no_trace <<0::128>>
  @no_span <<0::64>>

  @doc """
  Reads a `traceparent`; nil where it is none. What later versions add behind it is left out.

      iex> parent = Slither.Trace.Parent.parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
      iex> {parent.sampled?, Slither.Trace.Parent.to_string(parent)}
      {false, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}
      iex> Slither.Trace.Parent.parse("order 17")
      nil
  """
  @spec parse(term) :: t | nil
  def parse(<<"00-", ids::binary-size(49), "-", flags::binary-size(2)>>), do: read(ids, flags)
  def parse(<<"00", _rest::binary>>), do: nil
  def parse(<<"ff", _rest::binary>>), do: nil

  def parse(<<version::binary-size(2), "-", ids::binary-size(49), "-", flags::binary-size(2)>>),
    do: if(hex(version), do: read(ids, flags))

  def parse(
        <<version::binary-size(2), "-", ids::binary-size(49), "-", flags::binary-size(2)>> <>
          "-" <> _later
      ),
      do: if(hex(version), do: read(ids, flags))

  def parse(_other), do: nil

  defp read(<<trace::binary-size(32), "-", span::binary-size(16)>>, flags) do
    with trace_id when trace_id not in [nil, @no_trace] <- hex(trace),
         span_id when span_id not in [nil, @no_span] <- hex(span),
         <<_others::7, sampled::1>> <- hex(flags) do
      %__MODULE__{trace_id: trace_id, span_id: span_id, sampled?: sampled == 1}
    else
      _none -> nil
    end
  end

  defp read(_ids, _flags), do: nil

  defp hex(text) do
    case Base.decode16(text, case: :lower) do
      {:ok, bytes} -> bytes
      :error -> nil
    end
  end

  @doc "Writes it, in version 0."
  @spec to_string(t) :: String.t()
  def to_string(%__MODULE__{sampled?: sampled?} = parent) do
    flags = if sampled?, do: "01", else: "00"
    "00-#{lower(parent.trace_id)}-#{lower(parent.span_id)}-#{flags}"
  end

  defp lower(bytes), do: Base.encode16(bytes, case: :lower)
end
