defmodule Slither.Python.Memory.Size do
  @moduledoc false
  # Bytes in words, for sentences about memory. Pure.

  @units [{1_000_000_000, "GB"}, {1_000_000, "MB"}, {1_000, "kB"}]

  @doc """
  As many as a person wants to know.

      iex> Enum.map([512, 1_530, 200_000_000, 1_046_000_000], &Slither.Python.Memory.Size.words/1)
      ["512 bytes", "1.5 kB", "200 MB", "1.0 GB"]
  """
  @spec words(non_neg_integer) :: String.t()
  def words(bytes) do
    case Enum.find(@units, fn {unit, _name} -> bytes >= unit end) do
      nil -> "#{bytes} bytes"
      {unit, name} -> "#{number(bytes / unit)} #{name}"
    end
  end

  defp number(count) when count < 10, do: :erlang.float_to_binary(count, decimals: 1)
  defp number(count), do: Integer.to_string(round(count))
end
