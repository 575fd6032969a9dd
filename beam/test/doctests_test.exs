defmodule Slither.DoctestsTest do
  use ExUnit.Case, async: true

  doctest Slither.Blob
  doctest Slither.Json
  doctest Slither.OTP
  doctest Slither.Dispatch.Strategies.FixedBatch
  doctest Slither.Dispatch.Strategies.KeyPartition
  doctest Slither.Dispatch.Strategies.WeightedBatch
  doctest Slither.Run.Bytes
end
