defmodule Slither.Driver.LogHandlerTest do
  use ExUnit.Case, async: true

  alias Slither.Driver.LogHandler
  alias Slither.Protocol.Frame
  alias Slither.Python.Transport

  @processes 8
  @lines 2_000

  test "what many processes log is sent or counted, each line once" do
    # It gives every frame back. On a busy machine it may keep up with those that log.
    cat = System.find_executable("cat")
    port = Port.open({:spawn_executable, cat}, [:binary, packet: 4])
    left = log_much(%Transport.Port{port: port})
    Port.command(port, Frame.encode!({:pong, 1}))
    assert {sent, told} = collect(fn -> receive_from(port) end, 0, 0)
    assert sent + told + left == @processes * @lines
  end

  test "a driver that reads nothing holds up nobody who logs" do
    local = {127, 0, 0, 1}
    {:ok, listener} = :gen_tcp.listen(0, [:binary, packet: 4, active: false, ip: local])
    {:ok, port} = :inet.port(listener)
    {:ok, socket} = :gen_tcp.connect(local, port, [sndbuf: 65_536] ++ Transport.Socket.options())
    {:ok, driver} = :gen_tcp.accept(listener)
    to = Transport.Socket.new(socket)
    left = log_much(to)
    # It waits until the driver reads, as whoever does not log may.
    last = Task.async(fn -> Transport.write(to, Frame.encode!({:pong, 1})) end)
    assert {sent, told} = collect(fn -> receive_at(driver) end, 0, 0)
    assert Task.await(last, :infinity)
    assert sent + told + left == @processes * @lines
    assert told + left > 0
    :ok = :gen_tcp.close(socket)
    refute Transport.write(to, "late")
    refute Transport.offer(to, "late")
  end

  defp log_much(port) do
    dropped = :atomics.new(1, signed: false)
    handler = %{config: %{port: port, dropped: dropped}}
    text = String.duplicate("x", 500)
    event = %{level: :info, msg: {:string, text}, meta: %{python_logger: "stdout", time: 0}}

    1..@processes
    |> Enum.map(fn _ ->
      Task.async(fn -> for _ <- 1..@lines, do: LogHandler.log(event, handler) end)
    end)
    |> Task.await_many(:infinity)

    :atomics.exchange(dropped, 1, 0)
  end

  defp receive_from(port) do
    assert_receive {^port, {:data, body}}, 60_000
    body
  end

  defp receive_at(socket) do
    assert {:ok, body} = :gen_tcp.recv(socket, 0, 60_000)
    body
  end

  defp collect(next, sent, told) do
    case Frame.decode(next.()) do
      {:ok, {:log, 0, "info", "stdout", _text, dropped, nil}} ->
        collect(next, sent + 1, told + dropped)

      {:ok, {:pong, 1}} ->
        {sent, told}
    end
  end
end
