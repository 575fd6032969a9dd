defmodule Slither.Pool.Lease do
  @moduledoc false
  # A lane that is out. The ledger makes it, and the scheduler reads it.

  alias Slither.Pool.Lanes
  alias Slither.Python.Inbox

  @enforce_keys [:lane, :slot, :worker, :owner, :inbox]
  defstruct [:lane, :slot, :worker, :owner, :inbox, :session, :run]

  @typedoc """
  A lane that is out, of the worker of a slot; `owner` gives it back, or it is nobody's and comes
  back once it is idle. `inbox` is told of what happens to it. `session` and `run` are those of
  the request.
  """
  @type t :: %__MODULE__{
          lane: pid,
          slot: Lanes.slot(),
          worker: pid,
          owner: pid | nil,
          inbox: Inbox.t(),
          session: String.t() | nil,
          run: String.t() | nil
        }
end
