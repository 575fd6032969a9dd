defmodule Slither.Store.Errors do
  @moduledoc false
  # What users of stores are told, one function for each mistake or failure. Called by whatever
  # process finds it: a reader, a writer, a starter, the store's owner. Pure.

  alias Slither.{Error, Options}

  ## Of a store's module

  @spec not_a_store(term, [String.t()]) :: Error.t()
  def not_a_store(module, missing) do
    message = "is no store: it lacks #{Enum.join(missing, " and ")}"
    error(:not_a_store, inspect(module), message, hint: "see Slither.Store")
  end

  @doc "A function of the module raised, threw or exited."
  @spec module_failed(module, atom, String.t(), term) :: Error.t()
  def module_failed(module, function, message, cause) do
    where = "#{inspect(module)}.#{function}/0"
    error(:store_module_failed, where, message, details: %{cause: cause})
  end

  @spec invalid_return(module, term) :: Error.t()
  def invalid_return(module, other) do
    message = "must return :ok or {:error, reason}, got #{inspect(other, limit: 5)}"
    error(:invalid_return, "#{inspect(module)}.load/1", message)
  end

  @spec no_dir(String.t(), atom) :: Error.t()
  def no_dir(where, table) do
    message = "table #{inspect(table)} is durable, so option :dir is required"
    details = %{option: :dir, table: table}
    hint = "or set `config :slither, store_dir: …`"
    error(:missing_option, where, message, hint: hint, details: details)
  end

  @doc "Another store serves a view or a table of that name to Python."
  @spec taken(term, :view | :table, String.t(), String.t()) :: Error.t()
  def taken(store, kind, name, other) do
    reason = if kind == :view, do: :duplicate_view, else: :duplicate_table
    message = "#{kind} #{inspect(name)} is already served to Python by #{other}"
    hint = "rename one, or start this store with `views: false`"
    details = %{kind => name, store: store}
    error(reason, store(store), message, hint: hint, details: details)
  end

  ## Of a store's log

  @spec unusable(Slither.Store.Config.t(), term) :: Error.t()
  def unusable(%{store: store, dir: dir}, :locked) do
    hint = "stop it, or give this one a directory of its own"
    details = %{store: store, dir: dir}
    where = "#{store(store)}, directory #{dir}"
    error(:log_locked, where, "another VM writes this log", hint: hint, details: details)
  end

  def unusable(%{store: store, dir: dir}, reason) do
    message = "the durable tables' log can't be used: #{describe(reason)}"
    details = %{store: store, dir: dir, cause: reason}
    where = "#{store(store)}, directory #{dir}"
    error(:log_unusable, where, message, hint: "its files are as they were", details: details)
  end

  @doc "Nothing was written, in memory or on disk."
  @spec not_logged(term, atom, term) :: Error.t()
  def not_logged(store, table, reason) do
    message = "write refused, nothing was written: #{describe(reason)}"
    refused(:not_logged, store, table, message, reason)
  end

  @doc "Readers see what was written; the log gets it as soon as it can be written to."
  @spec not_synced(term, atom, term) :: Error.t()
  def not_synced(store, table, reason) do
    message = "written in memory, and to the log once that is possible: #{describe(reason)}"
    refused(:not_synced, store, table, message, reason)
  end

  defp refused(reason, store, table, message, cause) do
    hint = "free space or mend the disk of the store's directory; writes then go on by themselves"
    details = %{store: store, table: table, cause: cause}
    error(reason, table(store, table), message, hint: hint, details: details)
  end

  @doc "A failure of the log in words."
  @spec describe(term) :: String.t()
  def describe(:timeout), do: "the disk does not answer"
  def describe({:file_error, path, reason}), do: "#{path}: #{describe(reason)}"
  def describe({:writer_ended, reason}), do: "the log's writer ended: #{inspect(reason)}"
  def describe({:not_a_log_file, path}), do: "#{path} is no log"

  def describe({:damaged_log_file, path, at}),
    do: "#{path} is damaged at byte #{at}, and was on disk beyond that"

  def describe({:incomplete_snapshot, path}), do: "#{path} was whole once and is not whole now"
  def describe(reason) when is_atom(reason), do: to_string(:file.format_error(reason))
  def describe(reason) when is_exception(reason), do: Exception.message(reason)
  def describe(reason), do: inspect(reason)

  ## Of a call

  @spec unknown_store(term, [term]) :: Error.t()
  def unknown_store(store, known) do
    message = "is not running.#{Options.nearest(store, known)}"
    details = %{store: store, known: known}
    hint = "running stores: #{list(known)}"
    error(:unknown_store, store(store), message, hint: hint, details: details)
  end

  @spec unknown_table(term, atom, [atom]) :: Error.t()
  def unknown_table(store, name, known) do
    message = "has no table #{inspect(name)}.#{Options.nearest(name, known)}"
    details = %{store: store, table: name, known: known}

    error(:unknown_table, store(store), message,
      hint: "its tables: #{list(known)}",
      details: details
    )
  end

  @spec unavailable(term) :: Error.t()
  def unavailable(store) do
    message = "is stopped or restarting"
    error(:store_unavailable, store(store), message, details: %{store: store})
  end

  @doc "The store's owner ended while a caller waited for it."
  @spec stopped(term, term) :: Error.t()
  def stopped(store, reason) do
    message = "stopped during the call (#{inspect(reason)})"
    hint = "a write may or may not have been done"
    details = %{store: store, cause: reason}
    error(:store_unavailable, store(store), message, hint: hint, details: details)
  end

  @spec not_found(term, atom, term) :: Error.t()
  def not_found(store, table, key) do
    message = "has nothing under key #{short(key)}"
    details = %{store: store, table: table, key: key}
    error(:not_found, table(store, table), message, details: details)
  end

  @doc "An argument of a read or a write that can't be; `message` says why."
  @spec invalid(term, atom, String.t()) :: Error.t()
  def invalid(store, table, message) do
    details = %{store: store, table: table}
    error(:invalid_argument, table(store, table), message, details: details)
  end

  @spec contended(term, atom, term) :: Error.t()
  def contended(store, table, key) do
    message = "key #{short(key)} of table #{inspect(table)} kept changing for 5 s"
    hint = "use update_counter/4, a faster function, or one process per key"
    details = %{store: store, table: table, key: key}
    error(:contended, "Slither.Store.Server.update/4", message, hint: hint, details: details)
  end

  @doc "`records` are what the key of a counter holds."
  @spec not_a_counter(atom, term, [tuple]) :: Error.t()
  def not_a_counter(table, key, records) do
    found = if records == [], do: "nothing", else: inspect(hd(records), limit: 5)
    message = "key #{inspect(key)} of table #{inspect(table)} holds #{found}"
    hint = "it must hold an integer, or a default must be given"
    where = "Slither.Store.Server.update_counter/5"
    error(:not_a_counter, where, message, hint: hint, details: %{table: table, key: key})
  end

  @doc "The owner failed at a write: its arguments were checked before, so the fault is ours."
  @spec write_failed(term, atom, Exception.t()) :: Error.t()
  def write_failed(store, table, error) do
    message = "write failed: #{Exception.message(error)}"
    details = %{store: store, table: table}
    error(:store_failed, table(store, table), message, details: details)
  end

  @spec reload_in_load(term) :: Error.t()
  def reload_in_load(store) do
    message = "load/1 asked for a reload, which would wait for it"
    error(:reload_in_load, store(store), message)
  end

  defp error(reason, where, message, more \\ []),
    do: struct!(%Error{reason: reason, where: where, message: message}, more)

  defp store(store), do: "store #{inspect(store)}"
  defp table(store, table), do: "store #{inspect(store)}, table #{inspect(table)}"

  @doc "A value as an error shows it."
  @spec short(term) :: String.t()
  def short(value), do: inspect(value, limit: 5, printable_limit: 80)

  defp list([]), do: "none"
  defp list(names), do: Enum.map_join(names, ", ", &inspect/1)
end
