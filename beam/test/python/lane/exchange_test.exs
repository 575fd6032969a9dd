defmodule Slither.Python.Lane.ExchangeTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Protocol.{Block, Encoded, Frame}
  alias Slither.Python.{Board, Job, Lane, Outcome, Part, Timing, Transport}
  alias Slither.Python.Lane.Exchange

  @head Frame.call_head(["function", "m", "f"], %{})

  defp lane(fields \\ []) do
    struct!(
      %Lane{
        index: 0,
        count: 2,
        transport: Transport.Socket.new(nil),
        slot: 3,
        scheduler: self(),
        board: Board.new(1),
        max_frame: 1_000,
        ahead: 2,
        capture: nil,
        facts: %{}
      },
      fields
    )
  end

  defp job(payloads, fields \\ []) do
    job = %Job{inbox: {self(), :test}, ref: make_ref(), head: @head, payloads: payloads}
    struct!(job, fields)
  end

  defp exchange(payloads, fields \\ []) do
    {:send, _frame, exchange} = Exchange.new(job(payloads, fields), 7, lane())
    exchange
  end

  defp body(frame), do: frame |> Frame.encode!() |> IO.iodata_to_binary()
  defp result(values, faults \\ nil), do: body({:result, 7, values, faults, [1, 20, 3]})

  test "makes the frame of a job, and what the owner is told of it" do
    job = job(["a", 2], batch: 4, attempt: 2, timeout: 50, context: "run")
    {:send, frame, exchange} = Exchange.new(job, 7, lane())
    context = %{}

    assert Frame.decode(IO.iodata_to_binary(frame)) ==
             {:ok, {:call, 7, ["function", "m", "f"], context, 4, 2, ["a", 2]}}

    assert %{id: 7, timeout: 50, batch: 4, context: "run", head: @head, record: nil} =
             Exchange.call(exchange)

    assert %Timing{worker: 3, bytes: bytes} = exchange.timing
    assert bytes == IO.iodata_length(frame)
  end

  test "sends nothing where no item can be sent, or all take too much" do
    assert {:done, %Outcome{kind: :ok, values: [nil], errors: %{0 => %{reason: :not_encodable}}}} =
             Exchange.new(job([self()]), 7, lane())

    large = String.duplicate("x", 1_000)
    assert {:done, %Outcome{kind: :error, error: error}} = Exchange.new(job([large]), 7, lane())
    assert %{reason: :too_large, details: %{limit: 1_000}} = error
    assert error.message =~ ~r/^a batch of 1 items takes \d+ bytes; a frame holds 1000$/
  end

  test "has an outcome of the answer, with the errors of items, and the handler's pace" do
    fault = %{"kind" => "failure", "message" => "no"}

    assert {:done, %Outcome{kind: :ok} = outcome, 20} =
             Exchange.answer(exchange([1, self(), 3]), result([10, nil], %{1 => fault}))

    assert outcome.values == [10, nil, nil]
    assert %{1 => %{reason: :not_encodable}, 2 => %{reason: :handler_failure}} = outcome.errors
    assert outcome.timing.handler == System.convert_time_unit(20, :microsecond, :native)
    assert outcome.timing.result_bytes > 0
  end

  # As if it had been sent some ms ago; gives when, too.
  defp sent_ago(exchange, ms) do
    sent = System.monotonic_time() - ms(ms)
    {%{exchange | sent: sent, timing: %Timing{}}, sent}
  end

  defp ms(ms), do: System.convert_time_unit(ms, :millisecond, :native)

  describe "the time of a call" do
    test "is parted: no part holds another, and all together are no more than it took" do
      {exchange, sent} = sent_ago(exchange([1]), 100)
      body = body({:result, 7, ["a"], nil, [5_000, 20_000, 3_000]})
      assert {:done, %Outcome{timing: timing}, _} = Exchange.answer(exchange, body, sent + ms(40))
      took = System.monotonic_time() - sent
      assert timing.queue == ms(40)
      assert timing.handler == ms(20)
      assert timing.encode == ms(3)
      assert timing.decode >= ms(5)
      # 100 ms, of which 40 behind another call, and 28 that Python tells of.
      assert timing.wire >= ms(32) and timing.reader == 0
      sum = timing.queue + timing.encode + timing.wire + timing.decode + timing.handler
      assert sum <= took
    end

    test "is not behind an answer that came before it was sent" do
      {exchange, sent} = sent_ago(exchange([1]), 10)
      assert {:done, outcome, _} = Exchange.answer(exchange, result(["a"]), sent - ms(40))
      assert outcome.timing.queue == 0
      assert {:done, outcome, _} = Exchange.answer(exchange, result(["a"]), nil)
      assert outcome.timing.queue == 0
    end

    test "leaves the wire nothing where clocks disagree" do
      {exchange, sent} = sent_ago(exchange([1]), 1)
      body = body({:result, 7, ["a"], nil, [0, 20_000, 0]})
      assert {:done, %Outcome{timing: %{wire: 0}}, _} = Exchange.answer(exchange, body, sent)
    end

    test "has the waits for the reader of its results apart" do
      {:part, _part, exchange} =
        Exchange.part(exchange([1, 2, 3]), body({:part, 7, 0, [1, 2], nil}))

      waits = %{exchange | stalled: exchange.stalled - ms(50), sent: exchange.sent - ms(50)}
      {_frame, goes_on} = Exchange.allow(waits, 1)
      assert goes_on.stalled == nil
      {:done, %Outcome{timing: timing}, _pace} = Exchange.answer(goes_on, result([3]))
      assert timing.reader >= ms(50) and timing.wire < ms(50)
      # It is answered while it waits: nobody reads, and a cancel has ended it.
      {:done, %Outcome{timing: timing}, _pace} = Exchange.answer(waits, result([3]))
      assert timing.reader >= ms(50) and timing.wire < ms(50)
    end

    test "is the handler's where it failed, or its worker ended meanwhile" do
      {exchange, sent} = sent_ago(exchange([1]), 100)
      body = body({:error, 7, %{"kind" => "exception", "message" => "m"}})

      assert {:done, %Outcome{timing: timing}, nil} =
               Exchange.answer(exchange, body, sent + ms(40))

      assert timing.queue == ms(40) and timing.handler >= ms(60) and timing.wire == 0

      error = %Error{reason: :worker_died, message: "m"}

      assert %Outcome{kind: :died, timing: timing} =
               Exchange.down(exchange, error, 7, sent + ms(40))

      assert timing.queue == ms(40) and timing.handler >= ms(60)
    end
  end

  test "has an outcome of an error, and none of what is no answer" do
    body = body({:error, 7, %{"kind" => "exception", "message" => "m"}})
    assert {:done, %Outcome{kind: :error} = outcome, nil} = Exchange.answer(exchange([1]), body)
    assert %Error{reason: :python_exception, message: "m"} = outcome.error

    assert {:broken, %Error{reason: :protocol_error} = error, _exchange} =
             Exchange.answer(exchange([1]), result([1, 2]))

    assert error.message == "Python worker 3 broke the protocol: 2 results for 1 items"
    assert error.details == %{short: true}
    assert {:broken, %Error{}, _exchange} = Exchange.answer(exchange([1]), <<0xC1>>)
  end

  test "has parts, which stall it without credit, and counts their bytes" do
    exchange = exchange([1, 2, 3, 4])
    body = body({:part, 7, 0, [10, 20], nil})
    assert {:part, part, exchange} = Exchange.part(exchange, body)
    assert part == %Part{values: [10, 20], errors: %{}, bytes: byte_size(body)}
    assert Exchange.stalled?(exchange)
    {_frame, allowed} = Exchange.allow(exchange, 1)
    refute Exchange.stalled?(allowed)
    {frame, exchange} = Exchange.allow(exchange, :all)
    assert IO.iodata_to_binary(frame) == body({:credit, 7, 2})
    assert {:done, outcome, _pace} = Exchange.answer(exchange, result([30, 40]))
    assert outcome.values == [30, 40]
    assert {:broken, %Error{}, _exchange} = Exchange.part(exchange, body)
  end

  test "leaves results encoded where it is told to, one by one or as a block" do
    assert {:done, %Outcome{values: [%Encoded{}]}, _} =
             Exchange.answer(exchange([1], raw: true), result(["a"]))

    block = %Block{count: 2, data: <<1, 2>>, errors: nil}
    exchange = exchange([block])
    assert {:kept, frame, exchange} = Exchange.part(exchange, body({:part, 7, 0, [5], nil}))
    assert IO.iodata_to_binary(frame) == body({:credit, 7, 1})
    assert {:done, %Outcome{values: [results]}, _} = Exchange.answer(exchange, result([6]))
    assert %Block{count: 2, data: <<5, 6>>} = results
  end

  test "is given back by a worker that is gone, unless that executed it" do
    error = %Error{reason: :worker_died, message: "m"}
    exchange = exchange([1], batch: 4)
    assert %{kind: :requeue, error: ^error} = Exchange.down(exchange, error, 8)
    assert %{kind: :requeue} = Exchange.down(exchange, error, nil)
    assert %{kind: :died, error: ^error} = Exchange.down(exchange, error, :crashed)
    assert %{kind: :died, error: died} = Exchange.down(exchange, error, 7)
    assert died.details == %{target: ["function", "m", "f"], batch: 4, attempt: 1}
  end

  test "that its caller had killed was cancelled in its place" do
    cancelled = Outcome.error(%Error{reason: :cancelled, message: "m"}, nil)
    exchange = exchange([1])
    assert Exchange.told(cancelled, exchange) == cancelled
    killed = Exchange.told(cancelled, %{exchange | killed?: true})
    assert killed.error.message == "the call was killed by its caller"
  end

  describe "a call whose items have many values" do
    defp many(payloads, many \\ :first) do
      fields = %{worker: self(), capture: Slither.Python.Capture.new("x")}
      {:send, _frame, exchange} = Exchange.new(job(payloads, many: many), 7, lane(fields))
      exchange
    end

    test "gives entries, with the errors of items and of those that were not sent" do
      exchange = many([1, self(), 3])

      assert {:part, %Part{values: [{0, false, [10, 11], nil}], errors: unsent}, exchange} =
               Exchange.part(exchange, body({:part, 7, 0, [[0, false, [10, 11]]], nil}))

      assert %{1 => %Error{reason: :not_encodable}} = unsent
      refute Exchange.stalled?(exchange)
      fault = %{"kind" => "exception", "type" => "ValueError", "message" => "no"}

      assert {:done, %Outcome{kind: :ok, errors: none} = outcome, _pace} =
               Exchange.answer(exchange, result([[0, true, []], [1, true, [5]]], %{1 => fault}))

      assert none == %{}

      assert [{0, true, [], nil}, {1, true, [5], %Error{reason: :python_exception}}] =
               outcome.values

      assert %Outcome{call: {worker, 7}} = Exchange.told(outcome, exchange)
      assert worker == self()
    end

    test "captures a first call, and none that goes on" do
      assert many([1]).capture
      refute many([nil], :more).capture
    end

    test "breaks the protocol with entries that are none" do
      for values <- [[], [1], [[0, true]], [[-1, true, []]], [[0, 1, []]], [[0, true, nil]]] do
        assert {:broken, %Error{reason: :protocol_error}, _} =
                 Exchange.answer(many([1]), result(values)),
               inspect(values)
      end

      open = %{0 => %{"kind" => "exception", "type" => "E", "message" => "m"}}
      assert {:broken, _, _} = Exchange.answer(many([1]), result([[0, false, [1]]], open))

      assert {:broken, _, _} =
               Exchange.answer(many([1]), result([[0, true, [1]]], %{1 => open[0]}))

      assert {:broken, _, _} = Exchange.part(many([1]), body({:part, 7, 1, [[0, true, []]], nil}))
      assert {:broken, _, _} = Exchange.part(many([1]), body({:part, 7, 0, [], nil}))
    end
  end
end
