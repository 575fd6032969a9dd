defmodule Slither.Protocol.Types.TensorType do
  @moduledoc false
  # Tensors: the name of the dtype, the sizes, padding to 16 bytes, and the elements as they are.
  # The codec calls it.

  @behaviour Slither.Protocol.Type

  alias Slither.Protocol.Type
  alias Slither.Protocol.Types.ArrayType
  alias Slither.Tensor

  @most_dimensions 32
  @dtypes Map.new(Tensor.dtypes(), &{Atom.to_string(&1), &1})

  @impl true
  def code, do: 3

  @impl true
  def structs, do: [Tensor]

  @impl true
  def name, do: :tensor

  @impl true
  def encode(tensor) do
    with :ok <- Tensor.check(tensor), do: checked(tensor)
  end

  defp checked(%{dtype: {:numpy, _text, _size}} = tensor), do: ArrayType.encode(tensor)

  defp checked(tensor) do
    name = Atom.to_string(tensor.dtype)
    dims = for size <- Tuple.to_list(tensor.shape), into: <<>>, do: <<size::64>>
    head = <<byte_size(name), name::binary, tuple_size(tensor.shape), dims::binary>>
    {:ok, code(), [head, <<0::size(padding(byte_size(head)))-unit(8)>> | tensor.data]}
  end

  @impl true
  def decode(<<size, name::binary-size(size), rank, rest::binary>>)
      when rank <= @most_dimensions do
    padding = padding(2 + size + rank * 8)

    with {:ok, dtype} <- dtype(name),
         <<dims::binary-size(rank)-unit(64), 0::size(padding)-unit(8), data::binary>> <- rest do
      shape = List.to_tuple(for <<dim::64 <- dims>>, do: dim)
      tensor = %Tensor{dtype: dtype, shape: shape, data: data}
      with :ok <- Tensor.check(tensor), do: {:ok, tensor}
    else
      {:error, why} -> {:error, why}
      _short -> {:error, "a malformed tensor"}
    end
  end

  def decode(_data), do: {:error, "a malformed tensor"}

  defp dtype(name) do
    with :error <- Map.fetch(@dtypes, name),
         do: {:error, "a tensor of unknown dtype #{inspect(name)}"}
  end

  defp padding(head), do: Type.padding(head, 16)

  @impl true
  def key(_tensor), do: {:error, "a tensor can't be a key of a map in Python"}
end
