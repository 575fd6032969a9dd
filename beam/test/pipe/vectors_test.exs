defmodule Slither.Pipe.VectorsTest do
  # Not async: the functions that a document may name are one setting for all.
  use ExUnit.Case, async: false

  import Slither.Test.JSON, only: [rows: 1, untag: 1]
  import Slither.Test.Pools

  alias Slither.Pipe.Document

  # Python's tests run the same pipes with slither.testing.run_pipe, and their handlers are theirs.
  @handlers Path.expand("../../../python/tests", __DIR__)

  defmodule Functions do
    def shout(item), do: String.upcase(item.payload)
    def parts(item), do: String.graphemes(item.payload)
  end

  setup_all do
    functions = %{"shout" => {Functions, :shout, 1}, "parts" => {Functions, :parts, 1}}
    Application.put_env(:slither, :functions, functions)
    on_exit(fn -> Application.delete_env(:slither, :functions) end)
  end

  setup do
    pool = start_pool(paths: [@handlers], size: 2, preload: ["vector_handlers"])
    for slot <- 0..1, do: await_up(pool, slot)
    %{pool: pool}
  end

  test "each pipe gives the outputs and the errors of its vector", %{pool: pool} do
    for row <- rows("pipes") do
      {:ok, definition} = Document.parse(row["document"], pool: pool)
      {outputs, error} = run(definition, untag(row["items"]))

      payloads =
        for {name, items} <- outputs, do: {to_string(name), Enum.map(items, & &1.payload)}

      expected = for {name, values} <- row["outputs"], do: {name, untag(values)}
      assert Map.new(payloads) == Map.new(expected), row["name"]
      assert routed(outputs) == Map.get(row, "errors", %{}), row["name"]
      assert error == stopped(row["error"]), row["name"]
    end
  end

  defp run(definition, items) do
    case Slither.run_pipe(definition, items) do
      {:ok, outputs} -> {outputs, nil}
      {:error, error, outputs} -> {outputs, {"pipe 'p', stage '#{error.stage}'", why(error)}}
    end
  end

  # The item is named by the program, which knows its place in the input.
  defp stopped(nil), do: nil

  defp stopped(%{"at" => at} = error),
    do: {at |> String.split(", item") |> hd(), Map.delete(error, "at")}

  defp routed(outputs) do
    for {name, items} <- outputs,
        errors = for({item, at} <- Enum.with_index(items), e = item.meta[:error], do: {at, e}),
        errors != [],
        into: %{},
        do: {to_string(name), Map.new(errors, fn {at, e} -> {to_string(at), why(e)} end)}
  end

  defp why(%{reason: reason} = error) do
    told = %{"kind" => Atom.to_string(reason)}
    if type = type(error), do: Map.put(told, "type", type), else: told
  end

  defp type(%{reason: :python_exception, python: %{type: type}}), do: type
  defp type(%{reason: :python_exception, cause: cause}), do: type(cause)
  defp type(_error), do: nil
end
