defmodule Slither.Python.Worker.State do
  @moduledoc false
  # What the owner of a worker knows of it: the state of `Slither.Python.Worker`, for the modules
  # beside it.

  alias Slither.Python.{Asks, Launcher, Voice}
  alias Slither.Python.Memory.Kills
  alias Slither.Python.Obituary.{LastWords, Marker, StackMemory}
  alias Slither.Python.Worker.{Asking, Calls, Life}

  @enforce_keys [:settings, :slot, :scheduler, :born]
  defstruct [
    :settings,
    :slot,
    :scheduler,
    :born,
    :pending,
    :process,
    :since,
    :guard,
    :asks,
    :hello,
    :marker,
    :words,
    :stacks,
    :asking,
    :holder,
    :answered,
    :blame,
    :startup,
    :timer,
    :busy,
    :kills,
    lanes: {},
    calls: %Calls{},
    life: %Life{},
    voice: Voice.new(),
    owed: 0,
    unheard?: false
  ]

  @typedoc """
  `settings` are the pool's, for worker `slot`. `pending` is `{:some, pending}` while its launcher has
  been asked for a process, and `process` is nil until it is launched; with its pid,
  `since` names it for good. `guard` is the monitor of the guard. `hello` are the facts that it said
  hello with; `marker` and `words` are read after its death, `stacks`
  while it lives: `asking` says that it has been asked where it is. `holder` is the last call that told of
  state it keeps, and the last answer came at `answered`, in native time. Once
  it is to be killed, `blame` says for which call: no other fails with the reason. `startup` and `timer` are
  timers, of the start and of the deadline. `busy` is the call that runs and since when, in native
  time. `kills` counts those of the kernel for want of memory. `owed` are log credits. `unheard?` says that the process is gone, and the transport does not
  tell.
  """
  @type t :: %__MODULE__{
          settings: map,
          slot: non_neg_integer,
          scheduler: pid,
          born: integer,
          pending: {:some, Launcher.pending()} | nil,
          process: Launcher.Launched.t() | nil,
          since: non_neg_integer | nil,
          guard: reference | nil,
          asks: Asks.t() | nil,
          hello: map | nil,
          marker: Marker.t(),
          words: LastWords.t() | nil,
          stacks: StackMemory.t() | nil,
          asking: Asking.t() | nil,
          holder: pos_integer | nil,
          answered: integer | nil,
          blame: {:call, pos_integer | nil} | nil,
          startup: reference | nil,
          timer: reference | nil,
          busy: {pos_integer, integer} | nil,
          kills: Kills.t() | nil,
          lanes: tuple,
          calls: Calls.t(),
          life: Life.t(),
          voice: Voice.t(),
          owed: non_neg_integer,
          unheard?: boolean
        }

  @doc "Which process it is, as events and sentences name it."
  @spec identity(t) :: Slither.Python.Obituary.identity()
  def identity(state) do
    os_pid = state.process && state.process.os_pid
    %{pool: state.settings.name, worker: state.slot, os_pid: os_pid}
  end
end
