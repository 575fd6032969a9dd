defmodule Slither.Store.Builder do
  @moduledoc false
  # Makes the tables of a generation and runs `load/1` on them, in a process of its own, where
  # nobody sees them. A store's owner starts it, and gets a message
  # `{Slither.Store.Builder, ref, {:ok, tables} | {:error, reason}}`.

  require Logger

  alias Slither.Store.{Errors, Table}

  @doc "Starts the load; tables named in `discard` are offered to it and thrown away."
  @spec start(module, [Table.t()], [atom]) :: {pid, reference}
  def start(module, specs, discard) do
    {parent, ref} = {self(), make_ref()}
    run = fn -> send(parent, {__MODULE__, ref, run(module, specs, discard, parent)}) end
    {spawn_link(run), ref}
  end

  @doc "As `start/3`, and waits. The caller traps exits."
  @spec build(module, [Table.t()]) :: {:ok, [Table.t()]} | {:error, term}
  def build(module, specs) do
    {pid, ref} = start(module, specs, [])

    receive do
      {__MODULE__, ^ref, result} -> result
      {:EXIT, ^pid, reason} -> {:error, {:exit, reason}}
    end
  end

  defp run(module, specs, discard, parent) do
    tables = Enum.map(specs, &Table.create/1)

    case module.load(Map.new(tables, &{&1.name, &1.tid})) do
      :ok -> {:ok, hand_over(tables, discard, parent)}
      {:error, reason} -> {:error, reason}
      other -> {:error, Errors.invalid_return(module, other)}
    end
  catch
    kind, reason ->
      told = Exception.format(kind, reason, __STACKTRACE__)
      Logger.error("#{inspect(module)}.load/1 failed: #{told}")
      {:error, failure(kind, reason, __STACKTRACE__)}
  end

  defp hand_over(tables, discard, parent) do
    kept = Enum.reject(tables, &(&1.name in discard))
    Enum.each(kept, &Table.stamp/1)
    for table <- kept, tid <- Table.tids(table), do: :ets.give_away(tid, parent, __MODULE__)
    kept
  end

  defp failure(:error, reason, stacktrace), do: Exception.normalize(:error, reason, stacktrace)
  defp failure(kind, reason, _stacktrace), do: {kind, reason}
end
