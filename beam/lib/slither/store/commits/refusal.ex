defmodule Slither.Store.Commits.Refusal do
  @moduledoc false
  # What the caller of a durable write is told when the log can't take it.

  alias Slither.Error

  @doc "Nothing was written, in memory or on disk."
  @spec not_logged(term, atom, term) :: Error.t()
  def not_logged(store, table, reason),
    do:
      error(
        store,
        table,
        :not_logged,
        "write refused, nothing was written: #{describe(reason)}",
        reason
      )

  @doc "Readers see it; the log gets it as soon as it can be written to."
  @spec not_synced(term, atom, term) :: Error.t()
  def not_synced(store, table, reason) do
    message = "written in memory, and to the log once that is possible: #{describe(reason)}"
    error(store, table, :not_synced, message, reason)
  end

  @doc "A failure of the log in words."
  @spec describe(term) :: String.t()
  def describe(:timeout), do: "the disk does not answer"
  def describe({:file_error, path, reason}), do: "#{path}: #{describe(reason)}"
  def describe({:writer_ended, reason}), do: "the log's writer ended: #{inspect(reason)}"
  def describe(reason) when is_atom(reason), do: to_string(:file.format_error(reason))
  def describe(reason), do: inspect(reason)

  defp error(store, table, reason, message, cause) do
    %Error{
      reason: reason,
      where: "store #{inspect(store)}, table #{inspect(table)}",
      message: message,
      hint:
        "free space or mend the disk of the store's directory; writes then go on by themselves",
      details: %{store: store, table: table, cause: cause}
    }
  end
end
