defmodule Slither.LabelTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Gather, Label, Pipe}
  alias Slither.Pool.Scheduler
  alias Slither.Python.Pool

  @release String.to_integer(System.otp_release())

  defp label(pid) do
    with {:dictionary, dictionary} <- Process.info(pid, :dictionary),
         do: dictionary[:"$process_label"]
  end

  defp labels, do: Enum.map(Process.list(), &label/1)

  test "a process is labelled as Erlang does it, or would" do
    assert function_exported?(:proc_lib, :set_label, 1) == @release >= 27
    assert Label.set({:a, 1}) == :ok
    assert label(self()) == {:a, 1}
    if @release >= 27, do: assert(apply(:proc_lib, :get_label, [self()]) == {:a, 1})
  end

  test "a pool's scheduler, and its workers' owners and lanes, have theirs" do
    pool = ready_pool()
    {:ok, handle} = Pool.handle(pool)
    assert label(handle.scheduler) == {Scheduler, pool}
    {:ok, [owner]} = Scheduler.owners(handle)
    assert label(owner) == {Slither.Python.Worker, pool, 0}
    # A lane labels itself as it begins, and this call is made by one.
    assert call(pool, "identity", 1) == {:ok, 1}
    assert {Slither.Python.Lane, Atom.to_string(pool), 0, 0} in labels()
  end

  test "pipes, gathers and stores have theirs" do
    gather = unique(:label_gather)
    pipe = unique(:label_pipe)
    store = unique(:label_store)
    start_supervised!({Gather, name: gather, module: "m", function: "f"})
    double = Pipe.build!(:doubles, [{:stage, 1, :double, :beam, [handler: &(2 * &1.payload)]}])
    start_supervised!({Pipe, {double, name: pipe, sinks: [default: &Function.identity/1]}})
    start_supervised!({Slither.Store.Server, {Slither.LabelTest.Rows, name: store}})
    found = labels()

    for label <- [
          {Gather.Server, gather},
          {Pipe.Server, pipe},
          {Pipe.Sink, pipe},
          {Slither.Store.Owner, store}
        ],
        do: assert(label in found)
  end

  defmodule Rows do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :rows}]

    @impl true
    def load(_tables), do: :ok
  end
end
