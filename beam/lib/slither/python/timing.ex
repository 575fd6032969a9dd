defmodule Slither.Python.Timing do
  @moduledoc false
  # Where the time of one call went, and how many bytes it took. The lane or process that runs the
  # call fills it in; receipts add timings up, and the events of batches and of single calls carry one.

  @sums [:rate, :queue, :encode, :wire, :decode, :handler, :reader, :bytes, :result_bytes]

  defstruct rate: 0,
            queue: 0,
            encode: 0,
            wire: 0,
            decode: 0,
            handler: 0,
            reader: 0,
            bytes: 0,
            result_bytes: 0,
            worker: nil,
            given_back?: false

  @typedoc """
  Times are in native units, and none holds another. `queue` is the time behind other calls of the same
  worker; what the call waited for a worker is added by who waited, as is what it waited for the tokens
  of its `rate`. `encode` and `decode` are both sides',
  `handler` is the handler's, and `wire` what is left of the time from when the worker could begin it
  until the answer was read. `reader` is the part of that in which a handler that yields had to wait for
  whoever reads its results. `worker` is the slot that ran the call, nil on BEAM.
  `given_back?` says that the lane has returned its lease already.
  """
  @type t :: %__MODULE__{
          rate: non_neg_integer,
          queue: non_neg_integer,
          encode: non_neg_integer,
          wire: non_neg_integer,
          decode: non_neg_integer,
          handler: non_neg_integer,
          reader: non_neg_integer,
          bytes: non_neg_integer,
          result_bytes: non_neg_integer,
          worker: non_neg_integer | nil,
          given_back?: boolean
        }

  @doc "What two calls took together; nil for one of which nothing was measured."
  @spec add(t, t | nil) :: t
  def add(timing, nil), do: timing

  def add(%__MODULE__{} = one, %__MODULE__{} = other) do
    sum = fn
      key, a, b when key in @sums -> a + b
      _worker, _before, now -> now
    end

    Map.merge(one, other, sum)
  end

  @doc "That of a call which had waited so long for a worker, and for its rate."
  @spec waited(t, integer, integer) :: t
  def waited(%__MODULE__{} = timing, time, rate \\ 0),
    do: %{timing | queue: timing.queue + time, rate: timing.rate + rate}

  @doc "As measurements of an event."
  @spec measurements(t) :: map
  def measurements(%__MODULE__{} = timing) do
    %{
      rate: timing.rate,
      queue: timing.queue,
      encode: timing.encode,
      wire: timing.wire,
      decode: timing.decode,
      handler: timing.handler,
      bytes: timing.bytes,
      result_bytes: timing.result_bytes
    }
  end
end
