defmodule Slither.Pool.ErrorsTest do
  use ExUnit.Case, async: true

  # Every sentence that a pool says, to the letter: programs show them to people, and guides quote
  # some of them.

  alias Slither.Error
  alias Slither.Pool.Errors

  @cause %Error{
    reason: :no_interpreter,
    message: "python can't be run: enoent",
    hint: "install it"
  }

  defp sentences do
    %{
      unavailable:
        {Errors.unavailable(:p, @cause), :pool_unavailable,
         "pool :p: no worker could be started: python can't be run: enoent (install it)"},
      saturated:
        {Errors.saturated(:p, 2, 2), :saturated,
         "pool :p: its queue is full: 2 calls wait already; the limit is 2 " <>
           "(send less at once, add workers, or raise the pool's max_queue)"},
      queue_timeout:
        {Errors.queue_timeout(:p), :queue_timeout,
         "pool :p: no worker was free within queue_timeout (add workers, or raise queue_timeout)"},
      session_lost:
        {Errors.session_lost(:p, "s"), :session_lost,
         "pool :p: the worker that held session \"s\" is gone, and its state with it " <>
           "(Slither.Session.stop/1 lets it begin anew; with on_session_lost: :rebind it does " <>
           "so by itself)"},
      rest_lost:
        {Errors.rest_lost(:p), :worker_died,
         "pool :p: the worker that had the rest of the values is gone " <>
           "(values that came before stand; call again for the others)"},
      session_in_use:
        {Errors.session_in_use(:p, "s"), :session_in_use,
         "pool :p: the process that stops session \"s\" has calls of it out " <>
           "(stop it once its run is over, or from another process)"},
      unbound: {Errors.unbound("s"), :session_unbound, "no worker holds session \"s\""},
      nowhere: {Errors.nowhere(:p), :no_worker, "pool :p: no other worker is ready"},
      crashed: {Errors.crashed({:shutdown, :x}), :start_failed, "its owner ended: shutdown: :x"},
      lane_lost: {Errors.lane_lost(:killed), :worker_died, "a lane failed: :killed"},
      max_rss_too_low:
        {Errors.max_rss_too_low(10, 20), nil,
         "max_rss is 10 bytes, and a worker that has just started takes 20 already: it does not " <>
           "apply. Raise it above that"},
      max_rss_in_vain:
        {Errors.max_rss_in_vain(10, 20), nil,
         "max_rss is 10 bytes, and one worker after another is beyond it after its first calls " <>
           "(now 20 bytes): it does not apply until the next restart. Raise it above that"},
      too_many:
        {Errors.too_many(:p, 1_001, 1_000), :invalid_option,
         "pool :p: options :size and :spare come to 1001 workers; a pool has at most 1000"},
      start_timeout:
        {Errors.start_timeout(:p, 20), :start_timeout, "pool :p: no worker was ready after 20 ms"},
      busy:
        {Errors.busy(:p, 5_000), :timeout,
         "pool :p: the pool gave no answer within 5000 ms (the node is busy: try again)"},
      stopped:
        {Errors.stopped(:p, :killed), :pool_unavailable, "pool :p: the pool stopped: killed"},
      given_back:
        {given_back(), :worker_died,
         "4 workers ended while they held this batch; the last: python can't be run: enoent " <>
           "(install it)"}
    }
  end

  defp given_back do
    {:failed, error} = Errors.given_back(@cause, 3)
    error
  end

  test "each sentence is as it was" do
    for {name, {said, reason, sentence}} <- sentences() do
      said = if is_binary(said), do: %Error{message: said}, else: said
      assert {name, said.reason, Exception.message(said)} == {name, reason, sentence}
    end
  end

  test "a pool that is not there is told with those that are" do
    error = Errors.unknown(:nowhere)
    assert error.reason == :unknown_pool
    assert "no pool :nowhere is running." <> _nearest = error.message
    assert "running: " <> rest = error.hint
    assert String.ends_with?(rest, "; declare one: config :slither, pools: [nowhere: [size: 2]]")
    assert %{pool: :nowhere, known: known} = error.details
    assert Enum.all?(known, &is_atom/1)
  end

  test "details say by name what the sentences do" do
    assert Errors.unavailable(:p, @cause).details == %{start_reason: :no_interpreter}
    assert Errors.saturated(:p, 1, 2).details == %{pool: :p, queue: 1, limit: 2}
    assert Errors.saturated(:p, 1, 2).message =~ "full: 1 call waits already"
    for kind <- [:session_lost, :session_in_use], do: assert(details(kind) == %{session: "s"})
    assert Errors.unbound("s").details == %{session: "s"}
    assert Errors.too_many(:p, 1_001, 1_000).details == %{option: :size, value: 1_001}
  end

  defp details(kind), do: apply(Errors, kind, [:p, "s"]).details

  test "no sentence is without its test" do
    functions = Errors.__info__(:functions) |> Keyword.keys() |> Enum.uniq()
    assert Enum.sort(functions) == Enum.sort([:unknown | Map.keys(sentences())])
  end
end
