defmodule Slither.Watch.AttachTest do
  use ExUnit.Case, async: true

  import Bitwise
  import Slither.Test.Pools, only: [path: 1, patience: 0, ready_pool: 0]

  alias Slither.Test.{JSON, VMs}
  alias Slither.Watch.Attach
  alias Slither.Watch.Attach.{Client, Place}

  doctest Place

  # The application has started, and opens it at once; the process answers once it has.
  defp socket do
    :sys.get_state(Attach)
    Attach.path()
  end

  defp connect(path) do
    {:ok, socket} = :socket.open(:local, :stream, :default)
    :ok = :socket.connect(socket, %{family: :local, path: path})
    on_exit(fn -> :socket.close(socket) end)
    socket
  end

  defp ask(socket, line) do
    :ok = :socket.send(socket, line <> "\n")
    socket |> line("") |> JSON.read!()
  end

  defp line(socket, read) do
    if String.ends_with?(read, "\n") do
      read
    else
      {:ok, more} = :socket.recv(socket, 0, patience())
      line(socket, read <> more)
    end
  end

  describe "the socket" do
    test "is its user's alone, in a folder that nobody else may open" do
      stat = File.stat!(socket())
      assert (stat.mode &&& 0o777) == 0o600
      assert (File.stat!(Path.dirname(socket())).mode &&& 0o777) == 0o700
      assert Path.basename(socket()) == "#{System.pid()}.sock"
    end

    test "answers line for line, as JSON" do
      viewer = connect(socket())
      assert %{"verdict" => %{"text" => _, "exit" => _}} = ask(viewer, "snapshot")
      assert %{"os_pid" => os_pid} = ask(viewer, "snapshot")
      assert to_string(os_pid) == System.pid()
      assert %{"text" => _, "exit" => _, "evidence" => [_ | _]} = ask(viewer, "diagnosis")
      assert %{"lines" => [_title, _verdict | _]} = ask(viewer, "screen 80 24 colours")
      assert %{"error" => "a screen has 1 to 1000 columns and rows"} = ask(viewer, "screen 0 24")
      assert %{"line" => _} = ask(viewer, "line")
      assert %{"metrics" => "# HELP slither_" <> _} = ask(viewer, "metrics")
      assert %{"error" => "no pool nowhere runs"} = ask(viewer, "stack nowhere 0")
      assert %{"error" => "a worker's number, not \"x\""} = ask(viewer, "stack nowhere x")

      words = "snapshot, diagnosis, screen, line, stack or metrics"
      assert ask(viewer, "help") == %{"error" => words <> ", not \"help\""}
    end

    test "says where the code of a worker is" do
      pool = ready_pool()
      viewer = connect(socket())
      assert %{"worker" => 0, "call" => nil, "stack" => _} = ask(viewer, "stack #{pool} 0")
      assert %{"error" => text} = ask(viewer, "stack #{pool} 7")
      assert text == "pool #{pool} has no worker 7 now"
    end

    test "is closed for who writes a line without end" do
      viewer = connect(socket())
      :ok = :socket.send(viewer, String.duplicate("a", 5_000))
      assert {:error, why} = :socket.recv(viewer, 0, patience())
      assert why in [:closed, :econnreset]
    end

    test "is found by other VMs, by the number of the process" do
      assert socket() != nil
      assert {:ok, vm} = Client.connect(String.to_integer(System.pid()))
      assert {:ok, %{verdict: %{state: _}}, vm} = Client.ask(vm, "snapshot")
      assert {:ok, %{error: "no pool nowhere runs"}, _vm} = Client.ask(vm, "stack nowhere 0")
    end
  end

  test "nobody is found who is not there" do
    assert {:error, %{reason: :not_attached, message: message}} = Client.connect(1)
    assert message == "process 1 is no program with Slither of this user"
  end

  describe "a VM" do
    for way <- ["stop", "application", "last line"] do
      test "that ends by #{way} leaves no file" do
        folder = Path.dirname(path("runtime"))
        {vm, socket} = open(folder, unquote(way))
        assert File.exists?(socket)
        assert Path.dirname(socket) == Path.join(folder, "slither")
        # Somebody looks, and reads nothing.
        viewer = connect(socket)
        fill(viewer)
        Port.command(vm, "end\n")
        assert_receive {^vm, {:exit_status, 0}}, patience()
        refute File.exists?(socket)
        assert File.ls!(Path.dirname(socket)) == []
      end
    end

    test "that is killed leaves one, which the next takes away" do
      folder = Path.dirname(path("runtime"))
      {vm, socket} = open(folder, "stop")
      VMs.kill(vm, nil, fn _line, acc -> acc end)
      assert File.exists?(socket)
      {_vm, other} = open(folder, "stop")
      assert Path.dirname(other) == Path.dirname(socket)
      refute File.exists?(socket)
    end

    test "whose folder somebody else could open uses another, or none" do
      folder = Path.dirname(path("runtime"))
      open = Path.join(folder, "slither")
      File.mkdir!(open)
      File.chmod!(open, 0o755)
      {_vm, socket} = open(folder, "stop")
      refute Path.dirname(socket) == open
      assert File.ls!(open) == []
    end
  end

  # Enough for the buffers between the two to be full, whatever a snapshot says.
  defp fill(viewer) do
    case :socket.send(viewer, String.duplicate("snapshot\n", 1_000), :nowait) do
      :ok -> fill(viewer)
      {:select, _waits} -> :ok
      {:ok, _rest} -> :ok
      {:error, _closed} -> :ok
    end
  end

  defp open(folder, way) do
    vm = VMs.open("watched_vm.exs", [way], "export XDG_RUNTIME_DIR='#{folder}'")
    {vm, VMs.wait_for(vm, "socket ")}
  end
end
