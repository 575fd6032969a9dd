defmodule Slither.Protocol.Counted do
  @moduledoc false
  # Checks what a worker tells of its handlers' own metrics: the rows of a metrics frame. Called where
  # frames are decoded. Pure.

  @kinds ~w(counter gauge histogram refused)

  @typedoc "The kind, name and help of a metric, its labels, the bounds of its buckets, its series."
  @type row :: [String.t() | [String.t()] | [number] | [series]]

  @typedoc "The values of the labels, and what is told: how much more, or of a gauge how much."
  @type series :: [[String.t()] | term]

  @doc """
  Whether rows are what they should be.

      iex> Slither.Protocol.Counted.valid?([["counter", "hits_total", "Hits.", ["kind"], [], [[["a"], 2]]]])
      true

      iex> Slither.Protocol.Counted.valid?([["counter", "hits_total", "Hits.", ["kind"], [], [[["a"], -2]]]])
      false
  """
  @spec valid?(term) :: boolean
  def valid?(rows) when is_list(rows), do: Enum.all?(rows, &row?/1)
  def valid?(_other), do: false

  defp row?([kind, name, help, labels, bounds, series])
       when kind in @kinds and is_binary(name) and is_binary(help) and is_list(series) do
    texts?(labels) and is_list(bounds) and Enum.all?(bounds, &is_number/1) and
      Enum.all?(series, &series?(kind, &1, length(labels), length(bounds)))
  end

  defp row?(_other), do: false

  defp series?(kind, [values, value], labels, bounds),
    do: texts?(values) and length(values) == labels and value?(kind, value, bounds)

  defp series?(_kind, _other, _labels, _bounds), do: false

  # Any float of Python's is a gauge's value, those included that BEAM has no float for.
  defp value?("gauge", value, _bounds),
    do: is_number(value) or value in [:nan, :infinity, :neg_infinity]

  defp value?("histogram", [counts, sum], bounds) do
    is_list(counts) and length(counts) == bounds + 1 and is_number(sum) and
      Enum.all?(counts, &(is_integer(&1) and &1 >= 0))
  end

  defp value?("histogram", _other, _bounds), do: false
  defp value?(_counter, value, _bounds), do: is_number(value) and value >= 0

  defp texts?(values), do: is_list(values) and Enum.all?(values, &is_binary/1)
end
