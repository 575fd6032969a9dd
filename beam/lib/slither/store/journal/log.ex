defmodule Slither.Store.Journal.Log do
  @moduledoc false
  # One file of a journal, as `disk_log` opens it.

  require Logger

  @doc "The version of what is in the files."
  @spec version() :: pos_integer
  def version, do: 1

  @spec open(Path.t(), term) :: {:ok, term} | {:error, term}
  def open(path, name) do
    options = [name: name, file: String.to_charlist(path), type: :halt, format: :internal]

    case :disk_log.open(options ++ [repair: true, quiet: true]) do
      {:ok, log} ->
        {:ok, log}

      # The last record was torn when the VM was killed: it was never acknowledged.
      {:repaired, log, {:recovered, kept}, {:badbytes, bad}} ->
        if bad > 0, do: Logger.warning("#{path}: kept #{kept} records, dropped #{bad} torn bytes")
        {:ok, log}

      {:error, reason} ->
        {:error, reason}
    end
  end
end
