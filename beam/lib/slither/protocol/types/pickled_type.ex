defmodule Slither.Protocol.Types.PickledType do
  @moduledoc false
  # Objects of a Python program, which BEAM carries and never opens: a signature, and a pickle. The
  # codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.Pickled

  @signature 32

  @impl true
  def code, do: 14

  @impl true
  def structs, do: [Pickled]

  @impl true
  def name, do: :pickled

  @impl true
  def encode(%{data: data}) when is_binary(data) and byte_size(data) > @signature,
    do: {:ok, code(), data}

  def encode(_pickled), do: {:error, "a Slither.Pickled that no Python program has made"}

  @impl true
  def decode(data) when byte_size(data) > @signature, do: {:ok, %Pickled{data: data}}
  def decode(_data), do: {:error, "a malformed pickled value"}

  # Only Python can tell whether two objects are equal; those of one dict or set are not.
  @impl true
  def key(pickled), do: {:ok, {:pickled, pickled.data}}
end
