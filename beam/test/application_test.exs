defmodule Slither.ApplicationTest do
  use ExUnit.Case, async: true

  alias Slither.Test.{Pools, VMs}

  @tag :tmp_dir
  test "a store whose disk fails and a pool that ends cost none of the others", %{tmp_dir: dir} do
    vm = VMs.open("failing_parts.exs", [Pools.handlers(), Path.join(dir, "store")])
    assert VMs.wait_for(vm, "refused ") == "false"
    assert VMs.wait_for(vm, "others ") == "1 true"
    assert VMs.wait_for(vm, "back ") == ":kept"
    assert VMs.wait_for(vm, "pool ") == "1 true true"
    assert VMs.wait_for(vm, "killed ") == "true true true"
    VMs.rest(vm, nil, fn _line, nil -> nil end)
  end
end
