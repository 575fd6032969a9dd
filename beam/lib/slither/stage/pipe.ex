defmodule Slither.Stage.Pipe do
  @options [
    pipe: [
      type: {:custom, "the module of a pipe", &__MODULE__.pipe?/1},
      required: true,
      doc: "The module of the inner pipe."
    ],
    outputs: [
      type: {:or, [:keyword, :map]},
      default: [],
      doc: "Outputs of the inner pipe as outputs of this one: `[inner: :outer]`."
    ]
  ]

  @moduledoc """
  A pipe as a stage of another.

      stage :clean, :pipe, pipe: MyApp.CleanPipe, outputs: [bad: :rejected]

  What ends in the inner pipe's `:default` flows on. Its other outputs are named in `outputs:`
  or have a declared output of the same name. Its stages become stages of the outer pipe,
  `:"clean.NAME"` in errors, events and receipts, so that they overlap with the others. Its own
  error policies hold; stages without one follow the outer `on_error` of `:clean`.

  ## Options

  #{Slither.Options.docs(@options)}
  """

  @behaviour Slither.Stage.Type

  alias Slither.{Error, Options}

  @impl true
  @doc false
  @spec options() :: Options.table()
  def options, do: @options

  @impl true
  @doc false
  # Adds the inner pipe's definition as `:definition`.
  @spec check(term, String.t()) :: {:ok, keyword} | {:error, Error.t()}
  def check(options, where) do
    with {:ok, options} <- Options.validate(options, @options, where),
         {:ok, definition} <- definition(options[:pipe], where),
         do: {:ok, Keyword.put(options, :definition, definition)}
  end

  defp definition(%{stages: _} = definition, _where), do: {:ok, definition}

  # The process notes the pipes it is reading: one that holds itself would have no end.
  defp definition(module, where) do
    within = Process.get(__MODULE__, [])

    cond do
      module in within ->
        error(where, "pipe #{inspect(module)} would hold itself")

      not match?({:module, _}, Code.ensure_compiled(module)) or
          not function_exported?(module, :__pipe_definition__, 0) ->
        error(where, "option :pipe takes a module with a pipe, got #{inspect(module)}")

      true ->
        Process.put(__MODULE__, [module | within])

        try do
          {:ok, module.__pipe_definition__()}
        rescue
          error in Error -> {:error, error}
        after
          Process.put(__MODULE__, within)
        end
    end
  end

  @doc false
  # A module, or the definition of a pipe that has none.
  @spec pipe?(term) :: boolean
  def pipe?(pipe), do: is_atom(pipe) or is_map(pipe)

  @doc false
  # The name of the inner pipe in errors.
  @spec name(keyword) :: String.t()
  def name(options) do
    case options[:pipe] do
      %{name: name} -> "pipe #{inspect(name)}"
      module -> inspect(module)
    end
  end

  defp error(where, message),
    do: {:error, %Error{reason: :invalid_option, message: message, where: where}}
end
