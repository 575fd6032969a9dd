defmodule Slither.Pipe.Outbox do
  @moduledoc false
  # What has come out of a long-running pipe and is not with its sinks yet: outputs that wait while
  # others are being delivered. Held by the pipe's server.
  #
  # Outputs of inputs that somebody follows name the part that they are of (`Slither.Run.Fates`),
  # whose fate is known once they are delivered.

  alias Slither.Pipe.Sink
  alias Slither.Run.{Chain, Fates}

  @enforce_keys [:sink]
  defstruct [:sink, pending: [], delivering: 0, followed: []]

  @type t :: %__MODULE__{
          sink: pid,
          pending: [Chain.output() | Chain.followed()],
          delivering: non_neg_integer,
          followed: [{place :: non_neg_integer, Fates.id(), Fates.fate()}]
        }

  @doc "An empty outbox of the process that calls the sinks."
  @spec new(pid) :: t
  def new(sink), do: %__MODULE__{sink: sink}

  @doc "Takes outputs in, when none wait, and has them delivered as soon as the sinks are free."
  @spec put(t, [Chain.output() | Chain.followed()]) :: t
  def put(%__MODULE__{pending: []} = outbox, outputs), do: deliver(%{outbox | pending: outputs})

  @doc """
  The outputs that were being delivered are with the sinks, but for those that `failed` there, by
  their places; gives the fates of those that are followed.
  """
  @spec delivered(t, %{optional(non_neg_integer) => Exception.t()}) ::
          {[{Fates.id(), Fates.fate()}], t}
  def delivered(outbox, failed) do
    fates =
      for {place, part, fate} <- outbox.followed do
        case failed do
          %{^place => error} -> {part, {:failed, error}}
          _delivered -> {part, fate}
        end
      end

    {fates, deliver(%{outbox | delivering: 0, followed: []})}
  end

  defp deliver(%__MODULE__{pending: [_ | _], delivering: 0} = outbox) do
    {outputs, followed} =
      if plain?(outbox.pending), do: {outbox.pending, []}, else: parts(outbox.pending)

    Sink.deliver(outbox.sink, outputs)
    %{outbox | pending: [], delivering: length(outputs), followed: followed}
  end

  defp deliver(outbox), do: outbox

  # Where nobody follows an input, this look is all that it costs.
  defp plain?([{_output, _item} | outputs]), do: plain?(outputs)
  defp plain?(outputs), do: outputs == []

  defp parts(outputs) do
    {outputs, {_count, followed}} = Enum.map_reduce(outputs, {0, []}, &part/2)
    {outputs, Enum.reverse(followed)}
  end

  defp part({nil, output, item}, {place, followed}), do: {{output, item}, {place + 1, followed}}

  defp part({part, output, item}, {place, followed}),
    do: {{output, item}, {place + 1, [{place, part, Fates.of(output, item)} | followed]}}

  defp part({_output, _item} = plain, {place, followed}), do: {plain, {place + 1, followed}}

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
