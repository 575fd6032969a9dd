defmodule Slither.Run.Carrier do
  @moduledoc false
  # Where a flow's batches run: `Carrier.Pool` on leased lanes of a pool's workers, `Carrier.Local` in
  # processes on BEAM. A carrier is a value of the process that drives the run; `Slither.Run.InFlight`
  # calls its functions.
  #
  # `close/2` ends the processes that a carrier has started. They also end when its owner does.

  alias Slither.Error
  alias Slither.Python.Inbox
  alias Slither.Run.{Batch, Mailbox}

  @typedoc "A struct of the module that implements the behaviour."
  @type t :: struct
  @typedoc "Where one batch can run."
  @type place :: term

  @typedoc """
  What a message says to the flow: nothing, that the place to go on with a batch is there, that it
  can have no place for its next batch, that the batch of a reference is lost, or all that are out,
  as the pool is.
  """
  @type news ::
          {:ok, t}
          | {:place, reference, t}
          | {:denied, Error.t(), t}
          | {:lost, reference | nil, Error.t(), t}
          | {:pool_lost, Error.t(), t}

  @doc "A carrier for a plan; what it starts tells the inbox."
  @callback open(plan :: map, Inbox.t()) :: t

  @doc "A place to run the next batch, or why there will be none."
  @callback place(t) :: {:ok, place, t} | {:none, t} | {:gone, Error.t()}

  @doc "Asks for places, for `todo` batches while `out` are out."
  @callback want(t, todo :: non_neg_integer, out :: non_neg_integer) :: t

  @doc "How many batches can run beside each other, once there are as many workers as may be."
  @callback workers(t) :: pos_integer

  @doc "How many can with the workers that there are."
  @callback serving(t) :: pos_integer

  @doc "Runs a batch; the inbox is told its outcome, with the reference."
  @callback run(t, place, Batch.t()) :: {reference, t}

  @doc "As `done/3`, of a batch of which the worker keeps the rest, until `more/3` or `leave/2`."
  @callback park(t, reference) :: t

  @doc "Asks for a place to go on with a parked batch, which its worker has the rest of."
  @callback more(t, reference, Batch.t()) :: t

  @doc "Nobody goes on with a parked batch."
  @callback leave(t, reference) :: t

  @doc "What a worker has of a batch is of no use any more, though its session goes on."
  @callback forget(t, Batch.t()) :: any

  @doc "So many early results of a batch were taken."
  @callback taken(t, reference, pos_integer) :: any

  @doc """
  A batch is answered, by the worker in `slot`; `nil` says that its place can't be used again.
  """
  @callback done(t, reference, slot :: non_neg_integer | nil) :: t

  @doc "Takes a message of the inbox, but for parts and outcomes."
  @callback message(t, Mailbox.message()) :: news

  @doc "Gives back places that are not needed at once."
  @callback rest(t) :: t

  @doc "As `rest/1`, and takes back what it has asked for: nobody may take it before long."
  @callback leave_queue(t) :: t

  @doc "Ends a batch, with the worker that runs it."
  @callback kill(t, reference) :: any

  @doc "Gives everything back; the batches `out` are nobody's any more. It holds nothing then."
  @callback close(t, out :: [reference]) :: t

  @doc "The run is over: what its handlers keep in workers goes."
  @callback end_run(t) :: :ok

  # Only workers keep what is left of a batch.
  @optional_callbacks park: 2, more: 3, leave: 2, forget: 2
end
