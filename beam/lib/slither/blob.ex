defmodule Slither.Blob do
  @moduledoc """
  A large value in shared memory: put once, read by every worker without a copy.

  A model's weights, or an array to look things up in, would cost each call its way through a pipe, and
  each worker a copy. `put/2` writes it to a file in memory (`/dev/shm`) once. What it returns stands for the
  value wherever values go: as an item, in an item, as an argument. A handler gets the value itself:
  a NumPy array that can only be read, or a `memoryview` of bytes, on memory that all workers have in
  common.

      iex> {:ok, blob} = Slither.Blob.put(Slither.Tensor.new(:float64, {2}, [1.5, 2.5]))
      iex> blob.kind
      :tensor
      iex> {:ok, tensor} = Slither.Blob.get(blob)
      iex> Slither.Tensor.to_list(tensor)
      [1.5, 2.5]
      iex> Slither.Blob.delete(blob)
      :ok
      iex> {:error, error} = Slither.Blob.get(blob)
      iex> error.reason
      :unknown_blob

  A blob is there until `delete/1`, or until the process that put it ends (`owner:` names another, or
  `:node` for none), and no longer than this BEAM, however that ends. A worker that has the value keeps it
  until it needs it no more. An item with a blob that is gone fails with `:unknown_blob`, alone.

  Workers of this machine alone can read it. Where there is no `/dev/shm`, or with
  `config :slither, blob_dir: "/path"`, it is a file elsewhere. Containers often have 64 MB of shared
  memory: `put/2` says so with `:blob_failed` when there is no room (`docker run --shm-size=2g` gives more).
  """

  alias Slither.{Arrow, Bytes, Error, Tensor}
  alias Slither.Blob.{Folder, Server}
  alias Slither.Protocol.Types.{ArrayType, ArrowType, TensorType}

  @enforce_keys [:name, :size, :kind]
  defstruct [:name, :size, :kind, use: :shared]

  @typedoc "What a blob holds; an `:array` is a tensor of one of NumPy's own dtypes."
  @type kind :: :bytes | :tensor | :array | :arrow

  @typedoc """
  A reference: its `name`, the `size` of its file in bytes, and its `kind`. `use` is `:own` for what
  Slither itself sent by shared memory, in place of a value.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          size: non_neg_integer,
          kind: kind,
          use: :shared | :own
        }

  @kinds %{3 => :tensor, 12 => :array, 13 => :arrow}

  @doc """
  Puts a value: a binary or `Slither.Bytes` (bytes in Python), a `Slither.Tensor` or a `Slither.Arrow`.

  `owner:` is the process with which it goes, by default the caller, or `:node` for one that only
  `delete/1` takes away. Errors: `:blob_failed` where the file can't be written, `:invalid_tensor`,
  `:invalid_arrow` or `:invalid_argument` for what is none of these.
  """
  @spec put(binary | Bytes.t() | Tensor.t() | Arrow.t(), owner: pid | :node) ::
          {:ok, t} | {:error, Error.t()}
  def put(value, options \\ []) do
    with {:ok, owner} <- owner(options),
         {:ok, kind, data} <- encoded(value),
         do: write(kind, data, owner)
  end

  @doc "As `put/2`, but raises the error."
  @spec put!(binary | Bytes.t() | Tensor.t() | Arrow.t(), owner: pid | :node) :: t
  def put!(value, options \\ []) do
    case put(value, options) do
      {:ok, blob} -> blob
      {:error, error} -> raise error
    end
  end

  @doc "The value again, as a copy in this BEAM; bytes as `Slither.Bytes`. Errors: `:unknown_blob`."
  @spec get(t) :: {:ok, Bytes.t() | Tensor.t() | Arrow.t()} | {:error, Error.t()}
  def get(%__MODULE__{} = blob) do
    with {:ok, path} <- Server.path(blob.name), {:ok, data} <- File.read(path) do
      decoded(blob.kind, data)
    else
      _gone -> {:error, unknown(blob)}
    end
  end

  @doc "Gives a blob to another owner: a process, or `:node`. Errors: `:unknown_blob`."
  @spec hand_over(t, pid | :node) :: :ok | {:error, Error.t()}
  def hand_over(%__MODULE__{} = blob, owner) when is_pid(owner) or owner == :node do
    with {:error, _gone} <- Server.hand_over(blob.name, owner), do: {:error, unknown(blob)}
  end

  @doc "Takes a blob away. Workers that have its value at hand keep that; a blob that is gone is no error."
  @spec delete(t) :: :ok
  def delete(%__MODULE__{name: name}) do
    _gone_either_way = Server.delete(name)
    :ok
  end

  defp owner(options) do
    case Keyword.pop(options, :owner, self()) do
      {owner, []} when is_pid(owner) or owner == :node ->
        {:ok, owner}

      {owner, []} ->
        {:error, invalid("owner: is a pid or :node, got #{inspect(owner)}")}

      {_owner, [{name, _value} | _]} ->
        {:error, invalid("unknown option #{inspect(name)}; known: :owner")}
    end
  end

  defp encoded(binary) when is_binary(binary), do: {:ok, :bytes, binary}
  defp encoded(%Bytes{data: data}) when is_binary(data), do: {:ok, :bytes, data}
  defp encoded(%Tensor{} = tensor), do: of_type(TensorType, tensor, :invalid_tensor)
  defp encoded(%Arrow{} = table), do: of_type(ArrowType, table, :invalid_arrow)

  defp encoded(other) do
    got = inspect(other, limit: 5, printable_limit: 40)
    what = "a binary, a Slither.Bytes, a Slither.Tensor or a Slither.Arrow"
    {:error, invalid("a blob holds #{what}, got #{got}")}
  end

  defp of_type(type, value, reason) do
    case type.encode(value) do
      {:ok, code, data} ->
        {:ok, Map.fetch!(@kinds, code), data}

      {:error, why} ->
        {:error, %Error{reason: reason, where: "Slither.Blob.put/2", message: why}}
    end
  end

  defp decoded(:bytes, data), do: {:ok, Bytes.new(data)}
  defp decoded(:tensor, data), do: told(TensorType.decode(data))
  defp decoded(:array, data), do: told(ArrayType.decode(data))
  defp decoded(:arrow, data), do: told(ArrowType.decode(data))

  defp told({:ok, value}), do: {:ok, value}
  defp told({:error, why}), do: {:error, %Error{reason: :not_decodable, message: why}}

  defp write(kind, data, owner) do
    with {:ok, name, path} <- Server.new(owner),
         :ok <- written(Folder.write(path, data), name) do
      {:ok, %__MODULE__{name: name, size: IO.iodata_length(data), kind: kind}}
    else
      {:error, :down} ->
        {:error, failed("Slither is not running", "start the application :slither")}

      {:error, why} ->
        size = IO.iodata_length(data)
        text = "#{size} bytes can't be written below #{Folder.root()}: #{:file.format_error(why)}"
        hint = "give it more memory, or another folder by config :slither, blob_dir: \"/path\""
        {:error, failed(text, hint)}
    end
  end

  defp written(:ok, _name), do: :ok

  defp written(error, name) do
    Server.delete(name)
    error
  end

  defp unknown(blob) do
    %Error{
      reason: :unknown_blob,
      where: "Slither.Blob",
      message: "the blob #{blob.name} is not there",
      hint: "it was deleted, its owner has ended, or it is of another BEAM"
    }
  end

  defp failed(message, hint) do
    %Error{reason: :blob_failed, where: "Slither.Blob.put/2", message: message, hint: hint}
  end

  defp invalid(message),
    do: %Error{reason: :invalid_argument, where: "Slither.Blob.put/2", message: message}
end
