defmodule Slither.Python.Board do
  @moduledoc false
  # The facts of a pool and its workers that any process may read without a message, in one array
  # of atomics. The scheduler writes the pool's size, how many calls wait, and which workers are
  # to leave. A worker's owner writes how many calls it has answered, since when it is at one, how
  # much of its time it is at calls, and whether its handler stands still. Lanes write how long calls
  # took. Runs, lanes and owners read the board once or twice for each batch.
  #
  # A handler may wait for the reader of its results only while no call
  # waits for a worker, as that reader may need a worker itself before it
  # reads on. The scheduler and the owner each write their own count before
  # they read the other's, so that at least one of them sees that both wait.

  alias Slither.Python.Usage

  # The most workers of a pool. The array has room for as many again that are about to leave.
  @workers 1_000
  @slots 2 * @workers

  # Places in the array. Slots begin behind a whole line of a processor's cache, so that writing one
  # does not slow down reading the head.
  @size 1
  @waiting 2
  @stalled 3
  @free 4
  @told 5
  @used 6
  @most 7
  @head 8
  @of_slot 8

  # µs of handler time that a call may have ahead of it at a busy worker.
  @short 5_000
  # ms between two calls that are no pause: a worker whose next call comes so soon was not free.
  @pause 50
  # In place of a time, which may be any number.
  @never -0x8000_0000_0000_0000

  @opaque t :: :atomics.atomics_ref()
  @type slot :: non_neg_integer

  @doc "Of a pool that is to have `size` workers, and may come to have `most`, nil for no more."
  @spec new(pos_integer, pos_integer | nil) :: t
  def new(size, most \\ nil) do
    board = :atomics.new(@head + @of_slot * @slots, signed: true)
    :atomics.put(board, @free, System.monotonic_time())
    put_size(board, size, most)
    board
  end

  @doc "How many workers any pool may have, its spares included."
  @spec most() :: pos_integer
  def most, do: @workers

  @doc "How many slots there are."
  @spec count() :: pos_integer
  def count, do: @slots

  @doc "How many workers the pool is to have."
  @spec size(t) :: pos_integer
  def size(board), do: :atomics.get(board, @size)

  @doc "How many workers the pool may come to have by itself."
  @spec most(t) :: pos_integer
  def most(board), do: :atomics.get(board, @most)

  @doc "Changes these numbers."
  @spec put_size(t, pos_integer, pos_integer | nil) :: :ok
  def put_size(board, size, most \\ nil) do
    :atomics.put(board, @size, size)
    :atomics.put(board, @most, most || size)
  end

  ## Who waits

  @doc "Notes how many calls wait; says whether handlers stand still meanwhile."
  @spec put_waiting(t, non_neg_integer) :: boolean
  def put_waiting(board, count) do
    :atomics.put(board, @waiting, count)
    count > 0 and :atomics.get(board, @stalled) > 0
  end

  @doc "Whether a call waits."
  @spec waiting?(t) :: boolean
  def waiting?(board), do: :atomics.get(board, @waiting) > 0

  @doc "A worker's handler begins to wait for the reader of its results."
  @spec stall(t) :: :ok
  def stall(board), do: :atomics.add(board, @stalled, 1)

  @doc "That handler goes on."
  @spec go_on(t) :: :ok
  def go_on(board), do: :atomics.sub(board, @stalled, 1)

  ## Workers, by slot

  @doc "Forgets the slot's last worker, for a new one."
  @spec reset(t, slot) :: :ok
  def reset(board, slot) do
    highest(board, @used, slot + 1)
    :atomics.put(board, served_at(slot), 0)
    :atomics.put(board, recalled_at(slot), 0)
    :atomics.put(board, pace_at(slot), 0)
    rest(board, slot, System.monotonic_time())
    :atomics.put(board, ended_at(slot), @never)
    run(board, slot, nil)
  end

  @doc "Counts one more call that the worker has answered; returns how many it has now."
  @spec serve(t, slot) :: pos_integer
  def serve(board, slot), do: :atomics.add_get(board, served_at(slot), 1)

  @doc "How many calls the worker has answered."
  @spec served(t, slot) :: non_neg_integer
  def served(board, slot), do: :atomics.get(board, served_at(slot))

  @doc """
  Calls the worker's lanes back: a run, which keeps its lanes from batch to batch, returns these
  after the call that is out.
  """
  @spec recall(t, slot) :: :ok
  def recall(board, slot), do: :atomics.put(board, recalled_at(slot), 1)

  @doc "Whether the worker's lanes are called back."
  @spec recalled?(t, slot) :: boolean
  def recalled?(board, slot), do: :atomics.get(board, recalled_at(slot)) == 1

  ## How long calls take
  # A busy worker gets another call only if the calls that it has take a short time together.
  # Behind longer ones the call would wait, though another worker may be free earlier.

  @doc "Notes that a call has taken its handler `time` µs; older calls count less, by halves."
  @spec took(t, slot, non_neg_integer) :: :ok
  def took(board, slot, time) do
    known = :atomics.get(board, pace_at(slot))
    recent = if known == 0, do: time, else: div(known + time, 2)
    :atomics.put(board, pace_at(slot), max(recent, 1))
  end

  @doc "Notes since when a worker's handler is at a call, in ms; `nil` while it is at none."
  @spec run(t, slot, integer | nil) :: :ok
  def run(board, slot, since), do: :atomics.put(board, since_at(slot), since || @never)

  @doc """
  Whether `calls` calls of a worker are known to take a short time, by its recent ones and by how long
  the one that runs `now`, in ms, has taken.
  """
  @spec short?(t, slot, pos_integer, integer) :: boolean
  def short?(board, slot, calls, now \\ System.monotonic_time(:millisecond)) do
    known = :atomics.get(board, pace_at(slot))
    known > 0 and calls * known < @short and not late?(board, slot, now)
  end

  defp late?(board, slot, now) do
    since = :atomics.get(board, since_at(slot))
    # A worker alone has nobody who could take what waits behind its call.
    size(board) > 1 and since != @never and 1_000 * (now - since) > @short
  end

  @doc "Whether `calls` calls of a worker are known to take longer than that."
  @spec long?(t, slot, pos_integer) :: boolean
  def long?(board, slot, calls), do: calls * :atomics.get(board, pace_at(slot)) >= @short

  ## How much workers are at calls
  # In native time, as all here. What a slot's workers did goes on when another has the slot.

  @doc "A worker begins a call after it was at none."
  @spec begin(t, slot, integer) :: :ok
  def begin(board, slot, now) do
    ended = :atomics.get(board, ended_at(slot))
    if ended == @never or now - ended >= pause(), do: :atomics.put(board, free_at(slot), now)
    turn(board, slot, true, now)
  end

  @doc "It is at no call any more."
  @spec rest(t, slot, integer) :: :ok
  def rest(board, slot, now) do
    if at_call?(board, slot) do
      :atomics.put(board, ended_at(slot), now)
      turn(board, slot, false, now)
    end

    :ok
  end

  defp turn(board, slot, busy?, now) do
    share = Usage.turn_share(:atomics.get(board, share_at(slot)), busy?, now)
    time = Usage.turn_time(:atomics.get(board, time_at(slot)), busy?, now)
    :atomics.put(board, share_at(slot), share)
    :atomics.put(board, time_at(slot), time)
  end

  @doc "A worker that could take calls is gone."
  @spec leave(t, slot, integer) :: :ok
  def leave(board, slot, now) do
    free = if at_call?(board, slot), do: :atomics.get(board, free_at(slot)), else: now
    rest(board, slot, now)
    highest(board, @free, free)
    :ok
  end

  # The slots that have had a worker.
  defp used(board), do: 0..(:atomics.get(board, @used) - 1)//1

  # The highest number that a place has had.
  defp highest(board, place, number, known \\ nil) do
    known = known || :atomics.get(board, place)

    if number <= known do
      known
    else
      case :atomics.compare_exchange(board, place, known, number) do
        :ok -> number
        other -> highest(board, place, number, other)
      end
    end
  end

  @doc "Whether a worker is at a call."
  @spec at_call?(t, slot) :: boolean
  def at_call?(board, slot), do: Usage.busy?(:atomics.get(board, time_at(slot)))

  @doc "The time that all workers so far were at calls: it never becomes less."
  @spec busy_time(t) :: non_neg_integer
  def busy_time(board) do
    now = System.monotonic_time()

    time =
      Enum.reduce(used(board), 0, fn slot, time ->
        time + Usage.time(:atomics.get(board, time_at(slot)), now)
      end)

    # An owner notes a moment that has passed by then, which may have been counted already.
    highest(board, @told, time)
  end

  @doc "The share of about the last 10 s that the pool's workers were at calls, from 0 to 1."
  @spec busy_share(t) :: float
  def busy_share(board) do
    now = System.monotonic_time()

    shares =
      Enum.reduce(used(board), 0.0, fn slot, shares ->
        shares + Usage.share(:atomics.get(board, share_at(slot)), now)
      end)

    # While workers are replaced there are more than `size`.
    min(shares / size(board), 1.0)
  end

  @doc """
  When one of the workers of these slots was free last; nil while one is. Behind a call that has just
  ended, one is free if no call waits.
  """
  @spec last_free(t, [slot], non_neg_integer, integer) :: integer | nil
  def last_free(board, slots, waiting, now) do
    unless Enum.any?(slots, &free?(board, &1, waiting, now)) do
      slots
      |> Enum.map(&:atomics.get(board, free_at(&1)))
      |> Enum.reduce(:atomics.get(board, @free), &max/2)
    end
  end

  defp free?(board, slot, waiting, now) do
    ended = :atomics.get(board, ended_at(slot))
    not at_call?(board, slot) and (waiting == 0 or ended == @never or now - ended >= pause())
  end

  defp pause, do: System.convert_time_unit(@pause, :millisecond, :native)

  defp served_at(slot), do: @head + @of_slot * slot + 1
  defp recalled_at(slot), do: @head + @of_slot * slot + 2
  defp pace_at(slot), do: @head + @of_slot * slot + 3
  defp since_at(slot), do: @head + @of_slot * slot + 4
  defp time_at(slot), do: @head + @of_slot * slot + 5
  defp share_at(slot), do: @head + @of_slot * slot + 6
  defp free_at(slot), do: @head + @of_slot * slot + 7
  defp ended_at(slot), do: @head + @of_slot * slot + 8
end
