defmodule Slither.Driver.MapOutputsTest do
  use ExUnit.Case, async: true

  alias Slither.{DispatchError, Error, Item}
  alias Slither.Driver.MapOutputs
  alias Slither.Protocol.{Block, Encoded}

  @preserve %{ordered?: true, halt?: false}
  @fault %{"kind" => "exception", "type" => "ValueError", "message" => "no", "traceback" => ""}

  defp block(first, values, errors \\ nil) do
    data = for value <- values, into: <<>>, do: <<value>>
    {:ok, [{first, item(%Block{count: length(values), data: data, errors: errors}, first)}]}
  end

  defp item(payload, seq, meta \\ %{}), do: %Item{id: seq, payload: payload, meta: meta}
  defp encoded(value), do: %Encoded{data: <<value>>}

  defp read(chunks, how \\ @preserve) do
    outputs = MapOutputs.read(chunks, how)

    spans =
      for {first, count, values, errors} <- outputs.spans,
          do: {first, count, IO.iodata_to_binary(values), errors && Map.keys(errors)}

    {spans, outputs.out, outputs.skipped, outputs.halt}
  end

  test "blocks that follow each other share a frame, unless results are wanted as they come" do
    chunks = [block(0, [1, 2]), block(2, [3]), block(9, [4])]
    assert read(chunks) == {[{0, 3, <<1, 2, 3>>, nil}, {9, 1, <<4>>, nil}], 4, 0, nil}

    assert read(chunks, %{@preserve | ordered?: false}) ==
             {[{0, 2, <<1, 2>>, nil}, {2, 1, <<3>>, nil}, {9, 1, <<4>>, nil}], 4, 0, nil}
  end

  test "large blocks have frames of their own" do
    many = List.duplicate(0, 40_000)

    assert {[{0, 40_000, _, nil}, {40_000, 40_000, _, nil}], _, _, nil} =
             read([block(0, many), block(40_000, many)])
  end

  test "items that failed keep their places" do
    assert read([block(4, [1, 0xC0, 3], %{1 => @fault}), block(7, [4])]) ==
             {[{4, 3, <<1, 0xC0, 3>>, [1]}, {7, 1, <<4>>, nil}], 3, 1, nil}

    error = %Error{reason: :odd, message: "odd"}
    outcomes = [{0, :ok, item(encoded(1), 0)}, {1, :skipped, item(nil, 1, %{error: error})}]
    later = [{5, :ok, item(encoded(5), 5)}]

    assert read([{:mixed, outcomes ++ later}]) ==
             {[{0, 2, <<1, 0xC0>>, [1]}, {5, 1, <<5>>, nil}], 2, 1, nil}
  end

  test "a block that failed as a whole has its error at each item" do
    error = %DispatchError{reason: :worker_died}
    failed = item(%Block{count: 2, data: <<1, 2>>}, 3, %{error: error})

    assert read([{:mixed, [{3, :skipped, failed}]}]) ==
             {[{3, 2, <<0xC0, 0xC0>>, [0, 1]}], 0, 2, nil}

    assert {[], 0, 0, ^error} =
             read([{:mixed, [{3, :skipped, failed}]}], %{@preserve | halt?: true})
  end

  test "with a failure that halts, what stands before it goes out and nothing after it" do
    chunks = [block(4, [1, 2, 0xC0, 0xC0], %{2 => @fault, 3 => @fault}), block(8, [4])]
    assert {[{4, 2, <<1, 2>>, nil}], 2, 0, error} = read(chunks, %{@preserve | halt?: true})
    assert %DispatchError{reason: :python_exception, item: 6} = error
  end

  test "a run that its flow halts ends there" do
    error = %DispatchError{reason: :timeout}
    chunks = [{:ok, [{0, item(encoded(1), 0)}]}, {:ok, []}, {:halt, 1, error}, block(2, [3])]
    assert read(chunks) == {[{0, 1, <<1>>, nil}], 1, 0, error}
  end
end
