defmodule Slither.Pool.Demand do
  @moduledoc false
  # Who waits in a pool, in memory that all may read: calls for a worker, which the scheduler
  # counts, and workers whose handlers wait for the consumers of their results. A handler waits
  # only while no call does: a consumer may need a worker itself before it takes any more.
  #
  # Each side notes its own count before it reads the other's, so that one of them sees both.

  @waiting 1
  @stalled 2

  @opaque t :: :atomics.atomics_ref()

  @doc "Nobody waits."
  @spec new() :: t
  def new, do: :atomics.new(2, [])

  @doc "So many calls wait; tells whether workers stand still meanwhile."
  @spec put_waiting(t, non_neg_integer) :: boolean
  def put_waiting(demand, count) do
    :atomics.put(demand, @waiting, count)
    count > 0 and :atomics.get(demand, @stalled) > 0
  end

  @doc "Whether a call waits."
  @spec waiting?(t) :: boolean
  def waiting?(demand), do: :atomics.get(demand, @waiting) > 0

  @doc "A worker's handler waits."
  @spec stall(t) :: :ok
  def stall(demand), do: :atomics.add(demand, @stalled, 1)

  @doc "It goes on."
  @spec go_on(t) :: :ok
  def go_on(demand), do: :atomics.sub(demand, @stalled, 1)
end
