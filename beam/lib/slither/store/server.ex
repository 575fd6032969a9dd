defmodule Slither.Store.Server do
  @moduledoc """
  Reads and writes of running stores.

  The first argument names the store: its module, the `name:` it was started with, which may be any
  term, or the pid that `start_link/2` returned. Reads go straight to ETS in the calling process; writes are done by the store's
  owner, one after another, and are done when the function returns. What was written is read
  back by whoever waited for it.

      iex> alias Slither.Store.Server
      iex> Server.get(MyApp.FeatureStore, :features, "user:42")
      %{tier: "gold"}
      iex> Server.put(MyApp.FeatureStore, :features, "user:99", %{tier: "silver"})
      :ok
      iex> Server.get(MyApp.FeatureStore, :features, "user:99")
      %{tier: "silver"}

  ## Records and values

  A record is a tuple whose key is at the table's `keypos`. A pair `{key, value}` in a table with
  `keypos: 1` reads as its value; any other record reads whole. In a `:bag` the functions that
  read one key give a list, `[]` when there is nothing. `put/4`, `put_new/4` and `update/4` take
  a value where `keypos` is 1 and a whole record elsewhere; `bulk_insert/3` takes whole records.

  ## Errors

  Mistakes raise `Slither.Error` in the caller, with `reason` `:unknown_store`,
  `:unknown_table`, `:invalid_argument`, `:not_found`, `:not_a_counter`, `:contended` (an
  `update` whose key kept changing for 5 s), `:not_logged` (the disk refuses; nothing was
  written), `:not_synced` (written in memory, and not known to be on disk) or
  `:store_unavailable`.

  `start_link/2` returns `:log_locked` where another VM writes the store's log, and
  `:log_unusable` where that can't be read or written, with the cause in `details`.

  ## Options of a store

  #{Slither.Store.Config.docs()}
  """

  alias Slither.Store.{Config, Directory, Errors, Instance, Owner, Reads, Table, Writes}
  alias Slither.Telemetry.Events

  @type store :: module | term
  @type table :: atom
  @type key :: term

  @doc """
  Starts a store; returns when `load/1` is done, or `{:error, reason}` with the reason it gave
  (the exception, when it raised).
  """
  @spec start_link(module | {module, keyword}, keyword) :: {:ok, pid} | {:error, term}
  def start_link(module, options \\ [])
  def start_link({module, options}, []), do: start_link(module, options)

  def start_link(module, options) do
    with {:ok, config} <- Config.build(module, options), do: Instance.start_link(config)
  end

  @doc false
  @spec child_spec(module | {module, keyword}) :: Supervisor.child_spec()
  def child_spec({module, options}) do
    name = if Keyword.keyword?(options), do: Keyword.get(options, :name, module), else: module

    %{
      id: {__MODULE__, name},
      type: :supervisor,
      start: {__MODULE__, :start_link, [module, options]}
    }
  end

  def child_spec(module), do: child_spec({module, []})

  @doc """
  The value under `key`, or `nil`.

      iex> Slither.Store.Server.get(MyApp.FeatureStore, :features, "nobody")
      nil
  """
  @spec get(store, table, key) :: term
  defdelegate get(store, table, key), to: Reads

  @doc "As `get/3`; raises `Slither.Error` when there is nothing."
  @spec get!(store, table, key) :: term
  def get!(store, table, key) do
    case Reads.entry(store, table, key) do
      {:ok, value} -> value
      :error -> raise Errors.not_found(Directory.get!(store).store, table, key)
    end
  end

  @doc """
  The values of those `keys` that are there, all of one generation.

      iex> Slither.Store.Server.get_many(MyApp.FeatureStore, :features, ["user:42", "nobody"])
      %{"user:42" => %{tier: "gold"}}
  """
  @spec get_many(store, table, [key]) :: %{key => term}
  defdelegate get_many(store, table, keys), to: Reads

  @doc """
  What the variables of `pattern` match, as `:ets.match/2`.

      iex> Slither.Store.Server.match(MyApp.FeatureStore, :features, {:"$1", %{tier: "gold"}})
      [["user:42"]]
  """
  @spec match(store, table, :ets.match_pattern()) :: [[term]]
  defdelegate match(store, table, pattern), to: Reads

  @doc "What a match specification selects, as `:ets.select/2`."
  @spec select(store, table, :ets.match_spec()) :: [term]
  defdelegate select(store, table, match_spec), to: Reads

  @doc """
  Folds the table's records, with `fun.(record, acc)`, in no order unless `:ordered_set`.

  All records are of the generation it began with; `fun` may call the store.

      iex> Slither.Store.Server.fold(MyApp.FeatureStore, :features, 0, fn {_, _}, n -> n + 1 end)
      1
  """
  @spec fold(store, table, acc, (tuple, acc -> acc)) :: acc when acc: term
  defdelegate fold(store, table, acc, fun), to: Reads

  @doc """
  The table's records, lazily and in constant memory, of the generation it began with. What is
  written while it goes on may or may not be seen.

      iex> Slither.Store.Server.stream(MyApp.FeatureStore, :features) |> Enum.to_list()
      [{"user:42", %{tier: "gold"}}]
  """
  @spec stream(store, table) :: Enumerable.t()
  defdelegate stream(store, table), to: Reads

  @doc "The table's keys, each once."
  @spec keys(store, table) :: [key]
  defdelegate keys(store, table), to: Reads

  @doc "How many records the table holds."
  @spec size(store, table) :: non_neg_integer
  defdelegate size(store, table), to: Reads

  @doc "Writes `value` under `key` (adds it, in a `:bag`)."
  @spec put(store, table, key, term) :: :ok
  defdelegate put(store, table, key, value), to: Writes

  @doc "As `put/4` where there is nothing yet; says whether it wrote."
  @spec put_new(store, table, key, term) :: boolean
  defdelegate put_new(store, table, key, value), to: Writes

  @doc """
  Writes all records, or none when one of them is no record. Not for tables of other shapes:
  each is a tuple with its key at `keypos`.

      iex> Slither.Store.Server.bulk_insert(MyApp.FeatureStore, :features, [{"a", 1}, {"b", 2}])
      :ok
  """
  @spec bulk_insert(store, table, Enumerable.t()) :: :ok
  defdelegate bulk_insert(store, table, records), to: Writes

  @doc """
  Writes `fun.(value)`, with `nil` when there is nothing; returns `{:ok, new_value}`.

  `fun` runs in the calling process. It runs again when another write got in between, so it
  should have no side effects; what it raises, throws or exits with is the caller's alone.

      iex> Slither.Store.Server.update(MyApp.FeatureStore, :features, "user:42", &Map.put(&1, :age, 7))
      {:ok, %{tier: "gold", age: 7}}
  """
  @spec update(store, table, key, (term -> term)) :: {:ok, term}
  def update(store, table, key, fun), do: Writes.update(store, table, key, fun, :error)

  @doc "As `update/4`; writes `default` where there is nothing, without calling `fun`."
  @spec update(store, table, key, term, (term -> term)) :: {:ok, term}
  def update(store, table, key, default, fun),
    do: Writes.update(store, table, key, fun, {:ok, default})

  @doc """
  Adds `by` to the integer under `key`, or to `default` where there is nothing; the new value.

      iex> Slither.Store.Server.update_counter(MyApp.FeatureStore, :features, "seen", 2, 0)
      2
  """
  @spec update_counter(store, table, key, integer, integer | nil) :: integer
  def update_counter(store, table, key, by, default \\ nil),
    do: Writes.update_counter(store, table, key, by, default)

  @doc "Removes what is under `key`."
  @spec delete(store, table, key) :: :ok
  defdelegate delete(store, table, key), to: Writes

  @doc "Removes what is under `key` and returns it, as `get/3` would."
  @spec take(store, table, key) :: term
  defdelegate take(store, table, key), to: Writes

  @doc """
  Loads anew and swaps all tables in one step. A failure changes nothing and is returned. See
  `Slither.Store` for what happens to writes.
  """
  @spec reload(store) :: :ok | {:error, term}
  def reload(store) do
    started = System.monotonic_time()
    %{store: store, generation: generation} = Directory.get!(store)
    before = %{store: store, generation: generation}
    Events.load_started(:reload, before)

    case Writes.call(store, &Owner.reload/1) do
      {:ok, generation, rows} ->
        Events.loaded(:reload, started, rows, %{before | generation: generation})

      {:error, reason} ->
        Events.load_failed(:reload, started, reason, before)
        {:error, reason}
    end
  end

  @doc """
  Has the calling process told about changes of a table, until it ends or calls `unwatch/2`.

  Returns a reference. Each write sends `{Slither.Store, ref, change}`, where `change` is a map
  of `store`, `table`, `generation`, `kind` (`:put`, `:put_new`, `:bulk_insert`, `:update`,
  `:update_counter`, `:delete`, `:take`, `:expire`, `:reload`, `:recover`) and `keys`, a list.
  It comes after the change can be read.

  `keys` is `:all` after a reload, and in `:recover`: the serving process has crashed, and a
  change that it made last may not have been told. The reference is that of a monitor, so when
  the store stops, `{:DOWN, ref, :process, pid, reason}` ends the watch.
  """
  @spec watch(store, table) :: reference
  def watch(store, table) do
    directory = Directory.get!(store)
    _ = Directory.table!(directory, table)
    ref = Process.monitor(Directory.heir(directory.store))
    :ok = Writes.call(store, &Owner.watch(&1, table, ref))
    ref
  end

  @doc "Ends a watch."
  @spec unwatch(store, reference) :: :ok
  def unwatch(store, ref) when is_reference(ref) do
    Process.demonitor(ref, [:flush])
    Writes.call(store, &Owner.unwatch(&1, ref))
  end

  @doc "What runs: module, generation, the log's directory, and each table's size and memory."
  @spec info(store) :: map
  def info(store) do
    directory = Directory.get!(store)

    tables =
      directory.tables |> Map.values() |> Enum.sort_by(& &1.name) |> Enum.map(&table_info/1)

    directory
    |> Map.take([:store, :module, :generation, :dir])
    |> Map.merge(%{
      tables: tables,
      memory_words: tables |> Enum.map(& &1.memory_words) |> Enum.sum()
    })
  end

  @doc "The names of the stores that are up."
  @spec stores() :: [store]
  defdelegate stores, to: Directory

  defp table_info(table) do
    words = for tid <- Table.tids(table), n = :ets.info(tid, :memory), is_integer(n), do: n
    size = :ets.info(table.tid, :size)

    table
    |> Map.take([:name, :type, :keypos, :durable, :ttl, :python])
    |> Map.merge(%{size: if(is_integer(size), do: size, else: 0), memory_words: Enum.sum(words)})
  end
end
