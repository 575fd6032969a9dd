defmodule Slither.Store.Reads do
  @moduledoc false
  # Reads, in the process that calls them. A reader may hold a table that a reload has retired:
  # short reads find it deleted and start again with the new one; `fold` and `stream` pin the
  # generation they began with, and its tables live until they are done.

  require Slither.Store.Directory

  alias Slither.Store.{Directory, Errors, Processes, Reaper, Table}

  @chunk 500

  @spec get(term, atom, term) :: term
  def get(store, name, key) do
    # The common case is kept short: guides/store.md says what a `get` may cost.
    case Directory.plain(store, name) do
      nil ->
        read(store, name, &Table.entry(&1, Table.lookup(&1, key)))

      tid ->
        try do
          :ets.lookup(tid, key)
        rescue
          ArgumentError -> read(store, name, &Table.entry(&1, :ets.lookup(&1.tid, key)))
        else
          [{_key, value}] -> value
          [] -> nil
          [record] -> record
        end
    end
  end

  @spec lookup(term, atom, term) :: [tuple]
  def lookup(store, name, key), do: read(store, name, &Table.lookup(&1, key))

  @spec entry(term, atom, term) :: {:ok, term} | :error
  def entry(store, name, key) do
    read(store, name, fn table ->
      case Table.lookup(table, key) do
        [] -> :error
        records -> {:ok, Table.entry(table, records)}
      end
    end)
  end

  @spec get_many(term, atom, [term]) :: map
  def get_many(store, name, keys) do
    read(store, name, fn table ->
      for key <- keys, [_ | _] = rows <- [Table.lookup(table, key)], into: %{} do
        {key, Table.entry(table, rows)}
      end
    end)
  end

  @doc "The values under the keys, nil where there is none, and the places of those, last first."
  @spec get_each(term, atom, [term]) :: [list]
  def get_each(store, name, keys), do: read(store, name, &each(&1, keys, 0, [], []))

  defp each(table, [key | keys], place, values, missing) do
    case Table.lookup(table, key) do
      [] -> each(table, keys, place + 1, [nil | values], [place | missing])
      rows -> each(table, keys, place + 1, [Table.entry(table, rows) | values], missing)
    end
  end

  defp each(_table, [], _place, values, missing), do: [:lists.reverse(values), missing]

  @spec match(term, atom, term) :: [list]
  def match(store, name, pattern), do: select(store, name, [{pattern, [], [:"$$"]}])

  @spec select(term, atom, list) :: [term]
  def select(store, name, spec) do
    read(store, name, fn table ->
      if Table.some_expired(table) == [],
        do: :ets.select(table.tid, spec),
        else: select_live(table, spec)
    end)
  end

  @spec size(term, atom) :: non_neg_integer
  def size(store, name) do
    read(store, name, fn table ->
      gone = for key <- Table.expired(table), do: length(:ets.lookup(table.tid, key))

      case :ets.info(table.tid, :size) do
        :undefined -> raise ArgumentError
        size -> size - Enum.sum(gone)
      end
    end)
  end

  @spec keys(term, atom) :: [term]
  def keys(store, name) do
    read(store, name, fn table ->
      dead = Table.expired(table)
      # A match pattern fixes the size of a record,
      # which may vary: so take the key by its position.
      found = :ets.select(table.tid, [{:"$1", [], [{:element, table.keypos, :"$1"}]}])
      found = if table.type == :bag, do: Enum.uniq(found), else: found
      if dead == [], do: found, else: found -- dead
    end)
  end

  @doc "Keys that are past their time and not swept yet: some of them."
  @spec some_expired(term, atom) :: [term]
  def some_expired(store, name), do: read(store, name, &Table.some_expired/1)

  @doc "Forgets the pins of processes that ended in the middle of a stream."
  @spec forget_dead(term) :: :ok
  def forget_dead(store) do
    directory = Directory.get!(store)

    for {pin, pid} <- Processes.pins(directory.processes),
        not Process.alive?(pid),
        do: Reaper.unpin(directory.processes, pin)

    :ok
  rescue
    ArgumentError -> :ok
  end

  @spec fold(term, atom, acc, (tuple, acc -> acc)) :: acc when acc: term
  def fold(store, name, acc, fun), do: store |> stream(name) |> Enum.reduce(acc, fun)

  @spec stream(term, atom) :: Enumerable.t()
  def stream(store, name) do
    # A wrong name is the caller's error now, not when the stream is run.
    _ = store |> Directory.get!() |> Directory.table!(name)
    Stream.resource(fn -> open(store, name) end, &next/1, &close/1)
  end

  defp open(store, name) do
    {directory, pin} = pin(store)
    table = Map.fetch!(directory.tables, name)
    :ets.safe_fixtable(table.tid, true)
    {directory, pin, table, :start}
  rescue
    ArgumentError -> reraise Errors.unavailable(store), __STACKTRACE__
  end

  defp next({directory, pin, table, at}) do
    case if(at == :start,
           do: :ets.match_object(table.tid, :_, @chunk),
           else: :ets.match_object(at)
         ) do
      :"$end_of_table" -> {:halt, {directory, pin, table, :"$end_of_table"}}
      {rows, more} -> {Table.live(table, rows), {directory, pin, table, more}}
    end
  rescue
    # A pinned table is gone only if the store itself is.
    ArgumentError -> reraise Errors.unavailable(directory.store), __STACKTRACE__
  end

  defp close({directory, pin, table, _at}) do
    :ets.safe_fixtable(table.tid, false)
    Reaper.unpin(directory.processes, pin)
  rescue
    ArgumentError -> :ok
  end

  # A reload looks for pins after it has swapped the generations. So a pin counts only if its
  # generation is still current once the pin is in the table.
  defp pin(store) do
    directory = Directory.get!(store)
    pin = Processes.pin(directory.processes, directory.generation)

    if Directory.get!(store).generation == directory.generation do
      {directory, pin}
    else
      Reaper.unpin(directory.processes, pin)
      pin(store)
    end
  end

  # A result need not contain its row's key, by which an expired row could be told later. So
  # expired rows are left out, chunk by chunk, before the match specification runs.
  defp select_live(table, spec) do
    compiled = :ets.match_spec_compile(spec)

    Enum.reverse(
      Table.fold_chunks(table, [], fn rows, found ->
        Enum.reverse(:ets.match_spec_run(Table.live(table, rows), compiled), found)
      end)
    )
  end

  defp read(store, name, fun) do
    directory = Directory.get!(store)
    table = Directory.table!(directory, name)

    try do
      fun.(table)
    rescue
      error in ArgumentError -> retry(directory, table, fun, error, __STACKTRACE__)
    end
  end

  # ETS has refused the read. If a reload has retired the table meanwhile, the read begins again
  # on the new one. Otherwise the arguments were bad.
  defp retry(%{store: store} = directory, table, fun, error, stacktrace) do
    current = Directory.get!(store)

    cond do
      # A store that started anew also counts its generations anew.
      current.generation != directory.generation or current.processes != directory.processes ->
        read(store, table.name, fun)

      :ets.info(table.tid) == :undefined ->
        reraise Errors.unavailable(store), stacktrace

      true ->
        why = "ETS refuses the pattern or match specification: #{Exception.message(error)}"
        reraise Errors.invalid(store, table.name, why), stacktrace
    end
  end
end
