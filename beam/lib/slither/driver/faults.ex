defmodule Slither.Driver.Faults do
  @moduledoc false
  # Errors as a driver gets them: the reason as `kind`, the sentence, where it happened, and the
  # Python exception behind it. The server and the runs call it, each in its own process.

  alias Slither.{DispatchError, Error, Options, PipeError}
  alias Slither.Protocol
  alias Slither.Protocol.Frame
  alias Slither.Driver.Words

  @doc "The error map of an exception."
  @spec to_wire(Exception.t() | term) :: map
  def to_wire(%DispatchError{} = error),
    do: Map.merge(cause(error), place(error, [:stage, :batch, :attempts, :item]))

  def to_wire(%PipeError{} = error) do
    kind = %{"kind" => Atom.to_string(error.reason || :pipe_error)}
    place = Map.merge(kind, place(error, [:pipe, :stage, :item, :message]))
    Map.merge(cause(error), place)
  end

  def to_wire(%Error{} = error) do
    error = Words.in_python(error)
    message = Exception.message(%{error | python: nil})
    facts = %{"kind" => Atom.to_string(error.reason), "message" => message}
    facts |> Map.merge(details(error.details)) |> Map.merge(python(error))
  end

  def to_wire(error) when is_exception(error),
    do: %{"kind" => "exception", "message" => Exception.message(error)}

  def to_wire(other), do: %{"kind" => "exception", "message" => inspect(other)}

  @doc "The error of a name that is none of `known`."
  @spec unknown(String.t(), term, [String.t()]) :: Error.t()
  def unknown(what, name, known) do
    %Error{
      reason: :unknown_option,
      message: "no #{what} is called #{inspect(name)}.#{Options.nearest(name, known)}",
      hint: "known: #{Enum.join(Enum.sort(known), ", ")}"
    }
  end

  @doc "The error of a run or a request whose process ended before its work did."
  @spec crashed(term) :: Error.t()
  def crashed({%Error{} = error, stacktrace}) when is_list(stacktrace), do: error

  def crashed({%{__exception__: true} = exception, stacktrace}) when is_list(stacktrace),
    do: failed(Exception.format(:error, exception, stacktrace))

  def crashed(reason), do: failed(Exception.format_exit(reason))

  defp failed(text), do: %Error{reason: :internal_error, message: text}

  @doc "The error of a driver that speaks another version."
  @spec version_mismatch(term) :: Error.t()
  def version_mismatch(version) do
    %Error{
      reason: :version_mismatch,
      message: "BEAM speaks protocol version #{Frame.version()}, the driver speaks #{version}",
      hint: "install slither-beam again: both sides come with it"
    }
  end

  defp cause(%{cause: %{__exception__: true} = cause}), do: to_wire(cause)

  defp cause(error),
    do: %{"kind" => to_string(error.reason || "exception"), "message" => Exception.message(error)}

  defp place(error, fields) do
    for field <- fields, (value = Map.get(error, field)) != nil, into: %{} do
      {Atom.to_string(field), if(field in [:pipe, :stage], do: to_string(value), else: value)}
    end
  end

  defp python(%Error{python: nil}), do: %{}

  # The error's sentence begins with the exception's type, which is a field of its own here. An
  # error that says more than the exception, such as which pool could not start, keeps its words.
  defp python(%Error{python: python, message: message}) do
    facts = %{"type" => python.type, "traceback" => python.traceback}

    if message == "#{python.type}: #{python.message}",
      do: Map.put(facts, "message", python.message),
      else: facts
  end

  # A fact that the protocol can't carry goes as text.
  defp details(details) do
    for {key, value} <- details, key not in ["kind", :kind], into: %{} do
      case Protocol.pack(value) do
        {:ok, _bytes} -> {to_string(key), value}
        {:error, _error} -> {to_string(key), inspect(value, limit: 5, printable_limit: 80)}
      end
    end
  end
end
