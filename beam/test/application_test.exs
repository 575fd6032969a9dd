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

  test "a configuration that is wrong is said to be, by its name and what it takes" do
    vm = VMs.open("wrong_config.exs", [])

    assert VMs.wait_for(vm, "max_series ") ==
             ~s(config :slither: option :max_series takes an integer of 1 or more, got "many")

    assert VMs.wait_for(vm, "attach ") ==
             "config :slither: option :attach takes true or false, got :never"

    assert VMs.wait_for(vm, "dashboard ") =~ "dashboard: option :port takes a port (0 to 65535"

    assert VMs.wait_for(vm, "dashboard ") ==
             "dashboard: unknown option :prt. Did you mean :port? Accepted: " <>
               ":port, :ip, :token, :hosts, :max_clients, :name"

    assert VMs.wait_for(vm, "trace ") =~ "unknown option :sampel. Did you mean :sample?"
    assert VMs.wait_for(vm, "started ") == "true"
    VMs.rest(vm, nil, fn _line, nil -> nil end)
  end
end
