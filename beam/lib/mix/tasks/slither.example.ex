defmodule Mix.Tasks.Slither.Example do
  @shortdoc "Runs Slither's examples, beside plain Python that does the same"

  @moduledoc """
  Runs examples, or lists them with what each shows, its size and its needs.

      mix slither.example
      mix slither.example text_analysis batch_stats
      mix slither.example --all
      mix slither.example ml_scoring --dashboard

  ## Options

    * `--all`: every example, one after the other;
    * `--no-baseline`: without the baselines, which do the same in plain Python;
    * `--workers N`: Python workers, 2 unless given;
    * `--size N`: how much to work on, in place of the example's own size;
    * `--python PATH`: the baselines' interpreter, in place of the one that Slither uses;
    * `--json FILE`: writes the figures there, too;
    * `--dashboard`: runs the examples again and again, without their baselines, and has a page on
      which one sees them at work; the Enter key ends it after the round that runs;
    * `--port N`: has that page there, in place of 4040 or the next port that is free.

  The exit status is 0 when every invariant of the examples held, 2 when one did not, 3 when an
  example could not run (its packages could not be installed, say; the others still run), and 1
  for an unknown name or option.
  """

  use Mix.Task

  @support Path.expand("../../../../examples/support", __DIR__)

  @impl true
  @spec run([String.t()]) :: :ok
  def run(arguments), do: run(:example, arguments)

  @doc false
  # Examples are not part of the library: they are compiled when they are run.
  @spec run(:example | :baseline, [String.t()]) :: :ok
  def run(command, arguments) do
    Mix.Task.run("app.start")

    module = Module.concat(Slither.Examples, Command)

    # The tests have them compiled.
    unless Code.ensure_loaded?(module) do
      files = @support |> Path.join("*.ex") |> Path.wildcard()
      {:ok, _modules, _warnings} = Kernel.ParallelCompiler.require(files)
    end

    status = apply(module, command, [arguments])

    # Stopped rather than halted, so that the workers are gone before we are.
    Logger.configure(level: :warning)
    Application.stop(:slither)
    if status != 0, do: exit({:shutdown, status})
    :ok
  end
end
