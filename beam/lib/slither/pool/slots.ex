defmodule Slither.Pool.Slots do
  @moduledoc false
  # What all may read of a pool's workers without a message: how many it is to have, and for the
  # slot of each how many calls it has answered and whether its lanes are called back. A run
  # keeps its lanes from batch to batch; it gives those of a worker that is to leave back after
  # the call that is out.

  # A pool has so many workers at most, and room for as many again that are on their way out.
  @workers 1_000
  @slots 2 * @workers

  @opaque t :: :atomics.atomics_ref()
  @type slot :: non_neg_integer

  @doc "Of a pool of `size` workers."
  @spec new(pos_integer) :: t
  def new(size) do
    slots = :atomics.new(1 + 2 * @slots, signed: false)
    put_size(slots, size)
    slots
  end

  @doc "How many workers a pool may have, its spares included."
  @spec most() :: pos_integer
  def most, do: @workers

  @doc "How many slots there are."
  @spec count() :: pos_integer
  def count, do: @slots

  @doc "How many workers the pool is to have."
  @spec size(t) :: pos_integer
  def size(slots), do: :atomics.get(slots, 1)

  @doc "It is to have another number."
  @spec put_size(t, pos_integer) :: :ok
  def put_size(slots, size), do: :atomics.put(slots, 1, size)

  @doc "A new worker has the slot."
  @spec reset(t, slot) :: :ok
  def reset(slots, slot) do
    :atomics.put(slots, answered(slot), 0)
    :atomics.put(slots, leaving(slot), 0)
  end

  @doc "The worker has answered one more call; how many it has now."
  @spec serve(t, slot) :: pos_integer
  def serve(slots, slot), do: :atomics.add_get(slots, answered(slot), 1)

  @doc "How many calls the worker has answered."
  @spec served(t, slot) :: non_neg_integer
  def served(slots, slot), do: :atomics.get(slots, answered(slot))

  @doc "Calls the worker's lanes back."
  @spec recall(t, slot) :: :ok
  def recall(slots, slot), do: :atomics.put(slots, leaving(slot), 1)

  @doc "Whether the worker's lanes are called back."
  @spec recalled?(t, slot) :: boolean
  def recalled?(slots, slot), do: :atomics.get(slots, leaving(slot)) == 1

  defp answered(slot), do: 2 + 2 * slot
  defp leaving(slot), do: 3 + 2 * slot
end
