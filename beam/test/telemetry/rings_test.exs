defmodule Slither.Telemetry.RingsTest do
  # What is kept of what happened, and of what failed. Both tables are the VM's, which other tests
  # write as well, so that names are this test's own.
  use ExUnit.Case, async: true

  import Slither.Test.Pools, only: [unique: 1]

  alias Slither.{DispatchError, Error, PipeError}
  alias Slither.Telemetry.{Failures, Happenings}

  doctest Failures
  doctest Happenings

  defp raised(type, line, message \\ "no") do
    traceback = """
    Traceback (most recent call last):
      File "/srv/slither/worker.py", line 1, in run
        call()
      File "/srv/app/score.py", line #{line}, in predict
        raise #{type}("#{message}")
    #{type}: #{message}
    """

    python = %{type: type, message: message, traceback: traceback}
    %Error{reason: :python_exception, message: "#{type}: #{message}", python: python}
  end

  defp groups(pipe), do: Enum.filter(Failures.all(), &(&1.pipe == pipe))

  describe "failures" do
    test "of the same class and line are one group, with one example" do
      pipe = unique(:failing)
      for n <- 1..5, do: Failures.note({pipe, :score}, raised("ValueError", 12, "no #{n}"))
      Failures.note({pipe, :score}, raised("ValueError", 40))
      Failures.note({pipe, :score}, raised("KeyError", 12))
      Failures.note({pipe, :rank}, raised("ValueError", 12))

      assert [4, 4] == [length(groups(pipe)), groups(pipe) |> Enum.uniq() |> length()]
      assert group = Enum.find(groups(pipe), &(&1.count == 5))

      assert %{stage: :score, reason: :python_exception, exception: "ValueError"} = group
      assert group.frame == "score.py:12 in predict"
      assert group.message == "no 1"
      assert group.traceback =~ "raise ValueError"
      assert group.replay == nil
      assert group.first <= group.last
      assert group.steps |> Map.values() |> Enum.sum() == 5
    end

    test "are told as what is behind the errors of a dispatch and of a pipe" do
      pipe = unique(:failing)
      cause = raised("ValueError", 12)
      dispatch = %DispatchError{reason: :python_exception, stage: :score, cause: cause}
      Failures.note({pipe, :score}, dispatch)
      Failures.note({pipe, :score}, %PipeError{reason: :python_exception, cause: dispatch})
      assert [%{count: 2, exception: "ValueError"}] = groups(pipe)
    end

    test "of handlers on BEAM are told by their exception" do
      pipe = unique(:failing)

      error = %PipeError{
        pipe: pipe,
        reason: :handler_raised,
        cause: %KeyError{key: :a, term: %{}}
      }

      Failures.note({pipe, :split}, error)

      assert [%{exception: "KeyError", reason: :handler_raised, message: message}] = groups(pipe)
      assert message =~ "key :a not found"
    end

    test "of a worker have its stack, and the command that runs the batch again" do
      pipe = unique(:failing)
      details = %{stack: "Thread main\n  score.py:3 in spin", capture: "failures/a b.slither"}
      Failures.note({pipe, :score}, %Error{reason: :timeout, message: "late", details: details})

      assert [%{reason: :timeout, exception: nil, traceback: "Thread" <> _} = group] =
               groups(pipe)

      assert group.replay == "python -m slither.replay 'failures/a b.slither'"
    end

    test "keep the end of what is long, and whole letters" do
      pipe = unique(:failing)
      long = raised("ValueError", 12, String.duplicate("ü", 20_000))
      Failures.note({pipe, :score}, long)
      assert [group] = groups(pipe)
      assert byte_size(group.traceback) < 8_300 and String.valid?(group.traceback)
      assert byte_size(group.message) < 1_100 and String.valid?(group.message)
    end
  end

  describe "happenings" do
    test "come newest first" do
      pool = unique(:happening)
      for worker <- 1..3, do: Happenings.note(:start, %{pool: pool, worker: worker})
      Happenings.note(:death, %{pool: pool, worker: 2, reason: :worker_died})

      assert [%{kind: :death, worker: 2}, %{worker: 3}, %{worker: 2}, %{worker: 1}] =
               own = Enum.filter(Happenings.all(), &(&1[:pool] == pool))

      assert Enum.all?(own, &is_integer(&1.at))
    end
  end
end
