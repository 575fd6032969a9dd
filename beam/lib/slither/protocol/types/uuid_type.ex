defmodule Slither.Protocol.Types.UUIDType do
  @moduledoc false
  # UUIDs, which are 16 bytes. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.UUID

  @impl true
  def code, do: 9

  @impl true
  def structs, do: [UUID]

  @impl true
  def name, do: :uuid

  @impl true
  def encode(%{data: <<_::128>> = data}), do: {:ok, code(), data}
  def encode(_uuid), do: {:error, "a UUID whose data is not 16 bytes; make it by UUID.new/1"}

  @impl true
  def decode(<<_::128>> = data), do: {:ok, %UUID{data: data}}
  def decode(_data), do: {:error, "a malformed uuid"}

  @impl true
  def key(uuid), do: {:ok, {:uuid, uuid.data}}
end
