defmodule Slither.Pool.Turns do
  @moduledoc false
  # The sessions whose next call could go out now, by the worker that holds
  # them, in the order in which they asked. A queue for one worker stands
  # here like a session. Pure; held by the ledger, in the scheduler.

  alias Slither.Pool.{Line, Ordered, Sessions, Waiter}

  defstruct by_worker: %{}, places: %{}

  @typedoc "The worker, or `:none` of sessions that no worker holds yet."
  @type worker :: pid | :none
  @type t :: %__MODULE__{
          by_worker: Ordered.t(worker, {seq :: non_neg_integer, Line.key()}),
          places: %{optional(Line.key()) => {worker, non_neg_integer}}
        }

  @doc """
  The first of a session's queue and the worker that it waits for; nil where nobody waits, or a call
  of the session is out.
  """
  @spec first(Line.key(), Line.t(), Sessions.t()) :: {Waiter.t(), worker} | nil
  def first(key, line, sessions) do
    case {Line.first(line, key), bound(key, sessions)} do
      {nil, _bound} -> nil
      {_first, %{busy: true}} -> nil
      {first, nil} -> {first, :none}
      {first, %{worker: pid}} -> {first, pid}
    end
  end

  defp bound({:worker, pid}, _sessions), do: %{worker: pid, busy: false}
  defp bound(session, sessions), do: Sessions.fetch(sessions, session)

  @doc "Notes where a session's next call waits, now that its queue or who holds it has changed."
  @spec place(t, Line.key(), Line.t(), Sessions.t()) :: t
  def place(turns, nil, _line, _sessions), do: turns

  def place(turns, key, line, sessions) do
    turns = drop(turns, key)

    case first(key, line, sessions) do
      nil -> turns
      {%Waiter{seq: seq}, worker} -> put(turns, key, worker, seq)
    end
  end

  defp put(turns, key, worker, seq) do
    %__MODULE__{
      by_worker: Ordered.put(turns.by_worker, worker, {seq, key}),
      places: Map.put(turns.places, key, {worker, seq})
    }
  end

  defp drop(turns, key) do
    case Map.pop(turns.places, key) do
      {nil, _places} ->
        turns

      {{worker, seq}, places} ->
        by_worker = Ordered.delete(turns.by_worker, worker, {seq, key})
        %__MODULE__{by_worker: by_worker, places: places}
    end
  end

  @doc "The session whose call is the next of a worker."
  @spec next(t, worker) :: {:ok, Line.key()} | nil
  def next(turns, worker) do
    with {_seq, key} <- Ordered.first(turns.by_worker, worker), do: {:ok, key}
  end

  @doc "Whether a session's call could go out, were there a lane."
  @spec any?(t) :: boolean
  def any?(turns), do: turns.places != %{}

  @doc "The sessions whose calls could go out, those for one worker left out."
  @spec sessions(t) :: [String.t()]
  def sessions(turns),
    do: for({session, _place} when is_binary(session) <- turns.places, do: session)

  @doc "All sessions whose calls wait for a worker, in turn."
  @spec all(t, worker) :: [Line.key()]
  def all(turns, worker),
    do: for({_seq, key} <- Ordered.all(turns.by_worker, worker), do: key)
end
