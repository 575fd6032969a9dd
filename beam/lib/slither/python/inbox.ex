defmodule Slither.Python.Inbox do
  @moduledoc false
  # Where a process that uses lanes reads what becomes of its requests and calls. The scheduler and
  # lanes, and the processes that run batches on BEAM, tell it so with `tell/2`; a run reads it
  # through `Slither.Run.Mailbox`, a single call in `Slither.Pool.Call`.

  alias Slither.Error
  alias Slither.Python.{Outcome, Part}

  @typedoc """
  An alias of the process that reads it, and a key of the reader's own, such as a stage's place in
  its pipe. A message of the inbox is `{inbox, message}`.
  """
  @type t :: {reference | pid, key :: term}

  @typedoc """
  What is told; `ref` is that of the request, which is its lease's too. The request is granted or
  denied, or the lane of the lease is no more; the call has given its next results, or is over. A
  rate's bucket has given the tokens of another request.
  """
  @type message ::
          {:granted, ref :: reference, lane :: pid}
          | {:denied, ref :: reference, Error.t()}
          | {:lane_lost, ref :: reference, Error.t()}
          | {:part, ref :: reference, Part.t()}
          | {:done, ref :: reference, Outcome.t()}
          | {:tokens, ref :: reference, weight :: number}

  @doc "Tells it a message."
  @spec tell(t, message) :: term
  def tell({reader, _key} = inbox, message), do: send(reader, {inbox, message})
end
