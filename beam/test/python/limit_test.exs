defmodule Slither.Python.LimitTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  alias Slither.{Dispatch, Error}
  alias Slither.Python.Limit

  test "a call has 30 s for each item, unless its time was given" do
    assert Limit.total(nil, :infinity, 64) == 64 * 30_000
    assert Limit.total(nil, :infinity, 0) == 30_000
    assert Limit.total(nil, :infinity, 1_000_000) == 0xFFFFFFFF
    assert Limit.total(50, :infinity, 64) == 50
    assert Limit.total(:infinity, :infinity, 64) == :infinity
    assert Limit.total(nil, 60_000, 2) == 120_000
    assert Limit.total(nil, 10, 2) == 60_000
  end

  test "a dispatch without the option has none, whatever the size of its batches" do
    {:ok, options} = Dispatch.Settings.check([module: "m", function: "f"], "here")
    refute Keyword.has_key?(options, :timeout)
  end

  test "an error says what is over its time, and which option is the one to raise" do
    over = Limit.overdue(Limit.of_call(500, 500, 2), "the call", "it was killed")

    assert %Error{
             reason: :timeout,
             details: %{option: :timeout, timeout: 500, items: 2, each: nil}
           } = over

    assert Exception.message(over) ==
             "the call ran for more than 500 ms; it was killed (raise timeout:, or lower batch_size)"

    alone = Limit.overdue(Limit.of_call(500, 500, 1), "the call", "it was killed")
    assert alone.hint == "raise timeout:"

    not_given = Limit.overdue(Limit.of_call(30_000, nil, 1), "the call", "it was killed")

    assert Exception.message(not_given) ==
             "the call ran for more than 30000 ms; it was killed (raise timeout:)"
  end

  test "who reads Python has it in seconds, with the option of Python" do
    over = Limit.overdue(Limit.of_call(90_000, nil, 3), "the call", "it was killed")
    told = Limit.in_python(%{over | hint: over.hint <> "; last on standard error: timeout:"})

    assert told.message ==
             "the call ran for more than 90 s (30 s for each of 3 items); it was killed"

    assert told.hint == "raise timeout=; last on standard error: timeout:"
    assert told.details == %{timeout: 90.0, items: 3}

    brief = Limit.overdue(Limit.of_call(2_500, 2_500, 8), "the call", "it was killed")
    assert Limit.in_python(brief).message =~ "more than 2.5 s;"
    assert Limit.in_python(brief).hint == "raise timeout=, or lower batch_size"
  end

  test "other errors stay as they are" do
    for error <- [
          %Error{reason: :timeout, message: "the pool gave no answer within 5000 ms"},
          %Error{reason: :worker_died, message: "m", details: %{timeout: 5, items: 1}}
        ],
        do: assert(Limit.in_python(error) == error)
  end
end
