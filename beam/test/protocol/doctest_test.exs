defmodule Slither.DoctestTest do
  use ExUnit.Case, async: true

  doctest Slither.Error
  doctest Slither.Item
  doctest Slither.Telemetry
end
