defmodule Slither.Watch.Stores do
  @moduledoc false
  # The stores of a snapshot, and the checkpoints that runs write: read in the process of
  # `Slither.Watch.Server`.

  alias Slither.Pipe.Names
  alias Slither.Store.Directory
  alias Slither.Watch.{Samples, Words}

  @doc "The stores that are up, with their tables."
  @spec all(Samples.t(), integer, Samples.counts()) :: [map]
  def all(samples, now, counts) do
    for store <- Directory.stores(), directory = Directory.get(store) do
      name = Words.name(store)
      tables = for {_name, table} <- Enum.sort(directory.tables), do: table(table)

      %{
        store: name,
        tables: tables,
        writes_rate: Samples.rate(samples, now, counts, {:writes, name}, 10_000),
        durable: Enum.any?(tables, & &1.durable)
      }
    end
  end

  # A store that is being reloaded may take its tables away just now.
  defp table(table) do
    words = info(table.tid, :memory)

    %{
      name: Words.name(table.name),
      rows: info(table.tid, :size),
      memory: words && words * :erlang.system_info(:wordsize),
      durable: table.durable
    }
  end

  defp info(tid, what) do
    with :undefined <- :ets.info(tid, what), do: nil
  end

  @doc "The files of resumable runs that are open."
  @spec checkpoints() :: [map]
  def checkpoints do
    for path <- Names.checkpoints(), do: %{path: path, pipe: nil, finished: nil}
  end
end
