defmodule Slither.Python.Fault do
  @moduledoc false
  # Errors as Python sends them and as it gets them. Pure; lanes, owners and what answers Python's
  # questions call it.

  alias Slither.Error
  alias Slither.Python.Limit

  @reasons %{
    "exception" => :python_exception,
    "failure" => :handler_failure,
    "import" => :import_failed,
    "unknown_command" => :unknown_command,
    "not_a_list" => :wrong_result,
    "wrong_length" => :wrong_result,
    "not_encodable" => :not_encodable,
    "not_decodable" => :not_decodable,
    "too_large" => :too_large,
    "unknown_blob" => :unknown_blob,
    "not_movable" => :not_movable,
    "cancelled" => :cancelled,
    "protocol" => :protocol_error,
    "version_mismatch" => :version_mismatch
  }

  @doc "A `Slither.Error` of an error map from the wire."
  @spec to_error(term) :: Error.t()
  # Each language has its own words for an item that was over its time.
  def to_error(%{"kind" => "timeout", "timeout" => limit}) when is_integer(limit) and limit > 0,
    do: Limit.overdue(Limit.of_item(limit), "the item", "it was cancelled")

  def to_error(%{"kind" => kind, "message" => message} = fault)
      when is_binary(kind) and is_binary(message) do
    %Error{
      reason: Map.get(@reasons, kind, :python_error),
      message: text(fault, message),
      hint: hint(fault),
      python: python(fault),
      details: Map.drop(fault, ["message", "traceback", "type"])
    }
  end

  def to_error(other),
    do: %Error{reason: :protocol_error, message: "not an error: #{inspect(other, limit: 5)}"}

  # A worker tells that a function may have been meant for the other.
  defp hint(%{"gave" => "list"}),
    do: "the function was given the list of a batch's items; where it takes one, add each: true"

  defp hint(%{"gave" => "item"}),
    do: "the function was given one item; where it takes a list of them, leave out each:"

  defp hint(_fault), do: nil

  @doc "An error map for the wire."
  @spec to_wire(String.t(), String.t(), map) :: map
  def to_wire(kind, message, facts \\ %{}),
    do: Map.merge(%{"kind" => kind, "message" => message}, facts)

  # The sentence has the type and the message and not the traceback, which ends with both.
  defp text(%{"type" => type, "traceback" => _}, message) when is_binary(type),
    do: "#{type}: #{message}"

  defp text(_fault, message), do: message

  defp python(%{"type" => type, "traceback" => traceback, "message" => message})
       when is_binary(type) and is_binary(traceback),
       do: %{type: type, message: message, traceback: traceback}

  defp python(_fault), do: nil
end
