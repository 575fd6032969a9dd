defmodule Slither.FrozenSet do
  @moduledoc """
  A set that Python can't change: a `frozenset`. A `MapSet` is a `set` in Python.

  It can be a key of a map and an element of a set in Python, which a `set` can't; a `MapSet` in
  such a place is sent as a `frozenset`.

      iex> Slither.FrozenSet.new([2, 1, 2]).set
      MapSet.new([1, 2])
  """

  @enforce_keys [:set]
  defstruct [:set]

  @type t :: %__MODULE__{set: MapSet.t()}

  @doc "The frozen set of the elements of an enumerable."
  @spec new(Enumerable.t()) :: t
  def new(elements), do: %__MODULE__{set: MapSet.new(elements)}
end
