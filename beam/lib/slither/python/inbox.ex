defmodule Slither.Python.Inbox do
  @moduledoc false
  # Where a process that uses lanes reads what becomes of its requests and calls. The scheduler and
  # lanes, and the processes that run batches on BEAM, tell it so with these functions; a run reads
  # it through `Slither.Run.Mailbox`, a single call in `Slither.Pool.Call`.

  alias Slither.Error
  alias Slither.Python.{Outcome, Part}

  @typedoc """
  An alias of the process that reads it, and a key of the reader's own, such as a stage's place in
  its pipe. A message of the inbox is `{inbox, message}`.
  """
  @type t :: {reference | pid, key :: term}

  @typedoc "What is told; `ref` is that of the request, which is its lease's too."
  @type message ::
          {:granted, ref :: reference, lane :: pid}
          | {:denied, ref :: reference, Error.t()}
          | {:lane_lost, ref :: reference, Error.t()}
          | {:part, ref :: reference, Part.t()}
          | {:done, ref :: reference, Outcome.t()}

  @doc "A request is granted."
  @spec granted(t, reference, pid) :: term
  def granted(inbox, ref, lane), do: tell(inbox, {:granted, ref, lane})

  @doc "A request is refused."
  @spec denied(t, reference, Error.t()) :: term
  def denied(inbox, ref, error), do: tell(inbox, {:denied, ref, error})

  @doc "The lane of a lease is no more."
  @spec lane_lost(t, reference, Error.t()) :: term
  def lane_lost(inbox, ref, error), do: tell(inbox, {:lane_lost, ref, error})

  @doc "The next results of a call that goes on."
  @spec part(t, reference, Part.t()) :: term
  def part(inbox, ref, part), do: tell(inbox, {:part, ref, part})

  @doc "A call is over."
  @spec done(t, reference, Outcome.t()) :: term
  def done(inbox, ref, outcome), do: tell(inbox, {:done, ref, outcome})

  defp tell({reader, _key} = inbox, message), do: send(reader, {inbox, message})
end
