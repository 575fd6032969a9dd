defmodule Slither.Pool.Runtime do
  @moduledoc false
  # What a pool's scheduler works with beside its settings: made by the pool's supervisor, before
  # it starts the scheduler.

  @enforce_keys [:workers, :tasks, :sessions, :chores]
  defstruct [:workers, :tasks, :sessions, :chores]

  @typedoc """
  The supervisors of `workers` and of the pool's own `tasks`, and a table of the ids of `sessions`:
  it outlives the scheduler, so that one which starts anew knows them to be lost.

  `chores` is the module whose functions the tasks run: `Slither.Pool.SessionCalls`, which makes
  calls of the pool and so stands above its scheduler.
  """
  @type t :: %__MODULE__{
          workers: Supervisor.supervisor(),
          tasks: Supervisor.supervisor(),
          sessions: :ets.tid(),
          chores: module
        }
end
