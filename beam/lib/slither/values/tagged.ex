defmodule Slither.Tagged do
  @moduledoc """
  A value with the name of a type of the user's own.

  Where Python has that name registered (`slither.register(type, encode, decode)`), its `decode`
  makes an object of `value`, and its `encode` makes one of these of an object. Where it has not,
  it is a `slither.Tagged`. `Slither.Encodable` lets an Elixir struct be sent as one.

      iex> Slither.Tagged.new("shop.Price", %{"amount" => 5})
      %Slither.Tagged{name: "shop.Price", value: %{"amount" => 5}}
  """

  @enforce_keys [:name, :value]
  defstruct [:name, :value]

  @type t :: %__MODULE__{name: String.t(), value: term}

  @doc "A value with the name of its type, as Python registers it."
  @spec new(String.t(), term) :: t
  def new(name, value) when is_binary(name), do: %__MODULE__{name: name, value: value}
end
