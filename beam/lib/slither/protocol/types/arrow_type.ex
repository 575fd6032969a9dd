defmodule Slither.Protocol.Types.ArrowType do
  @moduledoc false
  # Tables of data: what they are in Python, how many rows, the names of the columns, padding to 64
  # bytes, and an Arrow IPC stream as it is. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.Arrow
  alias Slither.Protocol.Type

  @align 64
  @numbers Arrow.kinds() |> Enum.with_index() |> Map.new()
  @kinds Map.new(@numbers, fn {kind, number} -> {number, kind} end)

  @impl true
  def code, do: 13

  @impl true
  def structs, do: [Arrow]

  @impl true
  def name, do: :arrow

  @impl true
  def encode(table) do
    with :ok <- Arrow.check(table) do
      names = for name <- table.columns, do: [<<byte_size(name)::16>> | name]
      facts = <<@numbers[table.kind], table.rows::64, length(names)::16>>
      head = IO.iodata_to_binary([facts | names])
      padding = Type.padding(byte_size(head), @align)
      {:ok, code(), [head, <<0::size(padding)-unit(8)>> | table.data]}
    end
  end

  @impl true
  def decode(<<number, rows::64, count::16, rest::binary>> = all)
      when is_map_key(@kinds, number) do
    with {:ok, columns, rest} <- columns(count, rest, []),
         padding = Type.padding(byte_size(all) - byte_size(rest), @align),
         <<0::size(padding)-unit(8), data::binary>> <- rest,
         table = %Arrow{kind: @kinds[number], columns: columns, rows: rows, data: data},
         :ok <- Arrow.check(table) do
      {:ok, table}
    else
      {:error, why} -> {:error, why}
      _other -> {:error, "a malformed table of Arrow"}
    end
  end

  def decode(_data), do: {:error, "a malformed table of Arrow"}

  defp columns(0, rest, names), do: {:ok, Enum.reverse(names), rest}

  # A name that is part of the bytes keeps them all.
  defp columns(count, <<size::16, name::binary-size(size), rest::binary>>, names),
    do: columns(count - 1, rest, [:binary.copy(name) | names])

  defp columns(_count, _rest, _names), do: :short

  @impl true
  def key(_table), do: {:error, "a table of Arrow can't be a key of a map in Python"}
end
