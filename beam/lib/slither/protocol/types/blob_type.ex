defmodule Slither.Protocol.Types.BlobType do
  @moduledoc false
  # References to shared memory: what the file holds, how it is taken, how many bytes, and its name.
  # The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.Blob

  # As the codes of the extensions whose payload a file holds; 0 for bytes as they are.
  @kinds [bytes: 0, tensor: 3, array: 12, arrow: 13]
  @uses [shared: 0, own: 1]
  # No name leads out of the folder of its BEAM.
  @name ~r"\A[a-z0-9]{1,32}(/[a-z0-9]{1,32}){1,2}\z"
  @longest 98

  @impl true
  def code, do: 17

  @impl true
  def structs, do: [Blob]

  @impl true
  def name, do: :blob

  @doc "The code of the extension whose payload a blob of a kind holds."
  @spec kind(Blob.kind()) :: non_neg_integer
  def kind(kind), do: Keyword.fetch!(@kinds, kind)

  @impl true
  def encode(%Blob{kind: kind, use: use, size: size, name: name}) do
    number = is_atom(kind) && @kinds[kind]
    taken = is_atom(use) && @uses[use]

    if number && taken && is_integer(size) && size in 0..0xFFFFFFFFFFFFFFFF && name?(name),
      do: {:ok, code(), <<number, taken, size::64, name::binary>>},
      else: {:error, "a Slither.Blob that Slither.Blob.put/2 has not made"}
  end

  for {kind, number} <- @kinds, {use, taken} <- @uses do
    @impl true
    def decode(<<unquote(number), unquote(taken), size::64, name::binary>>) do
      if name?(name) do
        blob = %Blob{name: :binary.copy(name), size: size, kind: unquote(kind)}
        {:ok, %{blob | use: unquote(use)}}
      else
        {:error, "a malformed name of a blob"}
      end
    end
  end

  def decode(_data), do: {:error, "a malformed blob"}

  defp name?(name), do: is_binary(name) and byte_size(name) <= @longest and name =~ @name

  @impl true
  def key(_blob), do: {:error, "a blob can't be a key of a map in Python"}
end
