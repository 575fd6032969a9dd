defmodule Slither.Arrow do
  @moduledoc """
  A table of data as Apache Arrow has it: in Python a `pyarrow.Table`, a `RecordBatch`, or a frame
  of pandas or polars.

    * `kind`: `:table`, `:record_batch`, `:pandas` or `:polars`, what it is in Python;
    * `columns`: their names, in order;
    * `rows`: how many there are;
    * `data`: the table as one Arrow IPC stream.

  BEAM doesn't look into `data`: a table from Python refers to the bytes of the frame it came in,
  and goes to another worker, into a file or to a reader of Arrow as it is. The names and the number
  of rows stand beside it, so that pipes can route by them. Where
  [Explorer](https://hexdocs.pm/explorer) is one of your dependencies, `to_explorer/1` and
  `from_explorer/2` read and make the data.

      iex> Slither.Arrow.new("an IPC stream", ["name", "score"], 2)
      #Slither.Arrow<table of 2 rows: name, score, 13 bytes>

  A Python without pyarrow, or polars for a frame of its own, gets a `slither.Arrow` with the same
  fields, which it can send on. So does one that can't read the data: that is no concern of the
  pipe's, and fails where a handler uses it.
  """

  alias Slither.Error

  @enforce_keys [:kind, :columns, :rows, :data]
  defstruct [:kind, :columns, :rows, :data]

  @type kind :: :table | :record_batch | :pandas | :polars
  @type t :: %__MODULE__{
          kind: kind,
          columns: [String.t()],
          rows: non_neg_integer,
          data: binary
        }

  @kinds [:table, :record_batch, :pandas, :polars]
  # Sent as unsigned integers of 16 bits, and of 64.
  @most_columns 0xFFFF
  @longest_name 0xFFFF
  @most_rows 0xFFFFFFFFFFFFFFFF

  # Called by name, as whoever has no Explorer must be able to compile this.
  @explorer Explorer.DataFrame

  @doc """
  A table of an Arrow IPC stream, whose columns and number of rows the caller knows.

  `kind` is what it is in Python. Raises `Slither.Error` for what no table has.

      iex> table = Slither.Arrow.new(<<>>, ["name"], 0, :pandas)
      iex> {table.kind, table.columns, table.rows}
      {:pandas, ["name"], 0}
  """
  @spec new(binary, [String.t()], non_neg_integer, kind) :: t
  def new(data, columns, rows, kind \\ :table) do
    table = %__MODULE__{kind: kind, columns: columns, rows: rows, data: data}

    case check(table) do
      :ok -> table
      {:error, why} -> raise Error, reason: :invalid_arrow, message: why
    end
  end

  @doc "The kinds of tables, in the order of their numbers on the wire."
  @spec kinds() :: [kind]
  def kinds, do: @kinds

  @doc """
  The table as an `Explorer.DataFrame`.

  Raises `Slither.Error` where Explorer is not loaded, or can't read the data. The index of a pandas
  frame is one or more columns behind its own, unless it just counts rows.
  """
  @spec to_explorer(t) :: struct
  def to_explorer(%__MODULE__{data: data}) do
    where = "Slither.Arrow.to_explorer/1"

    case explorer!(where, :load_ipc_stream, [data]) do
      {:ok, frame} -> frame
      {:error, why} -> raise Error, reason: :invalid_arrow, where: where, message: said(why)
    end
  end

  @doc """
  A table of an `Explorer.DataFrame`, whose groups are left out.

  `kind` is what it is in Python. Raises `Slither.Error` where Explorer is not loaded, or has no
  Arrow type for a column.
  """
  @spec from_explorer(struct, kind) :: t
  def from_explorer(frame, kind \\ :table) when kind in @kinds do
    where = "Slither.Arrow.from_explorer/2"

    case explorer!(where, :dump_ipc_stream, [frame]) do
      {:ok, data} ->
        rows = explorer!(where, :n_rows, [frame])
        new(data, explorer!(where, :names, [frame]), rows, kind)

      {:error, why} ->
        raise Error, reason: :invalid_arrow, where: where, message: said(why)
    end
  end

  @doc false
  @spec check(t) :: :ok | {:error, String.t()}
  def check(%__MODULE__{kind: kind, columns: columns, rows: rows, data: data}) do
    cond do
      kind not in @kinds ->
        {:error, "a table's kind is one of #{inspect(@kinds)}, got #{inspect(kind)}"}

      not (names?(columns) and length(columns) <= @most_columns) ->
        {:error, "a table's columns are a list of at most #{@most_columns} names in UTF-8"}

      not (is_integer(rows) and rows in 0..@most_rows) ->
        {:error, "a table's rows are a whole number of 0 or more, got #{inspect(rows)}"}

      not is_binary(data) ->
        {:error, "a table's data is a binary, an Arrow IPC stream, got #{inspect(data)}"}

      true ->
        :ok
    end
  end

  # A list that is improper ends in what is none.
  defp names?([name | names]), do: name?(name) and names?(names)
  defp names?(names), do: names == []

  defp name?(name),
    do: is_binary(name) and byte_size(name) <= @longest_name and String.valid?(name)

  defp explorer!(where, function, arguments) do
    if Code.ensure_loaded?(@explorer) do
      apply(@explorer, function, arguments)
    else
      raise Error,
        reason: :explorer_missing,
        where: where,
        message: "Explorer is not loaded, which reads and makes tables of Arrow",
        hint: "add {:explorer, \"~> 0.8\"} to the dependencies in mix.exs"
    end
  end

  defp said(why) when is_binary(why), do: why
  defp said(why), do: Error.told(why)

  defimpl Inspect do
    def inspect(table, options) do
      names = Enum.map_join(List.wrap(table.columns), ", ", &to_string/1)

      names =
        if String.length(names) > options.width,
          do: "#{length(table.columns)} columns",
          else: names

      size = if is_binary(table.data), do: byte_size(table.data), else: 0
      "#Slither.Arrow<#{table.kind} of #{table.rows} rows: #{names}, #{size} bytes>"
    end
  end
end
