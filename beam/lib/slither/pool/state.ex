defmodule Slither.Pool.State do
  @moduledoc false
  # What a pool's scheduler knows: `lanes` by monitor, `owners` of waiters with theirs, those who
  # wait for a worker to be ready by monitor, `error` where no worker can be started.

  alias Slither.Pool.{Backoff, Changes, Ledger, Roster, Sessions}
  alias Slither.Python.Board

  @enforce_keys [:settings, :ledger, :roster, :max_rss]
  defstruct [
    :settings,
    :ledger,
    :roster,
    :max_rss,
    :error,
    changes: %Changes{},
    backoff: %Backoff{},
    lanes: %{},
    owners: %{},
    runs: %{},
    watching: false,
    ready_waiters: %{},
    timer: nil,
    started: 0,
    died: 0,
    vain: 0,
    low: false
  ]

  @type t :: %__MODULE__{}

  @doc "Of a pool's checked options."
  @spec new(map) :: t
  def new(settings) do
    board = Board.new(settings.size)
    quick? = &Board.short?(board, &1, &2)
    max_calls = settings.max_calls
    lost = for {session} <- :ets.tab2list(settings.sessions), do: session

    %__MODULE__{
      settings: Map.put(settings, :board, board),
      ledger: %Ledger{quick?: quick?, max_calls: max_calls, sessions: Sessions.lost(lost)},
      roster: Roster.new(settings.size, settings.spare),
      max_rss: settings.max_rss
    }
  end

  # Each call copies the handle.
  @of_callers [:name, :size, :spare, :window, :max_calls, :sessions, :board]

  @doc "What callers use a pool by."
  @spec handle(t) :: %{settings: map}
  def handle(state),
    do: %{settings: Map.take(state.settings, @of_callers)}
end
