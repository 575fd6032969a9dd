defmodule Slither.Examples.Example do
  @moduledoc """
  What an example is: what it says of itself, and a run that can be checked.

  An example `NAME` is a folder of this directory: `NAME.ex` with the module
  `Slither.Examples.Name`, its Python halves, `baseline.py`, a README and, where it needs packages,
  `requirements.lock`.
  """

  alias Slither.Examples.Measure

  @typedoc "Something that must hold, and whether it did."
  @type invariant :: {String.t(), boolean}

  @typedoc """
  What a run gives: its invariants, the figures of `Slither.Examples.Measure.run/3`, and parts of a
  report (see `Slither.Examples.Report`) that tell what was computed.
  """
  @type outcome :: %{
          invariants: [invariant],
          figures: Measure.figures(),
          parts: [term]
        }

  @doc "What it works on, in one line."
  @callback title() :: String.t()

  @doc "What goes wrong without Slither and right with it, in one sentence."
  @callback shows() :: String.t()

  @doc "How much it works on: a number, and of what."
  @callback size() :: {pos_integer, String.t()}

  @doc "The Python packages that it needs; `requirements.lock` pins them."
  @callback needs() :: [String.t()]

  @doc "One paragraph on why the figures are as they are."
  @callback why() :: String.t()

  @doc "ms that a baseline may take (60,000 unless given); then it is stopped, and that is shown."
  @callback baseline_deadline() :: pos_integer

  @doc """
  Bytes that Slither and its workers, or a baseline and its, are to stay below in the measured part:
  an invariant of all of them, where memory can be measured.
  """
  @callback memory_ceiling() :: pos_integer
  @optional_callbacks baseline_deadline: 0, memory_ceiling: 0

  @doc """
  Runs it. Options:

    * `workers:`, Python workers;
    * `size:`, how much to work on;
    * `python:`, the interpreter with what it needs; `nil` is the default one.
  """
  @callback run(options :: keyword) :: {:ok, outcome} | {:error, Exception.t()}
end
