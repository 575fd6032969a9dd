defmodule Slither.Python.Env.Step do
  @moduledoc false
  # A step of building an environment: a command, what it says, and what its failure means. Runs in
  # the process that builds (`Build`, `Uv`).

  require Logger

  alias Slither.{Error, Lock}
  alias Slither.Python.Env.{Command, Spec}

  @doc "Runs a command for an environment; its lines are progress, its failure an error."
  @spec command(Spec.t(), keyword, String.t(), [String.t()]) :: :ok | {:error, Error.t()}
  def command(env, options, executable, arguments) do
    progress = &say(options, &1)

    case Command.run(executable, arguments, Path.dirname(env.file), progress, options[:timeout]) do
      {:ok, _output} -> :ok
      {:error, details} -> {:error, failed(env, details)}
    end
  end

  @doc "Calls `fun` while no other VM, and nobody else in this one, does what `path` stands for."
  @spec locked(Spec.t(), keyword, Path.t(), (() -> result)) :: result | {:error, Error.t()}
        when result: term
  def locked(env, options, path, fun) do
    path = path <> ".lock"

    with :ok <- File.mkdir_p(Path.dirname(path)), {:ok, lock} <- lock(path, options) do
      try do
        fun.()
      after
        Lock.release(lock)
      end
    else
      {:error, :locked} ->
        message = "another process has held #{path} for more than #{options[:timeout]} ms"
        {:error, error(env, message, %{})}

      {:error, reason} ->
        {:error, error(env, "#{Path.dirname(path)}: #{:file.format_error(reason)}", %{})}
    end
  end

  defp lock(path, options) do
    with {:error, :locked} <- Lock.take(path, 0) do
      say(options, "another process holds #{path}; waiting for it")
      Lock.take(path, options[:timeout])
    end
  end

  defp error(env, message, details) do
    %Error{
      reason: :no_environment,
      where: "the Python environment of #{env.file}",
      message: message,
      details: details
    }
  end

  @spec say(keyword, String.t()) :: any
  def say(options, line) do
    case options[:progress] do
      nil -> Logger.info(line)
      progress -> progress.(line)
    end
  end

  defp failed(env, details) do
    packages = Command.packages(details.output)
    what = if packages == [], do: "", else: "package #{Enum.join(packages, ", ")}: "

    %{
      error(
        env,
        what <> "`#{details.command}` #{details.ended}:\n#{String.trim(details.output)}",
        Map.put(details, :packages, packages)
      )
      | hint: hint(details.output)
    }
  end

  defp hint(output) do
    if Command.offline?(output) do
      "the network or the package index can't be reached: try again when it can, or have the file " <>
        "name a folder of wheels with the lines --no-index and --find-links FOLDER"
    end
  end
end
