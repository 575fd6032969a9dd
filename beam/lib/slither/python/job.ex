defmodule Slither.Python.Job do
  @moduledoc false
  # One call that a lane is to make. Whoever holds the lane's lease builds it and hands it over
  # with `Slither.Python.Lane.run/2`.

  alias Slither.Python.{Capture, Inbox}

  @enforce_keys [:inbox, :ref, :head, :payloads]
  defstruct [
    :inbox,
    :ref,
    :head,
    :payloads,
    :context,
    :capture,
    :many,
    :trace,
    batch: 0,
    attempt: 1,
    timeout: :infinity,
    item_timeout: :infinity,
    raw: false,
    returns: false
  ]

  @typedoc """
  `inbox` is told of its parts and its outcome under `ref`, the reference of the lease. `head` is
  `Slither.Protocol.Frame.call_head/2` of its run, and `context` the run's context in the external
  term format, for views; nil without a run. `payloads` may be one block. `timeout` (ms) counts
  from when the worker begins it; nil is for what `Slither.Python.Limit` gives.
  `item_timeout` is that of an item, which the head's context tells Python as well. `raw` leaves results
  encoded. `capture` says where a failure is written, if not where the pool's are. `many` says that
  each item has many values, of which the call gives the first, or more of a call before it:
  `Slither.Python.Lane.Entries` reads them. `returns` has the lane give its lease back by itself,
  before it tells the outcome, as whoever waits for that may be slow to read it. `trace` is the template
  of its span, whose context is added to the head's then, or a trace that goes to Python as it is.
  """
  @type t :: %__MODULE__{
          inbox: Inbox.t(),
          ref: reference,
          head: binary,
          payloads: [term, ...],
          context: binary | nil,
          capture: Capture.t() | nil,
          many: nil | :first | :more,
          trace: Slither.Trace.Span.t() | String.t() | nil,
          batch: non_neg_integer,
          attempt: pos_integer,
          timeout: timeout | nil,
          item_timeout: timeout,
          raw: boolean,
          returns: boolean
        }
end
