defmodule Slither.Pool.Sessions do
  @moduledoc false
  # Which worker holds which session, and which sessions are idle. Pure; held by the ledger, in
  # the scheduler. A session stays bound to a worker that is gone, so that its next call is told
  # that the session is lost.

  defstruct bound: %{}, load: %{}

  @type id :: String.t()
  @typedoc """
  `worker` is nil where it was gone before the scheduler started. `busy` says that a call is out,
  and `age` how many looks of `age/2` the session has been idle.
  """
  @type bound :: %{worker: pid | nil, busy: boolean, age: non_neg_integer}
  @typedoc "`load` is how many sessions each worker has."
  @type t :: %__MODULE__{
          bound: %{optional(id) => bound},
          load: %{optional(pid) => pos_integer}
        }

  # A session that `age/2` has found idle more often than this is over.
  @looks 10

  @doc "Sessions that an earlier scheduler had: their workers are gone."
  @spec lost([id]) :: t
  def lost(ids),
    do: %__MODULE__{bound: Map.new(ids, &{&1, %{worker: nil, busy: false, age: 0}})}

  @doc "The worker of a session and whether a call of it is out, `nil` where it is not bound."
  @spec fetch(t, id) :: bound | nil
  def fetch(sessions, id), do: sessions.bound[id]

  @doc "Whether there are sessions, lost ones included."
  @spec any?(t) :: boolean
  def any?(sessions), do: sessions.bound != %{}

  @doc "The ids, sorted."
  @spec ids(t) :: [id]
  def ids(sessions), do: sessions.bound |> Map.keys() |> Enum.sort()

  @doc "The sessions of a worker, sorted."
  @spec of(t, pid) :: [id]
  def of(sessions, worker),
    do: Enum.sort(for {id, %{worker: ^worker}} <- sessions.bound, do: id)

  @doc "How many sessions a worker has."
  @spec load(t, pid) :: non_neg_integer
  def load(sessions, worker), do: Map.get(sessions.load, worker, 0)

  @doc "Binds a session to a worker. One that is bound moves, and is busy if it was."
  @spec bind(t, id, pid) :: t
  def bind(sessions, id, worker) do
    busy = match?(%{busy: true}, sessions.bound[id])
    sessions = drop(sessions, id)
    bound = Map.put(sessions.bound, id, %{worker: worker, busy: busy, age: 0})
    %{sessions | bound: bound, load: Map.update(sessions.load, worker, 1, &(&1 + 1))}
  end

  @doc "Notes whether a call of a bound session is out; it is idle anew."
  @spec busy(t, id, boolean) :: t
  def busy(sessions, id, busy) do
    case sessions.bound do
      %{^id => entry} -> put_in(sessions.bound[id], %{entry | busy: busy, age: 0})
      _ -> sessions
    end
  end

  @doc "Forgets a session."
  @spec drop(t, id) :: t
  def drop(sessions, id) do
    case Map.pop(sessions.bound, id) do
      {nil, _bound} ->
        sessions

      {%{worker: worker}, bound} ->
        load = Map.update(sessions.load, worker, 0, &(&1 - 1))
        load = if load[worker] < 1, do: Map.delete(load, worker), else: load
        %{sessions | bound: bound, load: load}
    end
  end

  @doc """
  Looks at all sessions, as the scheduler does ten times in the time that a session may be idle.

  Returns those that have been idle for that time. `waiting?` says whether a session's calls wait.
  """
  @spec age(t, (id -> boolean)) :: {[id], t}
  def age(sessions, waiting?) do
    bound =
      Map.new(sessions.bound, fn {id, entry} ->
        idle? = not entry.busy and not waiting?.(id)
        {id, %{entry | age: if(idle?, do: entry.age + 1, else: 0)}}
      end)

    {for({id, %{age: age}} <- bound, age > @looks, do: id), %{sessions | bound: bound}}
  end

  @doc "Whether a bound session has been idle for long enough, and still is."
  @spec idle?(t, id) :: boolean
  def idle?(sessions, id),
    do: match?(%{busy: false, age: age} when age > @looks, sessions.bound[id])

  @doc "ms between two looks."
  @spec interval(pos_integer) :: pos_integer
  def interval(idle), do: max(1, div(idle, @looks))
end
