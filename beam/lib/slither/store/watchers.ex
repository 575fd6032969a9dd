defmodule Slither.Store.Watchers do
  @moduledoc false
  # Which processes a store's owner tells about changes, by table. The owner calls it. A row of
  # each watcher is in `Slither.Store.Processes`, where the next owner finds it.

  alias Slither.Store.Processes

  defstruct [:processes, by_table: %{}]

  @type t :: %__MODULE__{
          processes: Processes.t(),
          by_table: %{atom => [{pid, own :: reference, monitor :: reference}]}
        }
  @type change :: {table :: atom, kind :: atom, keys :: [term] | :all}

  @doc "The watchers that the owners before this one had."
  @spec restore(Processes.t()) :: t
  def restore(processes) do
    for {ref, pid, name} <- Processes.watches(processes),
        reduce: %__MODULE__{processes: processes},
        do: (watchers -> put(watchers, ref, pid, name))
  end

  @doc "Has `pid` told of a table's changes, by the reference that it has."
  @spec add(t, reference, pid, atom) :: t
  def add(watchers, ref, pid, name) do
    Processes.put_watch(watchers.processes, ref, pid, name)
    put(watchers, ref, pid, name)
  end

  @doc "Removes a watcher, by the reference that it has or by that of the owner's monitor."
  @spec remove(t, reference) :: t
  def remove(watchers, ref) do
    by_table =
      Map.new(watchers.by_table, fn {name, list} ->
        {gone, kept} = Enum.split_with(list, fn {_pid, own, monitor} -> ref in [own, monitor] end)

        for {_pid, own, monitor} <- gone do
          Process.demonitor(monitor, [:flush])
          Processes.delete_watch(watchers.processes, own)
        end

        {name, kept}
      end)

    %{watchers | by_table: by_table}
  end

  @spec notify(t, term, pos_integer, change) :: :ok
  def notify(watchers, store, generation, {name, kind, keys}) do
    for {pid, ref, _monitor} <- Map.get(watchers.by_table, name, []) do
      change = %{store: store, table: name, kind: kind, keys: keys, generation: generation}
      send(pid, {Slither.Store, ref, change})
    end

    :ok
  end

  defp put(watchers, ref, pid, name) do
    row = {pid, ref, Process.monitor(pid)}
    %{watchers | by_table: Map.update(watchers.by_table, name, [row], &[row | &1])}
  end
end
