defmodule Slither.Store.Watchers do
  @moduledoc false
  # Who is told about changes. The rows are in the auxiliary table as well, for the next owner.

  defstruct [:aux, by_table: %{}]

  @type t :: %__MODULE__{}

  @spec restore(:ets.tid()) :: t
  def restore(aux) do
    rows = :ets.match(aux, {{:watch, :"$1"}, :"$2", :"$3"})

    Enum.reduce(rows, %__MODULE__{aux: aux}, fn [ref, pid, name], all ->
      put(all, ref, pid, name)
    end)
  end

  @doc "Has `pid` told of changes, by the reference it has."
  @spec add(t, reference, pid, atom) :: t
  def add(watchers, ref, pid, name) do
    :ets.insert(watchers.aux, {{:watch, ref}, pid, name})
    put(watchers, ref, pid, name)
  end

  # By the reference the watcher has, or by that of the monitor.
  @spec remove(t, reference) :: t
  def remove(watchers, ref) do
    by_table =
      Map.new(watchers.by_table, fn {name, list} ->
        {gone, kept} = Enum.split_with(list, fn {_pid, own, monitor} -> ref in [own, monitor] end)

        for {_pid, own, monitor} <- gone do
          Process.demonitor(monitor, [:flush])
          :ets.delete(watchers.aux, {:watch, own})
        end

        {name, kept}
      end)

    %{watchers | by_table: by_table}
  end

  @spec notify(t, term, pos_integer, {atom, atom, [term] | :all}) :: :ok
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
