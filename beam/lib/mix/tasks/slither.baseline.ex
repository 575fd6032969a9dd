defmodule Mix.Tasks.Slither.Baseline do
  @shortdoc "Runs the baselines of Slither's examples alone"

  @moduledoc """
  Runs the baselines of examples without Slither's half: plain Python that does the same work with
  threads (`unsafe_threaded`), locks and queues (`safe_python`) and processes (`process_pool`).

      mix slither.baseline
      mix slither.baseline text_analysis
      mix slither.baseline --all

  The options and exit statuses are those of `mix slither.example`. A baseline whose invariants
  are broken has done what it is there for: the exit status tells of it in no way.
  """

  use Mix.Task

  @impl true
  @spec run([String.t()]) :: :ok
  def run(arguments), do: Mix.Tasks.Slither.Example.run(:baseline, arguments)
end
