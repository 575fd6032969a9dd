defmodule Slither.Protocol.Raised do
  @moduledoc false
  # Checks what an error tells of exceptions: what its field `raised` may hold. Called where frames
  # are decoded. Pure.

  @most 256

  @doc "Whether a field `raised` is a list of exceptions that refer to one another."
  @spec valid?(term) :: boolean
  def valid?([_ | _] = told) do
    count = length(told)
    count <= @most and Enum.all?(told, &exception?(&1, count))
  end

  def valid?(_other), do: false

  defp exception?(
         %{"type" => type, "module" => module, "message" => message, "bases" => bases} = told,
         count
       ) do
    not is_struct(told) and
      Enum.all?([type, module, message], &is_binary/1) and
      strings?(bases) and
      Enum.all?(told, fn {name, value} -> field?(name, value, count) end)
  end

  defp exception?(_told, _count), do: false

  defp field?("args", value, _count), do: is_list(value)
  defp field?("attributes", value, _count), do: map?(value, fn _ -> true end)
  defp field?("notes", value, _count), do: strings?(value)
  defp field?("left_out", value, _count), do: map?(value, &is_binary/1)
  defp field?("held", value, count), do: map?(value, &place?(&1, count))
  defp field?(name, value, count) when name in ~w(cause context), do: place?(value, count)
  defp field?("suppress_context", value, _count), do: is_boolean(value)

  defp field?("exceptions", value, count),
    do: is_list(value) and Enum.all?(value, &place?(&1, count))

  defp field?(_name, _value, _count), do: true

  defp strings?(value), do: is_list(value) and Enum.all?(value, &is_binary/1)

  defp map?(value, fine?) do
    is_map(value) and not is_struct(value) and
      Enum.all?(value, fn {key, part} -> is_binary(key) and fine?.(part) end)
  end

  defp place?(value, count), do: is_integer(value) and value >= 0 and value < count
end
