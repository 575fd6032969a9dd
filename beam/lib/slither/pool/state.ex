defmodule Slither.Pool.State do
  @moduledoc false
  # What a pool's scheduler knows, and the effects of the event that it handles. The pure modules
  # `Slither.Pool.Requests`, `Slither.Pool.Upkeep` and `Slither.Pool.Lifetimes` take a state and
  # return another. `Slither.Pool.Effects` then carries the effects out, in their order.

  alias Slither.Error
  alias Slither.Pool.{Handle, Lanes, Ledger, Line, Sessions, Settings, Staff, Waiter}
  alias Slither.Pool.Elastic.Need
  alias Slither.Pool.Staff.{Backoff, Changes}
  alias Slither.Python.{Board, Inbox}

  @enforce_keys [:settings, :ledger, :staff, :max_rss]
  defstruct [:settings, :ledger, :staff, :max_rss, :error, :timer] ++
              [changes: %Changes{}, backoff: %Backoff{}, watched: %{}, runs: %{}] ++
              [elastic: %Need{}] ++
              [waiting: 0, awaiting: %{}, aging: false, started: 0, died: 0, vain: 0, low: false] ++
              [effects: []]

  @typedoc """
  What is to be sent, started or stopped. Workers are told by their slot, as the process of one
  that is to be started is not known yet.
  """
  @type effect ::
          {:tell, Inbox.t(), Inbox.message()}
          | {:grant, Waiter.t(), lane :: pid}
          | {:waiting, non_neg_integer}
          | {:at, integer, message :: term}
          | {:reply, GenServer.from(), term}
          | {:watch, pid}
          | {:start, Staff.slot()}
          | {:stop, Staff.slot(), atom}
          | {:stop_idle, Staff.slot(), atom}
          | {:leaves, Staff.slot(), atom}
          | {:kill, worker :: pid, Error.t()}
          | {:left, Staff.slot()}
          | {:stop_lane, lane :: pid}
          | {:idle?, lane :: pid, reference}
          | {:size, pos_integer, most :: pos_integer}
          | {:resized, from :: pos_integer, to :: pos_integer, why :: atom}
          | {:after, non_neg_integer, message :: term}
          | {:chore, function :: atom, list}
          | :renew_templates
          | {:note | :forget, session :: String.t()}
          | {:log, Logger.level(), String.t()}

  @typedoc """
    * `max_rss`: the option; that of `settings` is nil while it does not apply;
    * `error`: why no worker can be started, where none can;
    * `timer`: of the soonest deadline, with that;
    * `changes` and `backoff`: restarts and resizes, and pauses after failed starts;
    * `elastic`: what a pool knows of its need, whose size is a range;
    * `watched`: processes that are monitored, and as what;
    * `runs`: which workers hold state of a run, and the process whose end is the run's; those of
      sessions, and those whose handlers asked for no state, are not there;
    * `waiting`: how many wait for a lane, as all were told last;
    * `awaiting`: who waits for a worker to be ready, and for how many ms;
    * `aging`: whether a look at idle sessions is to come;
    * `started` and `died`: workers so far;
    * `vain`: workers in a row that went beyond `max_rss` at once;
    * `low`: whether the log was told that `max_rss` is too low;
    * `effects`: of the event, the last one first.
  """
  @type t :: %__MODULE__{
          settings: Settings.t(),
          ledger: Ledger.t(),
          staff: Staff.t(),
          max_rss: pos_integer | nil,
          error: Error.t() | nil,
          timer: {reference, integer} | nil,
          changes: Changes.t(),
          backoff: Backoff.t(),
          elastic: Need.t(),
          watched: %{optional(pid) => :lane | :owner | {:worker, Staff.slot()}},
          runs: %{optional(run :: String.t()) => %{owner: pid, workers: [pid]}},
          waiting: non_neg_integer,
          awaiting: %{optional(GenServer.from()) => timeout},
          aging: boolean,
          started: non_neg_integer,
          died: non_neg_integer,
          vain: non_neg_integer,
          low: boolean,
          effects: [effect]
        }

  @doc "Of a pool that starts, perhaps anew: the sessions that its table knows are lost."
  @spec new(Settings.t()) :: t
  def new(settings) do
    {least, most} = Settings.range(settings.size)
    board = Board.new(least, most)
    lost = for {session} <- :ets.tab2list(settings.sessions), do: session

    %__MODULE__{
      settings: %{settings | size: least, most: most, board: board},
      ledger: %Ledger{
        line: Line.new(settings.age_limit),
        quick?: quick(board, least == most),
        max_calls: settings.max_calls,
        coming: least,
        sessions: Sessions.lost(lost)
      },
      staff: Staff.new(settings.size, settings.spare, settings.plan),
      max_rss: settings.max_rss
    }
  end

  @doc """
  What says whether a call may wait behind others of a worker. While a pool may grow none does: it
  grows for those that wait in the queue, and those it would not see.
  """
  @spec quick(Board.t(), boolean) :: (Staff.slot(), pos_integer -> boolean)
  def quick(board, true), do: &Board.short?(board, &1, &2)
  def quick(_board, false), do: &Lanes.never/2

  @doc "What callers use the pool of a scheduler by."
  @spec handle(t, pid) :: Handle.t()
  def handle(%__MODULE__{settings: settings}, scheduler) do
    %Handle{
      name: settings.name,
      scheduler: scheduler,
      board: settings.board,
      window: settings.window,
      spare: settings.spare,
      max_calls: settings.max_calls,
      sessions: settings.sessions
    }
  end

  @doc "One more effect, after those there are."
  @spec effect(t, effect) :: t
  def effect(state, effect), do: %{state | effects: [effect | state.effects]}

  @doc "Has a process watched, unless it is."
  @spec watch(t, pid, :lane | :owner) :: t
  def watch(state, pid, _role) when is_map_key(state.watched, pid), do: state

  def watch(state, pid, role),
    do: effect(%{state | watched: Map.put(state.watched, pid, role)}, {:watch, pid})
end
