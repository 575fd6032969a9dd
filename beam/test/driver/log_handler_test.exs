defmodule Slither.Driver.LogHandlerTest do
  use ExUnit.Case, async: true

  alias Slither.Driver.LogHandler
  alias Slither.Protocol.Frame

  @processes 8
  @lines 2_000

  test "what many processes log is sent or counted, each line once" do
    # It gives every frame back, and is slower than those that log.
    cat = System.find_executable("cat")
    port = Port.open({:spawn_executable, cat}, [:binary, packet: 4])
    dropped = :atomics.new(1, signed: false)
    handler = %{config: %{port: port, dropped: dropped}}
    text = String.duplicate("x", 500)
    event = %{level: :info, msg: {:string, text}, meta: %{python_logger: "stdout", time: 0}}

    1..@processes
    |> Enum.map(fn _ ->
      Task.async(fn -> for _ <- 1..@lines, do: LogHandler.log(event, handler) end)
    end)
    |> Task.await_many(:infinity)

    left = :atomics.exchange(dropped, 1, 0)
    Port.command(port, Frame.encode!({:pong, 1}))
    assert {sent, told} = collect(port, 0, 0)
    assert sent + told + left == @processes * @lines
    assert told + left > 0
  end

  defp collect(port, sent, told) do
    assert_receive {^port, {:data, body}}, 60_000

    case Frame.decode(body) do
      {:ok, {:log, 0, "info", "stdout", _text, dropped}} ->
        collect(port, sent + 1, told + dropped)

      {:ok, {:pong, 1}} ->
        {sent, told}
    end
  end
end
