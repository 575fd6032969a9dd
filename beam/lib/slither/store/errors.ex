defmodule Slither.Store.Errors do
  @moduledoc false
  # What users of stores are told, one function for each mistake or failure. Called by whatever
  # process finds it: a reader, a writer, a starter, the store's owner. Pure.

  alias Slither.{Error, Options}

  ## Of a store's module

  @spec not_a_store(term, [String.t()]) :: Error.t()
  def not_a_store(module, missing) do
    message = "is no store: it lacks #{Enum.join(missing, " and ")}"
    error(:not_a_store, inspect(module), message, "see Slither.Store")
  end

  @doc "A function of the module raised, threw or exited."
  @spec module_failed(module, atom, String.t(), term) :: Error.t()
  def module_failed(module, function, message, cause) do
    where = "#{inspect(module)}.#{function}/0"
    error(:store_module_failed, where, message, nil, %{cause: cause})
  end

  @spec invalid_return(module, term) :: Error.t()
  def invalid_return(module, other) do
    message = "must return :ok or {:error, reason}, got #{inspect(other, limit: 5)}"
    error(:invalid_return, "#{inspect(module)}.load/1", message)
  end

  @spec no_dir(String.t(), atom) :: Error.t()
  def no_dir(where, table) do
    message = "table #{inspect(table)} is durable, so option :dir is required"
    hint = "or set `config :slither, store_dir: …`"
    error(:missing_option, where, message, hint, %{option: :dir, table: table})
  end

  @doc "`other` serves a view or a table of that name to Python."
  @spec taken(term, :view | :table, String.t(), String.t()) :: Error.t()
  def taken(store, kind, name, other) do
    reason = if kind == :view, do: :duplicate_view, else: :duplicate_table
    message = "#{kind} #{inspect(name)} is already served to Python by #{other}"
    hint = "rename one, or start this store with `views: false`"
    error(reason, store(store), message, hint, %{kind => name, store: store})
  end

  ## Of a store's log

  @spec unusable(Slither.Store.Config.t(), term) :: Error.t()
  def unusable(%{store: store, dir: dir}, reason) do
    where = "#{store(store)}, directory #{dir}"
    details = %{store: store, dir: dir}

    if reason == :locked do
      hint = "stop it, or give this one a directory of its own"
      error(:log_locked, where, "another VM writes this log", hint, details)
    else
      message = "the durable tables' log can't be used: #{describe(reason)}"
      details = Map.put(details, :cause, reason)
      error(:log_unusable, where, message, "its files are as they were", details)
    end
  end

  @doc "Nothing was written, in memory or on disk."
  @spec not_logged(term, atom, term) :: Error.t()
  def not_logged(store, table, reason),
    do: refused(:not_logged, store, table, "write refused, nothing was written", reason)

  @doc "Readers see what was written; the log gets it as soon as it can be written to."
  @spec not_synced(term, atom, term) :: Error.t()
  def not_synced(store, table, reason) do
    what = "written in memory, and to the log once that is possible"
    refused(:not_synced, store, table, what, reason)
  end

  defp refused(reason, store, table, what, cause) do
    hint = "free space or mend the disk of the store's directory; writes then go on by themselves"
    details = %{store: store, table: table, cause: cause}
    error(reason, table(store, table), "#{what}: #{describe(cause)}", hint, details)
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
    hint = "running stores: #{list(known)}"
    error(:unknown_store, store(store), message, hint, %{store: store, known: known})
  end

  @spec unknown_table(term, atom, [atom]) :: Error.t()
  def unknown_table(store, name, known) do
    message = "has no table #{inspect(name)}.#{Options.nearest(name, known)}"
    details = %{store: store, table: name, known: known}
    error(:unknown_table, store(store), message, "its tables: #{list(known)}", details)
  end

  @spec unavailable(term) :: Error.t()
  def unavailable(store) do
    message = "is stopped or restarting"
    error(:store_unavailable, store(store), message, nil, %{store: store})
  end

  @doc "The store's owner ended while a caller waited for it."
  @spec stopped(term, term) :: Error.t()
  def stopped(store, reason) do
    message = "stopped during the call (#{inspect(reason)})"
    hint = "a write may or may not have been done"
    error(:store_unavailable, store(store), message, hint, %{store: store, cause: reason})
  end

  @spec not_found(term, atom, term) :: Error.t()
  def not_found(store, table, key) do
    details = %{store: store, table: table, key: key}
    message = "has nothing under key #{short(key)}"
    error(:not_found, table(store, table), message, nil, details)
  end

  @doc "An argument of a read or a write that can't be; `message` says why."
  @spec invalid(term, atom, String.t()) :: Error.t()
  def invalid(store, table, message) do
    details = %{store: store, table: table}
    error(:invalid_argument, table(store, table), message, nil, details)
  end

  @spec contended(term, atom, term) :: Error.t()
  def contended(store, table, key) do
    message = "key #{short(key)} of table #{inspect(table)} kept changing for 5 s"
    hint = "use update_counter/4, a faster function, or one process per key"
    details = %{store: store, table: table, key: key}
    error(:contended, "Slither.Store.Server.update/4", message, hint, details)
  end

  @doc "`records` are what the key of a counter holds."
  @spec not_a_counter(atom, term, [tuple]) :: Error.t()
  def not_a_counter(table, key, records) do
    found = if records == [], do: "nothing", else: inspect(hd(records), limit: 5)
    message = "key #{inspect(key)} of table #{inspect(table)} holds #{found}"
    hint = "it must hold an integer, or a default must be given"
    where = "Slither.Store.Server.update_counter/5"
    error(:not_a_counter, where, message, hint, %{table: table, key: key})
  end

  @doc "The owner failed at a write: its arguments were checked before, so the fault is ours."
  @spec write_failed(term, atom, Exception.t()) :: Error.t()
  def write_failed(store, table, error) do
    message = "write failed: #{Exception.message(error)}"
    error(:store_failed, table(store, table), message, nil, %{store: store, table: table})
  end

  @spec reload_in_load(term) :: Error.t()
  def reload_in_load(store) do
    message = "load/1 asked for a reload, which would wait for it"
    error(:reload_in_load, store(store), message)
  end

  @doc "A value as an error shows it."
  @spec short(term) :: String.t()
  def short(value), do: inspect(value, limit: 5, printable_limit: 80)

  defp error(reason, where, message, hint \\ nil, details \\ %{}),
    do: %Error{reason: reason, where: where, message: message, hint: hint, details: details}

  defp store(store), do: "store #{inspect(store)}"
  defp table(store, table), do: "#{store(store)}, table #{inspect(table)}"

  defp list([]), do: "none"
  defp list(names), do: Enum.map_join(names, ", ", &inspect/1)
end
