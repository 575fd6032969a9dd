defmodule Slither.Python.Sources do
  @moduledoc false
  # Which files of the project each worker of a watched pool has imported, and what they held then: a
  # table in ETS, which the pool's supervisor owns. Owners of workers write into it what Python tells,
  # the pool's watcher reads it and says what has changed, and who welcomes a worker hands that on.

  alias Slither.Bytes

  @type t :: :ets.tid()
  @type path :: binary
  @typedoc "What a file holds: its size and the CRC-32 of its bytes."
  @type version :: {non_neg_integer, non_neg_integer}
  @type row :: {owner :: pid, path, module_name :: String.t(), version}

  @doc "An empty table."
  @spec new() :: t
  def new, do: :ets.new(__MODULE__, [:public])

  @doc "The worker of the calling owner has imported modules, as its frame tells."
  @spec told(t, [list]) :: true
  def told(table, modules) do
    rows =
      for [name, %Bytes{data: path}, size, checksum] <- modules,
          do: {{self(), path}, name, {size, checksum}}

    :ets.insert(table, rows)
  end

  @doc "What all workers have told, those that are gone too until they are forgotten."
  @spec rows(t) :: [row]
  def rows(table) do
    for {{owner, path}, name, version} <- :ets.tab2list(table), do: {owner, path, name, version}
  end

  @doc "What a worker has told is forgotten."
  @spec forget(t, pid) :: true
  def forget(table, owner), do: :ets.match_delete(table, {{owner, :_}, :_, :_})

  @doc "New workers are to import these modules as they start."
  @spec change(t, [String.t()]) :: true
  def change(table, names), do: :ets.insert(table, {:changed, names})

  @doc "The modules that a worker which starts is to import."
  @spec changed(t) :: [String.t()]
  def changed(table) do
    case :ets.lookup(table, :changed) do
      [{:changed, names}] -> names
      [] -> []
    end
  end

  @doc "What a file holds now; `:missing` where it can't be read."
  @spec version(path) :: version | :missing
  def version(path) do
    case :file.read_file(path) do
      {:ok, data} -> {byte_size(data), :erlang.crc32(data)}
      {:error, _gone} -> :missing
    end
  end
end
