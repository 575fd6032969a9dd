defmodule Slither.Python.ObituaryTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Python.{Call, Fault, Obituary}

  test "a report of a fatal signal tells the status where the port closed before it was known" do
    report =
      "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"

    assert Obituary.told(report) == 139
    assert Obituary.told("Fatal Python error: Aborted\n") == 134
  end

  test "no other report tells one" do
    for report <- ["", "Fatal Python error: out of memory\n", "Segmentation fault"],
        do: assert(Obituary.told(report) == nil)
  end

  # What is said of each end, to the word.
  describe "the end of a worker" do
    @identity %{pool: :p, worker: 3, os_pid: 77}

    test "by itself, with a status" do
      assert Obituary.ended(@identity, 1, false) == %Error{
               reason: :worker_died,
               message: "Python worker 3 (pid 77) died: exit status 1",
               where: "pool :p",
               details: %{status: 1, signal: nil, os_pid: 77}
             }
    end

    test "by a signal" do
      assert %{
               message: "Python worker 3 (pid 77) died: killed by signal 9 (SIGKILL)",
               hint: "often the kernel's out-of-memory killer, or kill -9",
               details: %{status: 137, signal: 9}
             } = Obituary.ended(@identity, 137, false)

      assert %{
               message: "Python worker 3 (pid 77) died: killed by signal 11 (SIGSEGV)",
               hint: "a crash in C code"
             } = Obituary.ended(@identity, 139, false)
    end

    test "that nobody was told of" do
      assert %{message: "Python worker 3 (pid 77) died: its port closed"} =
               Obituary.ended(@identity, nil, false)

      assert %{
               message:
                 "Python worker 3 (pid 77) died: its exit status is not known (a process that it " <>
                   "has started may hold its pipe)"
             } = Obituary.ended(@identity, nil, true)
    end

    test "while it starts" do
      assert Obituary.ended_early(:p, "/bin/false", "/bin/false:  (exit status 1)", 1) == %Error{
               reason: :start_failed,
               message:
                 "a Python worker can't start: /bin/false:  (exit status 1); it ended with exit status 1",
               where: "pool :p",
               details: %{python: "/bin/false"}
             }

      assert %{message: "a Python worker can't start: /bin/false:  (exit status 1)"} =
               Obituary.ended_early(:p, "/bin/false", "/bin/false:  (exit status 1)", nil)
    end

    test "that it was told to" do
      stopped = %Error{reason: :worker_stopped, message: "the worker was stopped"}
      assert Obituary.stopped() == stopped
    end

    test "for a call that nobody waits for" do
      assert Obituary.cancelled(:p, 500) == %Error{
               reason: :cancelled,
               message:
                 "the caller is gone, and the call went on for 500 ms; its worker was killed",
               where: "pool :p"
             }
    end

    test "for a call over its time" do
      call = %Call{id: 1, timeout: 40, batch: 0, head: "", items: 3}

      assert Obituary.timed_out(:p, call) == %Error{
               reason: :timeout,
               message: "the call ran for more than 40 ms; its worker was killed",
               where: "pool :p",
               hint: "raise timeout:, or lower batch_size",
               details: %{option: :timeout, timeout: 40, items: 3, each: nil}
             }

      not_given = %{call | timeout: 90_000, given?: false}

      assert Exception.message(Obituary.timed_out(:p, not_given)) ==
               "pool :p: the call ran for more than 90000 ms (30000 ms for each of 3 items); " <>
                 "its worker was killed (raise timeout:)"
    end

    test "for what it said" do
      assert Obituary.protocol(:p, 3, "why") == %Error{
               reason: :protocol_error,
               message: "Python worker 3 broke the protocol: why",
               where: "pool :p"
             }

      assert %Error{
               reason: :version_mismatch,
               message:
                 "a Python worker can't start: it speaks protocol 9, this BEAM speaks 2; " <>
                   "install the slither-beam package of this version",
               where: "pool :p",
               details: %{python: "/bin/false"}
             } == Obituary.mismatch(:p, "/bin/false", 9)
    end

    test "in Python's words" do
      failed = %Error{
        reason: :import_failed,
        message: "T: m",
        python: %{type: "T"},
        details: %{a: 1}
      }

      assert Obituary.failed(:p, "/bin/false", failed) == %Error{
               reason: :start_failed,
               message: "a Python worker can't start: T: m",
               where: "pool :p",
               python: %{type: "T"},
               details: %{a: 1}
             }
    end

    test "is a line of the log" do
      error = Obituary.ended(@identity, 1, false)

      assert Obituary.line(error, nil) ==
               "pool :p: Python worker 3 (pid 77) died: exit status 1; it ran no call"
    end

    test "has the account of its last call, its words and its report" do
      report = """
      Fatal Python error: Segmentation fault

      Thread 0x2 (most recent call first):
        File "/other.py", line 1 in other

      Current thread 0x1 (most recent call first):
        File "/a/lib.py", line 12 in crash
        File "/a/mod.py", line 3 in handler
        File "/x/slither/_worker/execute.py", line 1 in run

      """

      error =
        Obituary.account(
          Obituary.ended(@identity, 139, false),
          %{call: 9},
          "one\ntwo\xFF",
          report
        )

      assert error.hint ==
               "a crash in C code; Segmentation fault in crash (lib.py:12), called by handler " <>
                 "(mod.py:3); last on standard error: two\uFFFD"

      assert %{call: 9, stderr: "one\ntwo\uFFFD", fatal_error: ^report, status: 139} =
               error.details

      assert Obituary.account(Obituary.stopped(), %{}, "", "").hint == nil
    end
  end

  describe "an error from Python" do
    test "has a reason for each kind" do
      reasons = %{
        "exception" => :python_exception,
        "failure" => :handler_failure,
        "import" => :import_failed,
        "unknown_command" => :unknown_command,
        "not_a_list" => :wrong_result,
        "wrong_length" => :wrong_result,
        "not_encodable" => :not_encodable,
        "not_decodable" => :not_decodable,
        "too_large" => :too_large,
        "not_movable" => :not_movable,
        "cancelled" => :cancelled,
        "protocol" => :protocol_error,
        "version_mismatch" => :version_mismatch,
        "another" => :python_error
      }

      for {kind, reason} <- reasons do
        assert Fault.to_error(%{"kind" => kind, "message" => "m", "more" => 1}) == %Error{
                 reason: reason,
                 message: "m",
                 details: %{"kind" => kind, "more" => 1}
               }
      end
    end

    test "names its type once" do
      fault = %{"kind" => "exception", "message" => "m", "type" => "T", "traceback" => "tb"}

      assert Fault.to_error(fault) == %Error{
               reason: :python_exception,
               message: "T: m",
               python: %{type: "T", message: "m", traceback: "tb"},
               details: %{"kind" => "exception"}
             }
    end

    test "that is none is said to be none" do
      assert Fault.to_error([1]) == %Error{reason: :protocol_error, message: "not an error: [1]"}
    end

    test "goes to Python as a map" do
      assert Fault.to_wire("k", "m", %{"view" => "v"}) ==
               %{"kind" => "k", "message" => "m", "view" => "v"}
    end
  end
end
