defmodule Slither.Store.Writes do
  @moduledoc false
  # The caller's half of a write: checks, the call to the owner, the telemetry event.

  alias Slither.Error
  alias Slither.Store.{Directory, Owner, Plan, Reads, Table}
  alias Slither.Telemetry.Events

  @contended_after 5_000
  @restart_wait 2_000

  @spec put(term, atom, term, term) :: :ok
  def put(store, name, key, value) do
    table = Directory.table!(store, name)
    write!(store, name, :put, {:insert, [record!(store, table, key, value)]})
  end

  @spec put_new(term, atom, term, term) :: boolean
  def put_new(store, name, key, value) do
    table = Directory.table!(store, name)
    write!(store, name, :put_new, {:insert_new, record!(store, table, key, value)})
  end

  @spec bulk_insert(term, atom, Enumerable.t()) :: :ok
  def bulk_insert(store, name, records) do
    table = Directory.table!(store, name)
    records = Enum.to_list(records)
    Enum.each(records, &check_record!(store, table, &1))
    write!(store, name, :bulk_insert, {:insert, records})
  end

  @spec delete(term, atom, term) :: :ok
  def delete(store, name, key) do
    _ = Directory.table!(store, name)
    write!(store, name, :delete, {:delete, key})
  end

  @spec take(term, atom, term) :: term
  def take(store, name, key) do
    {_found?, entry} = take_entry(store, name, key)
    entry
  end

  @doc "As `take/3`, and whether there was a record: what was taken may be nil."
  @spec take_entry(term, atom, term) :: {boolean, term}
  def take_entry(store, name, key) do
    _ = Directory.table!(store, name)
    write!(store, name, :take, {:take, key})
  end

  @doc "Removes those keys that are past their time."
  @spec expire(term, atom, [term]) :: :ok
  def expire(store, name, keys), do: write!(store, name, :expire, {:expire, keys})

  @spec update_counter(term, atom, term, integer, integer | nil) :: integer
  def update_counter(store, name, key, by, default) do
    table = not_bag!(store, Directory.table!(store, name), "update_counter/5")

    unless is_integer(by) and (is_integer(default) or is_nil(default)) do
      raise invalid(store, table, "takes integers, got #{inspect(by)} and #{inspect(default)}")
    end

    if table.keypos != 1, do: raise(invalid(store, table, "counters need keypos 1"))
    write!(store, name, :update_counter, {:counter, key, by, default})
  end

  @doc """
  Reads, runs `fun` here, and has the owner store the result if nothing changed meanwhile;
  otherwise again. So the owner never runs a function of the user's.
  """
  @spec update(term, atom, term, (term -> term), {:ok, term} | :error) :: {:ok, term}
  def update(store, name, key, fun, default) when is_function(fun, 1) do
    table = not_bag!(store, Directory.table!(store, name), "update/4")
    attempt(store, table, key, fun, default, System.monotonic_time(:millisecond))
  end

  def update(store, name, _key, fun, _default) do
    table = Directory.table!(store, name)
    raise invalid(store, table, "update takes a function of arity 1, got #{inspect(fun)}")
  end

  defp attempt(store, table, key, fun, default, started) do
    seen = Reads.lookup(store, table.name, key)

    value =
      case {seen, default} do
        {[], {:ok, value}} -> value
        _ -> fun.(Table.entry(table, seen))
      end

    record = successor!(store, table, key, seen, value)

    case write(store, table.name, :update, {:swap, key, seen, record}) do
      {:ok, :ok} ->
        {:ok, value}

      :changed ->
        if System.monotonic_time(:millisecond) - started > @contended_after,
          do: raise(contended(store, table, key)),
          else: attempt(store, table, key, fun, default, started)
    end
  end

  # A record that is no pair is updated as a whole, so the function gives a whole record back.
  defp successor!(store, %{keypos: 1} = table, key, [record], value) when tuple_size(record) != 2,
    do: whole!(store, table, key, value)

  defp successor!(store, table, key, _seen, value), do: record!(store, table, key, value)

  @spec record!(term, Table.t(), term, term) :: tuple
  defp record!(_store, %{keypos: 1}, key, value), do: {key, value}
  defp record!(store, table, key, value), do: whole!(store, table, key, value)

  defp whole!(store, table, key, record) do
    check_record!(store, table, record)

    unless same?(table, elem(record, table.keypos - 1), key) do
      raise invalid(
              store,
              table,
              "element #{table.keypos} of #{short(record)} must be the key #{short(key)}"
            )
    end

    record
  end

  defp same?(%{type: :ordered_set}, left, right), do: left == right
  defp same?(_table, left, right), do: left === right

  defp check_record!(store, table, record) do
    unless is_tuple(record) and tuple_size(record) >= table.keypos do
      message = "a record is a tuple of at least #{table.keypos} elements, got #{short(record)}"
      raise invalid(store, table, message)
    end
  end

  defp not_bag!(store, %{type: :bag} = table, function),
    do: raise(invalid(store, table, "#{function} does not work on a :bag"))

  defp not_bag!(_store, table, _function), do: table

  defp write!(store, name, kind, op) do
    {:ok, reply} = write(store, name, kind, op)
    reply
  end

  @spec write(term, atom, atom, Plan.op()) :: {:ok, term} | :changed
  defp write(store, name, kind, op) do
    case call(store, {Owner, :write, name, kind, op}) do
      {:ok, reply, count} ->
        Events.written(count, %{store: store, table: name, kind: kind})
        {:ok, reply}

      :changed ->
        :changed

      {:error, %Error{} = error} ->
        raise error
    end
  end

  @doc "Calls the owner; one that is being replaced is waited for, within reason."
  @spec call(term, term) :: term
  def call(store, message), do: call(store, message, System.monotonic_time(:millisecond))

  defp call(store, message, started) do
    _ = Directory.get!(store)
    GenServer.call(Directory.via(store, :owner), message, :infinity)
  catch
    # It never got the message, so asking again is safe.
    :exit, {:noproc, _call} ->
      if System.monotonic_time(:millisecond) - started > @restart_wait,
        do: raise(Directory.unavailable(store)),
        else: wait_and_call(store, message, started)

    :exit, {reason, {GenServer, :call, _arguments}} ->
      raise %Error{
        reason: :store_unavailable,
        where: "store #{inspect(store)}",
        message: "stopped during the call (#{inspect(reason)})",
        hint: "a write may or may not have been done",
        details: %{store: store, cause: reason}
      }
  end

  defp wait_and_call(store, message, started) do
    receive after: (5 -> call(store, message, started))
  end

  defp invalid(store, table, message) do
    %Error{
      reason: :invalid_argument,
      where: "store #{inspect(store)}, table #{inspect(table.name)}",
      message: message,
      details: %{store: store, table: table.name}
    }
  end

  defp contended(store, table, key) do
    %Error{
      reason: :contended,
      where: "Slither.Store.Server.update/4",
      message: "key #{short(key)} of table #{inspect(table.name)} kept changing for 5 s",
      hint: "use update_counter/4, a faster function, or one process per key",
      details: %{store: store, table: table.name, key: key}
    }
  end

  defp short(value), do: inspect(value, limit: 5, printable_limit: 80)
end
