defmodule Slither.Store.Operation do
  @moduledoc false
  # What a write does to the rows that it finds: a reply, and the effects on
  # the table. Pure but for reading the table; called by the store's owner.
  # Effects are plain rows and keys, never functions, so that the same list can
  # be applied, written to the journal, and replayed over a reloaded table.

  alias Slither.Store.{Errors, Table}

  @type op ::
          {:insert, [tuple]}
          | {:insert_new, tuple}
          | {:delete, term}
          | {:take, term}
          | {:swap, term, [tuple], tuple}
          | {:counter, term, integer, integer | nil}
          | {:expire, [term]}

  @spec run(op, Table.t()) ::
          {{:ok, term} | {:error, Slither.Error.t()} | :changed, [Table.effect()]}
  def run({:insert, []}, _table), do: {{:ok, :ok}, []}
  def run({:insert, records}, table), do: {{:ok, :ok}, [insert(table, records)]}

  def run({:insert_new, record}, table) do
    case Table.lookup(table, Table.key(table, record)) do
      [] -> {{:ok, true}, [insert(table, [record])]}
      _ -> {{:ok, false}, []}
    end
  end

  def run({:delete, key}, _table), do: {{:ok, :ok}, [{:delete, [key]}]}

  def run({:take, key}, table) do
    records = Table.lookup(table, key)
    effects = if records == [], do: [], else: [{:delete, [key]}]
    {{:ok, {records != [], Table.entry(table, records)}}, effects}
  end

  def run({:swap, key, seen, record}, table) do
    if Table.lookup(table, key) === seen,
      do: {{:ok, :ok}, [insert(table, [record])]},
      else: {:changed, []}
  end

  def run({:counter, key, by, default}, table) do
    case {Table.lookup(table, key), default} do
      {[{_key, count}], _} when is_integer(count) ->
        {{:ok, count + by}, [insert(table, [{key, count + by}])]}

      {[], default} when is_integer(default) ->
        {{:ok, default + by}, [insert(table, [{key, default + by}])]}

      {records, _} ->
        {{:error, Errors.not_a_counter(table.name, key, records)}, []}
    end
  end

  # Checks again: a write may have renewed these keys since the caller saw them expire.
  def run({:expire, keys}, table) do
    case Enum.filter(keys, &Table.expired?(table, &1)) do
      [] -> {{:ok, :ok}, []}
      keys -> {{:ok, :ok}, [{:delete, keys}]}
    end
  end

  @doc "The keys that the effects touch, one for each row."
  @spec keys(Table.t(), [Table.effect()]) :: [term]
  def keys(table, effects) do
    Enum.flat_map(effects, fn
      {:insert, records, _deadline} -> Enum.map(records, &Table.key(table, &1))
      {:delete, keys} -> keys
    end)
  end

  defp insert(table, records), do: {:insert, records, Table.deadline(table)}
end
