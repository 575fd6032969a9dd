defmodule Slither.Python.Template.State do
  @moduledoc false
  # What the owner of a template knows of it: the state of `Slither.Python.Template`, for the modules
  # beside it.

  alias Slither.Error
  alias Slither.Python.{Asks, Launcher, Voice}
  alias Slither.Python.Obituary.{Marker, StackMemory}
  alias Slither.Python.Template.{Brood, Looking}

  @enforce_keys [:settings, :keeper, :born]
  defstruct [:settings, :keeper, :born, :process, :since, :door, :asks, :startup] ++
              [:marker, :stacks, :looking, :overdue, :reason, :at] ++
              [phase: :starting, waiting: [], curious: [], brood: %Brood{}, voice: Voice.new()] ++
              [owed: 0, leaves?: false]

  @typedoc """
  `keeper` is the process of `Slither.Python.Templates`. `process` is nil until it is launched; workers
  come in at its `door`. `waiting` have asked for a fork before it was ready, the last one first.
  `overdue` is why it will be killed, once it has said where it is: `looking` asks for that, and
  `curious` want to know it. `reason` is why it is killed. `brood` are its workers, and `owed` its log
  credits. `leaves?` says that it is to end with its last worker.
  """
  @type t :: %__MODULE__{
          settings: map,
          keeper: pid,
          born: integer,
          process: Launcher.Launched.t() | nil,
          since: non_neg_integer | nil,
          door: String.t() | nil,
          asks: Asks.t() | nil,
          startup: reference | nil,
          marker: Marker.t(),
          stacks: StackMemory.t() | nil,
          looking: Looking.t() | nil,
          overdue: Error.t() | nil,
          reason: Error.t() | nil,
          at: integer | nil,
          phase: :starting | :ready | :down,
          waiting: [{Brood.who(), [{charlist, charlist | false}]}],
          curious: [{GenServer.from(), non_neg_integer}],
          brood: Brood.t(),
          voice: Voice.t(),
          owed: non_neg_integer,
          leaves?: boolean
        }
end
