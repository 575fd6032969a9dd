defmodule Slither.Pipe.Outbox do
  @moduledoc false
  # What has come out of a long-running pipe and is not with its sinks yet: outputs that wait while
  # others are being delivered. Held by the pipe's server.

  alias Slither.Pipe.Sink
  alias Slither.Run.Chain

  @enforce_keys [:sink]
  defstruct [:sink, pending: [], delivering: 0]

  @type t :: %__MODULE__{
          sink: pid,
          pending: [Chain.output()],
          delivering: non_neg_integer
        }

  @doc "An empty outbox of the process that calls the sinks."
  @spec new(pid) :: t
  def new(sink), do: %__MODULE__{sink: sink}

  @doc "Takes outputs in, when none wait, and has them delivered as soon as the sinks are free."
  @spec put(t, [Chain.output()]) :: t
  def put(%__MODULE__{pending: []} = outbox, outputs), do: deliver(%{outbox | pending: outputs})

  @doc "The outputs that were being delivered are with the sinks."
  @spec delivered(t) :: t
  def delivered(outbox), do: deliver(%{outbox | delivering: 0})

  defp deliver(%__MODULE__{pending: [_ | _], delivering: 0} = outbox) do
    Sink.deliver(outbox.sink, outbox.pending)
    %{outbox | pending: [], delivering: length(outbox.pending)}
  end

  defp deliver(outbox), do: outbox

  @doc "Whether outputs wait, so that nothing more is to come out."
  @spec full?(t) :: boolean
  def full?(outbox), do: outbox.pending != []

  @doc "Whether all that came out is with the sinks."
  @spec empty?(t) :: boolean
  def empty?(outbox), do: outbox.pending == [] and outbox.delivering == 0

  @doc "How many outputs are not with the sinks yet."
  @spec count(t) :: non_neg_integer
  def count(outbox), do: outbox.delivering + length(outbox.pending)
end
