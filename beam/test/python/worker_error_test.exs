defmodule Slither.Python.WorkerErrorTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Python.{Call, Fault, WorkerError}

  test "a report of a fatal signal tells the status where the port closed before it was known" do
    report =
      "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"

    assert WorkerError.told(report) == 139
    assert WorkerError.told("Fatal Python error: Aborted\n") == 134
  end

  test "no other report tells one" do
    for report <- ["", "Fatal Python error: out of memory\n", "Segmentation fault"],
        do: assert(WorkerError.told(report) == nil)
  end

  # What is said of each end, to the word.
  describe "the end of a worker" do
    defp state(phase \\ :ready) do
      %{
        phase: phase,
        slot: 3,
        os_pid: 77,
        python: "/bin/false",
        variables: [],
        unheard: false,
        settings: %{name: :p, cancel_grace: 500},
        calls: [%Call{id: 9, timeout: 40, batch: 2, head: <<>>}]
      }
    end

    test "by itself, with a status" do
      assert WorkerError.ended(state(), 1) == %Error{
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
             } = WorkerError.ended(state(), 137)

      assert %{
               message: "Python worker 3 (pid 77) died: killed by signal 11 (SIGSEGV)",
               hint: "a crash in C code"
             } = WorkerError.ended(state(), 139)
    end

    test "that nobody was told of" do
      assert %{message: "Python worker 3 (pid 77) died: its port closed"} =
               WorkerError.ended(state(), nil)

      assert %{
               message:
                 "Python worker 3 (pid 77) died: its exit status is not known (a process that it " <>
                   "has started may hold its pipe)"
             } = WorkerError.ended(%{state() | unheard: true}, nil)
    end

    test "while it starts" do
      assert WorkerError.ended(state(:starting), 1) == %Error{
               reason: :start_failed,
               message:
                 "a Python worker can't start: /bin/false:  (exit status 1); it ended with exit status 1",
               where: "pool :p",
               details: %{python: "/bin/false"}
             }

      assert %{message: "a Python worker can't start: /bin/false:  (exit status 1)"} =
               WorkerError.ended(state(:starting), nil)
    end

    test "that it was told to" do
      stopped = %Error{reason: :worker_stopped, message: "the worker was stopped"}
      assert WorkerError.stopped() == stopped
      assert WorkerError.ended(state(:stopping), 0) == stopped
    end

    test "for a call that nobody waits for" do
      assert WorkerError.cancelled(state()) == %Error{
               reason: :cancelled,
               message:
                 "the caller is gone, and the call went on for 500 ms; its worker was killed",
               where: "pool :p"
             }
    end

    test "for a call over its time" do
      assert WorkerError.timed_out(state()) == %Error{
               reason: :timeout,
               message: "the call ran for more than 40 ms; its worker was killed",
               where: "pool :p",
               hint: "raise timeout:, or lower batch_size",
               details: %{timeout: 40}
             }
    end

    test "for what it said" do
      assert WorkerError.protocol(state(), "why") == %Error{
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
             } == WorkerError.mismatch(state(), 9)
    end

    test "in Python's words" do
      failed = %Error{
        reason: :import_failed,
        message: "T: m",
        python: %{type: "T"},
        details: %{a: 1}
      }

      assert WorkerError.start_failure(state(), failed) == %Error{
               reason: :start_failed,
               message: "a Python worker can't start: T: m",
               where: "pool :p",
               python: %{type: "T"},
               details: %{a: 1}
             }
    end

    test "is a line of the log" do
      error = WorkerError.ended(state(), 1)

      assert WorkerError.line(error, nil) ==
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
        WorkerError.account(WorkerError.ended(state(), 139), %{call: 9}, "one\ntwo\xFF", report)

      assert error.hint ==
               "a crash in C code; Segmentation fault in crash (lib.py:12), called by handler " <>
                 "(mod.py:3); last on standard error: two\uFFFD"

      assert %{call: 9, stderr: "one\ntwo\uFFFD", fatal_error: ^report, status: 139} =
               error.details

      assert WorkerError.account(WorkerError.stopped(), %{}, "", "").hint == nil
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
