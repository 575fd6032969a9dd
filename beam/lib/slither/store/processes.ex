defmodule Slither.Store.Processes do
  @moduledoc false
  # The processes that a store must know of: readers that hold a generation of its tables, reapers
  # that wait for those, and watchers. They are rows of one ETS table, the only place where these
  # are described. The store's heir owns the table, so that it outlives an owner; any process may
  # write to it, as a reader may end at any moment.

  @type t :: :ets.tid()
  @type pin :: {:pin, generation :: pos_integer, reference}

  @spec new() :: t
  def new do
    options = [:set, :public, read_concurrency: true, write_concurrency: true]
    :ets.new(__MODULE__, options)
  end

  ## `{{:pin, generation, ref}, reader}`: the reader may look at the generation's tables

  @doc "The calling process holds the generation until the pin is taken out."
  @spec pin(t, pos_integer) :: pin
  def pin(processes, generation) do
    pin = {:pin, generation, make_ref()}
    :ets.insert(processes, {pin, self()})
    pin
  end

  @spec unpin(t, pin) :: true
  def unpin(processes, pin), do: :ets.delete(processes, pin)

  @doc "The pins of a generation, or of all, with the processes that hold them."
  @spec pins(t, pos_integer | :_) :: [{pin, pid}]
  def pins(processes, generation \\ :_),
    do: :ets.match_object(processes, {{:pin, generation, :_}, :_})

  ## `{{:reaper, generation}, pid}`: the process that deletes the generation's tables

  @spec put_reaper(t, pos_integer) :: true
  def put_reaper(processes, generation),
    do: :ets.insert(processes, {{:reaper, generation}, self()})

  @spec delete_reaper(t, pos_integer) :: true
  def delete_reaper(processes, generation), do: :ets.delete(processes, {:reaper, generation})

  @spec reaper(t, pos_integer) :: pid | nil
  def reaper(processes, generation) do
    case :ets.lookup(processes, {:reaper, generation}) do
      [{_key, reaper}] -> reaper
      [] -> nil
    end
  end

  ## `{{:watch, ref}, pid, table}`: the process is told of the table's changes, by its reference

  @spec put_watch(t, reference, pid, atom) :: true
  def put_watch(processes, ref, pid, table),
    do: :ets.insert(processes, {{:watch, ref}, pid, table})

  @spec delete_watch(t, reference) :: true
  def delete_watch(processes, ref), do: :ets.delete(processes, {:watch, ref})

  @spec watches(t) :: [{reference, pid, table :: atom}]
  def watches(processes) do
    for {{:watch, ref}, pid, table} <- :ets.match_object(processes, {{:watch, :_}, :_, :_}),
        do: {ref, pid, table}
  end
end
