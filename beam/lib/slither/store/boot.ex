defmodule Slither.Store.Boot do
  @moduledoc false
  # How an owner comes by its tables when it starts: from the heir, or from `load/1` and the log.
  # Runs in the owner, which traps exits.

  require Logger

  alias Slither.Store.{Builder, Config, Directory, Errors, Heir, Journal, Processes, Table}
  alias Slither.Telemetry.Events

  @doc "The tables and their log. `snapshot?` is whether the log has a snapshot that is as new."
  @spec run(Config.t(), pid, Processes.t()) ::
          {:ok, Directory.t(), Journal.t() | nil, snapshot? :: boolean} | {:error, term}
  def run(config, heir, processes) do
    directory = Directory.get(config.store)
    tids = for {_name, table} <- tables(directory), tid <- Table.tids(table), do: tid

    # If the heir still has a dead owner's tables,
    # this owner takes them over unnoticed by readers.
    if directory && Heir.claim(heir, tids, directory.generation),
      do: resume(directory, config),
      else: load(config, heir, processes)
  end

  @doc "Names the heir of tables that readers are about to see."
  @spec bequeath([Table.t()], pid) :: :ok
  def bequeath(tables, heir) do
    for table <- tables,
        tid <- Table.tids(table),
        do: :ets.setopts(tid, {:heir, heir, __MODULE__})

    :ok
  end

  @spec durable([Table.t()]) :: [Table.t()]
  def durable(tables), do: Enum.filter(tables, & &1.durable)

  @spec rows([Table.t()]) :: non_neg_integer
  def rows(tables), do: tables |> Enum.map(&:ets.info(&1.tid, :size)) |> Enum.sum()

  defp tables(nil), do: []
  defp tables(directory), do: directory.tables

  defp resume(%{dir: nil} = directory, _config), do: {:ok, directory, nil, true}

  defp resume(%{dir: dir} = directory, config) do
    with {:ok, journal} <- log(config, fn -> Journal.reopen(dir, config.store) end),
         do: {:ok, directory, journal, false}
  end

  defp load(config, heir, processes) do
    started = System.monotonic_time()
    facts = %{store: config.store}
    Events.load_started(:load, facts)

    with {:ok, tables, seeded?} <- build(config),
         {:ok, journal, snapshot?} <- open_journal(config, tables, seeded?),
         :ok <- Heir.register_views(heir, config.views) do
      bequeath(tables, heir)
      directory = directory(config, tables, processes)
      Heir.publish(heir, directory)
      Events.loaded(:load, started, rows(tables), facts)
      {:ok, directory, journal, snapshot?}
    else
      {:error, reason} ->
        Events.load_failed(:load, started, reason, facts)
        {:error, reason}
    end
  end

  defp directory(config, tables, processes) do
    %Directory{
      store: config.store,
      module: config.module,
      generation: 1,
      tables: Map.new(tables, &{&1.name, &1}),
      processes: processes,
      dir: config.dir
    }
  end

  defp build(%{on_load_error: on_error} = config) do
    case Builder.build(config.module, config.tables) do
      {:ok, tables} ->
        {:ok, tables, true}

      {:error, reason} when on_error == :start_empty ->
        Logger.error("store #{inspect(config.store)} starts empty: #{inspect(reason)}")
        {:ok, Enum.map(config.tables, &Table.create/1), false}

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp open_journal(%{dir: nil}, _tables, _seeded?), do: {:ok, nil, true}

  defp open_journal(config, tables, seeded?),
    do: log(config, fn -> Journal.open(config.dir, config.store, durable(tables), seeded?) end)

  # A log that can't be used is an error, and its files stay as they are.
  defp log(config, open) do
    case open.() do
      {:error, reason} -> {:error, Errors.unusable(config, reason)}
      opened -> opened
    end
  rescue
    error -> {:error, Errors.unusable(config, error)}
  catch
    :throw, reason -> {:error, Errors.unusable(config, reason)}
  end
end
