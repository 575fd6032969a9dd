defmodule Slither.Pool.Waiter do
  @moduledoc false
  # One request for a lane: made by who asks, in `Slither.Pool.Call`, and kept by the scheduler
  # until it is answered.

  alias Slither.Python.Inbox

  @enforce_keys [:ref, :owner, :inbox]
  defstruct [:ref, :owner, :inbox, :session, :worker, :run, :deadline, :service] ++
              [
                rebind: false,
                parks: false,
                admitted: false,
                priority: :normal,
                asked: 0,
                came: 0,
                seq: 0
              ]

  @typedoc """
  `inbox` is told the answer, and `owner` is the process that the lease will belong to. A request
  with a `session` goes to the session's worker, one with a `worker` alone to that worker, and all
  others go to any.

  `deadline` is in monotonic ms. `rebind` gives a session that is lost another worker. `run` is the
  id of the run that the lane is for. A `service` is about a session, or about what a worker holds
  of a run, and is no call of it: it never binds a session, and needs no place in the queue. `:more`
  goes on with a call whose worker holds what is left of it.
  `admitted` says that it is of a run that has had a lane: its queue may be full by now, and it waits.
  One whose `priority` is `:urgent` goes before others, as `Slither.Pool.Line` says.
  `parks` has the lease parked once its lane says that it is idle: see `Ledger.park/2`. `asked` is
  when it was made, in native time, `came` when it came into the line by that clock, and `seq` numbers
  all requests in the order of asking.
  """
  @type t :: %__MODULE__{
          ref: reference,
          owner: pid,
          inbox: Inbox.t(),
          session: String.t() | nil,
          worker: pid | nil,
          run: String.t() | nil,
          deadline: integer | nil,
          service: nil | :stop | :expire | :move | :more,
          rebind: boolean,
          parks: boolean,
          admitted: boolean,
          priority: :urgent | :normal,
          asked: integer,
          came: integer,
          seq: non_neg_integer
        }
end
