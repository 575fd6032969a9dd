defmodule Slither.Proof.DiskTest do
  use ExUnit.Case, async: true

  alias Slither.Proof
  alias Slither.Proof.Disk

  # Where nothing may be mounted the disk is never full, and the kills are what is left.
  @tag :capture_log
  test "stores on disks that fill up lose nothing that was acknowledged, and start and go on" do
    report = Disk.run(rounds: 12, vms: 6, ms: 120, seed: System.unique_integer([:positive]))
    assert Proof.held?(report), Proof.text(report)
  end
end
