defmodule Slither.Pool.Lease do
  @moduledoc false
  # A lane that is out. Pure; the ledger makes it, and the scheduler reads it.

  alias Slither.Pool.{Lanes, Waiter}
  alias Slither.Python.Inbox

  @enforce_keys [:lane, :slot, :worker, :owner, :inbox]
  defstruct [:lane, :slot, :worker, :owner, :inbox, :session, :run, parks: false]

  @typedoc """
  A lane that is out, of the worker of a slot; `owner` gives it back, or it is nobody's and comes
  back once it is idle. `inbox` is told of what happens to it. `session`, `run` and
  `parks` are those of the request.
  """
  @type t :: %__MODULE__{
          lane: pid,
          slot: Lanes.slot(),
          worker: pid,
          owner: pid | nil,
          inbox: Inbox.t(),
          session: String.t() | nil,
          run: String.t() | nil,
          parks: boolean
        }

  @doc "A lane, of the worker of a slot, for a waiter."
  @spec new(Waiter.t(), pid, Lanes.slot(), pid) :: t
  def new(waiter, lane, slot, worker) do
    %__MODULE__{
      lane: lane,
      slot: slot,
      worker: worker,
      owner: waiter.owner,
      inbox: waiter.inbox,
      session: waiter.session,
      run: waiter.run,
      parks: waiter.parks
    }
  end

  @doc "The lease of a lane, of all there are; nil where it is not out."
  @spec of(%{optional(reference) => t}, pid) :: {reference, t} | nil
  def of(leases, lane), do: Enum.find(leases, fn {_ref, lease} -> lease.lane == lane end)
end
