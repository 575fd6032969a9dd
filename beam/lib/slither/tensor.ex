defmodule Slither.Tensor do
  @moduledoc """
  A typed, n-dimensional array: a NumPy array in Python.

    * `dtype`: one of `:bool`, `:int8` … `:int64`, `:uint8` … `:uint64`, `:float16`,
      `:float32`, `:float64`, `:complex64`, `:complex128`; or `{:numpy, text, bytes}`, one of
      NumPy's other dtypes, by its text (`"<M8[ns]"`, `"<U5"`, JSON for a structured one) and the
      bytes one element takes, which this module carries and doesn't read;
    * `shape`: a tuple of dimensions, `{}` for a single element;
    * `data`: the elements, little-endian, in C order (the last dimension varies fastest).

  The data crosses without being looked at: a tensor from Python refers to the bytes of the
  frame it came in.

      iex> tensor = Slither.Tensor.new(:float64, {2, 2}, [1.0, 2.0, 3.0, 4.0])
      iex> byte_size(tensor.data)
      32
      iex> Slither.Tensor.to_list(tensor)
      [1.0, 2.0, 3.0, 4.0]
  """

  @enforce_keys [:dtype, :shape, :data]
  defstruct [:dtype, :shape, :data]

  @type dtype ::
          :bool
          | :int8
          | :int16
          | :int32
          | :int64
          | :uint8
          | :uint16
          | :uint32
          | :uint64
          | :float16
          | :float32
          | :float64
          | :complex64
          | :complex128
          | {:numpy, String.t(), non_neg_integer}
  @type t :: %__MODULE__{dtype: dtype, shape: tuple, data: binary}

  # A size is sent as an unsigned integer of 64 bits.
  @max_size 0xFFFFFFFFFFFFFFFF
  # The lengths of another dtype's text, and of its elements, are sent in 16 and 32 bits.
  @longest_text 0xFFFF
  @largest_element 0xFFFFFFFF
  # The bytes of an element.
  @sizes [bool: 1, int8: 1, int16: 2, int32: 4, int64: 8] ++
           [uint8: 1, uint16: 2, uint32: 4, uint64: 8] ++
           [float16: 2, float32: 4, float64: 8, complex64: 8, complex128: 16]

  @doc """
  A tensor from a flat list of numbers (booleans for `:bool`), of all but the complex dtypes and
  those of NumPy alone.

  Raises `Slither.Error` when the count does not fit the shape.

      iex> Slither.Tensor.new(:int16, {2}, [1, 2])
      %Slither.Tensor{dtype: :int16, shape: {2}, data: <<1, 0, 2, 0>>}
  """
  @spec new(dtype, tuple, [number | boolean]) :: t
  def new(dtype, shape, elements) when is_tuple(shape) and is_list(elements) do
    data = for element <- elements, into: <<>>, do: put(dtype, element)
    tensor = %__MODULE__{dtype: dtype, shape: shape, data: data}

    case check(tensor) do
      :ok -> tensor
      {:error, why} -> raise Slither.Error, reason: :invalid_tensor, message: why
    end
  end

  @doc """
  The elements as a flat list, in C order, of all but the complex dtypes and those of NumPy alone.

      iex> Slither.Tensor.to_list(%Slither.Tensor{dtype: :bool, shape: {2}, data: <<1, 0>>})
      [true, false]
  """
  @spec to_list(t) :: [number | boolean | :nan | :infinity | :neg_infinity]
  def to_list(%__MODULE__{dtype: {:numpy, text, _size}}) do
    raise Slither.Error,
      reason: :invalid_tensor,
      where: "Slither.Tensor.to_list/1",
      message: "the elements of a tensor of NumPy's dtype #{text} are NumPy's to read",
      hint: "have Python make them a list, or an array of numbers: array.tolist()"
  end

  def to_list(%__MODULE__{dtype: dtype, data: data}) do
    size = @sizes[dtype]
    for <<element::binary-size(size) <- data>>, do: get(dtype, element)
  end

  @doc "The bytes one element takes; `nil` for an unknown dtype."
  @spec element_size(term) :: non_neg_integer | nil
  def element_size({:numpy, text, size}) do
    if is_binary(text) and byte_size(text) in 1..@longest_text and String.valid?(text) and
         is_integer(size) and size in 0..@largest_element,
       do: size
  end

  def element_size(dtype) when is_atom(dtype), do: @sizes[dtype]
  def element_size(_dtype), do: nil

  @doc false
  @spec dtypes :: [dtype]
  def dtypes, do: Keyword.keys(@sizes)

  @doc false
  @spec check(t) :: :ok | {:error, String.t()}
  def check(%__MODULE__{dtype: dtype, shape: shape, data: data}) do
    size = element_size(dtype)

    cond do
      !size ->
        {:error,
         "unknown dtype #{inspect(dtype)}; known: #{Enum.join(dtypes(), ", ")}, and " <>
           "{:numpy, text, bytes}"}

      not is_tuple(shape) or tuple_size(shape) > 32 or
          not Enum.all?(Tuple.to_list(shape), &(is_integer(&1) and &1 in 0..@max_size)) ->
        {:error, "a tensor's shape is a tuple of at most 32 sizes, got #{inspect(shape)}"}

      not is_binary(data) or byte_size(data) != Tuple.product(shape) * size ->
        {:error,
         "a #{name(dtype)} tensor of shape #{inspect(shape)} takes " <>
           "#{Tuple.product(shape) * size} bytes, got #{is_binary(data) && byte_size(data)}"}

      true ->
        :ok
    end
  end

  defp name({:numpy, text, _size}), do: text
  defp name(dtype), do: dtype

  defp put(:bool, value), do: if(value in [true, 1], do: <<1>>, else: <<0>>)

  for {dtype, size} <- @sizes, dtype != :bool, bits = size * 8 do
    case Atom.to_string(dtype) do
      "float" <> _ -> defp put(unquote(dtype), f), do: <<f::float-little-unquote(bits)>>
      "complex" <> _ -> nil
      _integer -> defp put(unquote(dtype), n), do: <<n::little-unquote(bits)>>
    end
  end

  defp get(:bool, <<b>>), do: b != 0

  for {dtype, size} <- @sizes, bits = size * 8 do
    case Atom.to_string(dtype) do
      "int" <> _ -> defp get(unquote(dtype), <<n::signed-little-unquote(bits)>>), do: n
      "uint" <> _ -> defp get(unquote(dtype), <<n::little-unquote(bits)>>), do: n
      "float" <> _ -> defp get(unquote(dtype), <<f::float-little-unquote(bits)>>), do: f
      _other -> nil
    end
  end

  defp get(_float, bits), do: special(bits)

  # Matched only where the bits hold no finite float: its sign and mantissa tell which.
  defp special(bits) do
    size = byte_size(bits) * 8
    <<n::size(size)-little>> = bits
    exponent = %{16 => 5, 32 => 8, 64 => 11}[size]
    mantissa = size - 1 - exponent
    <<sign::1, _::size(exponent), fraction::size(mantissa)>> = <<n::size(size)>>

    cond do
      fraction != 0 -> :nan
      sign == 0 -> :infinity
      true -> :neg_infinity
    end
  end
end
