defmodule Slither.TestingTest do
  use ExUnit.Case, async: true

  alias Slither.Testing

  defmodule Scores do
    use Slither.Pipe

    pipe :scores do
      stage :prepare, :beam, handler: fn item, _context -> %{text: item.payload} end
      stage :predict, :python, module: "no_such_module", function: "predict", batch_size: 2
      stage :route, :router, routes: [{&(&1.payload["score"] >= 0.5), :accept}]
      output :accept
      on_error :predict, :skip
    end
  end

  defp score(rows), do: Enum.map(rows, &Map.put(&1, "score", String.length(&1["text"]) / 10))

  test "functions stand in for Python stages; the rest of the pipe is its own" do
    {:ok, outputs} = Testing.run_pipe(Scores, ["a", "a long text"], python: %{predict: &score/1})
    assert [%{payload: %{"text" => "a long text", "score" => 1.1}}] = outputs.accept
    assert [%{payload: %{"text" => "a"}}] = outputs.default
  end

  test "a function may look at the context, and its batches are the stage's" do
    me = self()

    look = fn rows, context ->
      send(me, {:batch, length(rows), context.stage})
      score(rows)
    end

    {:ok, _outputs} = Testing.run_pipe(Scores, ["a", "b", "c"], python: %{"predict" => look})
    assert_received {:batch, 2, :predict}
    assert_received {:batch, 1, :predict}
  end

  test "what fails meets the stage's policy, and is in the receipt" do
    fail = fn rows -> if hd(rows)["text"] == "b", do: raise("no"), else: score(rows) end
    options = [python: %{predict: fail}, receipt: true]
    {:ok, outputs, receipt} = Testing.run_pipe(Scores, ["a", "a", "b", "b"], options)
    assert length(outputs.default) == 2
    assert %{in: 4, out: 2, skipped: 2} = receipt

    for odd <- [fn _rows -> :none end, fn _rows -> {:error, :no} end, fn _rows -> [] end] do
      {:ok, outputs} = Testing.run_pipe(Scores, ["a"], python: %{predict: odd})
      assert outputs.default == []
    end
  end

  defmodule Each do
    use Slither.Pipe

    pipe :each do
      stage :half, :python, module: "no_such_module", function: "half", each: true, batch_size: 4
      output :bad
      on_error :half, {:route, :bad}
    end
  end

  test "with each: true a function takes one payload, and fails its item alone" do
    half = fn
      7, _context -> raise "seven"
      8, _context -> {:error, :eight}
      9, _context -> self()
      number, %{stage: :half} -> number / 2
    end

    {:ok, outputs} = Testing.run_pipe(Each, [2, 7, 4, 8, 9, self()], python: %{half: half})
    assert for(item <- outputs.default, do: item.payload) == [1.0, 2.0]
    assert [7, 8, 9, pid] = for(item <- outputs.bad, do: item.payload)
    assert pid == self()
  end

  test "values cross as they do to Python" do
    me = self()

    keep = fn rows ->
      send(me, {:rows, rows})
      score(rows)
    end

    {:ok, _outputs} = Testing.run_pipe(Scores, ["a"], python: %{predict: keep})
    assert_received {:rows, [%{"text" => "a"}]}
    pid = fn rows -> Enum.map(rows, fn _ -> self() end) end
    {:ok, outputs} = Testing.run_pipe(Scores, ["a"], python: %{predict: pid})
    assert outputs.default == []
  end

  test "a pipe from Python runs so, too" do
    document = %{
      "version" => 1,
      "name" => "p",
      "stages" => [
        %{"name" => "model", "type" => "python", "module" => "m", "function" => "f"}
      ]
    }

    {:ok, pipe} = Slither.Pipe.Document.parse(document)
    double = &Enum.map(&1, fn n -> 2 * n end)
    {:ok, outputs} = Testing.run_pipe(pipe, [1, 2], python: %{model: double})
    assert Enum.map(outputs["default"], & &1.payload) == [2, 4]
  end

  test "mistakes are errors that name the stage" do
    for {options, words} <- [
          {[], "the Python stage \"predict\" needs a function in its place"},
          {[python: %{predic: &score/1}],
           "no Python stage is called \"predic\". Did you mean \"predict\"?"},
          {[python: %{predict: :score}], "takes a function of arity 1 or 2, got :score"},
          {[python: []], "option :python takes a map"}
        ] do
      assert {:error, error, %{}} = Testing.run_pipe(Scores, ["a"], options)
      assert Exception.message(error) =~ words
    end
  end
end
