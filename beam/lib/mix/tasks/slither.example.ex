defmodule Mix.Tasks.Slither.Example do
  @shortdoc "Runs Slither's examples"

  @moduledoc """
  Runs examples, or lists them.

      mix slither.example
      mix slither.example text_analysis
      mix slither.example --all

  ## Options

    * `--all`: every example, one after the other;
    * `--workers N`: Python workers, 2 unless given.

  The exit status is 0 when every check of the examples held, 2 when one failed, and 1 for an
  unknown name or option.
  """

  use Mix.Task

  @examples Path.expand("../../../../examples", __DIR__)

  @impl true
  @spec run([String.t()]) :: :ok
  def run(arguments) do
    {options, names, invalid} =
      OptionParser.parse(arguments, strict: [all: :boolean, workers: :integer])

    known = known()

    cond do
      invalid != [] -> refuse("unknown option #{invalid |> hd() |> elem(0)}", known)
      (options[:workers] || 1) < 1 -> refuse("--workers takes a number of 1 or more", known)
      unknown = Enum.find(names, &(&1 not in known)) -> refuse("no example #{unknown}", known)
      options[:all] -> run_all(known, options)
      names == [] -> list(known)
      true -> run_all(names, options)
    end
  end

  defp known do
    for path <- Path.wildcard(Path.join(@examples, "*/*.ex")),
        name = Path.basename(path, ".ex"),
        name == Path.basename(Path.dirname(path)),
        do: name
  end

  defp list(known) do
    Mix.Task.run("compile")
    Mix.shell().info("Examples (mix slither.example NAME):\n")

    for name <- known do
      Mix.shell().info("  #{String.pad_trailing(name, 16)}  #{load(name).title()}")
    end

    :ok
  end

  defp run_all(names, options) do
    Mix.Task.run("app.start")
    failed = Enum.reject(names, &(run_one(&1, options) == :ok))
    # Stopped rather than halted, so that the workers are gone before we are.
    Logger.configure(level: :warning)
    Application.stop(:slither)

    if failed != [] do
      Mix.shell().error("\nFailed: #{Enum.join(failed, ", ")}")
      exit({:shutdown, 2})
    end

    :ok
  end

  defp run_one(name, options) do
    module = load(name)
    workers = options[:workers] || 2
    Mix.shell().info("#{name}: #{module.title()}, with #{workers} Python workers")

    case module.run(workers: workers) do
      :ok ->
        :ok

      {:error, error} ->
        text = if is_exception(error), do: Exception.message(error), else: inspect(error)
        Mix.shell().error("\n#{name} failed: #{text}")
        :failed
    end
  end

  # Examples are not part of the library: they are compiled when they are run.
  defp load(name) do
    Code.require_file(Path.join(@examples, "support.ex"))
    Code.require_file(Path.join([@examples, name, name <> ".ex"]))
    Module.concat(Slither.Examples, Macro.camelize(name))
  end

  @spec refuse(String.t(), [String.t()]) :: no_return
  defp refuse(message, known) do
    Mix.shell().error(
      "#{message}. Examples: #{Enum.join(known, ", ")}. Options: --all, --workers N"
    )

    exit({:shutdown, 1})
  end
end
