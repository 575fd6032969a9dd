defmodule Slither.Python.Worker.LauncherTest do
  # A worker's owner works with any process and any way to it: here with a process that says nothing
  # itself, while the test speaks for it over a socket.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Error
  alias Slither.Protocol.Frame
  alias Slither.Python.{Board, Job, Lane, Outcome, Pool, Reports, Transport, Worker}
  alias Slither.Python.Launcher.Launched

  defmodule Launcher do
    @behaviour Slither.Python.Launcher

    @impl true
    def launch(%{test: test, listener: listener}, 0) do
      # It ends with its port, whatever becomes of its owner and of the guard.
      {:ok, process} = Transport.Port.open("/bin/sh", ["-c", "exec cat <&3"], [], nil)
      {:ok, path} = :inet.sockname(listener)
      options = [:local, active: true] ++ Transport.Socket.options()
      {:ok, socket} = :gen_tcp.connect(path, 0, options)
      send(test, {:launched, Transport.Port.os_pid(process)})
      os_pid = Transport.Port.os_pid(process)
      {:ok, %Launched{transport: Transport.Socket.new(socket), os_pid: os_pid, python: "cat"}}
    end

    @impl true
    def explain(_launched), do: "it only reads"
  end

  setup do
    local = [:local, :binary, ip: {:local, path("socket")}, packet: 4, active: false]
    {:ok, listener} = :gen_tcp.listen(0, local)
    name = unique(:launcher_test)
    {:ok, options} = Pool.check(name: name, window: 1, shutdown: 50)

    settings =
      Map.merge(Map.new(options), %{
        board: Board.new(1),
        bridge: Slither.Bridge,
        launcher: Launcher,
        secret: nil,
        sources: nil,
        test: self(),
        listener: listener
      })

    worker = start_supervised!({Worker, {settings, 0, self()}})
    {:ok, socket} = :gen_tcp.accept(listener, patience())
    assert_receive {:launched, os_pid}, patience()
    %{worker: worker, socket: socket, os_pid: os_pid}
  end

  defp say(socket, frame), do: :ok = :gen_tcp.send(socket, Frame.encode!(frame))

  defp hear(socket) do
    {:ok, body} = :gen_tcp.recv(socket, 0, patience())
    {:ok, frame} = Frame.decode(body)
    frame
  end

  defp ready(%{socket: socket, worker: worker, os_pid: os_pid}) do
    say(socket, {:hello, Frame.version(), %{"pid" => os_pid}})
    assert {:welcome, _version, %{"worker" => 0}} = hear(socket)
    say(socket, {:ready, %{}})
    assert_receive {Reports, 0, ^worker, {:ready, [lane], ^os_pid}}, patience()
    lane
  end

  test "it greets, makes calls, and reports its end",
       %{socket: socket, worker: worker} = context do
    lane = ready(context)

    job = %Job{
      inbox: {self(), :test},
      ref: make_ref(),
      head: Frame.call_head(["f"], %{}),
      payloads: [1]
    }

    ref = job.ref
    Lane.run(lane, job)
    assert {:call, 1, ["f"], %{}, 0, 1, [1]} = hear(socket)
    say(socket, {:result, 1, [2], nil, [0, 0, 0]})
    inbox = job.inbox
    assert_receive {^inbox, {:done, ^ref, %Outcome{kind: :ok, values: [2]}}}, patience()

    Worker.stop(worker, :shutdown)
    assert hear(socket) == {:shutdown, 50}
    :gen_tcp.close(socket)
    assert_receive {Reports, 0, ^worker, {:down, %Error{reason: :worker_stopped}}}, patience()
    # Its lane answers until the scheduler stops it.
    Lane.run(lane, job)
    assert_receive {^inbox, {:done, ^ref, %Outcome{kind: :requeue}}}, patience()
    Lane.idle?(lane, self(), ref)
    assert_receive {Reports, ^ref}, patience()
    Lane.stop(lane)
  end

  test "it sees the end of a process whose transport stays open", context do
    %{worker: worker, os_pid: os_pid} = context
    ready(context)
    signal(os_pid, "KILL")
    assert_receive {Reports, 0, ^worker, {:down, %Error{} = error}}, patience()
    assert error.message =~ "Python worker 0 (pid #{os_pid}) died: its exit status is not known"
  end

  test "it says why a process has not started", %{socket: socket, worker: worker} do
    :gen_tcp.close(socket)
    assert_receive {Reports, 0, ^worker, {:failed, %Error{} = error}}, patience()
    assert error.message == "a Python worker can't start: it only reads"
  end
end
