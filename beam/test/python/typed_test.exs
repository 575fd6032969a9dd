defmodule Slither.Python.TypedTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Error, Gather}

  setup_all do
    name = unique(:typed)
    start_supervised!({Slither.Python.Pool, name: name, size: 1, paths: [handlers()]})
    %{pool: name}
  end

  @good %{"name" => "a", "size" => 2, "made" => ~D[2024-01-02]}
  @bad %{"name" => "b", "size" => 7}
  @seen "Part a LARGE 2024-01-02"
  @wrong "payload.size: a Size expected, not the int 7; there are 1, 2"

  defp dispatch(items, pool, options) do
    {:ok, done} =
      Slither.dispatch(
        items,
        [module: "typed_handlers", pool: pool, on_error: :skip] ++ options
      )

    for item <- done, do: if(item.meta[:error], do: told(item.meta.error), else: item.payload)
  end

  defp told(%{cause: %Error{} = error}), do: told(error)
  defp told(%Error{} = error), do: error.python.message

  test "items of a dispatch become what the function says, and one that can't fails alone", %{
    pool: pool
  } do
    for options <- [[function: "seen_all"], [function: "seen", each: true]] do
      assert dispatch([@good, @bad, %{name: "c"}], pool, options) == [
               @seen,
               @wrong,
               "Part c SMALL None"
             ]
    end
  end

  test "what a function returns is data", %{pool: pool} do
    assert dispatch([@good], pool, function: "larger", each: true) == [@good]
  end

  test "each of many values, too", %{pool: pool} do
    options = [function: "copies", each: true, cardinality: :many]

    assert [%{"name" => "a0", "size" => 2}, %{"name" => "a1"}, @wrong] =
             dispatch([@good, @bad], pool, options)
  end

  test "arguments of a call do, by place and by name", %{pool: pool} do
    assert Slither.call("typed_handlers", "seen", [@good], pool: pool) == {:ok, @seen}

    assert Slither.call("typed_handlers", "seen", [], kwargs: %{part: @good}, pool: pool) ==
             {:ok, @seen}

    assert {:error, %Error{reason: :python_exception} = error} =
             Slither.call("typed_handlers", "seen", [@bad], pool: pool)

    assert told(error) == String.replace(@wrong, "payload", "args[0]")
    assert error.python.type == "PayloadError"
  end

  test "lists and sets become tuples and sets of what is said", %{pool: pool} do
    arguments = [[@good, MapSet.new([1, 2])]]
    assert Slither.call("typed_handlers", "pair", arguments, pool: pool) == {:ok, "tuple set"}
    arguments = [{@good, [1, 2]}]
    assert Slither.call("typed_handlers", "pair", arguments, pool: pool) == {:ok, "tuple set"}
  end

  test "those of a call that gives values one by one do", %{pool: pool} do
    values = Slither.stream_call("typed_handlers", "copies", [@good, 3], pool: pool)
    assert for(part <- values, do: part["name"]) == ["a0", "a1", "a2"]
  end

  test "those of callers that are gathered do, and each has its own answer", %{pool: pool} do
    name = unique(:typed_gather)

    start_supervised!(
      {Gather, name: name, module: "typed_handlers", function: "seen_all", pool: pool}
    )

    answers =
      [@good, @bad, @good]
      |> Enum.map(&Task.async(fn -> Gather.call(name, &1) end))
      |> Task.await_many(60_000)

    assert [{:ok, @seen}, {:error, error}, {:ok, @seen}] = answers
    assert told(error) == @wrong
  end
end
