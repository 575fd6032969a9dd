defmodule Slither.Python.Secret do
  @moduledoc false
  # What a Python program and the workers of its own pool sign code and objects with that go by value.
  # BEAM hands it from the one to the others, and never uses it. A struct of its own, so that no log
  # and no crash report shows it. Made by the driver's server; pools of a configuration have none.

  alias Slither.Bytes

  @derive {Inspect, only: []}
  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: binary}

  @doc "Of what a driver's welcome has; nil where it has none."
  @spec new(term) :: t | nil
  def new(%Bytes{data: data}), do: %__MODULE__{data: data}
  def new(_none), do: nil

  @doc "As a welcome has it."
  @spec to_wire(t | nil) :: Bytes.t() | nil
  def to_wire(nil), do: nil
  def to_wire(%__MODULE__{data: data}), do: %Bytes{data: data}
end
