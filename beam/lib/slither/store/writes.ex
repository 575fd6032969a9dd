defmodule Slither.Store.Writes do
  @moduledoc false
  # The caller's half of a write, run in the process that writes: checks, the call to the store's
  # owner, the telemetry event.

  alias Slither.Error
  alias Slither.Store.{Directory, Errors, Operation, Owner, Reads, Table}
  alias Slither.Telemetry.Events

  @contended_after 5_000
  @restart_wait 2_000

  @spec put(term, atom, term, term) :: :ok
  def put(store, name, key, value) do
    {store, table} = find!(store, name)
    write!(store, table, :put, {:insert, [record!(store, table, key, value)]})
  end

  @spec put_new(term, atom, term, term) :: boolean
  def put_new(store, name, key, value) do
    {store, table} = find!(store, name)
    write!(store, table, :put_new, {:insert_new, record!(store, table, key, value)})
  end

  @spec bulk_insert(term, atom, Enumerable.t()) :: :ok
  def bulk_insert(store, name, records) do
    {store, table} = find!(store, name)
    records = Enum.to_list(records)
    Enum.each(records, &check_record!(store, table, &1))
    write!(store, table, :bulk_insert, {:insert, records})
  end

  @spec delete(term, atom, term) :: :ok
  def delete(store, name, key) do
    {store, table} = find!(store, name)
    write!(store, table, :delete, {:delete, key})
  end

  @spec take(term, atom, term) :: term
  def take(store, name, key) do
    {_found?, entry} = take_entry(store, name, key)
    entry
  end

  @doc "As `take/3`, and whether there was a record: what was taken may be nil."
  @spec take_entry(term, atom, term) :: {boolean, term}
  def take_entry(store, name, key) do
    {store, table} = find!(store, name)
    write!(store, table, :take, {:take, key})
  end

  @doc "Removes those keys that are past their time."
  @spec expire(term, atom, [term]) :: :ok
  def expire(store, name, keys) do
    {store, table} = find!(store, name)
    write!(store, table, :expire, {:expire, keys})
  end

  @spec update_counter(term, atom, term, integer, integer | nil) :: integer
  def update_counter(store, name, key, by, default) do
    {store, table} = find!(store, name)
    no_bag!(store, table, "update_counter/5")

    unless is_integer(by) and (is_integer(default) or is_nil(default)) do
      invalid!(store, table, "takes integers, got #{inspect(by)} and #{inspect(default)}")
    end

    if table.keypos != 1, do: invalid!(store, table, "counters need keypos 1")
    write!(store, table, :update_counter, {:counter, key, by, default})
  end

  @doc """
  Reads, runs `fun` in the caller, and has the owner store the result if nothing changed meanwhile;
  otherwise again. So the owner never runs a function of the user's.
  """
  @spec update(term, atom, term, (term -> term), {:ok, term} | :error) :: {:ok, term}
  def update(store, name, key, fun, default) do
    {store, table} = find!(store, name)

    unless is_function(fun, 1),
      do: invalid!(store, table, "update takes a function of arity 1, got #{inspect(fun)}")

    no_bag!(store, table, "update/4")
    attempt(store, table, key, fun, default, System.monotonic_time(:millisecond))
  end

  defp attempt(store, table, key, fun, default, started) do
    seen = Reads.lookup(store, table.name, key)

    value =
      case {seen, default} do
        {[], {:ok, value}} -> value
        _ -> fun.(Table.entry(table, seen))
      end

    record = successor!(store, table, key, seen, value)

    case write(store, table, :update, {:swap, key, seen, record}) do
      {:ok, :ok} ->
        {:ok, value}

      :changed ->
        if System.monotonic_time(:millisecond) - started > @contended_after,
          do: raise(Errors.contended(store, table.name, key)),
          else: attempt(store, table, key, fun, default, started)
    end
  end

  # The function gets a record that is no pair as a whole, and must return a whole record.
  defp successor!(store, %{keypos: 1} = table, key, [record], value) when tuple_size(record) != 2,
    do: whole!(store, table, key, value)

  defp successor!(store, table, key, _seen, value), do: record!(store, table, key, value)

  @spec record!(term, Table.t(), term, term) :: tuple
  defp record!(_store, %{keypos: 1}, key, value), do: {key, value}
  defp record!(store, table, key, value), do: whole!(store, table, key, value)

  defp whole!(store, table, key, record) do
    check_record!(store, table, record)

    unless same?(table, Table.key(table, record), key) do
      record = Errors.short(record)
      why = "element #{table.keypos} of #{record} must be the key #{Errors.short(key)}"
      invalid!(store, table, why)
    end

    record
  end

  defp same?(%{type: :ordered_set}, left, right), do: left == right
  defp same?(_table, left, right), do: left === right

  defp check_record!(_store, %{keypos: keypos}, record)
       when is_tuple(record) and tuple_size(record) >= keypos,
       do: :ok

  defp check_record!(store, table, record) do
    found = Errors.short(record)

    invalid!(
      store,
      table,
      "a record is a tuple of at least #{table.keypos} elements, got #{found}"
    )
  end

  defp no_bag!(store, %{type: :bag} = table, function),
    do: invalid!(store, table, "#{function} does not work on a :bag")

  defp no_bag!(_store, _table, _function), do: :ok

  @spec invalid!(term, Table.t(), String.t()) :: no_return
  defp invalid!(store, table, message), do: raise(Errors.invalid(store, table.name, message))

  # Gives the table, and the store's own name, as the caller may have used another.
  defp find!(store, name) do
    directory = Directory.get!(store)
    {directory.store, Directory.table!(directory, name)}
  end

  defp write!(store, table, kind, operation) do
    {:ok, reply} = write(store, table, kind, operation)
    reply
  end

  @spec write(term, Table.t(), atom, Operation.op()) :: {:ok, term} | :changed
  defp write(store, %{name: name}, kind, operation) do
    case call(store, &Owner.write(&1, name, kind, operation)) do
      {:ok, reply, count} ->
        Events.written(count, %{store: store, table: name, kind: kind})
        {:ok, reply}

      :changed ->
        :changed

      {:error, %Error{} = error} ->
        raise error
    end
  end

  @doc "Asks the owner of a store by `ask`; one that is being replaced is waited for, within reason."
  @spec call(term, (GenServer.server() -> answer)) :: answer when answer: term
  def call(store, ask), do: call(store, ask, System.monotonic_time(:millisecond))

  defp call(store, ask, started) do
    ask.(Directory.via(Directory.get!(store).store, :owner))
  catch
    # The owner never got the message, so asking again is safe.
    :exit, {:noproc, _call} ->
      if System.monotonic_time(:millisecond) - started > @restart_wait,
        do: raise(Errors.unavailable(store)),
        else: receive(after: (5 -> call(store, ask, started)))

    :exit, {reason, {GenServer, :call, _arguments}} ->
      raise Errors.stopped(store, reason)
  end
end
