defmodule Slither.Pool.Handle do
  @moduledoc false
  # What callers use a pool by; each run and each call holds one. They read here, without a
  # message, what their scheduler would have to say of it, and ask through
  # `Slither.Pool.Scheduler`.

  alias Slither.Python.Board

  @enforce_keys [:name, :scheduler, :board, :window, :spare, :max_calls, :sessions]
  defstruct [:name, :scheduler, :board, :window, :spare, :max_calls, :sessions]

  @typedoc """
  `board` and the table of `sessions` are memory of this node. Whoever holds a handle reads them
  through this module alone, so that one of a pool elsewhere could answer otherwise.
  """
  @type t :: %__MODULE__{
          name: atom,
          scheduler: pid,
          board: Board.t(),
          window: pos_integer,
          spare: non_neg_integer,
          max_calls: pos_integer | nil,
          sessions: :ets.tid()
        }

  @doc "How many workers the pool is to have now."
  @spec workers(t) :: pos_integer
  def workers(handle), do: Board.size(handle.board)

  @doc """
  How many workers it may come to have by itself. Who asks for no more than these have room for has a
  pool grow that is smaller; what is bound to its size of now would never wait for another worker.
  """
  @spec most(t) :: pos_integer
  def most(handle), do: Board.most(handle.board)

  @doc "How many calls those workers may hold, in all."
  @spec lanes(t) :: pos_integer
  def lanes(handle), do: most(handle) * handle.window

  @doc """
  Whether who holds a lane of a worker's slot may keep it for its next call.

  Not where somebody waits; nor where the worker is to leave, or counts its calls, as each lease
  counts for one; nor where its calls would take long, were all its lanes at work: more than one
  lane of a worker is granted only for short ones.
  """
  @spec keep?(t, non_neg_integer) :: boolean
  def keep?(%__MODULE__{board: board} = handle, slot) do
    not Board.waiting?(board) and handle.max_calls == nil and not Board.recalled?(board, slot) and
      not Board.long?(board, slot, max(1, handle.window - 1))
  end

  @doc """
  Whether who holds a lane that it does not need at once may keep it a while: nobody waits, and who
  comes finds another lane of the same worker.
  """
  @spec spare?(t) :: boolean
  def spare?(handle), do: handle.window > 1 and not Board.waiting?(handle.board)

  @doc "Whether a session may have state in the pool. One that has just stopped has no sessions."
  @spec session?(t, String.t()) :: boolean
  def session?(handle, id) do
    :ets.member(handle.sessions, id)
  rescue
    ArgumentError -> false
  end
end
