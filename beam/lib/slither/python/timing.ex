defmodule Slither.Python.Timing do
  @moduledoc false
  # Where the time of one call went, and how many bytes it took. The lane or process that runs the
  # call fills it in; receipts add timings up, and the event of a batch carries one.

  defstruct encode: 0,
            wire: 0,
            decode: 0,
            handler: 0,
            bytes: 0,
            result_bytes: 0,
            worker: nil,
            given_back?: false

  @typedoc """
  Times are in native units; `wire` is from the frame's last byte written to the answer's last
  byte read, and holds the handler's. `worker` is the slot that ran the call, nil on BEAM.
  `given_back?` says that the lane has returned its lease already.
  """
  @type t :: %__MODULE__{
          encode: integer,
          wire: integer,
          decode: integer,
          handler: integer,
          bytes: non_neg_integer,
          result_bytes: non_neg_integer,
          worker: non_neg_integer | nil,
          given_back?: boolean
        }

  @doc "As measurements of an event."
  @spec measurements(t) :: map
  def measurements(%__MODULE__{} = timing),
    do: timing |> Map.from_struct() |> Map.delete(:given_back?)
end
