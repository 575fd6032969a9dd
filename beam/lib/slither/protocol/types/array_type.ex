defmodule Slither.Protocol.Types.ArrayType do
  @moduledoc false
  # Tensors whose dtype has no name of its own here: NumPy's text of it, how many bytes an element
  # takes, the sizes, padding to 16 bytes, and the elements as they are. The codec calls it, and
  # `Slither.Protocol.Types.TensorType` for those tensors.

  @behaviour Slither.Protocol.Type

  alias Slither.Protocol.Type
  alias Slither.Tensor

  @most_dimensions 32

  @impl true
  def code, do: 12

  # A tensor goes to `TensorType`, which sends it here.
  @impl true
  def structs, do: []

  @impl true
  def name, do: :tensor

  @impl true
  def encode(%Tensor{dtype: {:numpy, text, size}, shape: shape, data: data}) do
    dims = for dim <- Tuple.to_list(shape), into: <<>>, do: <<dim::64>>

    head = <<byte_size(text)::16, text::binary, size::32, tuple_size(shape), dims::binary>>

    padding = Type.padding(byte_size(head), 16)
    {:ok, code(), [head, <<0::size(padding)-unit(8)>> | data]}
  end

  @impl true
  def decode(<<length::16, text::binary-size(length), size::32, rank, rest::binary>>)
      when rank <= @most_dimensions do
    padding = Type.padding(2 + length + 4 + 1 + rank * 8, 16)

    with <<dims::binary-size(rank)-unit(64), 0::size(padding)-unit(8), data::binary>> <- rest,
         shape = List.to_tuple(for <<dim::64 <- dims>>, do: dim),
         dtype = {:numpy, :binary.copy(text), size},
         tensor = %Tensor{dtype: dtype, shape: shape, data: data},
         :ok <- Tensor.check(tensor) do
      {:ok, tensor}
    else
      {:error, why} -> {:error, why}
      _short -> {:error, "a malformed array"}
    end
  end

  def decode(_data), do: {:error, "a malformed array"}

  @impl true
  def key(_tensor), do: {:error, "a tensor can't be a key of a map in Python"}
end
