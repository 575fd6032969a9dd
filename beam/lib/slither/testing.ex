defmodule Slither.Testing do
  @moduledoc """
  Runs pipes in tests, with Elixir functions in place of Python.

      {:ok, outputs} =
        Slither.Testing.run_pipe(MyApp.ScorePipe, ["a", "b"],
          python: %{predict: fn rows -> Enum.map(rows, &Map.put(&1, "score", 0.9)) end}
        )

  Everything else is the pipe's own: its stages on BEAM, its batches, routes and error policies.
  No pool is needed, and no Python. What a function is given and what it returns cross as values
  do to Python and back, so that a test fails where the wire would: an atom arrives as a string,
  and a pid is an error that names its path.

  `Slither.Testing.Pool` does the same for all else that an application does with a pool: calls,
  dispatches, gathers and pipes that run as long as it does.
  """

  alias Slither.{Error, Options}
  alias Slither.Pipe.{Definition, Runner}

  @options [
    python: [
      type: :map,
      default: %{},
      doc:
        "Functions by the names of Python stages. One takes the batch's payloads, or these and " <>
          "the `Slither.Context`, and returns a list of as many results, or `{:error, reason}`. " <>
          "An exception fails the batch. In a stage with `each: true` it takes one payload and " <>
          "returns one result, and fails that item alone."
    ]
  ]

  @where "Slither.Testing.run_pipe/3"

  @doc """
  Runs the input through the pipe, as `Slither.Pipe.Runner.run/3` does.

  Takes its options, and:

  #{Options.docs(@options)}

  A Python stage without a function is an error (`:missing_option`), as is a function of no stage
  (`:unknown_option`).
  """
  @spec run_pipe(Runner.pipe(), Enumerable.t(), keyword) :: Runner.result()
  def run_pipe(pipe, input, options \\ []) do
    {own, rest} = Keyword.split(options, Keyword.keys(@options))

    with {:ok, own} <- Options.validate(own, @options, @where),
         {:ok, definition} <- Runner.definition(pipe, @where),
         {:ok, definition} <- in_place(definition, own[:python]) do
      Runner.run(definition, input, rest)
    else
      {:error, error} -> {:error, error, %{}}
    end
  end

  defp in_place(%Definition{} = definition, functions) do
    functions = Map.new(functions, fn {name, function} -> {to_string(name), function} end)
    names = for %{type: :python, name: name} <- definition.stages, do: to_string(name)

    with :ok <- known(Map.keys(functions) -- names, names),
         :ok <- given(names -- Map.keys(functions)),
         :ok <- functions(functions) do
      stages = Enum.map(definition.stages, &replaced(&1, functions))
      {:ok, %{definition | stages: stages}}
    end
  end

  defp replaced(%{type: :python} = stage, functions) do
    function = functions[to_string(stage.name)]
    own = [executor: Slither.Testing.Executor, executor_options: [function: function]]
    %{stage | options: Keyword.merge(stage.options, own)}
  end

  defp replaced(stage, _functions), do: stage

  defp known([], _names), do: :ok

  defp known([name | _], names) do
    message = "no Python stage is called #{inspect(name)}.#{Options.nearest(name, names)}"
    error(:unknown_option, message, "the pipe's: #{Enum.join(names, ", ")}")
  end

  defp given([]), do: :ok

  defp given([name | _]) do
    message = "the Python stage #{inspect(name)} needs a function in its place"
    error(:missing_option, message, "python: %{#{name}: fn payloads -> payloads end}")
  end

  defp functions(functions) do
    case Enum.find(functions, fn {_, f} -> not (is_function(f, 1) or is_function(f, 2)) end) do
      nil ->
        :ok

      {name, other} ->
        message = "stage #{inspect(name)} takes a function of arity 1 or 2, got #{inspect(other)}"
        error(:invalid_option, message, nil)
    end
  end

  defp error(reason, message, hint),
    do: {:error, %Error{reason: reason, where: @where, message: message, hint: hint}}
end
