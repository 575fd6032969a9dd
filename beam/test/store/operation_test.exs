defmodule Slither.Store.OperationTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Store.{Operation, Processes, Table}

  # A table of the test's own, at time 100 of a clock of its own.
  defp table(spec \\ []) do
    spec = Keyword.merge([name: :rows], spec)
    {:ok, [table]} = Table.check([spec], __MODULE__, fn -> 100 end)
    Table.create(table)
  end

  defp holding(rows, spec \\ []) do
    table = table(spec)
    Table.apply_effect(table, {:insert, rows, table.ttl && 100 + table.ttl})
    table
  end

  test "an insert gives its rows and when they end" do
    assert Operation.run({:insert, [{1, 2}]}, table()) == {{:ok, :ok}, [{:insert, [{1, 2}], nil}]}

    assert Operation.run({:insert, [{1, 2}]}, table(ttl: 5)) ==
             {{:ok, :ok}, [{:insert, [{1, 2}], 105}]}

    assert Operation.run({:insert, []}, table()) == {{:ok, :ok}, []}
  end

  test "what would change nothing has no effects" do
    table = holding([{1, 2}])
    assert Operation.run({:insert_new, {1, 3}}, table) == {{:ok, false}, []}
    assert Operation.run({:take, 2}, table) == {{:ok, {false, nil}}, []}
    assert Operation.run({:swap, 1, [{1, 9}], {1, 3}}, table) == {:changed, []}
    assert Operation.run({:expire, [1]}, table) == {{:ok, :ok}, []}
  end

  test "a swap and a take see the row that is there" do
    table = holding([{1, 2}])

    assert Operation.run({:swap, 1, [{1, 2}], {1, 3}}, table) ==
             {{:ok, :ok}, [{:insert, [{1, 3}], nil}]}

    assert Operation.run({:take, 1}, table) == {{:ok, {true, 2}}, [{:delete, [1]}]}
  end

  test "a counter adds, begins with its default, and refuses what is no number" do
    table = holding([{1, 2}, {2, :two}])
    assert Operation.run({:counter, 1, 3, nil}, table) == {{:ok, 5}, [{:insert, [{1, 5}], nil}]}
    assert Operation.run({:counter, 3, 1, 9}, table) == {{:ok, 10}, [{:insert, [{3, 10}], nil}]}

    assert {{:error, %Error{reason: :not_a_counter}}, []} =
             Operation.run({:counter, 2, 1, 0}, table)

    assert {{:error, %Error{reason: :not_a_counter}}, []} =
             Operation.run({:counter, 3, 1, nil}, table)
  end

  test "a row past its time is none" do
    table = table(ttl: 5)
    Table.apply_effect(table, {:insert, [{1, 2}], 100})

    assert Operation.run({:insert_new, {1, 3}}, table) ==
             {{:ok, true}, [{:insert, [{1, 3}], 105}]}

    assert Operation.run({:expire, [1, 2]}, table) == {{:ok, :ok}, [{:delete, [1]}]}
  end

  test "the keys of effects are those of rows and of removals" do
    table = table(keypos: 2)

    assert Operation.keys(table, [{:insert, [{:a, 1}, {:b, 2}], nil}, {:delete, [3]}]) == [
             1,
             2,
             3
           ]
  end

  test "processes are found by what they do, and by nothing else" do
    processes = Processes.new()
    pin = Processes.pin(processes, 1)
    Processes.pin(processes, 2)
    ref = make_ref()
    Processes.put_watch(processes, ref, self(), :rows)
    Processes.put_reaper(processes, 1)

    assert Processes.pins(processes, 1) == [{pin, self()}]
    assert length(Processes.pins(processes)) == 2
    assert Processes.watches(processes) == [{ref, self(), :rows}]
    assert {Processes.reaper(processes, 1), Processes.reaper(processes, 2)} == {self(), nil}

    Processes.unpin(processes, pin)
    Processes.delete_watch(processes, ref)
    Processes.delete_reaper(processes, 1)
    assert [{{:pin, 2, _ref}, _pid}] = :ets.tab2list(processes)
  end
end
