defmodule Slither.Bridge.Tables do
  @moduledoc false
  # Answers what Python does with tables that it uses as mappings, without a view. Runs in the
  # worker's owner where that is quick, else in a task of it; `Slither.Bridge` is what they call.

  alias Slither.Bridge.Scan
  alias Slither.Options
  alias Slither.Store.{Reads, Server, Views, Writes}

  @reads ~w(get get_many has size scan scan_end)
  @writes ~w(take put put_new delete update_counter)

  @doc "Whether the operation neither waits for a process nor takes long."
  @spec quick?(String.t()) :: boolean
  def quick?(op), do: op in ~w(get has size)

  @doc "Runs one operation for the worker whose owner is `worker`."
  @spec serve(String.t(), String.t(), list, pid) :: {:ok, term} | {:error, map}
  def serve(name, op, arguments, worker) do
    with {:ok, table} <- fetch(name),
         :ok <- allowed(table, op) do
      run(table, op, arguments, worker)
    end
  end

  defp fetch(name) do
    case Views.fetch_table(name) do
      {:ok, table} ->
        {:ok, table}

      :error ->
        known = Views.table_names()
        list = if known == [], do: "none", else: Enum.join(Enum.sort(known), ", ")

        message =
          "no table is declared for Python under that name.#{Options.nearest(name, known)} " <>
            "Declared: #{list}. #{declare(name)}"

        {:error, fault("unknown_table", name, message)}
    end
  end

  # The tables of a Python program's Beam are made by that program.
  defp declare(name) do
    if Slither.Reader.python?(),
      do: "beam.table(#{inspect(name)}) makes it",
      else:
        "Declare it in its store's tables/0: %{name: #{atom(name)}, python: :read}, or :read_write"
  end

  defp allowed(_table, op) when op in @reads, do: :ok
  defp allowed(%{access: :read_write}, op) when op in @writes, do: :ok

  defp allowed(table, op) when op in @writes do
    message =
      "the table is declared python: :read, so #{op} is refused; declare it python: :read_write"

    {:error, fault("table_refused", table.name, message)}
  end

  defp allowed(table, op),
    do: {:error, fault("table_failed", table.name, "no operation #{inspect(op)}")}

  defp run(table, op, arguments, worker) do
    {:ok, op(op, arguments, table.store, table.table, worker)}
  rescue
    error in [Slither.Error] ->
      {:error, fault("table_failed", table.name, told(error))}

    FunctionClauseError ->
      message = "#{op} does not take the arguments #{inspect(arguments, limit: 5)}"
      {:error, fault("table_failed", table.name, message)}
  catch
    kind, reason ->
      {:error, fault("table_failed", table.name, Exception.format_banner(kind, reason))}
  end

  # Python's exception names the table.
  defp told(%Slither.Error{reason: :not_a_counter, details: %{key: key}}),
    do: "the key #{inspect(key)} has no integer; a key that has nothing needs a default="

  defp told(%Slither.Error{reason: :contended, details: %{key: key}}),
    do: "the key #{inspect(key)} kept changing for 5 s"

  defp told(error), do: Exception.message(%{error | where: nil})

  defp op("get", [key], store, table, _worker), do: found(Reads.entry(store, table, key))
  defp op("has", [key], store, table, _), do: Reads.lookup(store, table, key) != []
  defp op("size", [], store, table, _), do: Server.size(store, table)

  defp op("get_many", [keys], store, table, _) when is_list(keys),
    do: Reads.get_each(store, table, keys)

  defp op("scan", [nil], store, table, worker), do: Scan.start(store, table, worker)

  defp op("scan", [scan], _store, _table, worker) when is_integer(scan),
    do: Scan.next(scan, worker)

  defp op("scan_end", [scan], _store, _table, worker), do: Scan.stop(scan, worker)

  defp op("take", [key], store, table, _) do
    case Writes.take_entry(store, table, key) do
      {true, value} -> [value]
      {false, _nothing} -> []
    end
  end

  defp op("put", [[[key, value]]], store, table, _) do
    Server.put(store, table, key, value)
    nil
  end

  defp op("put", [pairs], store, table, _) when is_list(pairs) do
    Server.bulk_insert(store, table, Enum.map(pairs, fn [key, value] -> {key, value} end))
    nil
  end

  defp op("put_new", [key, value], store, table, _), do: Server.put_new(store, table, key, value)

  defp op("delete", [key], store, table, _) do
    Server.delete(store, table, key)
    nil
  end

  defp op("update_counter", [key, by, default], store, table, _),
    do: Server.update_counter(store, table, key, by, default)

  defp found({:ok, value}), do: [value]
  defp found(:error), do: []

  defp atom(name) do
    if name =~ ~r/^[a-z_][a-zA-Z0-9_]*$/, do: ":" <> name, else: ":\"…\""
  end

  defp fault(kind, table, message),
    do: %{"kind" => kind, "table" => table, "message" => message}
end
