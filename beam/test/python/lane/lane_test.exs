defmodule Slither.Python.LaneTest do
  # A lane, alone: the test is its worker's owner, its scheduler and its holder, and has the other end
  # of its transport.
  use ExUnit.Case, async: true

  import Slither.Test.Pools, only: [path: 1, patience: 0]

  alias Slither.Error
  alias Slither.Protocol.Frame
  alias Slither.Python.{Board, Call, Job, Lane, Outcome, Part, Reports, Transport}
  alias Slither.Python.Worker.Inbox

  @error %Error{reason: :worker_died, message: "m"}

  setup do
    path = path("lane")
    frames = [:local, :binary, packet: 4, active: false]
    {:ok, listener} = :gen_tcp.listen(0, [ip: {:local, path}] ++ frames)
    options = [:local, active: true] ++ Transport.Socket.options()
    {:ok, ours} = :gen_tcp.connect({:local, path}, 0, options)
    {:ok, peer} = :gen_tcp.accept(listener)

    lane = %Lane{
      index: 1,
      count: 2,
      transport: Transport.Socket.new(ours),
      slot: 0,
      scheduler: self(),
      board: Board.new(1),
      max_frame: 1_000,
      ahead: 1,
      capture: nil,
      facts: %{}
    }

    pid = Lane.start(lane)
    monitor = Process.monitor(pid)
    %{lane: pid, monitor: monitor, peer: peer, board: lane.board}
  end

  # Gives it a job of so many items, which it has noted with the owner and then written.
  defp run(lane, peer, count) do
    job = %Job{
      inbox: {self(), :job},
      ref: make_ref(),
      head: Frame.call_head(["f"], %{}),
      payloads: Enum.to_list(1..count),
      timeout: 5
    }

    Lane.run(lane, job)
    call = %Call{id: id(), timeout: 5, batch: 0, head: job.head, items: count}
    assert next() == {Inbox, :sent, call}
    {:ok, body} = :gen_tcp.recv(peer, 0, patience())
    assert {:ok, {:call, _id, ["f"], %{}, 0, 1, _items}} = Frame.decode(body)
    job.ref
  end

  # The second lane of two has the even ids; the first call of each test has the first of them.
  defp id, do: 2

  # Whatever comes next, from whomever.
  defp next do
    assert_receive message, patience()
    message
  end

  defp hear(peer) do
    {:ok, body} = :gen_tcp.recv(peer, 0, patience())
    {:ok, frame} = Frame.decode(body)
    frame
  end

  defp body(frame), do: frame |> Frame.encode!() |> IO.iodata_to_binary()

  defp reply(lane, values),
    do: Lane.reply(lane, id(), body({:result, id(), values, nil, [0, 7, 0]}), nil)

  test "notes a call, hands on its answer, and how long it took", context do
    %{lane: lane, peer: peer, board: board} = context
    ref = run(lane, peer, 1)
    reply(lane, ["a"])
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :ok, values: ["a"]}}} = next()
    assert Board.short?(board, 0, 1)
  end

  test "says that a handler waits before it says that it goes on", %{lane: lane, peer: peer} do
    ref = run(lane, peer, 3)
    Lane.part(lane, id(), body({:part, id(), 0, ["a"], nil}))
    assert {{_test, :job}, {:part, ^ref, %Part{values: ["a"]}}} = next()
    assert next() == {Inbox, :stalled, id()}
    Lane.taken(lane, ref, 1)
    assert next() == {Inbox, :resumed, id()}
    assert hear(peer) == {:credit, id(), 1}

    # It is not to wait any more: it has credit for all, and the lane goes back before its results.
    Lane.run_on(lane, id())
    assert hear(peer) == {:credit, id(), 2}
    reply(lane, ["b", "c"])
    assert next() == {Reports, ref}
    assert {{_test, :job}, {:done, ^ref, outcome}} = next()
    assert %Outcome{values: ["b", "c"], timing: %{given_back?: true}} = outcome
  end

  test "cancels a call that nobody waits for, and is idle once it is answered", context do
    %{lane: lane, peer: peer} = context
    ref = run(lane, peer, 1)
    Lane.idle?(lane, self(), ref)
    assert next() == {Inbox, :cancel, id()}
    reply(lane, ["a"])
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :ok}}} = next()
    assert next() == {Reports, ref}
    Lane.idle?(lane, self(), ref)
    assert next() == {Reports, ref}
  end

  test "has a call killed by the owner, and says by whom it was", %{lane: lane, peer: peer} do
    ref = run(lane, peer, 1)
    Lane.kill(lane, ref)
    assert {Inbox, :kill_call, {2, %Error{reason: :killed}}} = next()
    fault = %{"kind" => "cancelled", "message" => "m"}
    Lane.reply(lane, id(), body({:error, id(), fault}), nil)
    assert {{_test, :job}, {:done, ^ref, %Outcome{error: %{reason: :killed}}}} = next()
  end

  test "has a worker killed that breaks the protocol", %{lane: lane, peer: peer} do
    ref = run(lane, peer, 1)
    reply(lane, ["a", "b"])
    assert {Inbox, :kill, %Error{reason: :protocol_error} = error} = next()
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :error, error: ^error}}} = next()
  end

  test "tells what executed from what had not begun, and gives back all that comes then",
       context do
    %{lane: lane, peer: peer} = context
    ref = run(lane, peer, 1)
    Lane.worker_down(lane, @error, id(), nil)
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :died, error: died}}} = next()
    assert %{reason: :worker_died, details: %{target: ["f"], batch: 0, attempt: 1}} = died

    Lane.run(lane, %Job{inbox: {self(), :job}, ref: ref, head: <<>>, payloads: [1]})
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :requeue, error: @error}}} = next()
    Lane.idle?(lane, self(), ref)
    assert next() == {Reports, ref}
  end

  test "gives back a call that its worker had not begun", %{lane: lane, peer: peer} do
    ref = run(lane, peer, 1)
    Lane.worker_down(lane, @error, 1, nil)
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :requeue, error: @error}}} = next()
  end

  test "begins no call at a worker that is being killed, and gives it back at the worker's end",
       context do
    %{lane: lane, peer: peer} = context
    ref = run(lane, peer, 1)
    Lane.doomed(lane)
    reply(lane, ["a"])
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :ok}}} = next()

    Lane.run(lane, %Job{
      inbox: {self(), :job},
      ref: ref,
      head: Frame.call_head(["f"], %{}),
      payloads: [1]
    })

    # It answers this once it has the job, and has told nobody of a call.
    Lane.kill(lane, ref)
    assert {Inbox, :kill_call, {id, %Error{reason: :killed}}} = next()
    Lane.worker_down(lane, @error, id, nil)
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :requeue, error: @error}}} = next()
    # Neither has the worker.
    assert {:error, :timeout} = :gen_tcp.recv(peer, 0, 0)
  end

  test "ends when it is told to, but not before its call is answered", context do
    %{lane: lane, peer: peer, monitor: monitor} = context
    ref = run(lane, peer, 1)
    Lane.stop(lane)
    reply(lane, ["a"])
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :ok}}} = next()
    assert {:DOWN, ^monitor, :process, ^lane, :normal} = next()
  end

  test "takes no heed of what comes for calls that are over", %{lane: lane, peer: peer} do
    Lane.taken(lane, make_ref(), 1)
    Lane.kill(lane, make_ref())
    Lane.run_on(lane, 8)
    Lane.part(lane, 8, <<>>)
    Lane.tape(lane, 8, {[], false})
    Lane.reply(lane, 8, <<>>, nil)
    ref = run(lane, peer, 1)
    reply(lane, ["a"])
    assert {{_test, :job}, {:done, ^ref, %Outcome{kind: :ok, values: ["a"]}}} = next()
  end
end
