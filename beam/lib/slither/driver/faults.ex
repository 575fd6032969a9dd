defmodule Slither.Driver.Faults do
  @moduledoc false
  # Errors as a driver gets them: the reason as `kind`, the sentence, where it happened, and the
  # Python exception behind it.

  alias Slither.{DispatchError, Error, Options, PipeError}
  alias Slither.Protocol
  alias Slither.Protocol.Frame

  @doc "The error map of an exception."
  @spec to_wire(Exception.t() | term) :: map
  def to_wire(%DispatchError{cause: cause} = error) do
    place = %{
      "stage" => name(error.stage),
      "batch" => error.batch,
      "attempts" => error.attempts,
      "item" => error.item
    }

    Map.merge(cause(cause, error), known(place))
  end

  def to_wire(%PipeError{cause: cause} = error) do
    place = %{
      "kind" => Atom.to_string(error.reason || :pipe_error),
      "pipe" => name(error.pipe),
      "stage" => name(error.stage),
      "item" => error.item
    }

    place = if error.message, do: Map.put(place, "message", error.message), else: place
    Map.merge(cause(cause, error), known(place))
  end

  def to_wire(%Error{} = error) do
    hint = if error.hint, do: " (#{error.hint})", else: ""
    where = if error.where, do: "#{error.where}: ", else: ""
    message = where <> to_string(error.message) <> hint
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

  @doc "The error of a process of ours that ended before its work did."
  @spec crashed(term) :: Error.t()
  def crashed({%{__exception__: true} = exception, stacktrace}) when is_list(stacktrace) do
    case exception do
      %Error{} -> exception
      _other -> failed(Exception.format(:error, exception, stacktrace))
    end
  end

  def crashed(reason), do: failed(Exception.format_exit(reason))

  @doc "The error of a driver that speaks another version."
  @spec version_mismatch(term) :: Error.t()
  def version_mismatch(version) do
    %Error{
      reason: :version_mismatch,
      message: "BEAM speaks protocol version #{Frame.version()}, the driver speaks #{version}",
      hint: "install slither-beam again: both sides come with it"
    }
  end

  defp failed(text), do: %Error{reason: :internal_error, message: text}

  defp cause(%{__exception__: true} = cause, _error), do: to_wire(cause)
  defp cause(_other, error), do: %{"kind" => kind(error), "message" => Exception.message(error)}

  defp kind(%{reason: reason}) when is_atom(reason) and reason != nil,
    do: Atom.to_string(reason)

  defp kind(_error), do: "exception"

  defp python(%Error{python: nil}), do: %{}

  # The type stands before the message of the error; here it is a field of its own. An error that
  # says more than the exception, such as which pool could not start, keeps its words.
  defp python(%Error{python: python, message: message}) do
    facts = %{"type" => python.type, "traceback" => python.traceback}

    if message == "#{python.type}: #{python.message}",
      do: Map.put(facts, "message", python.message),
      else: facts
  end

  # Facts that the protocol can carry; the sentence has said the rest.
  defp details(details) do
    for {key, value} <- details, key not in ["kind", :kind], into: %{} do
      case Protocol.pack(value) do
        {:ok, _bytes} -> {to_string(key), value}
        {:error, _error} -> {to_string(key), inspect(value, limit: 5, printable_limit: 80)}
      end
    end
  end

  defp known(facts), do: for({key, value} <- facts, value != nil, into: %{}, do: {key, value})

  defp name(nil), do: nil
  defp name(name), do: to_string(name)
end
