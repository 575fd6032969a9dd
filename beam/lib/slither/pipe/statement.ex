defmodule Slither.Pipe.Statement do
  @moduledoc false
  # One statement of a pipe as it was written, in the DSL or in a document, before anything is
  # checked. `Slither.Pipe.Builder` makes a definition of a list of them, while a pipe compiles or
  # in the process that reads a document.

  alias Slither.{Error, Options}

  @enforce_keys [:kind, :line, :name]
  defstruct [:kind, :line, :name, :type, :value, :screen]

  @typedoc """
  A statement:

    * `kind`: which of the four it is;
    * `line`: where it stands, a line of the DSL or a path in a document;
    * `name`: the name it gives or, with `:on_error`, the stage it speaks of;
    * `type`: a stage's type;
    * `value`: a stage's options, a store's module, or a policy;
    * `screen`: for a Python stage of a document, the options of a stage that checks its weights
      or keys ahead of the batches, so that an item that has none fails alone.
  """
  @type t :: %__MODULE__{
          kind: :stage | :store | :output | :on_error,
          line: line,
          name: term,
          type: term,
          value: term,
          screen: keyword | nil
        }

  @type line :: integer | String.t()

  @typedoc "A statement as the macros of the DSL write it into a module."
  @type written ::
          {:stage, line, name :: term, type :: term, options :: term}
          | {:store | :on_error, line, name :: term, value :: term}
          | {:output, line, name :: term}

  @typedoc "What is wrong, and the line at which it is."
  @type fault :: {:error, line | nil, Error.t()}

  @spec new(written | t) :: t
  def new(%__MODULE__{} = statement), do: statement
  def new({:output, line, name}), do: %__MODULE__{kind: :output, line: line, name: name}

  def new({kind, line, name, value}),
    do: %__MODULE__{kind: kind, line: line, name: name, value: value}

  def new({:stage, line, name, type, options}),
    do: %__MODULE__{kind: :stage, line: line, name: name, type: type, value: options}

  @doc "What errors call it."
  @spec where(t) :: String.t()
  def where(%__MODULE__{kind: kind, name: name}), do: "#{kind} #{inspect(name)}"

  @doc "The fault of a statement, from its words or from the error of what checked a part of it."
  @spec fault(t, Error.t()) :: fault
  def fault(statement, %Error{} = error),
    do: {:error, statement.line, %{error | where: error.where || where(statement)}}

  @spec fault(t, atom, String.t(), map) :: fault
  def fault(statement, reason, message, details \\ %{}),
    do: fault(statement, %Error{reason: reason, message: message, details: details})

  @doc "The fault of a statement that names an output which nothing declares."
  @spec undeclared(t, term, [term], map) :: fault
  def undeclared(statement, output, outputs, details \\ %{}) do
    message =
      "output #{inspect(output)} is not declared.#{Options.nearest(output, outputs)} " <>
        "Declared: #{list(outputs)}; add: output #{inspect(output)}"

    fault(statement, :unknown_output, message, details)
  end

  @doc "Names in a sentence."
  @spec list([term]) :: String.t()
  def list(names), do: Enum.map_join(names, ", ", &inspect/1)

  @doc "Whether a term is the name of an Elixir module."
  @spec module?(term) :: boolean
  def module?(term), do: is_atom(term) and match?("Elixir." <> _, Atom.to_string(term))
end
