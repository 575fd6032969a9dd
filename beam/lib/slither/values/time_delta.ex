defmodule Slither.TimeDelta do
  @moduledoc """
  A length of time: a `datetime.timedelta` in Python.

  It counts microseconds, and may be negative. Python takes up to 999,999,999 days either way.

      iex> delta = Slither.TimeDelta.new(days: 1, seconds: -30)
      iex> delta.microseconds
      86_370_000_000
      iex> DateTime.add(~U[2024-01-01 00:00:00.000000Z], delta.microseconds, :microsecond)
      ~U[2024-01-01 23:59:30.000000Z]
  """

  @enforce_keys [:microseconds]
  defstruct [:microseconds]

  @type t :: %__MODULE__{microseconds: integer}

  @units [
    weeks: 604_800_000_000,
    days: 86_400_000_000,
    hours: 3_600_000_000,
    minutes: 60_000_000,
    seconds: 1_000_000,
    milliseconds: 1_000,
    microseconds: 1
  ]

  @doc """
  The sum of whole numbers of `weeks:`, `days:`, `hours:`, `minutes:`, `seconds:`, `milliseconds:`
  and `microseconds:`.

  Raises `Slither.Error` (`:invalid_option`) for another unit, and for what is no integer.

      iex> Slither.TimeDelta.new(minutes: 1, milliseconds: 500)
      %Slither.TimeDelta{microseconds: 60_500_000}
  """
  @spec new([{atom, integer}]) :: t
  def new(parts) when is_list(parts) do
    %__MODULE__{microseconds: parts |> Enum.map(&microseconds/1) |> Enum.sum()}
  end

  defp microseconds({unit, count}) when is_integer(count) do
    @units[unit] ||
      invalid("no unit #{inspect(unit)}; known: #{Enum.join(Keyword.keys(@units), ", ")}")

    @units[unit] * count
  end

  defp microseconds(other),
    do: invalid("a TimeDelta is made of whole numbers of units, got #{inspect(other)}")

  @spec invalid(String.t()) :: no_return
  defp invalid(why), do: raise(Slither.Error, reason: :invalid_option, message: why)

  @doc """
  Which of two is longer: `:lt`, `:eq` or `:gt`, as `Enum.sort/2` takes it.

      iex> Slither.TimeDelta.compare(Slither.TimeDelta.new(hours: 1), Slither.TimeDelta.new(days: 1))
      :lt
  """
  @spec compare(t, t) :: :lt | :eq | :gt
  def compare(%__MODULE__{microseconds: a}, %__MODULE__{microseconds: b}) do
    cond do
      a < b -> :lt
      a > b -> :gt
      true -> :eq
    end
  end
end
